//! Where a rebuild begins: where an interrupted one stopped, or at position 1.

use anyhow::{Context, bail};
use chrono::{DateTime, Utc};
use contract::position::Position;
use sqlx::{PgConnection, PgPool};
use tracing::{info, warn};

use crate::{
    read_model::{self, Generation, LeftBehind, PROJECTION_VERSION},
    rebuild::TakenOver,
};

/// Refuses a second generation beside the live one.
const ONE_OF_EACH: &str = "projection_one_of_each";

/// The generation to be filled up to `target`: the one that was left behind, if it is what this program would have counted
/// from this log, or else a new one.
///
/// Two rebuilds may go on with the same one. Both can only move it from the checkpoint at which they know it, so the
/// first to do so wins.
pub async fn begin(
    event_store: &PgPool,
    read_model: &PgPool,
    target: Position,
    from_start: bool,
) -> anyhow::Result<Generation> {
    let mut transaction = read_model.begin().await?;
    if let Some(left) = read_model::lock_left_behind(&mut transaction).await? {
        let usable = if from_start {
            Err("it is to be built from the start")
        } else {
            usable(event_store, &mut transaction, &left, target).await?
        };
        match usable {
            Ok(building) => {
                transaction.commit().await?;
                let (generation, position) = (building.number, building.checkpoint.get());
                info!(generation, position, until = target.get(), "Going on with an interrupted rebuild");
                return Ok(building);
            }
            Err(reason) => warn!(reason, "Discarding what an interrupted rebuild left behind"),
        }
    }
    let building = match read_model::start_building(&mut transaction).await {
        Err(error) if error.as_database_error().and_then(|error| error.constraint()) == Some(ONE_OF_EACH) => {
            bail!(TakenOver) // by one that began at the same moment
        }
        started => started.context("a new generation cannot be started")?,
    };
    transaction.commit().await?;
    info!(generation = building.number, until = target.get(), "Building the read model anew");
    Ok(building)
}

/// What was left behind, or why it is of no use.
async fn usable(
    event_store: &PgPool,
    transaction: &mut PgConnection,
    left: &LeftBehind,
    target: Position,
) -> anyhow::Result<Result<Generation, &'static str>> {
    if left.projection_version != PROJECTION_VERSION {
        return Ok(Err("it was begun by another version of the projection"));
    }
    let building = read_model::load_building(transaction).await?.context("a locked generation is there")?;
    if building.checkpoint > target {
        return Ok(Err("it is ahead of where this rebuild ends"));
    }
    // The log may have been restored from a backup since, and even have grown again beyond that checkpoint: then the event
    // there was recorded at another time.
    let recorded_at: Option<DateTime<Utc>> = sqlx::query_scalar("select recorded_at from event where position = $1")
        .bind(building.checkpoint.get())
        .fetch_optional(event_store)
        .await?;
    if building.checkpoint > Position::START && recorded_at != Some(left.as_of) {
        return Ok(Err("the log does not hold the last event that it counted"));
    }
    Ok(Ok(building))
}
