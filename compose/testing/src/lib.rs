//! Real servers for tests and benches, started by the same code as `cargo stack up`.
//!
//! A test fails without its servers, so everything here panics with the reason instead of returning errors that each test would have to
//! unwrap. A server that a test starts ends together with the test process.

use std::sync::OnceLock;

mod cases;
mod command;
mod databases;
mod document;
mod folder;
mod issuer;
mod nats;
mod postgres;
mod problem;
mod proxy;
mod recorded;
mod schema;
mod service;
mod services;

pub use cases::cases;
pub use command::{Command, Ended};
pub use databases::{Counted, Databases, eventually, purchased, reset, values};
pub use document::assert_committed;
pub use issuer::{CLIENT_SECRET, Issuer};
pub use nats::Nats;
pub use postgres::{Postgres, own_postgres, postgres};
pub use problem::assert_problem;
pub use proxy::Proxy;
pub use recorded::{Recorded, record};
pub use schema::Schema;
pub use service::{Service, Until};
pub use services::NO_NATS;

use stack::interrupt::Interrupt;
use stack::launch::Program;
use stack::progress::Progress;
use stack::provision::{self, Tools};

/// The servers' binaries, found or installed once per test process.
pub fn tools() -> &'static Tools {
    static TOOLS: OnceLock<Tools> = OnceLock::new();
    TOOLS.get_or_init(|| provision::tools(Progress::Silent).expect("Postgres, NATS and Traefik can be provided"))
}
