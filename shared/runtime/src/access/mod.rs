//! Authentication and authorization.
//!
//! - [`settings`]: which tokens are accepted
//! - [`caller`]: the sender of a request, and the actor that an event names
//! - [`token_file`] and [`issuer`]: the owner of a token
//! - [`session`]: the cookie that carries the token of a page
//! - [`authenticator`]: from a request to its caller
//! - [`guard`]: the role check in front of every endpoint

pub mod authenticator;
pub mod caller;
pub mod guard;
pub mod issuer;
pub mod session;
pub mod settings;
pub mod token_file;

pub use authenticator::Access;
pub use settings::Settings;
