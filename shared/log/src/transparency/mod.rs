//! The transparency log, as defined in `TRANSPARENCY.md` in the folder of this crate.

pub mod cosignature;
pub mod merkle;
pub mod reader;
pub mod signed_checkpoint;
pub mod statement;

pub use reader::{ReadError, cosigned, head, prove, snapshot, statements, tiles};
