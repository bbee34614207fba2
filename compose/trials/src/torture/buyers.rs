//! Clients that buy, repeat, hang up and reset.

use std::ops::Range;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures::future::join_all;
use rand::RngExt;
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::torture::answer::{Answer, BUY, RESET};
use crate::torture::memory::{Harm, LICENSES, Memory, Receipt};
use crate::torture::shopper::Shopper;

const PAUSE_MS: Range<u64> = 20..200;
const RETRY_MS: Range<u64> = 50..300;
const RESET_MS: Range<u64> = 5_000..15_000;

impl Shopper {
    /// Buys once, and remembers the receipt. True if it is acknowledged. The request does not borrow the client, so that two can be
    /// under way.
    fn attempt(&mut self, key: Option<&str>, license: &'static str) -> impl Future<Output = bool> + use<> {
        let url = format!("{}{}", self.any_writable(), BUY.path);
        let mut request = self.http.post(url).json(&json!({ "license": license }));
        if let Some(key) = key {
            request = request.header("idempotency-key", self.spelled(key));
        }
        purchase(request, key.map(str::to_owned), license, Arc::clone(&self.memory))
    }

    /// Repeats a purchase until it is acknowledged. Without a key it is not repeated.
    async fn buy(&mut self, key: Option<&str>, license: &'static str) {
        while !self.attempt(key, license).await && key.is_some() && !self.is_stopping() {
            self.pause(RETRY_MS).await;
        }
    }

    /// Sends a part of a purchase, or all of it, and closes the connection without reading. Not over TLS.
    async fn hang_up(&mut self, key: &str, license: &str) {
        let body = json!({ "license": license }).to_string();
        let url = self.any_writable();
        let Some(entrance) = url.strip_prefix("http://") else { return };
        let request = format!(
            "POST {} HTTP/1.1\r\nhost: {entrance}\r\ncontent-type: application/json\r\nidempotency-key: {key}\r\n\
             content-length: {}\r\n\r\n{body}",
            BUY.path,
            body.len()
        );
        let length = self.random.random_range(1..=request.len());
        if let Ok(mut connection) = TcpStream::connect(entrance).await {
            let _ = connection.write_all(&request.as_bytes()[..length]).await;
        }
    }
}

pub async fn purchase(request: RequestBuilder, key: Option<String>, license: &str, memory: Arc<Memory>) -> bool {
    match BUY.send(request).await {
        Answer::Success(receipt) => match serde_json::from_value::<Receipt>(receipt.clone()) {
            Ok(receipt) if receipt.license == license => {
                memory.bought(key.as_deref(), receipt);
                return true;
            }
            _ => memory.found(Harm::Wrong, format!("{key:?} for {license} has the receipt {receipt}")),
        },
        Answer::Unavailable => {}
        Answer::Improper(what) => memory.found(Harm::Improper, what),
    }
    false
}

pub async fn buy_until_stopped(mut shopper: Shopper) {
    while !shopper.is_stopping() {
        let license = LICENSES[shopper.random.random_range(0..LICENSES.len())];
        let uuid = shopper.uuid().to_string();
        let key = if shopper.random.random_bool(0.3) { format!("order {uuid}") } else { uuid };
        match shopper.random.random_range(0..10) {
            0 => shopper.buy(None, license).await,
            1 => {
                let both = [shopper.attempt(Some(&key), license), shopper.attempt(Some(&key), license)];
                join_all(both).await;
                shopper.buy(Some(&key), license).await;
            }
            2 => {
                shopper.hang_up(&key, license).await;
                shopper.buy(Some(&key), license).await;
            }
            3 => repeat_late(&mut shopper).await,
            _ => shopper.buy(Some(&key), license).await,
        }
        shopper.pause(PAUSE_MS).await;
    }
}

/// Repeats any earlier purchase, whose receipt must be the same.
async fn repeat_late(shopper: &mut Shopper) {
    let pick = shopper.random.random_range(0..usize::MAX / 2);
    let Some(bought) = shopper.memory.any(pick) else { return };
    let license = LICENSES.into_iter().find(|license| *license == bought.receipt.license);
    if let Some((key, license)) = bought.key.as_deref().zip(license) {
        shopper.attempt(Some(key), license).await;
    }
}

pub async fn reset_until_stopped(mut shopper: Shopper) {
    while !shopper.is_stopping() {
        shopper.pause(RESET_MS).await;
        let url = format!("{}{}", shopper.any_writable(), RESET.path);
        match RESET.send(shopper.http.delete(url)).await {
            Answer::Success(reset) => match parse_reset(&reset) {
                Some((position, at)) => shopper.memory.reset(position, at),
                None => shopper.memory.found(Harm::Wrong, format!("a reset was answered {reset}")),
            },
            Answer::Unavailable => {}
            Answer::Improper(what) => shopper.memory.found(Harm::Improper, what),
        }
    }
}

fn parse_reset(reset: &Value) -> Option<(i64, DateTime<Utc>)> {
    Some((reset["position"].as_i64()?, reset["reset_at"].as_str()?.parse().ok()?))
}
