//! Sessions of the pages, and the sign-in at an OpenID Connect issuer.

mod cookies;
pub mod current;
pub mod link;
pub mod oidc;
pub mod sign_in;
