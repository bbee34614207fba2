//! Purchases per second, direct and through Traefik.

use anyhow::{Context, Result};

use crate::driver::{Bench, Compared, Runs, Subject};
use crate::figures::number;
use crate::ledger::Books;
use crate::load::{Load, Traffic};
use crate::row::{Row, Target};
use crate::settings::MOST_CONNECTIONS;

const BESIDE_NOTHING: Target = Target::RatioAtLeast(0.5);
const BESIDE_ONE_ROW: Target = Target::RatioAtLeast(6.0);
/// Both through Traefik.
const BESIDE_NOTHING_BEHIND_TRAEFIK: Target = Target::RatioAtLeast(0.8);

pub fn direct(bench: &mut Bench) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let one_row = Subject { name: "one row each", address: bench.rig.addresses.one_row, books: Books::Rows };
    for connections in bench.settings.connections.clone() {
        let events = bench.block_on(bench.ledger.settle())?;
        let subjects = [bench.command_api(), bench.nothing(), one_row];
        let [ours, nothing, one_row] = bench.in_turns(subjects, bench.load(Traffic::Purchases, connections))?;
        rows.extend([
            row("purchases", connections, &ours)
                .beside("stores nothing", nothing.rate())
                .target(at_most_connections(connections, BESIDE_NOTHING)),
            row("purchases", connections, &ours)
                .beside("one row each", one_row.rate())
                .target(at_most_connections(connections, BESIDE_ONE_ROW)),
            row("(stores nothing)", connections, &nothing),
            row("(one row each)", connections, &one_row),
        ]);
        bench.purchases_at_start.push(Compared { connections, events, ours, nothing });
    }
    rows.push(at_half(bench, bench.command_api(), "purchases", bench.most_purchases()?)?);
    Ok(rows)
}

pub fn through_traefik(bench: &Bench) -> Result<Vec<Row>> {
    let ours = Subject { name: "Traefik", address: bench.rig.addresses.traefik, ..bench.command_api() };
    let nothing =
        Subject { name: "Traefik, stores nothing", address: bench.rig.addresses.nothing_traefik, ..bench.nothing() };
    let mut rows = Vec::new();
    let mut most = None;
    for connections in bench.settings.connections.clone() {
        let [ours, nothing] = bench.in_turns([ours, nothing], bench.load(Traffic::Purchases, connections))?;
        rows.extend([
            row("purchases through Traefik", connections, &ours)
                .beside("Traefik, stores nothing", nothing.rate())
                .target(at_most_connections(connections, BESIDE_NOTHING_BEHIND_TRAEFIK)),
            row("(Traefik, stores nothing)", connections, &nothing),
        ]);
        most = most.or(Some(ours.rate().median));
    }
    let most = most.context("there are loads")?;
    rows.push(at_half(bench, ours, "purchases through Traefik", most)?);
    Ok(rows)
}

/// Beside the handler that stores nothing, in whatever log there is now.
pub fn compare(bench: &Bench, connections: u32) -> Result<Compared> {
    let events = bench.block_on(bench.ledger.settle())?;
    let load = bench.load(Traffic::Purchases, connections);
    let [ours, nothing] = bench.in_turns([bench.command_api(), bench.nothing()], load)?;
    Ok(Compared { connections, events, ours, nothing })
}

/// How long answers take when the system is not driven as fast as it can.
fn at_half(bench: &Bench, subject: Subject, what: &str, most: f64) -> Result<Row> {
    let load = Load::at_rate(most / 2.0, bench.settings.load_time());
    let [runs] = bench.in_turns([subject], load)?;
    let what = format!("{what}, arriving at {}/s whatever the answers do", number(most / 2.0));
    Ok(Row::new(what, runs.rate()).latency(runs.latency()))
}

pub fn row(what: &str, connections: u32, runs: &Runs) -> Row {
    Row::new(format!("{what}, {connections} connections"), runs.rate()).latency(runs.latency())
}

fn at_most_connections(connections: u32, target: Target) -> Option<Target> {
    (connections == MOST_CONNECTIONS).then_some(target)
}
