//! A chunk of the log, read in bulk and added up.

use contract::{position::Position, totals::Totals};
use event_log::{Decisions, LastEvent, scan::scan_following};
use sqlx::PgPool;

use crate::{batch_delta::BatchDelta, projection::ProjectionError};

/// Adds the events after one that the log must still have, up to and including a position, to the totals up to it, with one statement
/// to the event store, after another one for the decisions.
pub async fn add_up(
    event_store: &PgPool,
    before: &Totals,
    last: &LastEvent,
    until: Position,
) -> Result<BatchDelta, ProjectionError> {
    let decisions = Decisions::after(event_store, last.position).await?;
    let mut delta = BatchDelta::on(before);
    let mut events = scan_following(event_store, last, until).await?;
    while let Some(event) = events.next().await? {
        delta.apply(LastEvent::of(&event), decisions.meaning(&event))?;
    }
    Ok(delta)
}
