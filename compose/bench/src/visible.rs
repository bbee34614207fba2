//! Time from a purchase to totals that include it (idle, at half load, at full load) and to a signed checkpoint.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use reqwest::StatusCode;
use stack::progress::Progress;
use tokio::time::sleep;

use crate::{
    Figure, Load, MOST_CONNECTIONS, Row, RunningLoad, Storage, Target, TestBed, Traffic, milliseconds, number,
    percentile,
};

const IDLE_P50: Target = Target::AtMost(5.0);
const HALF_LOAD_P99: Target = Target::AtMost(25.0);
const FULL_LOAD_P99: Target = Target::AtMost(250.0);

/// Pauses between probes are random, so that probes do not fall into step with anything.
const MAX_PAUSE_MS: u64 = 20;
/// The service answers 503 if it has waited too long for the position. The probe repeats its request until then.
const PROBE_TIMEOUT: Duration = Duration::from_mins(2);

const CHECKPOINT_PROBES: i64 = 10;
const CHECKPOINT_POLL_INTERVAL: Duration = Duration::from_millis(5);

/// The probes of one repetition, in milliseconds.
#[derive(Debug, Default)]
struct Probes {
    since_acknowledged: Vec<f64>,
    since_sent: Vec<f64>,
    /// Of the load, if there was one.
    drained_after: Option<Duration>,
}

impl fmt::Display for Probes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99] = [500, 990].map(|per_mille| number(percentile(&self.since_acknowledged, per_mille)));
        write!(formatter, "p50 {p50} ms  p99 {p99} ms  of {}", self.since_acknowledged.len())
    }
}

pub fn measure(bed: &TestBed) -> Result<Vec<Row>> {
    let half = bed.load_at_rate(bed.most_purchases(bed.purchases[0])? / 2.0);
    let full = Load {
        time: Duration::from_secs(bed.options.long_load_seconds),
        ..bed.load(Traffic::Purchases, MOST_CONNECTIONS)
    };
    let (mut while_idle, mut at_half) = (Vec::new(), Vec::new());
    for _ in 0..bed.options.repetitions {
        while_idle.push(probe(bed, "idle", None)?);
        at_half.push(probe(bed, "half load", Some(half))?);
    }
    let at_full = probe(bed, "full load", Some(full))?;
    let drained_after = milliseconds(at_full.drained_after.context("the projection was followed")?);
    let what = format!("projection drained after {} s of full load", full.time.as_secs());
    Ok([
        &rows_of("idle", &while_idle, Some(IDLE_P50), None)[..],
        &rows_of("half load", &at_half, None, Some(HALF_LOAD_P99)),
        &rows_of("full load", &[at_full], None, Some(FULL_LOAD_P99)),
        &[Row::new(what, Figure::new("ms", vec![drained_after])), signed(bed)?],
    ]
    .concat())
}

fn probe(bed: &TestBed, state: &str, load: Option<Load>) -> Result<Probes> {
    Progress::Shown.measure(&format!("visible, {state}"), || {
        let mut probes = Probes::default();
        if let Some(load) = load {
            let meanwhile =
                |running: &RunningLoad| bed.block_on(probes.follow_purchases(bed, |_| !running.remaining().is_zero()));
            probes.drained_after = bed.drive(bed.purchases[0], load, meanwhile)?.drained_after;
        } else {
            let before = bed.mark()?;
            let bought = bed.block_on(probes.follow_purchases(bed, |bought| bought < bed.options.idle_probes))?;
            bed.check(Storage::EventLog, before, bought)?;
        }
        Ok(probes)
    })
}

impl Probes {
    /// Buys a licence and waits until the totals include it, again and again. Returns the number of purchases.
    async fn follow_purchases(&mut self, bed: &TestBed, continues: impl Fn(i64) -> bool) -> Result<i64> {
        let mut bought = 0;
        while continues(bought) {
            let sent_at = Instant::now();
            let position = bed.buy("pro").await?;
            let acknowledged_at = Instant::now();
            bought += 1;
            let url = format!("{}?min_position={position}", bed.totals_url());
            while bed.http.get(&url).send().await?.status() != StatusCode::OK {
                let waited = acknowledged_at.elapsed();
                ensure!(waited < PROBE_TIMEOUT, "position {position} is not in the totals after {waited:?}");
            }
            self.since_acknowledged.push(milliseconds(acknowledged_at.elapsed()));
            self.since_sent.push(milliseconds(sent_at.elapsed()));
            sleep(Duration::from_millis(rand::random_range(0..=MAX_PAUSE_MS))).await;
        }
        Ok(bought)
    }
}

/// Time from a receipt to a signed checkpoint that covers the purchase, while idle.
fn signed(bed: &TestBed) -> Result<Row> {
    let before = bed.mark()?;
    let mut samples = Vec::new();
    for _ in 0..CHECKPOINT_PROBES {
        let position = bed.block_on(bed.buy("pro"))?;
        let acknowledged_at = Instant::now();
        while bed.signed()? < position {
            ensure!(acknowledged_at.elapsed() < PROBE_TIMEOUT, "no signed checkpoint covers position {position}");
            bed.pause(CHECKPOINT_POLL_INTERVAL)?;
        }
        samples.push(milliseconds(acknowledged_at.elapsed()));
    }
    bed.check(Storage::EventLog, before, CHECKPOINT_PROBES)?;
    Ok(Row::new("acknowledged → signed checkpoint, idle", Figure::new("ms", samples)))
}

/// Percentiles within each repetition; the figures are their medians.
fn rows_of(state: &str, repetitions: &[Probes], p50: Option<Target>, p99: Option<Target>) -> [Row; 4] {
    let row = |what: &str, per_mille, pick: fn(&Probes) -> &Vec<f64>, target| {
        let samples = repetitions.iter().map(|probes| percentile(pick(probes), per_mille)).collect();
        Row::new(format!("{what}, {state}"), Figure::new("ms", samples)).target(target)
    };
    [
        row("acknowledged → visible p50", 500, |probes| &probes.since_acknowledged, p50),
        row("acknowledged → visible p99", 990, |probes| &probes.since_acknowledged, p99),
        row("sent → visible p50", 500, |probes| &probes.since_sent, None),
        row("sent → visible p99", 990, |probes| &probes.since_sent, None),
    ]
}
