//! Purchases per second, direct and through Traefik.

use anyhow::{Context, Result};

use crate::figures::number;
use crate::load::Traffic;
use crate::row::{Row, Target};
use crate::runs::{Compared, Runs};
use crate::settings::MOST_CONNECTIONS;
use crate::test_bed::{Subject, Subjects, TestBed};

const TO_NOTHING: Target = Target::RatioAtLeast(0.5);
const TO_ONE_ROW: Target = Target::RatioAtLeast(6.0);
/// Both through Traefik.
const TO_NOTHING_BEHIND_TRAEFIK: Target = Target::RatioAtLeast(0.8);

pub fn direct(bed: &mut TestBed) -> Result<Vec<Row>> {
    let Subjects { purchases, stores_nothing, one_row, .. } = bed.subjects;
    let mut rows = Vec::new();
    for connections in bed.settings.connections.clone() {
        let events = bed.settle()?;
        let load = bed.load(Traffic::Purchases, connections);
        let [ours, baseline, one_row] = bed.in_turns([purchases, stores_nothing, one_row], load)?;
        rows.extend([
            compared(&ours, &baseline, TO_NOTHING),
            compared(&ours, &one_row, TO_ONE_ROW),
            baseline.baseline_row(),
            one_row.baseline_row(),
        ]);
        bed.at_start.push(Compared { events, ours, baseline });
    }
    rows.push(at_half(bed, purchases, bed.most_purchases()?)?);
    Ok(rows)
}

pub fn through_traefik(bed: &TestBed) -> Result<Vec<Row>> {
    let Subjects { traefik_purchases, traefik_stores_nothing, .. } = bed.subjects;
    let mut rows = Vec::new();
    let mut most = None;
    for &connections in &bed.settings.connections {
        let load = bed.load(Traffic::Purchases, connections);
        let [ours, baseline] = bed.in_turns([traefik_purchases, traefik_stores_nothing], load)?;
        rows.extend([compared(&ours, &baseline, TO_NOTHING_BEHIND_TRAEFIK), baseline.baseline_row()]);
        most = most.or(Some(ours.rate().median));
    }
    rows.push(at_half(bed, traefik_purchases, most.context("there are loads")?)?);
    Ok(rows)
}

/// Only the load with the most connections has a target.
fn compared(ours: &Runs, baseline: &Runs, target: Target) -> Row {
    let target = (ours.connections == MOST_CONNECTIONS).then_some(target);
    ours.row().beside(baseline.name, baseline.rate()).target(target)
}

/// Latency at half of the maximum rate.
fn at_half(bed: &TestBed, subject: Subject, most: f64) -> Result<Row> {
    let [runs] = bed.in_turns([subject], bed.load_at_rate(most / 2.0))?;
    let what = format!("{}, arriving at {}/s whatever the answers do", subject.name, number(most / 2.0));
    Ok(Row::new(what, runs.rate()).latency(runs.latency()))
}
