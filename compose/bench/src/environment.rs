//! On what was measured: the machine, the versions, the settings of Postgres.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::thread::available_parallelism;
use std::time::Instant;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::driver::Bench;
use crate::figures::{median, number};
use crate::rig::ONE_ROW_CONNECTIONS;
use stack::checkout;

/// What a commit does to the disk: a page of the write-ahead log is written and synced.
const SYNCED_BYTES: usize = 8192;
const SYNCS: usize = 200;

const POSTGRES_SETTINGS: [&str; 8] = [
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "wal_sync_method",
    "shared_buffers",
    "max_wal_size",
    "max_connections",
    "jit",
];

#[derive(Clone, Debug, Serialize)]
pub struct Environment {
    pub machine: BTreeMap<&'static str, String>,
    pub versions: BTreeMap<&'static str, String>,
    pub postgres_settings: BTreeMap<&'static str, String>,
    pub baselines: BTreeMap<&'static str, String>,
}

pub fn describe(bench: &Bench) -> Result<Environment> {
    Ok(Environment {
        machine: machine(bench.rig.folder.path())?,
        versions: versions(bench)?,
        postgres_settings: bench.block_on(postgres_settings(bench))?,
        baselines: [("connections in the pool of one row each", ONE_ROW_CONNECTIONS.to_string())].into(),
    })
}

fn machine(data: &Path) -> Result<BTreeMap<&'static str, String>> {
    let processors = fs::read_to_string("/proc/cpuinfo")?;
    let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let memory = fs::read_to_string("/proc/meminfo")?;
    let total = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or("unknown");
    Ok(BTreeMap::from([
        ("processor", model.map_or("unknown", |(_, model)| model).to_owned()),
        ("cores", available_parallelism()?.to_string()),
        ("memory", total.trim().to_owned()),
        ("kernel", fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned()),
        ("file system", file_system(data)?),
        ("write and sync of 8 KiB", format!("{} ms", number(sync_ms(data)?))),
    ]))
}

/// Of the mount that the folder lies on: the longest of those above it.
fn file_system(folder: &Path) -> Result<String> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let above = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let (_, point, kind) = (fields.next()?, fields.next()?, fields.next()?);
        folder.starts_with(point).then_some((point.len(), kind))
    });
    Ok(above.max().map_or("unknown", |(_, kind)| kind).to_owned())
}

fn sync_ms(folder: &Path) -> Result<f64> {
    let path = folder.join("sync");
    let mut file = File::create(&path)?;
    let mut samples = Vec::new();
    for _ in 0..SYNCS {
        let started = Instant::now();
        file.write_all(&[1; SYNCED_BYTES])?;
        file.sync_data()?;
        samples.push(started.elapsed().as_secs_f64() * 1000.0);
    }
    fs::remove_file(&path)?;
    Ok(median(&samples))
}

fn versions(bench: &Bench) -> Result<BTreeMap<&'static str, String>> {
    let program = |name| -> Result<_> { Ok(bench.rig.server(name)?.program.path.clone()) };
    let changes =
        said("git", ["-C".as_ref(), checkout::root().as_os_str(), "status".as_ref(), "--porcelain".as_ref()])?;
    let commit = said("git", ["-C".as_ref(), checkout::root().as_os_str(), "rev-parse".as_ref(), "HEAD".as_ref()])?;
    let commit = if changes.is_empty() { commit } else { format!("{commit}, with changes") };
    Ok(BTreeMap::from([
        ("commit", commit),
        ("rustc", first_line(&said("rustc", ["--version".as_ref()])?)),
        ("postgres", first_line(&said(program("postgres")?, ["--version".as_ref()])?)),
        ("nats-server", first_line(&said(program("nats")?, ["--version".as_ref()])?)),
        ("traefik", first_line(&said(program("traefik")?, ["version".as_ref()])?)),
        ("wrk", first_line(&said("wrk", ["--version".as_ref()])?)),
    ]))
}

fn said<'a>(program: impl AsRef<OsStr>, arguments: impl IntoIterator<Item = &'a OsStr>) -> Result<String> {
    let program = program.as_ref();
    let output = Command::new(program).args(arguments).output();
    let output = output.with_context(|| format!("cannot run {}", program.display()))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Without the padding of a column.
fn first_line(text: &str) -> String {
    let words = text.lines().next().unwrap_or_default().split_whitespace();
    words.collect::<Vec<_>>().join(" ")
}

/// As the server has them, whoever set them.
async fn postgres_settings(bench: &Bench) -> Result<BTreeMap<&'static str, String>> {
    let mut settings = BTreeMap::new();
    for name in POSTGRES_SETTINGS {
        let value = sqlx::query_scalar("select current_setting($1)").bind(name);
        settings.insert(name, value.fetch_one(&bench.ledger.event_store).await?);
    }
    Ok(settings)
}
