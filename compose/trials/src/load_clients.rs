//! Clients that buy continuously during a disruption, and record every acknowledged purchase.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use reqwest::{StatusCode, header};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::sleep;
use uuid::Uuid;

use crate::site::Site;

const CLIENTS: usize = 8;
/// Between two purchases of a client. A few hundred purchases per second leave the machine time for the disruption.
const PAUSE: Duration = Duration::from_millis(20);
/// Before a client retries with the same idempotency key.
const RETRY_DELAY: Duration = Duration::from_millis(100);
/// For one purchase, retries included. After it the trial has failed.
const RETRY_DEADLINE: Duration = Duration::from_mins(1);

pub struct LoadClients {
    tasks: JoinSet<Result<Bought>>,
    stop: Arc<AtomicBool>,
}

#[derive(Default)]
pub struct Bought {
    /// Idempotency keys of the acknowledged purchases, which are the ids of their events.
    pub ids: HashSet<Uuid>,
    /// Purchases that were sent more than once.
    pub retried: usize,
    pub slowest: Duration,
    /// Why requests were retried, with the number of times.
    pub reasons: HashMap<String, usize>,
}

impl LoadClients {
    pub fn start(site: &Site) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for _ in 0..CLIENTS {
            let (http, url, stop) = (site.http.clone(), site.url("localhost", "/api/buy_mpi"), Arc::clone(&stop));
            tasks.spawn_on(buy(http, url, stop), site.runtime.handle());
        }
        Self { tasks, stop }
    }

    /// Waits until each client has finished its current purchase.
    pub fn stop(mut self, site: &Site) -> Result<Bought> {
        self.stop.store(true, Ordering::Relaxed);
        site.runtime.block_on(async {
            let mut all = Bought::default();
            while let Some(bought) = self.tasks.join_next().await {
                all.add(bought??);
            }
            Ok(all)
        })
    }
}

async fn buy(http: reqwest::Client, url: String, stop: Arc<AtomicBool>) -> Result<Bought> {
    let mut bought = Bought::default();
    while !stop.load(Ordering::Relaxed) {
        let key = Uuid::new_v4();
        let started = Instant::now();
        let mut attempts = 0_usize;
        loop {
            attempts += 1;
            let request =
                http.post(&url).header("Idempotency-Key", key.to_string()).json(&json!({ "license": "basic" }));
            let reason = match request.send().await {
                Ok(reply) if reply.status() == StatusCode::CREATED => break,
                Ok(reply) if is_refusal(&reply) => bail!("a purchase was refused: {}", reply.status()),
                Ok(reply) => reply.status().to_string(),
                Err(error) if error.is_timeout() => "no answer in time".to_owned(),
                Err(error) if error.is_connect() => "no connection".to_owned(),
                Err(_) => "the connection broke".to_owned(),
            };
            *bought.reasons.entry(reason).or_default() += 1;
            ensure!(
                started.elapsed() < RETRY_DEADLINE,
                "a purchase failed for {RETRY_DEADLINE:?}: {:?}",
                bought.reasons
            );
            sleep(RETRY_DELAY).await;
        }
        bought.ids.insert(key);
        bought.retried += usize::from(attempts > 1);
        bought.slowest = bought.slowest.max(started.elapsed());
        sleep(PAUSE).await;
    }
    Ok(bought)
}

/// A 404 in plain text is no refusal: Traefik answers it to all requests until it has loaded its routes.
fn is_refusal(reply: &reqwest::Response) -> bool {
    let is_problem = reply.headers().get(header::CONTENT_TYPE).is_some_and(|type_| type_ == "application/problem+json");
    reply.status().is_client_error() && (is_problem || reply.status() != StatusCode::NOT_FOUND)
}

impl Bought {
    pub fn add(&mut self, other: Self) {
        self.ids.extend(other.ids);
        self.retried += other.retried;
        self.slowest = self.slowest.max(other.slowest);
        for (reason, times) in other.reasons {
            *self.reasons.entry(reason).or_default() += times;
        }
    }

    /// Every acknowledged purchase is in the log once, and the log has no gap. Returns their number.
    pub fn is_in_the_log(&self, site: &Site) -> Result<usize> {
        let mut request =
            site.http.get(site.url("sales.localhost", "/api/events")).header(header::ACCEPT, "application/x-ndjson");
        if let Some(token) = &site.auditor {
            request = request.bearer_auth(token);
        }
        let export = site.send(request.timeout(Duration::from_mins(1)))?;
        ensure!(export.status == StatusCode::OK, "the export: {}", export.status);
        let mut times: HashMap<Uuid, usize> = HashMap::new();
        for (line, expected) in export.text.lines().zip(1_i64..) {
            let event: Value = serde_json::from_str(line)?;
            ensure!(event["position"] == expected, "position {expected} is missing: {line}");
            let id: Uuid = event["id"].as_str().context("an event has an id")?.parse()?;
            *times.entry(id).or_default() += 1;
        }
        for id in &self.ids {
            let stored = times.get(id).copied().unwrap_or(0);
            ensure!(stored == 1, "purchase {id} was acknowledged, but is in the log {stored} times");
        }
        Ok(self.ids.len())
    }
}
