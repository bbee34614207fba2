//! The state of the watch in the read model.

use chrono::{DateTime, Utc};
use contract::position::Position;
use event_log::row;
use sqlx::{PgPool, Row};

use super::round::Difference;

/// How far the watch has come, and what it has found.
#[derive(Clone, Debug, Default)]
pub struct State {
    pub position: Position,
    pub completed_at: Option<DateTime<Utc>>,
    pub difference: Option<Difference>,
}

impl State {
    pub async fn load(read_model: &PgPool) -> sqlx::Result<Self> {
        let row = sqlx::query("select position, completed_at, difference, difference_position from watch")
            .fetch_optional(read_model)
            .await?;
        let Some(row) = row else {
            let what = "the row in which the watch stores its findings was removed".to_owned();
            return Ok(Self { difference: Some(Difference { position: None, what }), ..Self::default() });
        };
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

    pub async fn store(&self, read_model: &PgPool) -> sqlx::Result<()> {
        sqlx::query(
            "insert into watch (position, completed_at, difference, difference_position) values ($1, $2, $3, $4)
             on conflict (only_row) do update
             set (position, completed_at, difference, difference_position)
                 = (excluded.position, excluded.completed_at, excluded.difference, excluded.difference_position)",
        )
        .bind(self.position.get())
        .bind(self.completed_at)
        .bind(self.difference.as_ref().map(|found| &found.what))
        .bind(self.difference.as_ref().and_then(|found| found.position).map(Position::get))
        .execute(read_model)
        .await?;
        Ok(())
    }
}
