//! Earlier totals: as of a time or a log position. They come from the last snapshot before it and the events since then.

use axum::{
    Json,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, TimeDelta, Utc};
use contract::{event::DecodeError, money::OutOfRange, position::Position, totals::Totals};
use event_log::{Decisions, LastEvent, ReadError, read_model::set_from_row, row::timestamp, scan::scan_following};
use runtime::{http::problem::Problem, log_limits::Sampler};
use sqlx::{PgPool, Row};
use tracing::error;

use super::current_money::CurrentMoney;
use crate::{
    headers::{REVALIDATE, if_none_match},
    problems,
    sources::Sources,
};

/// Events that are added up after a snapshot: half a second's worth. There are usually a hundred times fewer, unless the projection
/// has stopped for long.
const MAX_TAIL: i64 = 1_000_000;

/// What the totals are requested for.
#[derive(Clone, Copy)]
pub enum AsOf {
    /// Events recorded at this time count, to the microsecond.
    Time(DateTime<Utc>),
    Position(Position),
}

/// Why there are no totals as of a position.
#[derive(Debug, thiserror::Error)]
enum AsOfError {
    #[error(transparent)]
    Log(#[from] ReadError),
    #[error("the read model cannot be read: {0}")]
    ReadModel(#[from] sqlx::Error),
    #[error("the read model is too far behind position {0}")]
    TooFarBehind(Position),
    #[error("the event at position {position} cannot be decoded: {source}")]
    Decode { position: Position, source: DecodeError },
    #[error("the totals overflow: {0}")]
    Add(#[from] OutOfRange),
}

/// Answers with the totals as of a time or a position.
pub async fn totals_as_of(sources: &Sources, as_of: AsOf, headers: &HeaderMap) -> Result<Response, Problem> {
    let Ok(_place) = sources.as_of.try_acquire() else {
        return Err(Problem::unavailable("Too many requests for earlier totals. Try again."));
    };
    let position = position(&sources.event_store, as_of).await?;
    // A rebuild may correct earlier totals too, so their tag changes with the generation.
    let (generation, _) = sources.live_version().await?;
    let tag = HeaderValue::try_from(format!("\"{generation}-at-{position}\"")).expect("numbers are plain ASCII");
    // Not immutable: an event of a time that has just passed may not be committed yet.
    let common = [(header::CACHE_CONTROL, REVALIDATE), (header::ETAG, tag.clone())];
    if if_none_match(headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, common).into_response());
    }
    let totals = read(&sources.event_store, &sources.read_model, position).await.map_err(problem)?;
    Ok((common, Json(totals)).into_response())
}

/// The last position that counts.
async fn position(event_store: &PgPool, as_of: AsOf) -> Result<Position, Problem> {
    match as_of {
        AsOf::Time(time) => {
            let after = time.checked_add_signed(TimeDelta::microseconds(1)).unwrap_or(time);
            event_log::last_before(event_store, after).await.map_err(problems::event_store)
        }
        AsOf::Position(position) => {
            let end = event_log::head(event_store).await.map_err(problems::event_store)?;
            if position > end { Err(unknown_position(end)) } else { Ok(position) }
        }
    }
}

pub fn unknown_position(end: Position) -> Problem {
    let detail = format!("The log ends at position {end}.");
    Problem::new(StatusCode::NOT_FOUND, "unknown-position", "Unknown position", detail)
}

/// The totals at a position that the log has.
async fn read(event_store: &PgPool, read_model: &PgPool, position: Position) -> Result<CurrentMoney, AsOfError> {
    let (last, mut totals) = snapshot(read_model, position).await?;
    if position > last.position.plus(MAX_TAIL) {
        return Err(AsOfError::TooFarBehind(position));
    }
    let mut as_of = last.recorded_at;
    // Also those after the position: a voided event counts at no position.
    let decisions = Decisions::after(event_store, last.position).await?;
    // A snapshot of another log must not be continued with the events of this one.
    let mut tail = scan_following(event_store, &last, position).await?;
    while let Some(event) = tail.next().await? {
        let position = event.position;
        totals.apply(&decisions.meaning(&event).map_err(|source| AsOfError::Decode { position, source })?)?;
        as_of = event.recorded_at;
    }
    Ok(CurrentMoney::new(&totals, position, as_of)?)
}

/// The last snapshot that is not after a position: the event at which it was taken, and the totals.
async fn snapshot(read_model: &PgPool, position: Position) -> sqlx::Result<(LastEvent, Totals)> {
    let rows = sqlx::query(include_str!("snapshot.sql")).bind(position.get()).fetch_all(read_model).await?;
    let first = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    let mut totals = Totals::default();
    let Some(position) = first.try_get("position")? else {
        return Ok((LastEvent::START, totals));
    };
    for row in &rows {
        set_from_row(&mut totals, row)?;
    }
    let position = event_log::row::to_position(position)?;
    Ok((LastEvent { position, recorded_at: timestamp(first, "as_of")?, event_id: None }, totals))
}

fn problem(error: AsOfError) -> Problem {
    match error {
        AsOfError::Log(error) => problems::event_store(error),
        AsOfError::ReadModel(error) => problems::read_model(&error),
        AsOfError::TooFarBehind(_) => Problem::unavailable(format!("{error}. Try again later.")),
        AsOfError::Decode { .. } | AsOfError::Add(_) => {
            static SAMPLER: Sampler = Sampler::new();
            if let Some(left_out) = SAMPLER.admit() {
                error!(%error, left_out, "Earlier totals cannot be computed");
            }
            Problem::internal()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::watch;

    use super::*;
    use crate::sources::MAX_AS_OF;

    #[tokio::test]
    async fn requests_for_earlier_totals_beyond_the_limit_are_answered_503_until_one_ends() {
        let (_newest, totals) = watch::channel(None);
        let sources = Arc::new(Sources::without_databases(totals));
        let headers = HeaderMap::new();
        let request = || totals_as_of(&sources, AsOf::Position(Position::START), &headers);
        // They wait for a database.
        let mut pending: Vec<_> = (0..MAX_AS_OF).map(|_| Box::pin(request())).collect();
        for request in &mut pending {
            assert!(futures::poll!(request.as_mut()).is_pending());
        }
        let refused = request().await.unwrap_err().into_response();
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(refused.headers()[header::RETRY_AFTER], "1");
        pending.pop();
        assert!(futures::poll!(Box::pin(request()).as_mut()).is_pending(), "there is room for another");
    }
}
