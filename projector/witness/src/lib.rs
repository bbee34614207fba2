//! A witness of transparency logs (C2SP tlog-witness). It cosigns a checkpoint of a log only if the log has grown out of the one that it
//! cosigned last. Someone other than the operator of the log runs it, and so nobody can be shown another history than everybody else.
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
