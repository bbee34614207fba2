//! The program of a witness, as logs talk to it.

mod add_checkpoint;
mod killed;
mod started;
mod support;
