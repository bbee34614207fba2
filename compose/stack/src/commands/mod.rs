//! What each command does.

pub mod bench;
pub mod down;
pub mod rebuild;
pub mod status;
pub mod supervise;
pub mod test;
pub mod up;
