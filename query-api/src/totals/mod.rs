//! Number of sales and revenue since the last reset.

mod as_of;
pub mod client;
mod current_money;
pub mod follow;
pub mod get;
pub mod places;
pub mod snapshot;
pub mod stream;
