//! The HTTP interface.

use std::{fs, path::Path, sync::Arc, time::Duration};

use anyhow::{Context, ensure};
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use event_log::transparency::{
    cosignature::CosigningKey,
    signed_checkpoint::{Checkpoint, VerifyingKey},
};
use runtime::{
    http::{body::buffer_body, server},
    log_events,
    log_limits::{Sampler, shorten},
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    cli::Serve,
    memory::{Memory, Refusal},
    request::Submission,
};

/// A disk may hang.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for the requests in flight at shutdown.
const DRAIN_LIMIT: Duration = Duration::from_secs(12);

struct Witness {
    key: Arc<CosigningKey>,
    memory: Memory,
}

/// Serves until SIGTERM or SIGINT.
pub async fn run(config: &Serve) -> anyhow::Result<()> {
    let key = read(&config.key_file)?;
    let key = CosigningKey::parse(&key).with_context(|| config.key_file.display().to_string())?;
    let keys = config.logs.iter().flat_map(|keys| keys.split_whitespace()).map(log_key);
    let keys = keys.collect::<anyhow::Result<Vec<_>>>()?;
    ensure!(!keys.is_empty(), "WITNESS_LOGS has no public key of a log");
    let folder = match &config.state_folder {
        Some(folder) => folder.clone(),
        None => config.key_file.canonicalize()?.with_file_name(""),
    };
    let memory = Memory::open(&folder, keys)?;
    let listener = TcpListener::bind(config.listen_address)
        .await
        .with_context(|| format!("cannot listen on LISTEN_ADDRESS {}", config.listen_address))?;
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    info!(event.name = log_events::LISTENING, listen.address = %listener.local_addr()?, key = %key.witness_key(), "Listening");
    let (stop, witness) = (CancellationToken::new(), Arc::new(Witness { key: Arc::new(key), memory }));
    let mut server = tokio::spawn(server::serve(listener, router(witness), stop.clone()));
    tokio::select! {
        _ = terminate.recv() => (),
        _ = interrupt.recv() => (),
        ended = &mut server => ended.context("the HTTP server exited unexpectedly")?,
    }
    stop.cancel();
    if !server.is_finished() && timeout(DRAIN_LIMIT, server).await.is_err() {
        warn!("Drain timeout; closing the remaining connections");
    }
    info!(event.name = log_events::STOPPED, "Stopped");
    Ok(())
}

fn read(file: &Path) -> anyhow::Result<String> {
    fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

/// The public key of a log: the key itself, or a file that holds it.
fn log_key(text: &str) -> anyhow::Result<VerifyingKey> {
    let key = if Path::new(text).is_file() { read(text.as_ref())? } else { text.to_owned() };
    VerifyingKey::parse(&key).with_context(|| format!("the public key {text:?} of a log"))
}

fn router(witness: Arc<Witness>) -> Router {
    Router::new()
        .route("/add-checkpoint", post(add_checkpoint))
        .with_state(witness)
        .route("/livez", get(async || "alive\n"))
        .route("/startupz", get(async || "started\n"))
        .layer(middleware::from_fn(buffer_body))
}

async fn add_checkpoint(State(witness): State<Arc<Witness>>, body: Bytes) -> Response {
    let Ok(body) = str::from_utf8(&body) else {
        return (StatusCode::BAD_REQUEST, "the body is not UTF-8\n").into_response();
    };
    let submission = match Submission::parse(body) {
        Ok(submission) => submission,
        Err(malformed) => return refusal(&malformed.into()),
    };
    let (note, checkpoint) = (submission.note.clone(), submission.checkpoint.clone());
    match timeout(REQUEST_TIMEOUT, witness.memory.cosign(&witness.key, submission)).await {
        Ok(Ok(line)) => {
            info!(origin = checkpoint.origin, size = checkpoint.position.get(), "Cosigned");
            line.into_response()
        }
        Ok(Err(refused)) => {
            report(&refused, &note);
            refusal(&refused)
        }
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the disk does not respond\n").into_response(),
    }
}

fn refusal(refused: &Refusal) -> Response {
    let status = match refused {
        Refusal::Malformed(_) => StatusCode::BAD_REQUEST,
        Refusal::UnknownLog(_) => StatusCode::NOT_FOUND,
        Refusal::Unsigned(_) => StatusCode::FORBIDDEN,
        Refusal::OldSize(size) | Refusal::OtherRoot(Checkpoint { position: size, .. }) => {
            return (StatusCode::CONFLICT, [(header::CONTENT_TYPE, "text/x.tlog.size")], format!("{size}\n"))
                .into_response();
        }
        Refusal::Inconsistent(_) => StatusCode::UNPROCESSABLE_ENTITY,
        Refusal::Storage(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, format!("{refused}\n")).into_response()
}

/// The log signed what is refused here: together with the last cosigned checkpoint, it may prove that the log was changed.
fn report(refused: &Refusal, note: &str) {
    static SAMPLER: Sampler = Sampler::new();
    let last = match refused {
        Refusal::Storage(reason) => {
            error!(event.name = "witness.failed", %reason, "A checkpoint cannot be stored, and is not cosigned");
            return;
        }
        Refusal::OtherRoot(last) | Refusal::Inconsistent(Some(last)) => last,
        _ => return,
    };
    if let Some(left_out) = SAMPLER.admit() {
        let (size, root) = (last.position.get(), last.root.to_string());
        let note = shorten(&note);
        error!(event.name = "witness.refused", reason = %refused, size, root, note, left_out, "A signed checkpoint does not continue the last cosigned one");
    }
}
