//! The same loads once the log has grown, and how much disk it takes.

use anyhow::Result;

use crate::driver::{Bench, Compared};
use crate::figures::{Figure, Unit, count, whole};
use crate::fill::{fill, tidy};
use crate::row::{Row, Target};
use crate::settings::MOST_CONNECTIONS;
use crate::{purchases, reads};

const BESIDE_EMPTY_LOG: Target = Target::RatioAtLeast(0.9);
const BYTES_PER_EVENT: Target = Target::AtMost(220.0);

pub fn measure(bench: &mut Bench) -> Result<Vec<Row>> {
    measure_the_start(bench)?;
    let mut rows = Vec::new();
    for events in bench.settings.grown_to.clone() {
        fill(bench, events)?;
        tidy(bench)?;
        rows.push(bytes_per_event(bench)?);
        for connections in bench.settings.connections.clone() {
            let now = purchases::compare(bench, connections)?;
            if let Some(then) = bench.purchases_at_start.iter().find(|then| then.connections == connections) {
                rows.extend(beside("purchases", then, &now));
            }
        }
        let now = reads::compare(bench)?;
        if let Some(then) = &bench.reads_at_start {
            rows.extend(beside("totals", then, &now));
        }
    }
    Ok(rows)
}

/// What the other sections have not measured in this run, when only this one was asked for.
fn measure_the_start(bench: &mut Bench) -> Result<()> {
    if bench.purchases_at_start.is_empty() {
        for connections in bench.settings.connections.clone() {
            let compared = purchases::compare(bench, connections)?;
            bench.purchases_at_start.push(compared);
        }
    }
    if bench.reads_at_start.is_none() {
        bench.reads_at_start = Some(reads::compare(bench)?);
    }
    Ok(())
}

/// Some time has passed since the start, and the machine may have changed its pace: the target is held against what was
/// measured next to each in the same minute, of which nothing depends on the log.
fn beside(what: &str, then: &Compared, now: &Compared) -> [Row; 2] {
    let connections = now.connections;
    let (events, before) = (whole(now.events), format!("at {} events", whole(then.events)));
    let relative = |compared: &Compared| {
        let (ours, nothing) = (compared.ours.rate(), compared.nothing.rate());
        let ratios = ours.samples.iter().zip(&nothing.samples).map(|(ours, nothing)| ours / nothing);
        Figure::new(Unit::Times, ratios.collect())
    };
    let is_target = what == "purchases" && connections == MOST_CONNECTIONS;
    [
        Row::new(format!("{what} at {events} events, {connections} connections"), now.ours.rate())
            .latency(now.ours.latency())
            .beside(&before, then.ours.rate()),
        Row::new(format!("… each beside what stores nothing, {connections} connections"), relative(now))
            .beside(&before, relative(then))
            .target(is_target.then_some(BESIDE_EMPTY_LOG)),
    ]
}

/// With everything that belongs to the table: indexes, the free space and visibility maps.
fn bytes_per_event(bench: &Bench) -> Result<Row> {
    let bytes: i64 = bench.block_on(async {
        let bytes = sqlx::query_scalar("select pg_total_relation_size('event')");
        Ok(bytes.fetch_one(&bench.ledger.event_store).await?)
    })?;
    let events = bench.block_on(bench.ledger.head())?;
    let figure = Figure::new(Unit::Bytes, vec![count(bytes) / count(events)]);
    let length = whole(events);
    Ok(Row::new(format!("disk per event at {length} events, indexes included"), figure).target(BYTES_PER_EVENT))
}
