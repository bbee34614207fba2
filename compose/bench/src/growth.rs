//! The same loads in a grown log, and its disk space.

use anyhow::{Context, Result};

use crate::figures::{Figure, Unit, count, whole};
use crate::fill::{fill, tidy};
use crate::load::Traffic;
use crate::row::{Row, Target};
use crate::runs::Compared;
use crate::settings::{MOST_CONNECTIONS, READERS};
use crate::test_bed::TestBed;

const TO_EMPTY_LOG: Target = Target::RatioAtLeast(0.9);
const BYTES_PER_EVENT: Target = Target::AtMost(220.0);

pub fn measure(bed: &mut TestBed) -> Result<Vec<Row>> {
    let [purchases, stores_nothing, _] = bed.purchases;
    let purchase_loads = bed.settings.connections.iter().map(|&number| bed.load(Traffic::Purchases, number));
    let mut loads: Vec<_> = purchase_loads.map(|load| ([purchases, stores_nothing], load)).collect();
    loads.push((bed.totals, bed.load(Traffic::Reads, READERS)));
    for &(subjects, load) in &loads {
        // Unless another section of this run has measured it.
        if bed.measured_at_start(subjects[0], load.connections).is_none() {
            let compared = bed.compare(subjects, load)?;
            bed.at_start.push(compared);
        }
    }
    let mut rows = Vec::new();
    for events in bed.settings.grown_to.clone() {
        fill(bed, events)?;
        tidy(bed)?;
        rows.push(bytes_per_event(bed)?);
        for &(subjects, load) in &loads {
            let now = bed.compare(subjects, load)?;
            let then = bed.measured_at_start(subjects[0], load.connections).context("it was measured at the start")?;
            rows.extend(compared_with_start(then, &now));
        }
    }
    Ok(rows)
}

/// The machine may have become slower or faster since the start. So the target applies to the ratios to the baseline,
/// which was measured at the same time and does not depend on the log.
fn compared_with_start(then: &Compared, now: &Compared) -> [Row; 2] {
    let (what, connections) = (now.ours.name, now.ours.connections);
    let (events, before) = (whole(now.events), format!("at {} events", whole(then.events)));
    [
        Row::new(format!("{what} at {events} events, {connections} connections"), now.ours.rate())
            .latency(now.ours.latency())
            .relative_to(&before, then.ours.rate()),
        Row::new(format!("… each beside what stores nothing, {connections} connections"), now.ratios())
            .relative_to(&before, then.ratios())
            .target((connections == MOST_CONNECTIONS).then_some(TO_EMPTY_LOG)),
    ]
}

/// Including indexes, free space map and visibility map.
fn bytes_per_event(bed: &TestBed) -> Result<Row> {
    let bytes = bed.scalar(&bed.event_store, "select pg_total_relation_size('event')")?;
    let events = bed.head()?;
    let figure = Figure::single(Unit::Bytes, count(bytes) / count(events));
    let length = whole(events);
    Ok(Row::new(format!("disk per event at {length} events, indexes included"), figure).target(BYTES_PER_EVENT))
}
