//! Injects faults, and ends those that last.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::Config;
use futures::TryStreamExt;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection, raw_sql};
use stack::identity::{ProcessId, Stat};
use stack::launch::Program;
use stack::server::Server;
use tokio::task::{block_in_place, spawn_blocking};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::torture::container_faults::{self, Target};
use crate::torture::firewall::Rules;
use crate::torture::journal::Journal;
use crate::torture::kinds::{Action, Kind, SERVERS, SERVICES};
use crate::torture::lasting::Lasting;
use crate::torture::plan::{Fault, index};
use crate::torture::proxy::{Direction, Mode, Proxy};
use crate::torture::system::{Platform, STREAM, System};

/// Descriptors that a process may have at most while it can open no further one. It has more already.
const FEW_FILES: u64 = 8;
/// Enough for the first answer of a connection, or for none.
const MAX_BYTES: u64 = 4096;

const DAMAGED_BYTES: usize = 16;

const CLOCK: &str = "clock_timestamp()";
const AHEAD: &str = "(clock_timestamp() + interval '1 hour')";

/// Longer than any process takes to stop.
const ENDS_WITHIN: Duration = Duration::from_secs(35);
/// Longer than a process that works takes to come to any point.
const FAILS_WITHIN: Duration = Duration::from_secs(30);
const LOCK_ATTEMPTS: u32 = 10;
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Waits for the moment of the fault, injects it, and ends it, if an alarm is awaited not before it is raised. False if it found no target.
pub async fn inject(
    system: &System<'_>,
    fault: &Fault,
    alarm: Option<(&CancellationToken, Duration)>,
    journal: &Journal,
) -> Result<bool> {
    sleep(Duration::from_millis(fault.at_ms)).await;
    let kind = Kind::named(&fault.kind)?;
    journal.event(format!("{} begins", kind.name))?;
    let lasts = Lasting { least: Duration::from_millis(fault.lasts_ms), alarm };
    // During a storm another fault may have taken the target.
    match act(system, journal, kind.action, fault.pick, &lasts).await {
        Ok(()) => journal.event(format!("{} has ended", kind.name))?,
        Err(error) => {
            journal.event(format!("{} had no effect: {error:#}", kind.name))?;
            return Ok(false);
        }
    }
    Ok(true)
}

async fn act(system: &System<'_>, journal: &Journal, action: Action, pick: u64, lasts: &Lasting<'_>) -> Result<()> {
    if let Platform::Deployed(deployed) = &system.platform
        && !action.is_remote()
    {
        let target = Target { system, deployed, journal, pick };
        return container_faults::act(&target, action, lasts).await;
    }
    match action {
        Action::Kill(role) => end(vec![(one(system, role, pick)?, Signal::SIGKILL)]).await?,
        Action::Stop(role) => end(vec![(one(system, role, pick)?, stop_signal(role))]).await?,
        Action::KillAll(role) => {
            end(with_signal(&system.native()?.processes(role)?, Signal::SIGKILL).collect()).await?;
        }
        Action::KillEverything => end_everything(system, |_| Signal::SIGKILL).await?,
        Action::StopEverything => end_everything(system, stop_signal).await?,
        Action::FailPoint(role, point) => fail_at(system, role, point).await?,
        Action::Freeze(role) => {
            let _frozen = Frozen::new(with_children(one(system, role, pick)?)?);
            lasts.pass().await;
        }
        Action::NoFiles(role) => limited(one(system, role, pick)?, "nofile", FEW_FILES, lasts).await?,
        Action::FullDisk(role, bytes) => {
            limited(one(system, role, pick)?, "fsize", bytes, lasts).await?;
        }
        Action::FullLog(role) => full_log(system, role, lasts).await?,
        Action::KillBackend => {
            let children = with_children(one(system, "postgres", pick)?)?.split_off(1);
            let backend = children.get(index(pick, children.len())).context("Postgres has no children")?;
            signal_all(&[*backend], Signal::SIGKILL);
        }
        Action::Disconnect(role) => {
            let terminate = sqlx::query("select pg_terminate_backend(pid) from pg_stat_activity where usename = $1");
            terminate.bind(role).execute(&system.event_store).await?;
        }
        Action::Lock { database, statement } => lock(system, database, statement, lasts).await?,
        Action::ClockAhead => clock_ahead(system, lasts).await?,
        Action::DeleteMessage => {
            let stream = system.stream().await?;
            let state = stream.get_info().await?.state;
            ensure!(state.messages > 0, "the stream is empty");
            let sequence = state.first_sequence + pick % (state.last_sequence - state.first_sequence + 1);
            stream.delete_message(sequence).await?;
        }
        Action::PurgeStream => drop(system.stream().await?.purge().await?),
        Action::DeleteStream => system.delete_stream().await?,
        Action::ForeignStream => {
            foreign_stream(system).await?;
            lasts.pass().await;
            system.delete_stream().await?;
        }
        Action::DeleteConsumers => {
            let stream = system.stream().await?;
            let names: Vec<String> = stream.consumer_names().try_collect().await?;
            for name in names {
                stream.delete_consumer(&name).await?;
            }
        }
        Action::DamageStream => block_in_place(|| damage_stream(system, pick))?,
        Action::Cut(service, server) => broken(system, (service, server), pick, lasts, Mode::Cut).await?,
        Action::Hold(service, server) => broken(system, (service, server), pick, lasts, Mode::Hold).await?,
        Action::LosePackets(service, server) => {
            let port = proxy(system, (service, server))?.address.port();
            let _lost = block_in_place(|| Rules::lose_some(port))?;
            lasts.pass().await;
        }
        Action::LoseDirection(service, server) => {
            let port = proxy(system, (service, server))?.address.port();
            let _lost = block_in_place(|| Rules::lose_all(port, direction(pick)))?;
            lasts.pass().await;
        }
        Action::PowerLoss(roles) => block_in_place(|| lose_power(system, roles))?,
        Action::FullFileSystem(role) => {
            let full = block_in_place(|| system.native()?.disk(role)?.fill())?;
            lasts.pass().await;
            drop(full);
        }
        Action::Partition(..) | Action::Lose(_) => bail!("no fault of a native system"),
    }
    Ok(())
}

fn one(system: &System<'_>, role: &str, pick: u64) -> Result<ProcessId> {
    let processes = system.native()?.processes(role)?;
    processes.get(index(pick, processes.len())).copied().with_context(|| format!("no {role} is running"))
}

/// On SIGTERM, Postgres waits for its clients, which stay connected.
fn stop_signal(role: &str) -> Signal {
    if role == "postgres" { Signal::SIGINT } else { Signal::SIGTERM }
}

/// The supervisor starts nothing before everything has ended.
async fn end_everything(system: &System<'_>, signal: impl Fn(&str) -> Signal) -> Result<()> {
    let native = system.native()?;
    let mut ending = Vec::new();
    for role in SERVERS.into_iter().chain(SERVICES) {
        ending.extend(with_signal(&native.processes(role)?, signal(role)));
    }
    let stack = Arc::clone(&native.stack);
    spawn_blocking(move || {
        let _paused = stack.pause_supervisor();
        end_and_wait(&ending)
    })
    .await?
}

fn with_signal(processes: &[ProcessId], signal: Signal) -> impl Iterator<Item = (ProcessId, Signal)> {
    processes.iter().map(move |process| (*process, signal))
}

async fn end(processes: Vec<(ProcessId, Signal)>) -> Result<()> {
    spawn_blocking(move || end_and_wait(&processes)).await?
}

/// Waits until the processes have ended: otherwise the system would seem to work before the fault has happened. Like an orchestrator, it
/// kills those that take too long.
fn end_and_wait(processes: &[(ProcessId, Signal)]) -> Result<()> {
    let ids: Vec<ProcessId> = processes.iter().map(|(id, _)| *id).collect();
    for (id, signal) in processes {
        id.signal(*signal);
    }
    wait_until_ended(&ids).or_else(|_| {
        for id in &ids {
            id.signal(Signal::SIGKILL);
        }
        wait_until_ended(&ids)
    })
}

/// Arms a fail point, and waits until a process has died there.
async fn fail_at(system: &System<'_>, role: &str, point: &str) -> Result<()> {
    let processes = system.native()?.processes(role)?;
    let armed = system.native()?.fail_points().join(point);
    fs::write(&armed, [])?;
    let started = Instant::now();
    while armed.exists() || processes.iter().all(|process| process.is_alive()) {
        if started.elapsed() > FAILS_WITHIN {
            let _ = fs::remove_file(&armed);
            bail!("no process came to the point {point}");
        }
        sleep(POLL_INTERVAL).await;
    }
    Ok(())
}

/// Processes that are stopped while this exists.
struct Frozen(Vec<i32>);

impl Frozen {
    fn new(pids: Vec<i32>) -> Self {
        signal_all(&pids, Signal::SIGSTOP);
        Self(pids)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        signal_all(&self.0, Signal::SIGCONT);
    }
}

/// A process first, then its children: those of Postgres serve its clients.
fn with_children(id: ProcessId) -> Result<Vec<i32>> {
    let mut found = vec![id.pid];
    for entry in fs::read_dir("/proc")? {
        let pid = entry?.file_name().to_str().and_then(|name| name.parse().ok());
        found.extend(pid.filter(|pid| Stat::read(*pid).is_ok_and(|stat| stat.parent == id.pid)));
    }
    Ok(found)
}

/// Those that have ended meanwhile are left out.
fn signal_all(pids: &[i32], signal: Signal) {
    for pid in pids {
        let _ = kill(Pid::from_raw(*pid), signal);
    }
}

/// Limits a process and its children: those that it has when the limit begins, and those that have inherited it when it ends.
async fn limited(id: ProcessId, resource: &str, limit: u64, lasts: &Lasting<'_>) -> Result<()> {
    let usual = prlimit(id.pid, &[&format!("--{resource}"), "--output=SOFT", "--raw", "--noheadings"])?;
    let set = |limit: &str| {
        for pid in with_children(id)? {
            // It may have ended.
            let _ = prlimit(pid, &[&format!("--{resource}={limit}:")]);
        }
        Ok(())
    };
    set(&limit.to_string())?;
    lasts.pass().await;
    set(usual.trim())
}

/// As the user of the process: not every root may change the limits of others.
fn prlimit(pid: i32, arguments: &[&str]) -> Result<String> {
    let owner = fs::metadata(format!("/proc/{pid}"))?;
    let mut command = Command::new("prlimit");
    if owner.uid() != geteuid().as_raw() {
        command = Command::new("setpriv");
        command.args([format!("--reuid={}", owner.uid()), format!("--regid={}", owner.gid())]);
        command.args(["--clear-groups", "--", "prlimit"]);
    }
    let output = command.arg(format!("--pid={pid}")).args(arguments).output()?;
    ensure!(output.status.success(), "prlimit: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8(output.stdout)?)
}

/// The launcher reads the end of a log, which /dev/full does not have: a shell redirects the output instead.
async fn full_log(system: &System<'_>, role: &str, lasts: &Lasting<'_>) -> Result<()> {
    const SHELL: &str = "/bin/sh";
    let is_redirected = |program: &Program| program.path.as_os_str() == SHELL;
    let redirect = |server: &mut Server| {
        let program = &mut server.program;
        if !is_redirected(program) {
            let redirected = ["-c".into(), "exec \"$0\" \"$@\" >/dev/full 2>&1".into(), program.path.clone().into()];
            drop(program.arguments.splice(..0, redirected));
            program.path = SHELL.into();
        }
    };
    let undo = |server: &mut Server| {
        let program = &mut server.program;
        if is_redirected(program) {
            program.path = program.arguments.drain(..3).next_back().unwrap_or_default().into();
        }
    };
    system.native()?.change(role, redirect);
    lasts.pass().await;
    let redirected = system.native()?.processes(role)?;
    system.native()?.change(role, undo);
    spawn_blocking(move || wait_until_ended(&redirected)).await?
}

async fn lock(system: &System<'_>, database: &str, statement: &'static str, lasts: &Lasting<'_>) -> Result<()> {
    let mut connection = PgConnection::connect(&system.database_url(database)).await?;
    let mut attempts = 0;
    let transaction = loop {
        let mut transaction = connection.begin().await?;
        match raw_sql(statement).execute(&mut *transaction).await {
            Ok(_) => break transaction,
            // An append holds one of the locks and waits for another one: Postgres has aborted this transaction.
            Err(error) if is_deadlock(&error) && attempts < LOCK_ATTEMPTS => attempts += 1,
            Err(error) => return Err(error.into()),
        }
    };
    lasts.pass().await;
    Ok(transaction.rollback().await?)
}

fn is_deadlock(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.code().as_deref() == Some("40P01"))
}

/// The clock of the database is that of the machine: instead, the function that appends adds an hour to it.
async fn clock_ahead(system: &System<'_>, lasts: &Lasting<'_>) -> Result<()> {
    const DEFINITION: &str = "select pg_get_functiondef(oid) from pg_proc where proname = 'append_events'";
    let right: String = sqlx::query_scalar(DEFINITION).fetch_one(&system.event_store).await?;
    ensure!(!right.contains(AHEAD), "the clock is ahead already");
    let ahead = right.replace(CLOCK, AHEAD);
    ensure!(ahead != right, "appending does not read the clock");
    let changed = raw_sql(AssertSqlSafe(ahead)).execute(&system.event_store).await;
    if changed.is_ok() {
        lasts.pass().await;
    }
    // Also if the outcome is unknown. During a storm Postgres may be down.
    let started = Instant::now();
    while let Err(error) = raw_sql(AssertSqlSafe(right.clone())).execute(&system.event_store).await {
        ensure!(started.elapsed() < ENDS_WITHIN, error);
        sleep(POLL_INTERVAL).await;
    }
    changed?;
    Ok(())
}

/// The last message of the stream becomes another one. The relay creates a missing stream as well.
async fn foreign_stream(system: &System<'_>) -> Result<()> {
    let stream = system.stream().await?;
    let info = stream.get_info().await?;
    let last = stream.get_raw_message(info.state.last_sequence).await?;
    let mut event: Value = serde_json::from_slice(&last.payload)?;
    event["id"] = Value::from(Uuid::nil().to_string());
    let jetstream = system.jetstream().await?;
    system.delete_stream().await?;
    let config = Config { first_sequence: Some(last.sequence), ..info.config };
    jetstream.create_stream(config).await?;
    let foreign = PublishMessage::build().expected_last_sequence(last.sequence - 1).payload(event.to_string().into());
    jetstream.send_publish(last.subject, foreign).await?.await?;
    Ok(())
}

/// The supervisor starts nothing before the power is back.
fn lose_power(system: &System<'_>, roles: &[&str]) -> Result<()> {
    let _paused = system.native()?.stack.pause_supervisor();
    for role in roles {
        system.native()?.disk(role)?.cut_power()?;
    }
    for role in roles {
        kill_all(system, role)?;
        system.native()?.disk(role)?.restore_power()?;
    }
    Ok(())
}

/// NATS reads the files when it starts again.
fn damage_stream(system: &System<'_>, pick: u64) -> Result<()> {
    let _paused = system.native()?.stack.pause_supervisor();
    kill_all(system, "nats")?;
    let mut blocks = Vec::new();
    find_blocks(&system.native()?.folder.nats(), &mut blocks)?;
    blocks.sort();
    let block = blocks.get(index(pick, blocks.len())).context("the stream has no files")?;
    let mut bytes = fs::read(block)?;
    let at = index(pick, bytes.len());
    bytes.iter_mut().skip(at).take(DAMAGED_BYTES).for_each(|byte| *byte = !*byte);
    Ok(fs::write(block, bytes)?)
}

fn find_blocks(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            find_blocks(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "blk")
            && path.components().any(|part| part.as_os_str() == STREAM)
        {
            found.push(path);
        }
    }
    Ok(())
}

/// Returns when they have ended.
fn kill_all(system: &System<'_>, role: &str) -> Result<()> {
    let processes = system.native()?.processes(role)?;
    let mut dying = Vec::new();
    for process in &processes {
        dying.extend(with_children(*process)?);
    }
    signal_all(&dying, Signal::SIGKILL);
    wait_until_ended(&processes)
}

fn wait_until_ended(processes: &[ProcessId]) -> Result<()> {
    let started = Instant::now();
    while processes.iter().any(|id| id.is_alive()) {
        ensure!(started.elapsed() < ENDS_WITHIN, "a process has not ended within {ENDS_WITHIN:?}");
        thread::sleep(POLL_INTERVAL);
    }
    Ok(())
}

fn proxy<'a>(system: &'a System<'_>, link: (&'static str, &'static str)) -> Result<&'a Proxy> {
    system.native()?.proxies.get(&link).context("there is no such connection")
}

fn direction(pick: u64) -> Direction {
    if pick.is_multiple_of(2) { Direction::ToServer } else { Direction::ToClient }
}

async fn broken(
    system: &System<'_>,
    link: (&'static str, &'static str),
    pick: u64,
    lasts: &Lasting<'_>,
    mode: fn(Direction) -> Mode,
) -> Result<()> {
    let proxy = proxy(system, link)?;
    proxy.set(mode(direction(pick)), pick / 2 % MAX_BYTES);
    lasts.pass().await;
    proxy.set(Mode::Forward, 0);
    Ok(())
}
