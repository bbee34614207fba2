//! The measured environment: machine, versions, settings of Postgres.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::thread::available_parallelism;
use std::time::Instant;

use anyhow::Result;
use serde::Serialize;

use crate::figures::{median, milliseconds, number};
use crate::test_bed::{ONE_ROW_CONNECTIONS, TestBed};
use stack::checkout;
use stack::tool::Tool;

/// What a commit does at least: it writes and syncs a page of the write-ahead log.
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

type Entries = BTreeMap<&'static str, String>;

#[derive(Clone, Debug, Serialize)]
pub struct Environment {
    pub machine: Entries,
    pub versions: Entries,
    pub postgres_settings: Entries,
    pub baselines: Entries,
}

pub fn describe(bed: &TestBed) -> Result<Environment> {
    Ok(Environment {
        machine: machine(bed.folder.path())?,
        versions: versions(bed)?,
        postgres_settings: postgres_settings(bed)?,
        baselines: [("connections in the pool of one row each", ONE_ROW_CONNECTIONS.to_string())].into(),
    })
}

fn machine(data: &Path) -> Result<Entries> {
    let processors = fs::read_to_string("/proc/cpuinfo")?;
    let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let memory = fs::read_to_string("/proc/meminfo")?;
    let total = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or("unknown");
    Ok(Entries::from([
        ("processor", model.map_or("unknown", |(_, model)| model).to_owned()),
        ("cores", available_parallelism()?.to_string()),
        ("memory", total.trim().to_owned()),
        ("kernel", first_line(Tool::new("uname").arg("-r"))),
        ("file system", first_line(Tool::new("findmnt").args(["-no", "FSTYPE", "--target"]).arg(data))),
        ("write and sync of 8 KiB", format!("{} ms", number(sync_ms(data)?))),
    ]))
}

fn sync_ms(folder: &Path) -> Result<f64> {
    let path = folder.join("sync");
    let mut file = File::create(&path)?;
    let mut samples = Vec::new();
    for _ in 0..SYNCS {
        let started = Instant::now();
        file.write_all(&[1; SYNCED_BYTES])?;
        file.sync_data()?;
        samples.push(milliseconds(started.elapsed()));
    }
    fs::remove_file(&path)?;
    Ok(median(&samples))
}

fn versions(bed: &TestBed) -> Result<Entries> {
    let git = |arguments: &[&str]| Tool::new("git").args(arguments).in_folder(checkout::root()).output();
    let of_server =
        |name, argument| -> Result<_> { Ok(first_line(Tool::new(&bed.server(name)?.program.path).arg(argument))) };
    let changes = if git(&["status", "--porcelain"])?.is_empty() { "" } else { ", with changes" };
    Ok(Entries::from([
        ("commit", format!("{}{changes}", git(&["rev-parse", "HEAD"])?.trim())),
        ("rustc", first_line(Tool::new("rustc").arg("--version"))),
        ("postgres", of_server("postgres", "--version")?),
        ("nats-server", of_server("nats", "--version")?),
        ("traefik", of_server("traefik", "version")?),
        ("wrk", first_line(Tool::new("wrk").arg("--version"))),
    ]))
}

/// Whether the tool succeeds or not: `wrk --version` exits with 1.
fn first_line(tool: Tool) -> String {
    let output = tool.everything();
    output.lines().next().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn postgres_settings(bed: &TestBed) -> Result<Entries> {
    let settings = sqlx::query_scalar("select current_setting(name) from unnest($1::text[]) as name");
    let settings: Vec<String> =
        bed.block_on(async { Ok(settings.bind(POSTGRES_SETTINGS.as_slice()).fetch_all(&bed.event_store).await?) })?;
    Ok(POSTGRES_SETTINGS.into_iter().zip(settings).collect())
}
