//! Purchases and reads per second, direct and through Traefik.

use anyhow::{Context, Result};

use crate::figures::number;
use crate::load::Traffic;
use crate::row::{Row, Target};
use crate::runs::{Compared, Runs};
use crate::settings::{MOST_CONNECTIONS, READERS};
use crate::test_bed::{Subject, TestBed};

const TO_NOTHING: Target = Target::RatioAtLeast(0.5);
const TO_ONE_ROW: Target = Target::RatioAtLeast(6.0);
/// Both through Traefik.
const TO_NOTHING_BEHIND_TRAEFIK: Target = Target::RatioAtLeast(0.8);
const TO_CONSTANT: Target = Target::RatioAtLeast(0.9);

pub fn purchases(bed: &mut TestBed) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for connections in bed.settings.connections.clone() {
        let events = bed.settle()?;
        let load = bed.load(Traffic::Purchases, connections);
        let [ours, baseline, one_row] = bed.in_turns(bed.purchases, load)?;
        rows.extend([
            compared(&ours, &baseline, TO_NOTHING),
            compared(&ours, &one_row, TO_ONE_ROW),
            baseline.baseline_row(),
            one_row.baseline_row(),
        ]);
        bed.at_start.push(Compared { events, ours, baseline });
    }
    rows.push(at_half(bed, bed.purchases[0], bed.most_purchases()?)?);
    Ok(rows)
}

pub fn purchases_through_traefik(bed: &TestBed) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut most = None;
    for &connections in &bed.settings.connections {
        let load = bed.load(Traffic::Purchases, connections);
        let [ours, baseline] = bed.in_turns(bed.traefik_purchases, load)?;
        rows.extend([compared(&ours, &baseline, TO_NOTHING_BEHIND_TRAEFIK), baseline.baseline_row()]);
        most = most.or(Some(ours.rate().median));
    }
    rows.push(at_half(bed, bed.traefik_purchases[0], most.context("there are loads")?)?);
    Ok(rows)
}

/// Compared with a handler that answers with constant bytes.
pub fn reads(bed: &mut TestBed) -> Result<Vec<Row>> {
    let load = bed.load(Traffic::Reads, READERS);
    let direct = bed.compare(bed.totals, load)?;
    let [ours, constant] = bed.in_turns(bed.traefik_totals, load)?;
    let rows = vec![
        direct.ours.row().relative_to(direct.baseline.name, direct.baseline.rate()).target(TO_CONSTANT),
        direct.baseline.baseline_row(),
        ours.row().relative_to(constant.name, constant.rate()),
        constant.baseline_row(),
    ];
    bed.at_start.push(direct);
    Ok(rows)
}

/// Only the load with the most connections has a target.
fn compared(ours: &Runs, baseline: &Runs, target: Target) -> Row {
    let target = (ours.connections == MOST_CONNECTIONS).then_some(target);
    ours.row().relative_to(baseline.name, baseline.rate()).target(target)
}

/// Latency at half of the maximum rate.
fn at_half(bed: &TestBed, subject: Subject, most: f64) -> Result<Row> {
    let [runs] = bed.in_turns([subject], bed.load_at_rate(most / 2.0))?;
    let what = format!("{}, arriving at {}/s whatever the answers do", subject.name, number(most / 2.0));
    Ok(Row::new(what, runs.rate()).latency(runs.latency()))
}
