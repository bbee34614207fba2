//! The cosigned checkpoint in the read model's database.

use std::time::Duration;

use chrono::{DateTime, Utc};
use contract::position::Position;
use sqlx::PgPool;

/// The cosigned checkpoint, if it was submitted within this time.
pub async fn recent(read_model: &PgPool, age: Duration) -> sqlx::Result<Option<String>> {
    let recent = "select note from cosigned_checkpoint where submitted_at > now() - make_interval(secs => $1)";
    sqlx::query_scalar(recent).bind(age.as_secs_f64()).fetch_optional(read_model).await
}

/// The time for [`store`], by the clock of the database.
pub async fn now(read_model: &PgPool) -> sqlx::Result<DateTime<Utc>> {
    sqlx::query_scalar("select now()").fetch_one(read_model).await
}

/// Stores a cosigned checkpoint, unless another projector has stored one that was submitted later.
pub async fn store(
    read_model: &PgPool,
    position: Position,
    note: &str,
    submitted_at: DateTime<Utc>,
) -> sqlx::Result<()> {
    let store = sqlx::query(
        "insert into cosigned_checkpoint (position, note, submitted_at) values ($1, $2, $3)
         on conflict (only_row) do update
         set position = excluded.position, note = excluded.note, submitted_at = excluded.submitted_at
         where cosigned_checkpoint.submitted_at < excluded.submitted_at",
    );
    store.bind(position.get()).bind(note).bind(submitted_at).execute(read_model).await?;
    Ok(())
}
