//! What the log adds up to, at any position or time, and whether the read model says the same.

use anyhow::{Context, bail};
use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use projector::read_model;
use shared::{event_log::Position, totals::Totals};
use sqlx::PgPool;

use crate::{
    examine::{Wanted, examined},
    history::History,
    progress::Progress,
    source::Source,
};

/// Where to stop.
#[derive(Clone, Copy, Debug, Default)]
pub struct Until {
    pub position: Option<Position>,
    /// Events of this time still count.
    pub time: Option<DateTime<Utc>>,
}

/// What the events add up to.
#[derive(Debug)]
pub struct Replayed {
    pub position: Position,
    pub as_of: Option<DateTime<Utc>>,
    pub totals: Totals,
}

pub async fn replay(source: &Source, until: Until, mut history: Option<&mut History>) -> anyhow::Result<Replayed> {
    let end = match until.position {
        Some(position) => Some(position),
        None => source.end().await?,
    };
    let mut shares = examined(source, Position::START, end, Wanted { meanings: true, ..Wanted::default() });
    let mut progress = Progress::start("replaying", source, Position::START, end);
    let mut replayed = Replayed { position: Position::START, as_of: None, totals: Totals::default() };
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
            let meaning = event.event.as_ref().context("its meaning was asked for")?;
            replayed.totals.apply(meaning).with_context(|| format!("the event at position {expected}"))?;
            if let Some(history) = &mut history {
                history.add(event.time, meaning).with_context(|| format!("the event at position {expected}"))?;
            }
            replayed.position = expected;
            replayed.as_of = Some(event.time);
        }
        if let Some(fault) = share.fault {
            bail!("position {}: {}", fault.position.unwrap_or(replayed.position.next()), fault.what);
        }
    }
    if let Some(wanted) = until.position.filter(|wanted| *wanted > replayed.position) {
        bail!("the log ends with position {}, before {wanted}", replayed.position);
    }
    Ok(replayed)
}

/// The totals that queries are answered from, and the position that they reflect.
pub async fn live(read_model: &PgPool) -> anyhow::Result<Replayed> {
    let live = read_model::load_live(read_model).await.context("the read model cannot be read")?;
    Ok(Replayed { position: live.checkpoint, as_of: None, totals: live.totals })
}
