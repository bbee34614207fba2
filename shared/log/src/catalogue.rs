//! The catalogue of the event store: constraints, triggers, owners, grants, functions, settings of roles. Without them, the database
//! would accept changes that no service makes.

use std::collections::BTreeSet;

use sqlx::PgExecutor;

/// The facts of `catalogue.sql` in a database that has all migrations and was not changed otherwise.
pub const EXPECTED: &str = include_str!("catalogue.txt");

/// All facts, in order.
pub async fn facts(event_store: impl PgExecutor<'_>) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(include_str!("catalogue.sql")).fetch_all(event_store).await
}

/// How the catalogue differs: the first fact that is not expected, and the first one that is missing.
pub async fn difference(event_store: impl PgExecutor<'_>) -> sqlx::Result<Option<String>> {
    let facts = facts(event_store).await?;
    let found: BTreeSet<_> = facts.iter().map(String::as_str).collect();
    let expected: BTreeSet<_> = EXPECTED.lines().collect();
    let has = found.difference(&expected).next().map(|fact| format!("it has {fact:?}"));
    let lacks = expected.difference(&found).next().map(|fact| format!("it lacks {fact:?}"));
    let differs = has.into_iter().chain(lacks).reduce(|has, lacks| format!("{has}, and {lacks}"));
    Ok(differs.map(|differs| format!("the catalogue of the event store was changed: {differs}")))
}
