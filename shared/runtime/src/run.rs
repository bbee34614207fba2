//! The lifecycle of a service: listen, work, and shut down without losing a request.

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
    log_events,
    log_output::{FlushAtEnd, LogOutput, log_panics, lost_lines},
    process_metrics::{self, Readiness},
    tasks::Tasks,
    traces,
};

/// Time for requests in flight at shutdown. All have shorter limits, except exports of the log, which are cut off; clients
/// resume them elsewhere.
const DRAIN_LIMIT: Duration = Duration::from_secs(12);

/// Settings of every service.
#[derive(Args, Clone, Debug)]
pub struct ServiceConfig {
    /// Address and port to listen on.
    #[arg(long, env, default_value = "127.0.0.1:8081")]
    pub listen_address: SocketAddr,
    /// Time to keep serving after the shutdown signal while /readyz already reports 503, so that load balancers
    /// switch first.
    #[arg(long, env, default_value_t = 0)]
    pub shutdown_delay_ms: u64,
    #[command(flatten)]
    pub access: access::Settings,
    #[command(flatten)]
    pub traces: traces::Settings,
}

/// Format of the log lines.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// An assembled service.
pub struct Service {
    pub api: Router,
    pub access: Access,
    pub readiness: Readiness,
    pub registry: Registry,
    pub tasks: Tasks,
}

/// Sets up the log: text for people, JSON for machines. `RUST_LOG` filters it. The returned value is to be kept until the end of the
/// process.
pub fn log_to_stdout(format: LogFormat) -> FlushAtEnd {
    /// The libraries log every attempt to reconnect; the service logs what matters of it.
    const DEFAULT_FILTER: &str = "info,async_nats=error,sqlx=warn";
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let (output, flush_at_end) = LogOutput::start(std::io::stdout(), lost_lines());
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stdout().is_terminal())
        // To standard error, whose failure is a panic.
        .log_internal_errors(false)
        .with_writer(output);
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    log_panics();
    flush_at_end
}

/// The exit code for a supervisor.
pub fn exit_code(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!(event.name = log_events::FAILED, error = format!("{error:#}"), "The service failed");
            ExitCode::FAILURE
        }
    }
}

/// Assembles a service and runs it until SIGTERM or SIGINT, then drains it. Traces have its name.
pub async fn run(
    name: &'static str,
    config: &ServiceConfig,
    assemble: impl FnOnce() -> anyhow::Result<Service>,
) -> anyhow::Result<()> {
    traces::start(name, &config.traces)?;
    let service = assemble()?;
    let listener = TcpListener::bind(config.listen_address)
        .await
        .with_context(|| format!("cannot listen on LISTEN_ADDRESS {}", config.listen_address))?;
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let shutdown_signal = async move {
        tokio::select! {
            _ = terminate.recv() => (),
            _ = interrupt.recv() => (),
        }
    };
    let outcome = run_until(shutdown_signal, Duration::from_millis(config.shutdown_delay_ms), listener, service).await;
    traces::flush().await;
    outcome
}

/// Runs a service until the future completes.
pub async fn run_until(
    shutdown_signal: impl Future<Output = ()>,
    shutdown_delay: Duration,
    listener: TcpListener,
    service: Service,
) -> anyhow::Result<()> {
    let Service { api, access, readiness, mut registry, mut tasks } = service;
    info!(event.name = log_events::LISTENING, listen.address = %listener.local_addr()?, "Listening");
    let shutting_down = CancellationToken::new();
    let readiness = unless_shutting_down(shutting_down.clone(), readiness);
    let started = process_metrics::observe(Arc::clone(&readiness), &mut registry, &mut tasks);
    let drained = tasks.drain_token();
    let router = api.merge(health::operations(registry, readiness, started, access));
    let mut server = tokio::spawn(server::serve(listener, router, drained.clone()));

    let outcome = tokio::select! {
        () = shutdown_signal => Ok(()),
        error = tasks.first_exit() => Err(error),
        ended = &mut server => Err(anyhow!("the HTTP server exited unexpectedly: {ended:?}")),
    };
    shutting_down.cancel();
    if outcome.is_ok() {
        info!(event.name = log_events::DRAINING, "Shutdown signal received; draining requests");
        sleep(shutdown_delay).await;
    }
    drained.cancel();
    // Requests before tasks: a request may wait for a task.
    if !server.is_finished() && timeout(DRAIN_LIMIT, &mut server).await.is_err() {
        warn!("Drain timeout; closing the remaining connections");
        server.abort();
    }
    let stopped = tasks.stop().await;
    outcome.and(stopped)?;
    info!(event.name = log_events::STOPPED, "Stopped");
    Ok(())
}

fn unless_shutting_down(shutting_down: CancellationToken, readiness: Readiness) -> Readiness {
    Arc::new(move || if shutting_down.is_cancelled() { Err("stopping".to_owned()) } else { readiness() })
}
