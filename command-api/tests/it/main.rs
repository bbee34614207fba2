//! The write side against real Postgres and real NATS.

mod append;
mod asyncapi;
mod event_store;
mod http;
mod log_output;
mod migration;
mod nats_permissions;
mod relay;
mod subscriber;
mod support;
mod token;
mod void;
