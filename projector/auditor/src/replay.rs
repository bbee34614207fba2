//! Totals computed from the log, at any position or time, and those of the read model.

use anyhow::{Context, bail};
use chrono::{DateTime, Utc};
use contract::{
    event::Event,
    position::Position,
    totals::{SNAPSHOT_INTERVAL, Totals},
};
use event_log::read_model::{self, set_from_row};
use futures::TryStreamExt;
use sqlx::{Connection, PgPool};

use crate::{
    examine::{Meaning, Wanted, examined},
    history::History,
    progress::Progress,
    source::Source,
    uncounted::Uncounted,
};

/// Where to stop.
#[derive(Clone, Copy, Debug, Default)]
pub struct Until {
    pub position: Option<Position>,
    /// Inclusive.
    pub time: Option<DateTime<Utc>>,
}

/// Totals as of a position.
#[derive(Clone, Debug)]
pub struct AsOf {
    pub position: Position,
    pub as_of: Option<DateTime<Utc>>,
    pub totals: Totals,
}

#[derive(Debug)]
pub struct Replayed {
    pub totals: AsOf,
    /// At the last snapshot position reached.
    pub kept: Option<AsOf>,
}

/// The live generation of the read model.
#[derive(Debug)]
pub struct Live {
    pub totals: AsOf,
    /// If requested.
    pub history: Option<History>,
}

pub async fn replay(source: &Source, until: Until, mut history: Option<&mut History>) -> anyhow::Result<Replayed> {
    let end = match until.position {
        Some(position) => Some(position),
        None => source.end().await?,
    };
    let mut shares = examined(source, Position::START, end, Wanted { meanings: true, ..Wanted::default() });
    let mut progress = Progress::start("replaying", source, Position::START, end).await;
    let mut replayed = AsOf { position: Position::START, as_of: None, totals: Totals::default() };
    let mut kept = None;
    let mut uncounted = Uncounted::default();
    'log: while let Some(share) = shares.try_next().await? {
        progress.advance(&share);
        for event in &share.events {
            let beyond = until.time.is_some_and(|until| event.time > until)
                || until.position.is_some_and(|until| event.position > until);
            if beyond {
                break 'log;
            }
            let expected = replayed.position.next();
            if event.position != expected {
                bail!("position {expected} is missing, {} follows: verify the log first", event.position);
            }
            match event.meaning.as_ref().context("events are decoded when wanted")? {
                Ok(meaning) => {
                    replayed.totals.apply(meaning).with_context(|| format!("the event at position {expected}"))?;
                    if let Some(history) = &mut history {
                        history
                            .add(event.time, meaning)
                            .with_context(|| format!("the event at position {expected}"))?;
                    }
                    if let Event::EventVoided(decision) = meaning {
                        uncounted.decide(expected, decision, Position::START);
                    }
                }
                Err(Meaning::Newer(what)) => bail!("position {expected}: {what}"),
                Err(Meaning::Invalid { what, .. }) => {
                    uncounted.add(expected, what, false).context("too many events cannot be counted")?;
                }
            }
            replayed.position = expected;
            replayed.as_of = Some(event.time);
            if expected.get() % SNAPSHOT_INTERVAL == 0 {
                kept = Some(replayed.clone());
            }
        }
        if let Some(fault) = share.fault {
            bail!("position {}: {}", fault.position.unwrap_or(replayed.position.next()), fault.what);
        }
    }
    uncounted.look_ahead(source, replayed.position).await?;
    if let Some((position, what)) = uncounted.first() {
        bail!("position {position}: {what}");
    }
    Ok(Replayed { totals: replayed, kept })
}

/// Reads the live generation, with its history in the intervals of `pattern`.
pub async fn live(read_model: &PgPool, pattern: Option<&History>) -> anyhow::Result<Live> {
    const UNREADABLE: &str = "the read model cannot be read";
    let mut connection = read_model.acquire().await.context(UNREADABLE)?;
    // One snapshot for all of it.
    let mut transaction =
        connection.begin_with("begin isolation level repeatable read read only").await.context(UNREADABLE)?;
    let live = read_model::load_live(&mut *transaction).await.context(UNREADABLE)?;
    let history = match pattern {
        Some(pattern) => Some(pattern.of_read_model(&mut transaction, live.number).await.context(UNREADABLE)?),
        None => None,
    };
    Ok(Live { totals: AsOf { position: live.last.position, as_of: None, totals: live.totals }, history })
}

/// The snapshot of the totals at a position.
pub async fn kept(read_model: &PgPool, position: Position) -> anyhow::Result<Option<AsOf>> {
    let rows = sqlx::query(
        "select license, sales_count, revenue_minor, totals_snapshot.currency
         from totals_snapshot join projection using (generation) where live and totals_snapshot.position = $1",
    )
    .bind(position.get())
    .fetch_all(read_model)
    .await
    .context("the read model cannot be read")?;
    let mut totals = Totals::default();
    for row in &rows {
        set_from_row(&mut totals, row)?;
    }
    Ok((!rows.is_empty()).then_some(AsOf { position, as_of: None, totals }))
}
