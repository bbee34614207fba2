//! Tests of `cargo stack` with real processes.

mod access;
mod backup;
mod cli;
mod fuzz;
mod high_availability;
mod limits;
mod monitoring;
mod nats_cluster;
mod outages;
mod pooler;
mod routes;
mod running;
mod streams;
mod system;
mod traces;
mod web;
