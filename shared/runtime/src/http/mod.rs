//! HTTP: what every interface of a service has in common.

pub mod api;
pub mod body;
pub mod health;
pub mod problem;
pub mod server;
