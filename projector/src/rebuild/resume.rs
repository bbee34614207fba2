//! Where a rebuild starts: at the position of an interrupted one, or at the start of the log.

use anyhow::{Context, bail};
use contract::position::Position;
use event_log::ReadError;
use sqlx::{PgConnection, PgPool};
use tracing::{info, warn};

use super::Options;
use crate::read_model::{self, Generation, PROJECTION_VERSION};

/// Rejects a second generation alongside the live one.
const ONE_OF_EACH: &str = "projection_one_of_each";

/// Another rebuild has resumed, replaced or switched the generation of this one.
#[derive(Debug, thiserror::Error)]
#[error("superseded by another rebuild")]
pub struct Superseded;

/// The generation to fill up to `target`: that of an interrupted rebuild, if this program would have built the same from this
/// log, or else a new one.
///
/// Of two rebuilds that resume the same generation, the later one continues. The other one, which usually was killed, is superseded.
pub async fn resume_or_start(
    event_store: &PgPool,
    read_model: &PgPool,
    target: Position,
    Options { dry_run, from_start }: Options,
) -> anyhow::Result<Generation> {
    loop {
        let mut transaction = read_model.begin().await?;
        if let Some(projection_version) = read_model::lock_interrupted(&mut transaction).await? {
            if dry_run && !from_start {
                bail!(
                    "another rebuild runs or was interrupted, and a dry run would discard its work; complete it with `rebuild`, or \
                     discard it with --from-start"
                );
            }
            let usable = if from_start {
                Err("--from-start was given")
            } else {
                usable(event_store, &mut transaction, projection_version, target).await?
            };
            match usable {
                Ok(building) => {
                    transaction.commit().await?;
                    let (generation, position) = (building.number, building.last.position.get());
                    info!(generation, position, until = target.get(), "Resuming an interrupted rebuild");
                    return Ok(building);
                }
                Err(reason) => warn!(reason, "Discarding the generation of an interrupted rebuild"),
            }
        }
        match read_model::start_building(&mut transaction).await {
            Ok(building) => {
                transaction.commit().await?;
                info!(
                    generation = building.number,
                    until = target.get(),
                    "Building a new generation of the read model"
                );
                return Ok(building);
            }
            // Another rebuild has started at the same moment: its generation is resumed.
            Err(error) if error.as_database_error().and_then(|error| error.constraint()) == Some(ONE_OF_EACH) => (),
            Err(error) => return Err(error).context("a new generation cannot be started"),
        }
    }
}

/// The generation of the interrupted rebuild, or why it cannot be resumed.
async fn usable(
    event_store: &PgPool,
    transaction: &mut PgConnection,
    projection_version: i32,
    target: Position,
) -> anyhow::Result<Result<Generation, &'static str>> {
    if projection_version != PROJECTION_VERSION {
        return Ok(Err("it was started by another version of the projection"));
    }
    let building = read_model::load_building(transaction).await?.context("the locked generation is missing")?;
    if building.last.position > target {
        return Ok(Err("it is beyond the target position of this rebuild"));
    }
    // The log may have been restored from a backup since, and even have grown beyond that position.
    match event_log::read_following(event_store, &building.last, 0).await {
        Ok(_) => Ok(Ok(building)),
        Err(ReadError::CutOff { .. } | ReadError::Replaced(_)) => {
            Ok(Err("the log does not contain the last event that it applied"))
        }
        Err(error) => Err(error.into()),
    }
}
