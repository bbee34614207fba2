//! What the processes agree on, and the plumbing that each of them needs.
//!
//! The contract, in the order in which a purchase meets it:
//! - [`catalogue`]: the licences and their prices, in [`money`]
//! - [`event`]: what can happen, and how it is written down
//! - [`event_log`]: the log as its readers see it, position by position, and in bulk: [`scan`]
//! - [`cloud_event`]: an event on the wire, on NATS and over HTTP
//! - [`stream`]: the names of the JetStream stream and its subjects
//! - [`receipt`]: what a buyer is given
//!
//! The plumbing:
//! - [`config`]: settings from the environment, secrets also from files
//! - [`service`]: the life of a process, from start to a drained stop
//! - [`http`], [`problem`]: what every HTTP interface has in common
//! - [`database`], [`backoff`]: connections, and how to wait for them

pub mod backoff;
pub mod catalogue;
pub mod cloud_event;
pub mod config;
pub mod database;
pub mod event;
pub mod event_log;
pub mod http;
pub mod money;
pub mod problem;
pub mod receipt;
pub mod scan;
pub mod service;
pub mod stream;
