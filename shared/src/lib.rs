//! What the processes agree on, and the plumbing that each of them needs.
//!
//! The contract, in the order in which a purchase meets it:
//! - [`catalogue`]: the licences and their prices, in [`money`]
//! - [`event`]: what can happen, and how it is written down
//! - [`event_log`]: the log as its readers see it, position by position, and in bulk: [`scan`]
//! - [`cloud_event`]: an event on the wire, on NATS and over HTTP
//! - [`stream`]: the names of the JetStream stream and its subjects
//! - [`receipt`]: what a buyer is given
//! - [`totals`]: what the events add up to
//! - [`merkle`], [`checkpoint`], [`transparency_log`]: the Merkle tree over the log, and its signed checkpoints
//!
//! The plumbing:
//! - [`config`]: settings from the environment, secrets also from files; [`key_file`]: such files, made
//! - [`service`]: the life of a process, from start to a drained stop; [`server`]: the connections that it takes
//! - [`access`]: who is let in
//! - [`http`], [`body`], [`problem`]: what every HTTP interface has in common; [`healthcheck`]: what containers ask it
//! - [`traces`], [`process`]: what operators see of a request, and of a process
//! - [`database`], [`backoff`]: connections, and how to wait for them

pub mod access;
pub mod backoff;
pub mod body;
pub mod catalogue;
pub mod checkpoint;
pub mod cloud_event;
pub mod config;
pub mod database;
pub mod event;
pub mod event_log;
pub mod healthcheck;
pub mod http;
pub mod key_file;
pub mod merkle;
pub mod money;
pub mod problem;
pub mod process;
pub mod receipt;
pub mod scan;
pub mod server;
pub mod service;
pub mod stream;
pub mod totals;
pub mod traces;
pub mod transparency_log;

/// Of every program here. With glibc's, a purchase took a fifth more of command-api's time.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
