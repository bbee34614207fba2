//! From a purchase to the totals that show it: while idle, at half load, at full load.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::json;
use tokio::time::sleep;
use uuid::Uuid;

use crate::driver::Bench;
use crate::figures::{Figure, Unit, number, percentile};
use crate::ledger::Books;
use crate::load::{Load, Traffic};
use crate::row::{Row, Target};
use crate::settings::MOST_CONNECTIONS;

const IDLE_P50: Target = Target::AtMost(5.0);
const HALF_LOAD_P99: Target = Target::AtMost(25.0);
const FULL_LOAD_P99: Target = Target::AtMost(250.0);

/// The pause between two probes is random, so that they do not fall into step with anything.
const LONGEST_PAUSE_MS: u64 = 20;
/// The service answers 503 when it has waited for the position as long as it may; the probe goes on then, but not for
/// ever.
const GIVE_UP_AFTER: Duration = Duration::from_mins(2);

/// What probes have seen, in milliseconds.
#[derive(Debug, Default)]
struct Seen {
    since_acknowledged: Vec<f64>,
    since_sent: Vec<f64>,
}

impl fmt::Display for Seen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99] = [500, 990].map(|per_mille| number(percentile(&self.since_acknowledged, per_mille)));
        write!(formatter, "p50 {p50} ms  p99 {p99} ms  of {}", self.since_acknowledged.len())
    }
}

pub fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let most = bench.most_purchases()?;
    let half = Load::at_rate(most / 2.0, bench.settings.load_time());
    let full = Load {
        traffic: Traffic::Purchases,
        connections: MOST_CONNECTIONS,
        time: Duration::from_secs(bench.settings.long_load_seconds),
    };
    let (mut while_idle, mut at_half) = (Vec::new(), Vec::new());
    for _ in 0..bench.settings.repetitions {
        while_idle.push(idle(bench)?);
        at_half.push(under(bench, half, "half load")?.0);
    }
    let (at_full, drained_after) = under(bench, full, "full load")?;
    let mut rows = Vec::new();
    rows.extend(in_rows("idle", &while_idle, Some(IDLE_P50), None));
    rows.extend(in_rows("half load", &at_half, None, Some(HALF_LOAD_P99)));
    rows.extend(in_rows("full load", &[at_full], None, Some(FULL_LOAD_P99)));
    let what = format!("projection drained after {} s of full load", full.time.as_secs());
    rows.push(Row::new(what, Figure::new(Unit::Milliseconds, vec![drained_after])));
    Ok(rows)
}

fn idle(bench: &Bench) -> Result<Seen> {
    let wanted = bench.settings.idle_probes;
    let mut seen = Seen::default();
    bench.progress.measure(&format!("visible, idle, {wanted} purchases"), || {
        let before = bench.block_on(bench.ledger.mark())?;
        let bought = bench.block_on(probe(bench, |bought| bought < wanted, &mut seen))?;
        bench.block_on(bench.ledger.check(Books::Log, before, bought.into()))?;
        Ok(seen.to_string())
    })?;
    Ok(seen)
}

/// Also returns after how many milliseconds everything was in the totals once the load had ended.
fn under(bench: &Bench, load: Load, name: &str) -> Result<(Seen, f64)> {
    let mut seen = Seen::default();
    let mut drained_after = f64::NAN;
    bench.progress.measure(&format!("visible, {name}, {} s", load.time.as_secs()), || {
        let measured = bench.drive(bench.command_api(), load, |running| {
            let bought = bench.block_on(probe(bench, |_| running.is_sending(), &mut seen))?;
            running.also_bought += i64::from(bought);
            Ok(())
        })?;
        drained_after = measured.drained_after.map(milliseconds).context("the projection was followed")?;
        Ok(format!("{seen}  under {measured}"))
    })?;
    Ok((seen, drained_after))
}

/// Buys and waits until it shows, one purchase at a time, as long as it is told to. Returns how many were bought.
async fn probe(bench: &Bench, mut goes_on: impl FnMut(u32) -> bool, seen: &mut Seen) -> Result<u32> {
    #[derive(Deserialize)]
    struct Receipt {
        position: i64,
    }
    let http = &bench.ledger.http;
    let buy_url = format!("http://{}/api/buy_mpi", bench.rig.addresses.command_api);
    let totals_url = format!("http://{}/api/get_current_money", bench.rig.addresses.query_api);
    let mut bought = 0;
    while goes_on(bought) {
        let key = Uuid::new_v4().to_string();
        let purchase = http.post(&buy_url).header("idempotency-key", key).json(&json!({ "license": "pro" }));
        let sent_at = Instant::now();
        let receipt: Receipt = purchase.send().await?.error_for_status()?.json().await?;
        let acknowledged_at = Instant::now();
        bought += 1;
        let url = format!("{totals_url}?min_position={}", receipt.position);
        while http.get(&url).send().await?.status() != StatusCode::OK {
            let waited = acknowledged_at.elapsed();
            ensure!(waited < GIVE_UP_AFTER, "position {} is not in the totals after {waited:?}", receipt.position);
        }
        seen.since_acknowledged.push(milliseconds(acknowledged_at.elapsed()));
        seen.since_sent.push(milliseconds(sent_at.elapsed()));
        sleep(Duration::from_millis(rand::random_range(0..=LONGEST_PAUSE_MS))).await;
    }
    Ok(bought)
}

/// Percentiles within each repetition, and of those the medians.
fn in_rows(state: &str, repetitions: &[Seen], p50: Option<Target>, p99: Option<Target>) -> [Row; 4] {
    let row = |what: &str, per_mille, pick: fn(&Seen) -> &Vec<f64>, target| {
        let samples = repetitions.iter().map(|seen| percentile(pick(seen), per_mille)).collect();
        Row::new(format!("{what}, {state}"), Figure::new(Unit::Milliseconds, samples)).target(target)
    };
    [
        row("acknowledged → visible p50", 500, |seen| &seen.since_acknowledged, p50),
        row("acknowledged → visible p99", 990, |seen| &seen.since_acknowledged, p99),
        row("sent → visible p50", 500, |seen| &seen.since_sent, None),
        row("sent → visible p99", 990, |seen| &seen.since_sent, None),
    ]
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
