//! What `cargo stack` promises, tried on real processes.

mod bench;
mod cli;
mod proxy;
mod routes;
mod running;
mod servers;
mod system;
mod web;
