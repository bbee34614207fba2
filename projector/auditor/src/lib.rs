//! The auditor's tools. The log comes in at the top and leaves as a verdict, as totals, or as a file:
//!
//! - [`source`]: where the log is read from: the database, the HTTP interface, an export file
//! - [`examine`]: what a single event says, and whether it is written as it should be; many at a time
//! - [`verify`]: whether the whole is what was signed, and which event is the first that is not; with [`recorded`], the hashes
//!   that the transparency log has noted
//! - [`replay`]: what it adds up to, at any time, compared with the read model; with [`history`]
//! - [`export`]: the log as a file that needs nobody to be verified
//! - [`checkpoint`]: the newest checkpoint, and that it continues the one that the auditor has
//! - [`proof`]: the proof that comes with a receipt
//!
//! and [`notes`] reads keys and checkpoints from files, [`progress`] tells how far it has come.

pub mod checkpoint;
pub mod examine;
pub mod export;
pub mod history;
pub mod notes;
pub mod progress;
pub mod proof;
pub mod recorded;
pub mod replay;
pub mod source;
pub mod verify;
