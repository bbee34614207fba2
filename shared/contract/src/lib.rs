//! The contract between the services: no SQL, no HTTP, no async runtime. In the order of a purchase:
//!
//! - [`catalogue`]: the licences and their prices, in [`money`]
//! - [`event`]: the events and their encoding; [`role`]: the roles that authorize them; [`line`]: the texts in them
//! - [`recorded_event`]: an event as a row of the log, at its [`position`]
//! - [`cloud_event`]: an event on the wire, on NATS and over HTTP; [`canonical`]: a short way to read what this system writes
//! - [`receipt`]: the receipt of a purchase
//! - [`totals`]: the sums of the events; [`time_zone`]: the zones whose days they are listed by

pub mod canonical;
pub mod catalogue;
pub mod cloud_event;
pub mod event;
pub mod line;
pub mod money;
pub mod position;
pub mod receipt;
pub mod recorded_event;
pub mod role;
pub mod time_zone;
pub mod totals;

/// The AsyncAPI 3.0 document of the JetStream stream, for other systems.
pub const ASYNCAPI: &str = include_str!("../asyncapi.json");
