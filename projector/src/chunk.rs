//! A chunk of the log, read in bulk and added up.

use contract::{position::Position, totals::Totals};
use event_log::scan::scan;
use sqlx::PgPool;

use crate::{batch_delta::BatchDelta, projection::ProjectionError};

/// Adds the events after a position, up to and including another one, to earlier totals, with one statement to the event store.
pub async fn add_up(
    event_store: &PgPool,
    before: &Totals,
    after: Position,
    until: Position,
) -> Result<BatchDelta, ProjectionError> {
    let mut delta = BatchDelta::on(before);
    let mut events = scan(event_store, after, until).await?;
    while let Some(event) = events.next().await? {
        delta.apply(event.position, event.recorded_at, event.decode())?;
    }
    Ok(delta)
}
