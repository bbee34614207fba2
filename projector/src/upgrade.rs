//! A read model from before there was a history gets one by itself: by a rebuild, while it serves on.

use std::time::Duration;

use sqlx::PgPool;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{
    read_model,
    rebuild::{self, Options},
};

/// How often it is looked again: while versions are mixed, an older one may put a read model of its own in place.
const INTERVAL: Duration = Duration::from_mins(1);

/// Runs until told to stop. In the middle of a rebuild, that is as if it was killed: the next one goes on with it.
pub async fn run(event_store: &PgPool, read_model: &PgPool, stop: CancellationToken) {
    let looking = async {
        loop {
            look(event_store, read_model).await;
            sleep(INTERVAL).await;
        }
    };
    tokio::select! {
        () = looking => (),
        () = stop.cancelled() => (),
    }
}

async fn look(event_store: &PgPool, read_model: &PgPool) {
    match read_model::has_history(read_model).await {
        Ok(true) => return,
        Ok(false) => info!("The live read model was made by a version without a history: building it anew"),
        // The projection says aloud that a database is away.
        Err(error) => return debug!(%error, "Whether there is a history cannot be told"),
    }
    if let Err(error) = rebuild::rebuild(event_store, read_model, Options::default()).await {
        warn!(error = format!("{error:#}"), "There is no history yet: the rebuild is tried again later");
    }
}
