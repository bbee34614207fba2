//! The event log and the read model in Postgres, for readers.
//!
//! - [`config`]: settings from the environment, secrets also from files; [`output`]: what commands print
//! - [`database`]: connections; [`migration`]: migrations and roles
//! - [`reader`]: events in position order; [`error`]: their errors; [`row`]: columns as types of the contract
//! - [`decisions`]: which events do not count, by decision of an operator
//! - [`last_event`]: the identity of the event after which a reader continues
//! - [`catalogue`]: what protects the log within its database
//! - [`scan`]: events in bulk, through a binary COPY ([`copy_format`])
//! - [`read_model`]: totals from rows of the read model
//! - [`transparency`]: the Merkle tree over the log and its signed checkpoints

pub mod catalogue;
pub mod config;
pub mod copy_format;
pub mod database;
pub mod decisions;
pub mod error;
pub mod last_event;
pub mod migration;
pub mod output;
pub mod read_model;
pub mod reader;
pub mod row;
pub mod scan;
pub mod transparency;

pub use decisions::Decisions;
pub use error::ReadError;
pub use last_event::LastEvent;
pub use reader::{
    first_missing, head, is_empty, last_before, outside_of_the_log, read_after, read_at, read_by_id, read_following,
    read_type, select_type,
};
