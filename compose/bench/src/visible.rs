//! Time from a purchase to totals that include it (idle, at half load, at full load) and to a signed checkpoint.

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use reqwest::StatusCode;
use serde::Deserialize;
use tokio::time::sleep;

use crate::figures::{Figure, Unit, milliseconds, number, percentile};
use crate::load::{Load, Traffic};
use crate::row::{Row, Target};
use crate::runs::Measured;
use crate::settings::MOST_CONNECTIONS;
use crate::test_bed::{Storage, TestBed};
use stack::progress::Progress;

const IDLE_P50: Target = Target::AtMost(5.0);
const HALF_LOAD_P99: Target = Target::AtMost(25.0);
const FULL_LOAD_P99: Target = Target::AtMost(250.0);

/// Pauses between probes are random, so that probes do not fall into step with anything.
const MAX_PAUSE_MS: u64 = 20;
/// The service answers 503 if it has waited too long for the position. The probe repeats its request until then.
const PROBE_TIMEOUT: Duration = Duration::from_mins(2);

const CHECKPOINT_PROBES: i64 = 10;
const CHECKPOINT_POLL_INTERVAL: Duration = Duration::from_millis(5);

#[derive(Deserialize)]
struct Receipt {
    position: i64,
}

/// The probes of one repetition, in milliseconds.
#[derive(Debug, Default)]
struct Probes {
    since_acknowledged: Vec<f64>,
    since_sent: Vec<f64>,
    under_load: Option<Measured>,
}

impl fmt::Display for Probes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99] = [500, 990].map(|per_mille| number(percentile(&self.since_acknowledged, per_mille)));
        write!(formatter, "p50 {p50} ms  p99 {p99} ms  of {}", self.since_acknowledged.len())?;
        self.under_load.map_or(Ok(()), |measured| write!(formatter, "  under {measured}"))
    }
}

pub fn measure(bed: &TestBed) -> Result<Vec<Row>> {
    let half = bed.load_at_rate(bed.most_purchases()? / 2.0);
    let full = Load {
        time: Duration::from_secs(bed.settings.long_load_seconds),
        ..bed.load(Traffic::Purchases, MOST_CONNECTIONS)
    };
    let (mut while_idle, mut at_half) = (Vec::new(), Vec::new());
    for _ in 0..bed.settings.repetitions {
        while_idle.push(idle(bed)?);
        at_half.push(under(bed, half, "half load")?);
    }
    let at_full = under(bed, full, "full load")?;
    let drained_after = at_full.under_load.and_then(|measured| measured.drained_after);
    let drained_after = milliseconds(drained_after.context("the projection was followed")?);
    let mut rows = Vec::new();
    rows.extend(rows_of("idle", &while_idle, Some(IDLE_P50), None));
    rows.extend(rows_of("half load", &at_half, None, Some(HALF_LOAD_P99)));
    rows.extend(rows_of("full load", &[at_full], None, Some(FULL_LOAD_P99)));
    let what = format!("projection drained after {} s of full load", full.time.as_secs());
    rows.push(Row::new(what, Figure::single(Unit::Milliseconds, drained_after)));
    rows.push(signed(bed)?);
    Ok(rows)
}

fn idle(bed: &TestBed) -> Result<Probes> {
    let wanted = bed.settings.idle_probes;
    Progress::Shown.measure(&format!("visible, idle, {wanted} purchases"), || {
        let mut probes = Probes::default();
        let before = bed.mark()?;
        let bought = bed.block_on(probe(bed, |bought| bought < wanted, &mut probes))?;
        bed.check(Storage::EventLog, before, bought.into())?;
        Ok(probes)
    })
}

fn under(bed: &TestBed, load: Load, name: &str) -> Result<Probes> {
    Progress::Shown.measure(&format!("visible, {name}, {} s", load.time.as_secs()), || {
        let mut probes = Probes::default();
        probes.under_load = Some(bed.drive(bed.purchases[0], load, |running| {
            let bought = bed.block_on(probe(bed, |_| running.is_sending(), &mut probes))?;
            running.also_bought += i64::from(bought);
            Ok(())
        })?);
        Ok(probes)
    })
}

/// Buys a licence and waits until the totals include it, again and again. Returns the number of purchases.
async fn probe(bed: &TestBed, mut continues: impl FnMut(u32) -> bool, probes: &mut Probes) -> Result<u32> {
    let mut bought = 0;
    while continues(bought) {
        let purchase = bed.purchase("pro");
        let sent_at = Instant::now();
        let receipt: Receipt = purchase.send().await?.error_for_status()?.json().await?;
        let acknowledged_at = Instant::now();
        bought += 1;
        let url = format!("{}?min_position={}", bed.totals_url(), receipt.position);
        while bed.http.get(&url).send().await?.status() != StatusCode::OK {
            let waited = acknowledged_at.elapsed();
            ensure!(waited < PROBE_TIMEOUT, "position {} is not in the totals after {waited:?}", receipt.position);
        }
        probes.since_acknowledged.push(milliseconds(acknowledged_at.elapsed()));
        probes.since_sent.push(milliseconds(sent_at.elapsed()));
        sleep(Duration::from_millis(rand::random_range(0..=MAX_PAUSE_MS))).await;
    }
    Ok(bought)
}

/// Time from a receipt to a signed checkpoint that covers the purchase, while idle.
fn signed(bed: &TestBed) -> Result<Row> {
    let before = bed.mark()?;
    let mut samples = Vec::new();
    for _ in 0..CHECKPOINT_PROBES {
        let purchase = bed.purchase("pro");
        let Receipt { position } =
            bed.block_on(async { Ok(purchase.send().await?.error_for_status()?.json().await?) })?;
        let acknowledged_at = Instant::now();
        while bed.signed()? < position {
            ensure!(acknowledged_at.elapsed() < PROBE_TIMEOUT, "no signed checkpoint covers position {position}");
            thread::sleep(CHECKPOINT_POLL_INTERVAL);
        }
        samples.push(milliseconds(acknowledged_at.elapsed()));
    }
    bed.check(Storage::EventLog, before, CHECKPOINT_PROBES)?;
    Ok(Row::new("acknowledged → signed checkpoint, idle", Figure::new(Unit::Milliseconds, samples)))
}

/// Percentiles within each repetition; the figures are their medians.
fn rows_of(state: &str, repetitions: &[Probes], p50: Option<Target>, p99: Option<Target>) -> [Row; 4] {
    let row = |what: &str, per_mille, pick: fn(&Probes) -> &Vec<f64>, target| {
        let samples = repetitions.iter().map(|probes| percentile(pick(probes), per_mille)).collect();
        Row::new(format!("{what}, {state}"), Figure::new(Unit::Milliseconds, samples)).target(target)
    };
    [
        row("acknowledged → visible p50", 500, |probes| &probes.since_acknowledged, p50),
        row("acknowledged → visible p99", 990, |probes| &probes.since_acknowledged, p99),
        row("sent → visible p50", 500, |probes| &probes.since_sent, None),
        row("sent → visible p99", 990, |probes| &probes.since_sent, None),
    ]
}
