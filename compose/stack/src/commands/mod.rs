//! The subcommands, one file each.

pub mod audit;
pub mod bench;
pub mod decide;
pub mod down;
pub mod rebuild;
mod running;
pub mod sign_in;
pub mod status;
pub mod supervise;
pub mod test;
pub mod torture;
pub mod up;
pub mod void;
