//! The contract between the processes: no SQL, no HTTP, no async runtime. In the order in which a purchase meets it:
//!
//! - [`catalogue`]: the licences and their prices, in [`money`]
//! - [`event`]: the events and their encoding; [`role`]: the role that allowed one
//! - [`recorded_event`]: an event in the log, at its [`position`]
//! - [`cloud_event`]: an event on the wire, on NATS and over HTTP
//! - [`receipt`]: what a buyer receives
//! - [`totals`]: what the events add up to

pub mod catalogue;
pub mod cloud_event;
pub mod event;
pub mod money;
pub mod position;
pub mod receipt;
pub mod recorded_event;
pub mod role;
pub mod totals;

/// The AsyncAPI 3.0 document of the JetStream stream, for other systems.
pub const ASYNCAPI: &str = include_str!("../asyncapi.json");
