//! A witness of transparency logs (C2SP tlog-witness). It cosigns a checkpoint only if that checkpoint extends the last one that it has
//! cosigned. It is outside of the log operator's control, so an operator cannot show different histories to different auditors.
//!
//! - [`cli`]: the command line
//! - [`key`]: makes the key of a witness
//! - [`request`]: what a log submits
//! - [`memory`]: the last checkpoint of each log, on disk before its cosignature leaves
//! - [`serve`]: the HTTP interface

pub mod cli;
pub mod key;
pub mod memory;
pub mod request;
pub mod serve;
