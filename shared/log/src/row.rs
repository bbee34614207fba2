//! Columns of a row as types of the contract.

use chrono::{DateTime, Utc};
use contract::position::Position;
use sqlx::{Row, postgres::PgRow};

use crate::copy_format;

pub fn position(row: &PgRow, column: &str) -> sqlx::Result<Position> {
    to_position(row.try_get(column)?)
}

pub fn to_position(number: i64) -> sqlx::Result<Position> {
    number.try_into().map_err(decode_error)
}

/// A time. Postgres has more of them than chrono: sqlx would panic at `infinity`.
pub fn timestamp(row: &PgRow, column: &str) -> sqlx::Result<DateTime<Utc>> {
    copy_format::timestamp(row.try_get_unchecked(column)?).ok_or("the time is out of range").map_err(decode_error)
}

pub fn decode_error(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> sqlx::Error {
    sqlx::Error::Decode(reason.into())
}
