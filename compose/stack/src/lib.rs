//! Runs the whole system natively: for people (`cargo stack`), for tests and for benches.
//!
//! From the bottom up:
//! - [`launch`], [`process`], [`probe`], [`identity`], [`open_files`]: one child process that cannot outlive us;
//! - [`provision`], [`postgres`], [`nats`], [`traefik`], [`web`]: the real servers, found or installed, and configured;
//! - [`services`]: our own processes, and what they are told; [`access`]: the tokens, where they ask for some;
//! - [`stack`]: all of them, in order, each looked after by a [`keeper`]; [`state`] says who runs;
//! - [`commands`]: what people type.

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
pub mod keeper;
pub mod launch;
pub mod leftovers;
pub mod nats;
pub mod open_files;
pub mod options;
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
pub mod tool;
pub mod traefik;
pub mod version;
pub mod web;

pub use options::Options;
pub use stack::Stack;
