//! The write side against real Postgres and real NATS.

mod append;
mod event_store;
mod http;
mod relay;
mod support;
