//! Builds the read model anew from the log, beside the live one, which goes on being updated and queried meanwhile.
//!
//! What is built is kept with its checkpoint, so that a rebuild that is killed at any moment is gone on with by the next one.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, bail};
use clap::Args;
use contract::position::Position;
use sqlx::{Connection, PgConnection, PgExecutor, PgPool};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::{
    comparison::{Comparison, compare, compare_latest, compare_rest, compare_settled},
    read_model::{self, Generation},
    resume::begin,
    stretch::add_up,
};

/// Events from one checkpoint to the next: some hundred milliseconds' worth, which is what an interruption costs, and for how long
/// the live generation may be held still at the end.
const STRETCH: i64 = 200_000;
/// How often progress is told.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);
/// How long the live generation may stand still behind the built one before it is not waited for any more. A projection that runs looks for
/// events at least once a second.
const STANDS_STILL: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What a rebuild may be asked for.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct Options {
    /// Build and compare only, and remove what was built: nothing that queries see changes. Fails when the live read model
    /// is another one.
    #[arg(long)]
    pub dry_run: bool,
    /// Discard what an interrupted rebuild left behind, instead of going on from there.
    #[arg(long)]
    pub from_start: bool,
}

/// The generation that was being built is another one's by now.
#[derive(Debug, thiserror::Error)]
#[error("another rebuild has taken over")]
pub struct TakenOver;

/// Fills the next generation up to the live one's checkpoint, compares both, and switches in one transaction unless it is a
/// dry run.
pub async fn rebuild(event_store: &PgPool, read_model: &PgPool, options: Options) -> anyhow::Result<()> {
    let mut target = aim(event_store, read_model, options).await?;
    let mut building = begin(event_store, read_model, target, options.from_start).await?;
    let mut progress = Progress::from(building.checkpoint);
    while building.checkpoint < target {
        building = fill(event_store, &mut *read_model.acquire().await?, building, target).await?;
        progress.tell(building.checkpoint, target);
        if building.checkpoint == target {
            // What has been appended meanwhile may be more than the live generation should be held still for.
            let grown = aim(event_store, read_model, options).await?;
            target = if grown > target.plus(STRETCH) { grown } else { target };
        }
    }
    let (built, comparison) = if options.dry_run {
        rehearse(event_store, read_model, building).await?
    } else {
        go_live(event_store, read_model, building).await?
    };
    info!(
        position = built.checkpoint.get(),
        per_second = progress.per_second(built.checkpoint),
        duration_ms = u64::try_from(progress.started.elapsed().as_millis())?,
        compared_with_old = ?comparison,
        "{}",
        if options.dry_run { "The dry run is over" } else { "The new read model is live" }
    );
    read_model::sweep(&mut *read_model.acquire().await?).await?;
    if comparison == Comparison::LiveWasBehind && !options.dry_run {
        warn!(
            position = built.checkpoint.get(),
            "What was replaced was not compared with the new read model: it stood still before that position"
        );
    }
    match comparison {
        Comparison::Different if options.dry_run => {
            bail!("the live read model differs from what the log adds up to at position {}", built.checkpoint)
        }
        Comparison::LiveWasBehind if options.dry_run => {
            bail!("the live read model has gone back; nothing was compared")
        }
        _ => Ok(()),
    }
}

/// Up to where to build. A dry run is there to compare, so it does not go ahead of the live generation.
async fn aim(event_store: &PgPool, read_model: &PgPool, options: Options) -> anyhow::Result<Position> {
    let end = event_log::head(event_store).await?;
    Ok(if options.dry_run { end.min(read_model::load_live(read_model).await?.checkpoint) } else { end })
}

/// Counts the next events, none of them beyond `target`.
async fn fill(
    event_store: &PgPool,
    read_model: &mut PgConnection,
    building: Generation,
    target: Position,
) -> anyhow::Result<Generation> {
    let until = target.min(building.checkpoint.plus(STRETCH));
    let tally = add_up(event_store, &building.totals, building.checkpoint, until).await?;
    if !read_model::advance(read_model, &building, &tally).await? {
        bail!(TakenOver);
    }
    Ok(Generation { checkpoint: until, totals: tally.totals, ..building })
}

/// Holds the live generation where it is, catches up with it, compares and switches.
async fn go_live(
    event_store: &PgPool,
    read_model: &PgPool,
    mut building: Generation,
) -> anyhow::Result<(Generation, Comparison)> {
    let before = wait_for_live(read_model, &building).await?;
    let (settled, settled_until) = compare_settled(read_model, &before, &building).await?;
    let mut connection = read_model.acquire().await?;
    let mut transaction = connection.begin().await?;
    // The projection waits meanwhile, and not for somebody who was stopped, or vanished.
    sqlx::query("set local idle_in_transaction_session_timeout = '10s'").execute(&mut *transaction).await?;
    let held = sqlx::query("select from projection where live for update").fetch_optional(&mut *transaction).await?;
    let live = read_model::load_live(&mut *transaction).await?;
    if held.is_none() || live.number != before.number {
        bail!(TakenOver); // what was live went meanwhile
    }
    // A live generation beyond the end of the log did not come from it: the log was restored, or is another one.
    let target = live.checkpoint.min(event_log::head(event_store).await?);
    while building.checkpoint < target {
        building = fill(event_store, &mut transaction, building, target).await?;
    }
    // Told before the switch, so that no moment to be killed at loses it.
    let rest = compare_rest(&mut transaction, &live, &building, settled_until).await?;
    let live_latest = stored_latest(&mut *transaction, &live).await?;
    let latest = compare_latest(&live_latest, &stored_latest(&mut *transaction, &building).await?);
    let comparison = compare(&live, &building, settled + rest, latest);
    if !read_model::switch(&mut transaction, &live, &building).await? {
        bail!(TakenOver);
    }
    transaction.commit().await?;
    Ok((building, comparison))
}

/// The live generation, once it has come to where the built one stands: both can be compared there. One that stands still before
/// is not waited for, as its projection may not run.
async fn wait_for_live(read_model: &PgPool, building: &Generation) -> sqlx::Result<Generation> {
    let mut live = read_model::load_live(read_model).await?;
    let mut moved_at = Instant::now();
    while live.checkpoint < building.checkpoint && moved_at.elapsed() < STANDS_STILL {
        sleep(LOOK_AGAIN).await;
        let now = read_model::load_live(read_model).await?;
        if now.checkpoint > live.checkpoint {
            moved_at = Instant::now();
        }
        live = now;
    }
    Ok(live)
}

/// Catches up with the live generation as it was at one moment, compares, and removes what was built. Holds nothing still: totals
/// and checkpoint of that moment stay comparable for ever, and so does the history but for the minute and the quarter of an hour
/// that were not over.
async fn rehearse(
    event_store: &PgPool,
    read_model: &PgPool,
    mut building: Generation,
) -> anyhow::Result<(Generation, Comparison)> {
    let mut snapshot = read_model.begin_with("begin isolation level repeatable read read only").await?;
    let live = read_model::load_live(&mut *snapshot).await?;
    let live_latest = stored_latest(&mut *snapshot, &live).await?;
    snapshot.rollback().await?;
    let target = live.checkpoint.min(event_log::head(event_store).await?);
    while building.checkpoint < target {
        building = fill(event_store, &mut *read_model.acquire().await?, building, target).await?;
    }
    let (history, _) = compare_settled(read_model, &live, &building).await?;
    let latest = compare_latest(&live_latest, &stored_latest(read_model, &building).await?);
    let comparison = compare(&live, &building, history, latest);
    if !read_model::remove_built(read_model, &building).await? {
        info!("Another rebuild goes on with what was built");
    }
    Ok((building, comparison))
}

/// [`read_model::stored_latest`] of a generation that no other rebuild has moved.
async fn stored_latest(database: impl PgExecutor<'_>, generation: &Generation) -> anyhow::Result<BTreeSet<String>> {
    read_model::stored_latest(database, generation).await?.context(TakenOver)
}

/// How fast it goes, told now and then.
struct Progress {
    from: Position,
    started: Instant,
    told_at: Instant,
}

impl Progress {
    fn from(from: Position) -> Self {
        let now = Instant::now();
        Self { from, started: now, told_at: now }
    }

    /// By this process: what an interrupted rebuild has done before does not count.
    fn per_second(&self, position: Position) -> i64 {
        let elapsed_ms = i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX);
        (position.get() - self.from.get()) * 1000 / elapsed_ms.max(1)
    }

    fn tell(&mut self, position: Position, target: Position) {
        if self.told_at.elapsed() < PROGRESS_INTERVAL {
            return;
        }
        self.told_at = Instant::now();
        let per_second = self.per_second(position);
        let remaining_s = (target.get() - position.get()) / per_second.max(1);
        info!(position = position.get(), until = target.get(), per_second, remaining_s, "Rebuilding");
    }
}
