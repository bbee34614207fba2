//! The event log, for auditors, and proofs about it.

mod accept;
pub mod checkpoint;
pub mod cosigned;
mod export;
pub mod get;
pub mod list;
pub mod proofs;
mod range;
pub mod signed_tree;
pub mod statements;
