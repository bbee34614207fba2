//! Sales over time.

mod calendar;
pub mod get;
mod read;
