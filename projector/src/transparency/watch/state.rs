//! The state of the watch in the read model.

use chrono::{DateTime, Utc};
use contract::position::Position;
use event_log::row;
use sqlx::{PgPool, Row};

use super::round::Difference;

/// How far the watch has come, and what it has found.
#[derive(Clone, Debug)]
pub struct State {
    pub position: Position,
    pub completed_at: Option<DateTime<Utc>>,
    pub difference: Option<Difference>,
}

impl State {
    pub async fn load(read_model: &PgPool) -> sqlx::Result<Self> {
        let row = sqlx::query("select position, completed_at, difference, difference_position from watch")
            .fetch_one(read_model)
            .await?;
        let place: Option<i64> = row.try_get("difference_position")?;
        let difference = row.try_get::<Option<String>, _>("difference")?;
        Ok(Self {
            position: row::position(&row, "position")?,
            completed_at: row.try_get("completed_at")?,
            difference: match difference {
                Some(what) => Some(Difference { position: place.map(row::to_position).transpose()?, what }),
                None => None,
            },
        })
    }

    pub async fn store_position(&self, read_model: &PgPool) -> sqlx::Result<()> {
        sqlx::query("update watch set position = $1").bind(self.position.get()).execute(read_model).await?;
        Ok(())
    }

    pub async fn set_difference(&mut self, read_model: &PgPool, found: Option<Difference>) -> sqlx::Result<()> {
        sqlx::query("update watch set difference = $1, difference_position = $2")
            .bind(found.as_ref().map(|found| &found.what))
            .bind(found.as_ref().and_then(|found| found.position).map(Position::get))
            .execute(read_model)
            .await?;
        self.difference = found;
        Ok(())
    }

    /// Stores that a round is complete.
    pub async fn complete(&mut self, read_model: &PgPool) -> sqlx::Result<()> {
        let now = Utc::now();
        sqlx::query("update watch set position = 0, completed_at = $1").bind(now).execute(read_model).await?;
        self.completed_at = Some(now);
        Ok(())
    }
}
