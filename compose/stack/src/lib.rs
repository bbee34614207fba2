//! Runs the whole system natively: for people (`cargo stack`), for tests and for benches.
//!
//! From the bottom up:
//! - [`launch`], [`process`], [`probe`], [`identity`], [`open_files`]: one child process that cannot outlive this one;
//! - [`provision`], [`postgres`], [`nats`], [`traefik`], [`web`]: the servers, found or installed, and configured;
//! - [`services`]: the services and their configuration; [`access`]: their access tokens;
//! - [`stack`]: all of them in dependency order, each [`supervised`], with [`log_rotation`]; [`state`] lists the running processes;
//! - [`commands`]: the subcommands.

pub mod access;
pub mod account;
pub mod build_services;
pub mod checkout;
pub mod cli;
pub mod commands;
pub mod data_folder;
pub mod fingerprint;
pub mod fresh;
pub mod identity;
pub mod interrupt;
pub mod launch;
pub mod log_rotation;
pub mod nats;
pub mod open_files;
pub mod options;
pub mod orphans;
pub mod pages;
pub mod plan;
pub mod ports;
pub mod postgres;
pub mod prerequisites;
pub mod probe;
pub mod process;
pub mod progress;
pub mod provision;
pub mod secrets;
pub mod server;
pub mod services;
pub mod stack;
pub mod state;
pub mod supervised;
pub mod tool;
pub mod traefik;
pub mod version;
pub mod web;

pub use options::Options;
pub use stack::Stack;
