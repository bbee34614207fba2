//! The transparency log, as `TRANSPARENCY.md` beside this crate defines it.

pub mod merkle;
pub mod reader;
pub mod signed_checkpoint;

pub use reader::{ReadError, head, prove, snapshot, tiles};
