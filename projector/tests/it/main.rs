//! The projection against real Postgres and real NATS.

mod deliveries;
mod dry_run;
mod faults;
mod model;
mod rebuild;
mod rebuild_under_load;
mod reconciliation;
mod resume;
mod support;
mod tampering;
mod transparency;
mod voided;
mod watch;
mod witnesses;
