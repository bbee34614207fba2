//! The JetStream stream, where the relay and the consumers find each other.

use std::time::Duration;

use anyhow::Context;
use async_nats::{Client, ConnectOptions, ServerAddr};

pub const STREAM: &str = "SALES_EVENTS";
pub const SUBJECTS: &str = "sales.events.>";

/// An unanswered request to NATS counts as failed after this time; the event log is there for as long as it takes.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// The subject on which events of a type are published.
pub fn subject(event_type: &str) -> String {
    format!("sales.events.{event_type}")
}

/// Connects in the background, now and whenever the connection is lost, so that a service starts while NATS is away.
pub async fn connect(url: &str, service: &str) -> anyhow::Result<Client> {
    let server: ServerAddr = url.parse().context("NATS_URL is not an address (nats://user:password@host:port)")?;
    let options = match (server.username(), server.password()) {
        // The client itself ignores what the address says about the user.
        (Some(user), Some(password)) => ConnectOptions::with_user_and_password(user.to_owned(), password.to_owned()),
        _ => ConnectOptions::new(),
    };
    options
        .name(service)
        .retry_on_initial_connect()
        .request_timeout(Some(REQUEST_TIMEOUT))
        .connection_timeout(REQUEST_TIMEOUT)
        .reconnect_delay_callback(|attempts| {
            Duration::from_millis(20 * 2_u64.saturating_pow(u32::try_from(attempts).unwrap_or(u32::MAX)).min(50))
        })
        .connect(server)
        .await
        .context("NATS_URL cannot be used")
}
