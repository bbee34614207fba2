//! Builds the next generation of the read model from the log, while the live one is updated and queried.
//!
//! Each chunk is stored with its position, so a rebuild that is killed at any moment is resumed by the next one.

mod comparison;
mod resume;

use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use contract::position::Position;
use sqlx::{Connection, PgConnection, PgPool};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use self::{
    comparison::{Comparison, compare, compare_rest, compare_settled},
    resume::{Superseded, resume_or_start},
};
use crate::{
    chunk::add_up,
    read_model::{self, Generation, stored_latest},
};

/// Events per chunk: some hundred milliseconds of work. An interruption loses no more, and the final chunk blocks the live
/// generation for no longer.
const CHUNK_EVENTS: i64 = 200_000;
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);
/// How long the live generation may stay at a position behind the built one before the rebuild stops waiting for it. A running
/// projection polls for events once a second.
const STALL_TIMEOUT: Duration = Duration::from_secs(2);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Options of a rebuild.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct Options {
    /// Rebuild into a temporary generation, compare it with the live read model, discard it; exit 1 on differences. Refused while another
    /// rebuild runs or is interrupted.
    #[arg(long)]
    pub dry_run: bool,
    /// Discard the generation of an interrupted rebuild instead of resuming it.
    #[arg(long)]
    pub from_start: bool,
}

/// Fills the next generation up to the live one's position, compares both, and cuts over unless it is a dry run.
pub async fn rebuild(event_store: &PgPool, read_model: &PgPool, options: Options) -> anyhow::Result<()> {
    let mut target = target(event_store, read_model, options).await?;
    let mut building = resume_or_start(event_store, read_model, target, options).await?;
    let mut progress = Progress::from(building.last.position);
    while building.last.position < target {
        building = fill(event_store, &mut *read_model.acquire().await?, building, target).await?;
        progress.log(building.last.position, target);
        if building.last.position == target {
            // Meanwhile the log may have grown by more than the live generation should be blocked for.
            let grown = self::target(event_store, read_model, options).await?;
            target = if grown > target.plus(CHUNK_EVENTS) { grown } else { target };
        }
    }
    let (built, comparison) = if options.dry_run {
        dry_run(event_store, read_model, building).await?
    } else {
        cut_over(event_store, read_model, building).await?
    };
    info!(
        position = built.last.position.get(),
        per_second = progress.per_second(built.last.position),
        duration_ms = u64::try_from(progress.started.elapsed().as_millis())?,
        compared_with_old = ?comparison,
        "{}",
        if options.dry_run { "The dry run is complete" } else { "The new read model is live" }
    );
    read_model::gc(&mut *read_model.acquire().await?).await?;
    match comparison {
        Comparison::Different if options.dry_run => {
            bail!("the live read model differs from the log at position {}", built.last.position)
        }
        Comparison::LiveWasBehind if options.dry_run => {
            bail!("the live read model has moved back; nothing was compared")
        }
        Comparison::LiveWasBehind => warn!(
            position = built.last.position.get(),
            "The replaced read model was not compared with the new one: it did not advance to that position"
        ),
        _ => (),
    }
    Ok(())
}

/// The position to build up to. A dry run compares, so it does not get ahead of the live generation.
async fn target(event_store: &PgPool, read_model: &PgPool, options: Options) -> anyhow::Result<Position> {
    let end = event_log::head(event_store).await?;
    Ok(if options.dry_run { end.min(read_model::load_live(read_model).await?.last.position) } else { end })
}

/// Applies the next chunk, up to `target` at most.
async fn fill(
    event_store: &PgPool,
    read_model: &mut PgConnection,
    building: Generation,
    target: Position,
) -> anyhow::Result<Generation> {
    let until = target.min(building.last.position.plus(CHUNK_EVENTS));
    let delta = add_up(event_store, &building.totals, &building.last, until).await?;
    if !read_model::advance(read_model, &building, &delta).await? {
        bail!(Superseded);
    }
    Ok(Generation { last: delta.last.unwrap_or(building.last), totals: delta.totals, ..building })
}

/// Blocks the live generation, catches up with it, compares and switches, in one transaction.
async fn cut_over(
    event_store: &PgPool,
    read_model: &PgPool,
    mut building: Generation,
) -> anyhow::Result<(Generation, Comparison)> {
    let before = wait_for_live(read_model, &building).await?;
    let (settled, settled_until) = compare_settled(read_model, &before, &building).await?;
    let mut connection = read_model.acquire().await?;
    let mut transaction = connection.begin().await?;
    // The projection is blocked meanwhile: not by a rebuild that was stopped, or whose host is unreachable. The limit for its pauses
    // (event_log::database) ends that. The whole takes as long as the log needs.
    sqlx::query("set local transaction_timeout = 0").execute(&mut *transaction).await?;
    let locked = sqlx::query("select from projection where live for update").fetch_optional(&mut *transaction).await?;
    let live = read_model::load_live(&mut *transaction).await?;
    if locked.is_none() || live.number != before.number {
        bail!(Superseded); // another rebuild replaced the live generation
    }
    // A live generation beyond the end of the log was not built from it: the log was restored, or is another one.
    let target = live.last.position.min(event_log::head(event_store).await?);
    while building.last.position < target {
        building = fill(event_store, &mut transaction, building, target).await?;
    }
    // Logged before the switch, so that no kill loses the comparison.
    let rest = compare_rest(&mut transaction, &live, &building, settled_until).await?;
    let live_latest = stored_latest(&mut *transaction, &live).await?.context(Superseded)?;
    let built_latest = stored_latest(&mut *transaction, &building).await?.context(Superseded)?;
    let comparison = compare(&live, &building, settled + rest, live_latest.symmetric_difference(&built_latest).count());
    if !read_model::switch(&mut transaction, &live, &building).await? {
        bail!(Superseded);
    }
    transaction.commit().await?;
    Ok((building, comparison))
}

/// The live generation, once it has reached the position of the built one, where both can be compared. One that does not
/// advance is not waited for, as its projection may not run.
async fn wait_for_live(read_model: &PgPool, building: &Generation) -> sqlx::Result<Generation> {
    let mut live = read_model::load_live(read_model).await?;
    let mut advanced_at = Instant::now();
    while live.last.position < building.last.position && advanced_at.elapsed() < STALL_TIMEOUT {
        sleep(POLL_INTERVAL).await;
        let now = read_model::load_live(read_model).await?;
        if now.last.position > live.last.position {
            advanced_at = Instant::now();
        }
        live = now;
    }
    Ok(live)
}

/// Catches up with a snapshot of the live generation, compares, and removes the built one. Blocks nothing: totals and newest
/// purchases are those of the snapshot, and of the history only the current minute and quarter of an hour still change.
async fn dry_run(
    event_store: &PgPool,
    read_model: &PgPool,
    mut building: Generation,
) -> anyhow::Result<(Generation, Comparison)> {
    let mut snapshot = read_model.begin_with("begin isolation level repeatable read read only").await?;
    let live = read_model::load_live(&mut *snapshot).await?;
    let live_latest = stored_latest(&mut *snapshot, &live).await?.context(Superseded)?;
    snapshot.rollback().await?;
    let target = live.last.position.min(event_log::head(event_store).await?);
    while building.last.position < target {
        building = fill(event_store, &mut *read_model.acquire().await?, building, target).await?;
    }
    let (history, _) = compare_settled(read_model, &live, &building).await?;
    let built_latest = stored_latest(read_model, &building).await?.context(Superseded)?;
    let comparison = compare(&live, &building, history, live_latest.symmetric_difference(&built_latest).count());
    if !read_model::remove_built(read_model, &building).await? {
        info!("Another rebuild has resumed the built generation");
    }
    Ok((building, comparison))
}

/// Throughput and remaining time, logged at intervals.
struct Progress {
    from: Position,
    started: Instant,
    logged_at: Instant,
}

impl Progress {
    fn from(from: Position) -> Self {
        let now = Instant::now();
        Self { from, started: now, logged_at: now }
    }

    /// Of this process: the work of an interrupted rebuild does not count.
    fn per_second(&self, position: Position) -> i64 {
        let elapsed_ms = i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX);
        (position.get() - self.from.get()) * 1000 / elapsed_ms.max(1)
    }

    fn log(&mut self, position: Position, target: Position) {
        if self.logged_at.elapsed() < PROGRESS_INTERVAL {
            return;
        }
        self.logged_at = Instant::now();
        let per_second = self.per_second(position);
        let remaining_s = (target.get() - position.get()) / per_second.max(1);
        info!(position = position.get(), until = target.get(), per_second, remaining_s, "Rebuilding");
    }
}
