//! The life of a process: listen, work, and stop without losing a request.

use std::{future::Future, io::IsTerminal, net::SocketAddr, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context, anyhow};
use axum::Router;
use clap::{Args, ValueEnum};
use prometheus_client::registry::Registry;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use tracing_subscriber::EnvFilter;

use crate::{
    access::{self, Access},
    http::{health, server},
    process_metrics::{self, Readiness},
    tasks::Tasks,
    traces,
};

/// Requests that are under way when the process is told to stop have this long to end; they are bounded by less,
/// but for exports of the log, which are cut off and resumed elsewhere.
const DRAIN_LIMIT: Duration = Duration::from_secs(12);
/// Settings that every service has.
#[derive(Args, Clone, Debug)]
pub struct ServiceConfig {
    /// Address and port on which to answer.
    #[arg(long, env, default_value = "127.0.0.1:8081")]
    pub listen_address: SocketAddr,
    /// How long to go on answering after the signal to stop, while /readyz already says no, so that load balancers
    /// look elsewhere first.
    #[arg(long, env, default_value_t = 0)]
    pub shutdown_delay_ms: u64,
    #[command(flatten)]
    pub access: access::Settings,
    #[command(flatten)]
    pub traces: traces::Settings,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// A service that has been put together and waits to be run.
pub struct Service {
    pub api: Router,
    pub access: Access,
    pub readiness: Readiness,
    pub registry: Registry,
    pub tasks: Tasks,
}

/// Sets up the log: text for people, JSON for machines. `RUST_LOG` filters it.
pub fn log_to_stdout(format: LogFormat) {
    /// The libraries report every attempt to reconnect; what that means for the service, it says itself.
    const DEFAULT_FILTER: &str = "info,async_nats=error,sqlx=warn";
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(std::io::stdout().is_terminal());
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}

/// Ends the process with a code that tells a supervisor whether it failed.
pub fn exit_code(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!(error = format!("{error:#}"), "The process ends because of an error");
            ExitCode::FAILURE
        }
    }
}

/// Runs a service until SIGTERM or SIGINT, then drains it.
pub async fn run(config: ServiceConfig, service: Service) -> anyhow::Result<()> {
    let listener = TcpListener::bind(config.listen_address)
        .await
        .with_context(|| format!("cannot listen on LISTEN_ADDRESS {}", config.listen_address))?;
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let told_to_stop = async move {
        tokio::select! {
            _ = terminate.recv() => (),
            _ = interrupt.recv() => (),
        }
    };
    let outcome = run_until(told_to_stop, Duration::from_millis(config.shutdown_delay_ms), listener, service).await;
    traces::flush().await;
    outcome
}

/// Runs a service until the future completes.
pub async fn run_until(
    told_to_stop: impl Future<Output = ()>,
    shutdown_delay: Duration,
    listener: TcpListener,
    service: Service,
) -> anyhow::Result<()> {
    let Service { api, access, readiness, mut registry, mut tasks } = service;
    info!(listen.address = %listener.local_addr()?, "Answering requests");
    let leaving = CancellationToken::new();
    let readiness = unless_leaving(leaving.clone(), readiness);
    let started = process_metrics::observe(Arc::clone(&readiness), &mut registry, &mut tasks);
    let drained = tasks.drain_token();
    let router = api.merge(health::operations(registry, readiness, started, access));
    let mut server = tokio::spawn(server::serve(listener, router, drained.clone()));

    let outcome = tokio::select! {
        () = told_to_stop => Ok(()),
        error = tasks.first_to_end() => Err(error),
        ended = &mut server => Err(anyhow!("the HTTP server ended: {ended:?}")),
    };
    leaving.cancel();
    if outcome.is_ok() {
        info!("Told to stop: no longer ready, going on with what is under way");
        sleep(shutdown_delay).await;
    }
    drained.cancel();
    // Requests first, tasks after: a request may be waiting for a task.
    if !server.is_finished() && timeout(DRAIN_LIMIT, &mut server).await.is_err() {
        // Whoever has not even finished asking by now is not waited for.
        warn!("Connections are still open; ending all the same");
        server.abort();
    }
    let stopped = tasks.stop().await;
    outcome.and(stopped)?;
    info!("Stopped");
    Ok(())
}

fn unless_leaving(leaving: CancellationToken, readiness: Readiness) -> Readiness {
    Arc::new(move || if leaving.is_cancelled() { Err("stopping".to_owned()) } else { readiness() })
}
