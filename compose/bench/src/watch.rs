//! The watch of the projector over a long log: its speed at its share of a core, and its cost for purchases.

use std::time::Duration;

use anyhow::{Context, Result};
use sqlx::query_scalar;
use stack::progress::Progress;

use crate::{Figure, MOST_CONNECTIONS, Row, Target, TestBed, Traffic, count, fill, whole};

/// Minutes for a round over that many events.
const ROUND_EVENTS: f64 = 10_000_000.0;
const ROUND: Target = Target::AtMost(30.0);
/// Purchases, relative to those without the watch.
const COST: Target = Target::RatioAtLeast(0.97);
const SHARE: &str = "WATCH_SHARE";
/// The smallest one: hardly anything is read.
const NO_SHARE: &str = "0.001";
const POLL_INTERVAL: Duration = Duration::from_millis(100);

pub fn measure(bed: &mut TestBed) -> Result<Vec<Row>> {
    fill(bed, bed.options.rebuilt_events)?;
    let events = bed.settle()?;
    Progress::Shown.step("the log is signed", || until_signed(bed, events))?;
    let (mut paces, mut with, mut without) = (Vec::new(), Vec::new(), Vec::new());
    let load = bed.load(Traffic::Purchases, MOST_CONNECTIONS);
    for _ in 0..bed.options.repetitions {
        restart_projector(bed, None)?;
        paces.push(Progress::Shown.measure("events watched", || Ok(Figure::new("1/s", vec![pace(bed)?])))?.median);
        for (name, share, rates) in [("without", Some(NO_SHARE), &mut without), ("with", None, &mut with)] {
            restart_projector(bed, share)?;
            let name = format!("purchases {name} the watch, {MOST_CONNECTIONS} connections");
            let drive = || bed.drive(bed.purchases[0], load, |_| Ok(0));
            rates.push(Progress::Shown.measure(&name, drive)?.rate);
        }
    }
    let figure = |samples| Figure::new("1/s", samples);
    let minutes = paces.iter().map(|pace| ROUND_EVENTS / pace / 60.0).collect();
    let name = format!("watch of {} events, default share of a core", whole(events));
    Ok(vec![
        Row::new(name, figure(paces)),
        Row::new("… a round over 10 million events at this pace", Figure::new("min", minutes)).target(ROUND),
        Row::new(format!("purchases alongside it, {MOST_CONNECTIONS} connections"), figure(with))
            .relative_to("without the watch", &figure(without))
            .target(COST),
    ])
}

/// Starts the projector again, with another share.
fn restart_projector(bed: &mut TestBed, share: Option<&str>) -> Result<()> {
    bed.stack.change("projector", |server| {
        server.program.environment.retain(|(name, _)| name != SHARE);
        server.program.environment.extend(share.map(|share| (SHARE.to_owned(), share.to_owned())));
    });
    bed.stack.pause("projector");
    bed.stack.resume("projector")?;
    bed.settle()?;
    Ok(())
}

fn until_signed(bed: &TestBed, events: i64) -> Result<()> {
    while bed.scalar(&bed.read_model, query_scalar("select position from tree_head"))? < events {
        bed.pause(POLL_INTERVAL)?;
    }
    Ok(())
}

/// Events per second, as the position advances within a round.
fn pace(bed: &TestBed) -> Result<f64> {
    let time = Duration::from_secs(bed.options.seconds);
    loop {
        let before = position(bed)?;
        bed.pause(time)?;
        let after = position(bed)?;
        // Otherwise the next round has begun meanwhile, or not yet.
        if after > before {
            return Ok(count(after - before) / time.as_secs_f64());
        }
    }
}

fn position(bed: &TestBed) -> Result<i64> {
    let url = format!("http://{}/metrics", bed.stack.server("projector")?.address);
    let text = bed.block_on(async { Ok(bed.get(&url).await?.text().await?) })?;
    let value = text.lines().find_map(|line| line.strip_prefix("sales_watch_position "));
    Ok(value.context("the projector watches the log")?.parse()?)
}
