//! Rebuild, replay and export of the log, compared with Postgres' own binary copy of the same rows.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::TryStreamExt;
use serde::Deserialize;
use sqlx::postgres::PgPoolCopyExt;
use stack::{checkout, launch::Program, process::Process, progress::Progress};

use crate::{Figure, Row, Target, TestBed, count, fill, whole};

const TO_COPY: Target = Target::RatioAtLeast(0.5);

/// 100 million events at a tenth of the expected rate.
const TIME_LIMIT: Duration = Duration::from_hours(1);
const COPY_TO_CLIENT: &str = "copy (select * from event order by position) to stdout (format binary)";
const COPY_WITHIN_SERVER: &str = "copy (select * from event order by position) to '/dev/null' (format binary)";

/// Returns events per second.
type Measurement = fn(&TestBed, i64) -> Result<f64>;

const MEASUREMENTS: [(&str, Measurement); 8] = [
    ("rebuild", rebuild),
    ("copy to a client", copy_to_client),
    ("copy within the server", copy_within_server),
    ("verify", |bed, events| audit(bed, events, &["verify"])),
    ("replay", |bed, events| audit(bed, events, &["replay"])),
    ("export", |bed, events| audit(bed, events, &["export", "--output", &exported_file(bed).to_string_lossy()])),
    ("write the same bytes of", write_again),
    ("stream over HTTP", download),
];

pub fn measure(bed: &mut TestBed) -> Result<Vec<Row>> {
    fill(bed, bed.options.rebuilt_events)?;
    let events = bed.settle()?;
    let named = |what: &str| format!("{what} {} events", whole(events));
    let mut samples = MEASUREMENTS.map(|_| Vec::new());
    for _ in 0..bed.options.repetitions {
        for ((what, run), samples) in MEASUREMENTS.iter().zip(&mut samples) {
            let rate = || Ok(Figure::new("1/s", vec![run(bed, events)?]));
            samples.push(Progress::Shown.measure(&named(what), rate)?.median);
        }
    }
    let [rebuilt, copied, copied_within, verified, replayed, exported, written, downloaded] =
        samples.map(|samples| Figure::new("1/s", samples));
    let row = |what, figure: &Figure, baseline, by| Row::new(named(what), figure.clone()).relative_to(baseline, by);
    let relative_to_copy = |what, figure| row(what, figure, "binary COPY to a client", &copied);
    Ok(vec![
        relative_to_copy("rebuild of", &rebuilt).target(TO_COPY),
        row("rebuild of", &rebuilt, "binary COPY within the server", &copied_within),
        relative_to_copy("auditor verify,", &verified).target(TO_COPY),
        relative_to_copy("auditor replay,", &replayed).target(TO_COPY),
        relative_to_copy("auditor export,", &exported).target(TO_COPY),
        row("auditor export,", &exported, "the same bytes, only written", &written),
        relative_to_copy("stream over HTTP of", &downloaded),
    ])
}

/// Runs `projector rebuild` with the settings of the running projector. It reports its own rate.
fn rebuild(bed: &TestBed, _events: i64) -> Result<f64> {
    #[derive(Deserialize)]
    struct Summary {
        per_second: i64,
        compared_with_old: String,
    }
    let mut program = projector(bed, "rebuild", &["rebuild"])?;
    program.environment.push(("LOG_FORMAT".to_owned(), "json".to_owned()));
    let log = program.log.clone();
    Process::start(program)?.wait_success(TIME_LIMIT, &bed.interrupt)?;
    let text = fs::read_to_string(&log)?;
    let summary: Option<Summary> = text.lines().rev().find_map(|line| serde_json::from_str(line).ok());
    let summary = summary.with_context(|| format!("{} has no summary of the rebuild", log.display()))?;
    ensure!(summary.compared_with_old == "Same", "the rebuilt read model differs: {}", summary.compared_with_old);
    Ok(count(summary.per_second))
}

/// The minimum for any reader of the log.
fn copy_to_client(bed: &TestBed, events: i64) -> Result<f64> {
    let copy = async {
        let mut bytes = bed.event_store.copy_out_raw(COPY_TO_CLIENT).await?;
        while bytes.try_next().await?.is_some() {}
        Ok(())
    };
    per_second(events, || bed.block_on(copy))
}

/// The minimum for the server.
fn copy_within_server(bed: &TestBed, events: i64) -> Result<f64> {
    per_second(events, || bed.execute(COPY_WITHIN_SERVER))
}

/// Runs the auditor on the databases, with all signed checkpoints.
fn audit(bed: &TestBed, events: i64, arguments: &[&str]) -> Result<f64> {
    let mut program = projector(bed, "auditor", arguments)?;
    program.path = checkout::binary("auditor")?;
    let key = bed.folder.checkpoint_public_key();
    program.environment.push(("CHECKPOINT_PUBLIC_KEY".to_owned(), key.display().to_string()));
    per_second(events, || Process::start(program)?.wait_success(TIME_LIMIT, &bed.interrupt))
}

/// The minimum for the disk. Removes the exported file.
fn write_again(bed: &TestBed, events: i64) -> Result<f64> {
    let (file, copied_file) = (exported_file(bed), exported_file(bed).with_extension("copy"));
    let (mut original, mut copy) = (File::open(&file)?, File::create(&copied_file)?);
    let rate = per_second(events, || {
        io::copy(&mut original, &mut copy)?;
        Ok(copy.sync_all()?)
    })?;
    fs::remove_file(file)?;
    fs::remove_file(copied_file)?;
    Ok(rate)
}

/// Streams the log as a client without access to the database does.
fn download(bed: &TestBed, events: i64) -> Result<f64> {
    let url = format!("http://{}/api/events?until={events}", bed.query_api);
    let request = bed.http.get(url).timeout(TIME_LIMIT).header("accept", "application/x-ndjson");
    let download = async {
        let mut body = request.send().await?.error_for_status()?.bytes_stream();
        let mut lines = 0;
        while let Some(bytes) = body.try_next().await? {
            lines += bytes.iter().map(|byte| i64::from(*byte == b'\n')).sum::<i64>();
        }
        ensure!(lines == events, "{lines} of {events} events were received");
        Ok(())
    };
    per_second(events, || bed.block_on(download))
}

fn per_second(events: i64, run: impl FnOnce() -> Result<()>) -> Result<f64> {
    let started = Instant::now();
    run()?;
    Ok(count(events) / started.elapsed().as_secs_f64())
}

/// A program with the settings of the running projector.
fn projector(bed: &TestBed, name: &str, arguments: &[&str]) -> Result<Program> {
    let program = bed.stack.server("projector")?.program.clone();
    let (name, log) = (name.to_owned(), bed.folder.log(name));
    Ok(Program { name, log, arguments: arguments.iter().map(Into::into).collect(), ..program })
}

fn exported_file(bed: &TestBed) -> PathBuf {
    bed.folder.path().join("log.ndjson")
}
