//! Sessions of the pages.

mod cookies;
pub mod current;
pub mod oidc;
pub mod sign_in;
