//! Clients that read: totals now and earlier, history, newest purchases, receipts, exports and streams. What they see is remembered, and
//! compared with the log later.

use std::ops::Range;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use rand::RngExt;
use reqwest::Response;
use serde_json::Value;
use tokio::time::timeout;
use uuid::Uuid;

use crate::torture::answer::{Answer, EVENTS, HISTORY, LATEST, Operation, RECEIPT, STREAM, TOTALS};
use crate::torture::memory::{Harm, Receipt, Seen, Totals};
use crate::torture::shopper::Shopper;

const PAUSE_MS: Range<u64> = 50..250;
const EXPORTED_EVENTS: i64 = 300;
/// An interrupted export is resumed so many times.
const EXPORT_ATTEMPTS: usize = 20;
/// A stream sends the age of the totals every five seconds.
const STREAM_SILENCE: Duration = Duration::from_secs(15);
const STREAM_LIFETIME: Duration = Duration::from_mins(2);

pub async fn read_until_stopped(mut shopper: Shopper, entrance: String) {
    let mut newest_seen = 0;
    while !shopper.is_stopping() {
        read_anything(&mut shopper, &entrance, &mut newest_seen).await;
        shopper.pause(PAUSE_MS).await;
    }
}

async fn read_anything(shopper: &mut Shopper, entrance: &str, newest_seen: &mut i64) {
    let acknowledged = shopper.memory.newest_position();
    match shopper.random.random_range(0..9) {
        0 | 1 => {
            let path = format!("{}?min_position={acknowledged}", TOTALS.path);
            read_totals(shopper, entrance, &path, acknowledged).await;
        }
        2 => {
            // Replicas behind Traefik may differ in how far they have come.
            let least = if entrance == shopper.entrances.traefik { 0 } else { *newest_seen };
            let seen = read_totals(shopper, entrance, TOTALS.path, least).await;
            *newest_seen = seen.unwrap_or_default().max(*newest_seen);
        }
        3 => {
            let position = shopper.random.random_range(0..=acknowledged);
            let path = format!("{}?at_position={position}", TOTALS.path);
            read_totals(shopper, entrance, &path, position).await;
        }
        4 => read_totals_at_a_purchase(shopper, entrance).await,
        5 => {
            let to = (Utc::now() + TimeDelta::hours(2)).to_rfc3339_opts(SecondsFormat::Secs, true);
            let path = format!("{}?interval=hour&time_zone=UTC&to={to}", HISTORY.path);
            read(shopper, HISTORY, entrance, &path, history).await;
        }
        6 => {
            let limit = shopper.random.random_range(1..=100);
            let path = format!("{}?limit={limit}", LATEST.path);
            read(shopper, LATEST, entrance, &path, |answer| latest(answer, limit)).await;
        }
        7 => read_receipt(shopper, entrance).await,
        _ if acknowledged > 0 => export(shopper, entrance, acknowledged).await,
        _ => {}
    }
}

/// Returns what is seen, which is remembered, or nothing if there is no answer.
pub async fn read(
    shopper: &Shopper,
    operation: Operation,
    entrance: &str,
    path: &str,
    parse: impl Fn(&Value) -> Option<Seen>,
) -> Option<Seen> {
    match operation.send(shopper.get(entrance, path)).await {
        Answer::Success(answer) => {
            let seen = parse(&answer);
            match &seen {
                Some(seen) => shopper.memory.saw(seen.clone()),
                None => shopper.memory.found(Harm::Wrong, format!("{path} was answered {answer}")),
            }
            seen
        }
        Answer::Unavailable => None,
        Answer::Improper(what) => {
            shopper.memory.found(Harm::Improper, what);
            None
        }
    }
}

/// Totals that must have reached a position.
async fn read_totals(shopper: &Shopper, entrance: &str, path: &str, least: i64) -> Option<i64> {
    let seen = read(shopper, TOTALS, entrance, path, totals).await;
    let Some(Seen::Totals { position, .. }) = seen else { return None };
    if position < least {
        shopper.memory.found(Harm::Wrong, format!("{path} at {entrance} went back from {least} to {position}"));
    }
    Some(position)
}

async fn read_totals_at_a_purchase(shopper: &mut Shopper, entrance: &str) {
    let pick = shopper.random.random_range(0..usize::MAX / 2);
    let Some(bought) = shopper.memory.any(pick) else { return };
    let time = bought.receipt.purchased_at;
    let path = format!("{}?at={}", TOTALS.path, time.to_rfc3339_opts(SecondsFormat::Micros, true));
    let seen = read(shopper, TOTALS, entrance, &path, totals).await;
    if let Some(Seen::Totals { position, .. }) = seen {
        shopper.memory.saw(Seen::Before { time, position });
    }
}

async fn read_receipt(shopper: &mut Shopper, entrance: &str) {
    let pick = shopper.random.random_range(0..usize::MAX / 2);
    let Some(bought) = shopper.memory.any(pick) else { return };
    let path = format!("/api/purchases/{}", bought.receipt.purchase_id);
    match RECEIPT.send(shopper.get(entrance, &path)).await {
        Answer::Success(receipt)
            if serde_json::from_value::<Receipt>(receipt.clone()).ok().as_ref() != Some(&bought.receipt) =>
        {
            shopper.memory.found(Harm::Wrong, format!("{path} has become {receipt}"));
        }
        Answer::Success(_) | Answer::Unavailable => {}
        Answer::Improper(what) => shopper.memory.found(Harm::Improper, what),
    }
}

/// A part of the log that has been acknowledged. An interrupted export is resumed after its last line.
async fn export(shopper: &mut Shopper, entrance: &str, acknowledged: i64) {
    let after = shopper.random.random_range(0..acknowledged);
    let until = (after + EXPORTED_EVENTS).min(acknowledged);
    let mut events: Vec<(i64, Uuid, DateTime<Utc>)> = Vec::new();
    for _ in 0..EXPORT_ATTEMPTS {
        let resumed_after = events.last().map_or(after, |(position, ..)| *position);
        let path = format!("{}?after={resumed_after}&until={until}", EVENTS.path);
        let request = shopper.get(entrance, &path).header("accept", "application/x-ndjson");
        let Ok(response) = request.send().await else { return };
        if !response.status().is_success() {
            refused(shopper, EVENTS, response).await;
            return;
        }
        let mut lines = Lines::new(response);
        while let Some(line) = lines.next().await {
            let Some(event) = event(&line) else {
                shopper.memory.found(Harm::Wrong, format!("{path} has the line {line}"));
                return;
            };
            events.push(event);
        }
        if lines.is_complete {
            break;
        }
        shopper.pause(PAUSE_MS).await;
    }
    let last = events.last().map_or(after, |(position, ..)| *position);
    if last > until {
        shopper.memory.found(Harm::Wrong, format!("an export up to {until} contains {last}"));
    }
    shopper.memory.saw(Seen::Events { after, events });
}

async fn refused(shopper: &Shopper, operation: Operation, response: Response) {
    let (status, headers) = (response.status(), response.headers().clone());
    if let Ok(body) = response.bytes().await
        && let Some(Answer::Improper(what)) = operation.refusal(status, &headers, &body)
    {
        shopper.memory.found(Harm::Improper, what);
    }
}

/// Within a stream, totals never go back.
pub async fn stream_until_stopped(mut shopper: Shopper, entrance: String) {
    while !shopper.is_stopping() {
        let request = shopper.get(&entrance, STREAM.path).timeout(STREAM_LIFETIME);
        if let Ok(response) = request.send().await {
            if response.status().is_success() {
                let stopping = shopper.stopping.clone();
                stopping.run_until_cancelled(follow(&shopper, response)).await;
            } else {
                refused(&shopper, STREAM, response).await;
            }
        }
        shopper.pause(PAUSE_MS).await;
    }
}

async fn follow(shopper: &Shopper, response: Response) {
    let (mut lines, mut newest, mut is_totals) = (Lines::new(response), 0, false);
    while let Ok(Some(line)) = timeout(STREAM_SILENCE, lines.next()).await {
        if let Some(event) = line.strip_prefix("event: ") {
            is_totals = event == "totals";
        }
        let Some(data) = line.strip_prefix("data: ").filter(|_| is_totals) else { continue };
        let Some(seen) = serde_json::from_str(data).ok().as_ref().and_then(totals) else {
            shopper.memory.found(Harm::Wrong, format!("a stream sent {data}"));
            return;
        };
        if let Seen::Totals { position, .. } = seen {
            if position < newest {
                shopper.memory.found(Harm::Wrong, format!("a stream went back from {newest} to {position}"));
            }
            newest = position;
        }
        shopper.memory.saw(seen);
    }
}

/// The complete lines of a body.
struct Lines {
    response: Response,
    buffer: Vec<u8>,
    /// The body has ended as it should.
    is_complete: bool,
}

impl Lines {
    fn new(response: Response) -> Self {
        Self { response, buffer: Vec::new(), is_complete: false }
    }

    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.drain(..=end).collect::<Vec<u8>>();
                return Some(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            match self.response.chunk().await {
                Ok(Some(bytes)) => self.buffer.extend(bytes),
                Ok(None) => {
                    self.is_complete = true;
                    return None;
                }
                Err(_) => return None,
            }
        }
    }
}

pub fn totals(answer: &Value) -> Option<Seen> {
    let as_of = Some(time(&answer["as_of"])?);
    Some(Seen::Totals { position: answer["position"].as_i64()?, totals: Totals::parse(answer)?, as_of })
}

pub fn history(answer: &Value) -> Option<Seen> {
    let mut sold = Totals::default();
    for bucket in answer["buckets"].as_array()? {
        sold = sold.plus(Totals::parse(bucket)?);
    }
    let resets = answer["resets"].as_array()?.iter().map(|reset| reset["position"].as_i64()).collect::<Option<_>>()?;
    Some(Seen::History { position: answer["position"].as_i64()?, sold, resets })
}

pub fn latest(answer: &Value, limit: usize) -> Option<Seen> {
    let purchase = |sale: &Value| {
        let license = sale["license"].as_str()?.to_owned();
        Some((
            sale["position"].as_i64()?,
            license,
            sale["price"]["amount_minor"].as_i64()?,
            time(&sale["purchased_at"])?,
        ))
    };
    let purchases = answer["purchases"].as_array()?.iter().map(purchase).collect::<Option<_>>()?;
    Some(Seen::Latest { position: answer["position"].as_i64()?, limit, purchases })
}

/// A CloudEvent.
pub fn event(line: &str) -> Option<(i64, Uuid, DateTime<Utc>)> {
    let event: Value = serde_json::from_str(line).ok()?;
    Some((event["position"].as_i64()?, event["id"].as_str()?.parse().ok()?, time(&event["time"])?))
}

fn time(value: &Value) -> Option<DateTime<Utc>> {
    value.as_str()?.parse().ok()
}
