//! Builds the read model anew from the log, beside the live one, which goes on being updated and queried meanwhile.

use std::{cmp::Ordering, time::Duration};

use anyhow::{Context, bail};
use chrono::DateTime;
use shared::{
    event_log::{self, Position},
    scan::scan,
};
use sqlx::{Connection, PgConnection, PgPool};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::{
    projection::add,
    read_model::{self, Generation},
};

/// Events from one checkpoint to the next: some hundred milliseconds' worth.
const STRETCH: i64 = 200_000;
/// How often progress is told.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);

/// Fills the next generation up to the live one's checkpoint, compares both and switches in one transaction.
pub async fn rebuild(event_store: &PgPool, read_model: &PgPool) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut building = read_model::start_building(read_model).await.context("a new generation cannot be started")?;
    let target = event_log::head(event_store).await?;
    info!(generation = building.number, log.position = target.get(), "Building the read model anew");

    let mut told_at = started;
    while building.checkpoint < target {
        building = fill(event_store, &mut *read_model.acquire().await?, building, target).await?;
        if told_at.elapsed() >= PROGRESS_INTERVAL {
            told_at = Instant::now();
            let per_second = rate(building.checkpoint, started);
            let remaining_s = (target.get() - building.checkpoint.get()) / per_second.max(1);
            info!(position = building.checkpoint.get(), target = target.get(), per_second, remaining_s, "Rebuilding");
        }
    }
    let (position, comparison) = go_live(event_store, read_model, building).await?;
    if comparison == Comparison::Different {
        warn!("The new read model differs from the old one, which did not follow from the log");
    }
    info!(
        position = position.get(),
        per_second = rate(position, started),
        duration_ms = u64::try_from(started.elapsed().as_millis())?,
        compared_with_old = ?comparison,
        "The new read model is live"
    );
    Ok(())
}

fn rate(position: Position, started: Instant) -> i64 {
    position.get() * 1000 / i64::try_from(started.elapsed().as_millis()).unwrap_or(i64::MAX).max(1)
}

/// Counts the next events, none of them beyond `target`.
async fn fill(
    event_store: &PgPool,
    read_model: &mut PgConnection,
    building: Generation,
    target: Position,
) -> anyhow::Result<Generation> {
    let until = target.min(building.checkpoint.plus(STRETCH));
    let mut events = scan(event_store, building.checkpoint, until).await?;
    let (mut totals, mut as_of) = (building.totals.clone(), DateTime::UNIX_EPOCH);
    while let Some(event) = events.next().await? {
        add(&mut totals, event.position, event.decode())?;
        as_of = event.recorded_at;
    }
    if !read_model::advance(read_model, &building, until, as_of, &totals).await? {
        bail!("another rebuild has taken over");
    }
    Ok(Generation { checkpoint: until, totals, ..building })
}

/// How the old read model compares with the new one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Comparison {
    Same,
    Different,
    /// There was no position at which both could be compared.
    LiveWasBehind,
}

/// Holds the live generation where it is, catches up with it, compares and switches. Answers where, and how they compare.
async fn go_live(
    event_store: &PgPool,
    read_model: &PgPool,
    mut building: Generation,
) -> anyhow::Result<(Position, Comparison)> {
    let mut connection = read_model.acquire().await?;
    let mut transaction = connection.begin().await?;
    sqlx::query("select from projection where live for update").execute(&mut *transaction).await?;
    let live = read_model::load_live(&mut *transaction).await?;
    // A live generation beyond the end of the log did not come from it: the log was restored, or is another one.
    let target = live.checkpoint.min(event_log::head(event_store).await?);
    while building.checkpoint < target {
        building = fill(event_store, &mut transaction, building, target).await?;
    }
    let comparison = match live.checkpoint.cmp(&building.checkpoint) {
        Ordering::Equal if live.totals == building.totals => Comparison::Same,
        Ordering::Less => Comparison::LiveWasBehind,
        Ordering::Equal | Ordering::Greater => Comparison::Different,
    };
    if !read_model::switch(&mut transaction, &live, &building).await? {
        bail!("another rebuild has taken over");
    }
    transaction.commit().await?;
    Ok((building.checkpoint, comparison))
}
