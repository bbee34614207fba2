//! The load on a subject: traffic, connections, duration.

use std::time::Duration;

/// The most connections of a load at a fixed rate. wrk searches all of them for the next one that is due.
pub const MAX_OPEN_CONNECTIONS: u32 = 2048;
const MIN_OPEN_CONNECTIONS: f64 = 64.0;
/// For so long, requests keep arriving while no answer comes. After that all connections are in use, and wrk's
/// correction for coordinated omission adds the waiting times of the requests it could not send.
const ARRIVES_WITHOUT_ANSWERS_S: f64 = 0.1;

#[derive(Clone, Copy, Debug)]
pub enum Traffic {
    /// Purchases, each with a new idempotency key. Each connection sends the next one when the last one is answered.
    Purchases,
    /// Purchases per second on average, at random times that do not depend on the answers.
    PurchasesAt(f64),
    /// Reads of the totals.
    Reads,
}

#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub traffic: Traffic,
    pub connections: u32,
    pub time: Duration,
}

impl Load {
    /// Purchases at a fixed rate per second.
    pub fn at_rate(rate: f64, time: Duration) -> Self {
        let enough = (rate * ARRIVES_WITHOUT_ANSWERS_S).ceil();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        let connections = enough.clamp(MIN_OPEN_CONNECTIONS, MAX_OPEN_CONNECTIONS.into()) as u32;
        Self { traffic: Traffic::PurchasesAt(rate), connections, time }
    }
}
