//! State of the endpoints: data sources, and limits on concurrent use.

use std::sync::Arc;

use contract::{position::Position, time_zone::TimeZones};
use event_log::row;
use runtime::http::problem::Problem;
use sqlx::{PgPool, Row};
use tokio::sync::Semaphore;

use crate::{
    problems,
    purchases::signer::LicenseSigner,
    tiled_log,
    totals::{
        places::Places,
        snapshot::{Snapshot, Watch},
    },
};

/// Requests that may wait for a position at the same time; each holds a connection and little memory.
const MAX_WAITING: usize = 1000;
/// Exports at the same time. Each holds about two chunks in memory, and now and then a connection.
pub const MAX_EXPORTS: usize = 8;
/// Requests for earlier totals at the same time: each takes a connection to each database for some milliseconds.
pub const MAX_AS_OF: usize = 8;

/// State of all requests. It is shared as a whole: separate `Arc`s would be separate reference counts to contend for.
pub struct Sources {
    pub event_store: PgPool,
    pub read_model: PgPool,
    pub totals: Watch,
    pub license_signer: Option<LicenseSigner>,
    pub time_zones: TimeZones,
    pub log: tiled_log::Settings,
    /// Places for streams of totals.
    pub streams: Places,
    pub waiting: Semaphore,
    pub exports: Arc<Semaphore>,
    pub as_of: Semaphore,
}

impl Sources {
    pub fn new(
        event_store: PgPool,
        read_model: PgPool,
        totals: Watch,
        streams: Places,
        license_signer: Option<LicenseSigner>,
        time_zones: TimeZones,
        log: tiled_log::Settings,
    ) -> Self {
        Self {
            event_store,
            read_model,
            totals,
            license_signer,
            time_zones,
            log,
            streams,
            waiting: Semaphore::new(MAX_WAITING),
            exports: Arc::new(Semaphore::new(MAX_EXPORTS)),
            as_of: Semaphore::new(MAX_AS_OF),
        }
    }

    /// Generation and position of the live read model.
    pub async fn live_version(&self) -> Result<(i64, Position), Problem> {
        let select = sqlx::query("select generation, position from projection where live");
        let read = async {
            let row = select.fetch_one(&self.read_model).await?;
            Ok((row.try_get("generation")?, row::position(&row, "position")?))
        };
        read.await.map_err(|error| problems::read_model(&error))
    }

    /// The newest totals and purchases, whatever position they reflect.
    pub fn newest(&self) -> Result<Snapshot, Problem> {
        self.totals.borrow().clone().ok_or_else(|| Problem::unavailable("The read model has not been read yet."))
    }
}

#[cfg(test)]
impl Sources {
    /// Nothing listens at the databases' addresses.
    pub fn without_databases(totals: Watch) -> Self {
        let unreachable =
            || sqlx::postgres::PgPoolOptions::new().connect_lazy("postgres://nobody@127.0.0.1:1/nothing").unwrap();
        let mut registry = prometheus_client::registry::Registry::default();
        let streams = Places::new(tokio_util::sync::CancellationToken::new(), &mut registry);
        Self::new(
            unreachable(),
            unreachable(),
            totals,
            streams,
            None,
            TimeZones::bundled(),
            tiled_log::Settings::default(),
        )
    }
}
