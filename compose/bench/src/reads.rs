//! Reads of the totals per second, beside a handler that answers with bytes that never change.

use anyhow::Result;

use crate::driver::{Bench, Compared, Subject};
use crate::ledger::Books;
use crate::load::Traffic;
use crate::purchases::row;
use crate::row::{Row, Target};
use crate::settings::READERS;

const BESIDE_CONSTANT: Target = Target::RatioAtLeast(0.9);

pub fn measure(bench: &mut Bench) -> Result<Vec<Row>> {
    let direct = compare(bench)?;
    let addresses = bench.rig.addresses;
    let ours = Subject { name: "totals through Traefik", address: addresses.traefik, books: Books::None };
    let constant = Subject { name: "Traefik, constant", address: addresses.nothing_traefik, books: Books::None };
    let [behind, constant] = bench.in_turns([ours, constant], bench.load(Traffic::Reads, READERS))?;
    let rows = vec![
        row("totals", READERS, &direct.ours).beside("constant", direct.nothing.rate()).target(BESIDE_CONSTANT),
        row("(constant)", READERS, &direct.nothing),
        row("totals through Traefik", READERS, &behind).beside("Traefik, constant", constant.rate()),
        row("(Traefik, constant)", READERS, &constant),
    ];
    bench.reads_at_start = Some(direct);
    Ok(rows)
}

/// Without Traefik, in whatever log there is now.
pub fn compare(bench: &Bench) -> Result<Compared> {
    let addresses = bench.rig.addresses;
    let ours = Subject { name: "totals", address: addresses.query_api, books: Books::None };
    let nothing = Subject { name: "constant", address: addresses.nothing, books: Books::None };
    let events = bench.block_on(bench.ledger.settle())?;
    let [ours, nothing] = bench.in_turns([ours, nothing], bench.load(Traffic::Reads, READERS))?;
    Ok(Compared { connections: READERS, events, ours, nothing })
}
