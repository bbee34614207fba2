//! The measured environment: machine, versions, settings of Postgres.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::thread::available_parallelism;
use std::time::Instant;

use anyhow::Result;
use serde::Serialize;
use stack::{checkout, tool::Tool};

use crate::{Figure, ONE_ROW_CONNECTIONS, TestBed, milliseconds};

/// What a commit does at least: it writes and syncs a page of the write-ahead log.
const SYNCED_BYTES: usize = 8192;
const SYNCS: usize = 200;

const POSTGRES_SETTINGS: &str = "select name, current_setting(name) from unnest(array['fsync', 'synchronous_commit',
    'full_page_writes', 'wal_sync_method', 'shared_buffers', 'max_wal_size', 'max_connections', 'jit']) as name";

type Entries = BTreeMap<String, String>;

#[derive(Clone, Debug, Serialize)]
pub struct Environment {
    pub machine: Entries,
    pub versions: Entries,
    pub postgres_settings: Entries,
    pub baselines: Entries,
}

pub fn describe(bed: &TestBed) -> Result<Environment> {
    let folder = bed.folder.path();
    let from_proc = |file, name| -> Result<_> {
        let text = fs::read_to_string(file)?;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.split_once(':'));
        Ok(value.map_or("unknown", |(_, value)| value.trim()).to_owned())
    };
    let of_server =
        |name, argument| -> Result<_> { Ok(first_line(&bed.stack.server(name)?.program.path, &[argument])) };
    let settings = async { Ok(sqlx::query_as(POSTGRES_SETTINGS).fetch_all(&bed.event_store).await?) };
    Ok(Environment {
        machine: entries([
            ("processor", from_proc("/proc/cpuinfo", "model name")?),
            ("cores", available_parallelism()?.to_string()),
            ("memory", from_proc("/proc/meminfo", "MemTotal")?),
            ("kernel", first_line("uname", &["-r"])),
            ("file system", first_line("findmnt", &["-no", "FSTYPE", "--target", &folder.to_string_lossy()])),
            ("write and sync of 8 KiB", sync_time(folder)?.to_string()),
        ]),
        versions: entries([
            ("commit", first_line("git", &["describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=, changed"])),
            ("rustc", first_line("rustc", &["--version"])),
            ("postgres", of_server("postgres", "--version")?),
            ("nats-server", of_server("nats", "--version")?),
            ("traefik", of_server("traefik", "version")?),
            ("wrk", first_line("wrk", &["--version"])),
        ]),
        postgres_settings: bed.block_on::<Vec<(String, String)>>(settings)?.into_iter().collect(),
        baselines: entries([("connections in the pool of one row each", ONE_ROW_CONNECTIONS.to_string())]),
    })
}

fn entries<const N: usize>(entries: [(&str, String); N]) -> Entries {
    entries.map(|(name, value)| (name.to_owned(), value)).into()
}

fn sync_time(folder: &Path) -> Result<Figure> {
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
    Ok(Figure::new("ms", samples))
}

/// Whether the program succeeds or not: `wrk --version` exits with 1.
fn first_line(program: impl AsRef<Path>, arguments: &[&str]) -> String {
    let output = Tool::new(program).args(arguments).in_folder(checkout::root()).everything();
    output.lines().next().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}
