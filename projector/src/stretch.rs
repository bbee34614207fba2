//! A stretch of the log in bulk, added up.

use contract::{position::Position, totals::Totals};
use event_log::scan::scan;
use sqlx::PgPool;

use crate::{projection::ProjectionError, tally::Tally};

/// Adds the events after a position, up to and with another one, to what came before. It is one statement to the event store.
pub async fn add_up(
    event_store: &PgPool,
    before: &Totals,
    after: Position,
    until: Position,
) -> Result<Tally, ProjectionError> {
    let mut tally = Tally::on(before);
    let mut events = scan(event_store, after, until).await?;
    while let Some(event) = events.next().await? {
        tally.add(event.position, event.recorded_at, event.decode())?;
    }
    Ok(tally)
}
