//! The projection against real Postgres and real NATS.

mod deliveries;
mod faults;
mod model;
mod rebuild;
mod support;
