//! The auditor's tools:
//!
//! - [`source`]: reads the log from the database, the HTTP API or an export file
//! - [`examine`]: decodes events and checks their encoding, in batches
//! - [`verify`]: compares the log with signed checkpoints ([`evidence`]): [`reading`] checks the events in order, [`locate`] finds the
//!   first difference with proofs from the stored tree, [`recorded`] compares with the stored leaf hashes
//! - [`peaks`]: the Merkle tree, as far as it is needed to append leaves
//! - [`uncounted`]: events that cannot be counted, and the decisions that they do not count
//! - [`replay`]: computes totals and [`history`], and compares them with the read model
//! - [`export`]: writes the log to a file
//! - [`checkpoint`]: fetches the newest checkpoint and verifies its consistency with older ones
//! - [`proof`]: verifies the proof of a receipt
//! - [`witnesses`]: whose cosignatures a checkpoint needs
//! - [`notes`]: reads keys and checkpoints from files; [`progress`]: shows progress; [`outcome`]: the exit codes

pub mod checkpoint;
pub mod evidence;
pub mod examine;
pub mod export;
pub mod history;
pub mod locate;
pub mod notes;
pub mod outcome;
pub mod peaks;
pub mod progress;
pub mod proof;
pub mod reading;
pub mod recorded;
pub mod replay;
pub mod source;
pub mod uncounted;
pub mod verify;
pub mod witnesses;
