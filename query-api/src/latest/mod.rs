//! The newest purchases.

pub mod get;
