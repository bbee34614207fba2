//! HTTP, as every service serves it.

pub mod api;
pub mod body;
pub mod health;
pub mod message;
pub mod problem;
pub mod server;
