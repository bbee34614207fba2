//! How fast the log is read and counted again, beside Postgres' own binary copy of the same rows.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::TryStreamExt;
use serde::Deserialize;
use sqlx::postgres::PgPoolCopyExt;

use crate::driver::Bench;
use crate::figures::{Figure, Unit, count, number, whole};
use crate::fill::fill;
use crate::row::{Row, Target};
use stack::checkout;
use stack::process::Process;
use stack::provision::remove_folder;

const BESIDE_COPY: Target = Target::RatioAtLeast(0.5);

/// A hundred million events at a tenth of what is aimed at.
const REBUILT_WITHIN: Duration = Duration::from_hours(1);
const TO_US: &str = "copy (select * from event order by position) to stdout (format binary)";
const TO_NOWHERE: &str = "copy (select * from event order by position) to '/dev/null' (format binary)";

pub fn measure(bench: &mut Bench) -> Result<Vec<Row>> {
    fill(bench, bench.settings.rebuilt_events)?;
    let events = bench.block_on(bench.ledger.settle())?;
    let (mut rebuilt, mut copied, mut copied_within) = (Vec::new(), Vec::new(), Vec::new());
    let (mut verified, mut replayed, mut downloaded) = (Vec::new(), Vec::new(), Vec::new());
    let (mut exported, mut written) = (Vec::new(), Vec::new());
    let named = |what: &str| format!("{what} {} events", whole(events));
    let measure = |what: &str, samples: &mut Vec<f64>, run: &dyn Fn() -> Result<f64>| -> Result<()> {
        bench.progress.measure(what, || {
            let rate = run()?;
            samples.push(rate);
            Ok(format!("{:>9}/s", number(rate)))
        })?;
        Ok(())
    };
    for _ in 0..bench.settings.repetitions {
        measure(&named("rebuild"), &mut rebuilt, &|| rebuild(bench))?;
        measure(&named("copy to a client"), &mut copied, &|| copy_to_us(bench, events))?;
        measure(&named("copy within the server"), &mut copied_within, &|| copy_to_nowhere(bench, events))?;
        measure(&named("verify"), &mut verified, &|| audit(bench, events, &["verify"]))?;
        measure(&named("replay"), &mut replayed, &|| audit(bench, events, &["replay"]))?;
        let file = bench.rig.folder.path().join("export/log.ndjson");
        measure(&named("export"), &mut exported, &|| export(bench, events, &file))?;
        measure(&named("write the same bytes of"), &mut written, &|| write_again(&file, events))?;
        remove_folder(file.parent().context("a file is in a folder")?)?;
        measure(&named("stream over HTTP"), &mut downloaded, &|| download(bench, events))?;
    }
    let figure = |samples| Figure::new(Unit::PerSecond, samples);
    Ok(vec![
        Row::new(named("rebuild of"), figure(rebuilt.clone()))
            .beside("binary COPY to a client", figure(copied.clone()))
            .target(BESIDE_COPY),
        Row::new(named("rebuild of"), figure(rebuilt)).beside("binary COPY within the server", figure(copied_within)),
        Row::new(named("auditor verify,"), figure(verified))
            .beside("binary COPY to a client", figure(copied.clone()))
            .target(BESIDE_COPY),
        Row::new(named("auditor replay,"), figure(replayed))
            .beside("binary COPY to a client", figure(copied.clone()))
            .target(BESIDE_COPY),
        Row::new(named("auditor export,"), figure(exported.clone()))
            .beside("binary COPY to a client", figure(copied.clone()))
            .target(BESIDE_COPY),
        Row::new(named("auditor export,"), figure(exported)).beside("the same bytes, only written", figure(written)),
        Row::new(named("stream over HTTP of"), figure(downloaded)).beside("binary COPY to a client", figure(copied)),
    ])
}

/// Runs `projector rebuild` with the settings of the running projector. Returns events per second by its own account.
fn rebuild(bench: &Bench) -> Result<f64> {
    /// Its last line.
    #[derive(Deserialize)]
    struct Told {
        per_second: i64,
        compared_with_old: String,
    }
    let mut program = bench.rig.server("projector")?.program.clone();
    "rebuild".clone_into(&mut program.name);
    program.arguments = vec!["rebuild".into()];
    program.log = bench.rig.folder.log("rebuild");
    program.environment.push(("LOG_FORMAT".to_owned(), "json".to_owned()));
    let log = program.log.clone();
    Process::start(program)?.wait_success(REBUILT_WITHIN, &bench.interrupt)?;
    let text = fs::read_to_string(&log)?;
    let told: Option<Told> = text.lines().rev().find_map(|line| serde_json::from_str(line).ok());
    let told = told.with_context(|| format!("{} does not say how fast the rebuild was", log.display()))?;
    ensure!(told.compared_with_old == "Same", "the rebuilt read model is another one: {}", told.compared_with_old);
    Ok(count(told.per_second))
}

/// What any reader of the log has to take at least.
fn copy_to_us(bench: &Bench, events: i64) -> Result<f64> {
    bench.block_on(async {
        let started = Instant::now();
        let mut bytes = bench.ledger.event_store.copy_out_raw(TO_US).await?;
        while bytes.try_next().await?.is_some() {}
        Ok(count(events) / started.elapsed().as_secs_f64())
    })
}

/// What the server alone takes.
fn copy_to_nowhere(bench: &Bench, events: i64) -> Result<f64> {
    bench.block_on(async {
        let started = Instant::now();
        sqlx::raw_sql(TO_NOWHERE).execute(&bench.ledger.event_store).await?;
        Ok(count(events) / started.elapsed().as_secs_f64())
    })
}

/// Runs the auditor's command line on the databases, with every checkpoint that was signed. Returns events per second.
fn audit(bench: &Bench, events: i64, arguments: &[&str]) -> Result<f64> {
    let mut program = bench.rig.server("projector")?.program.clone();
    "auditor".clone_into(&mut program.name);
    program.path = checkout::binary("auditor")?;
    program.arguments = arguments.iter().map(Into::into).collect();
    program.log = bench.rig.folder.log("auditor");
    let key = bench.rig.folder.checkpoint_public_key();
    program.environment.push(("CHECKPOINT_PUBLIC_KEY".to_owned(), key.display().to_string()));
    let started = Instant::now();
    Process::start(program)?.wait_success(REBUILT_WITHIN, &bench.interrupt)?;
    Ok(count(events) / started.elapsed().as_secs_f64())
}

fn export(bench: &Bench, events: i64, file: &Path) -> Result<f64> {
    fs::create_dir_all(file.parent().context("a file is in a folder")?)?;
    audit(bench, events, &["export", "--output", &file.display().to_string()])
}

/// What the disk alone takes.
fn write_again(file: &Path, events: i64) -> Result<f64> {
    let mut original = File::open(file)?;
    let mut copy = File::create(file.with_extension("copy"))?;
    let started = Instant::now();
    io::copy(&mut original, &mut copy)?;
    copy.sync_all()?;
    Ok(count(events) / started.elapsed().as_secs_f64())
}

/// What an auditor gets who has no access to the database.
fn download(bench: &Bench, events: i64) -> Result<f64> {
    bench.block_on(async {
        let started = Instant::now();
        let url = format!("http://{}/api/events?until={events}", bench.rig.addresses.query_api);
        // The log is larger than what any other request may take.
        let request = bench.ledger.http.get(url).timeout(REBUILT_WITHIN).header("accept", "application/x-ndjson");
        let mut body = request.send().await?.error_for_status()?.bytes_stream();
        let mut lines = 0;
        while let Some(bytes) = body.try_next().await? {
            lines += bytes.iter().map(|byte| i64::from(*byte == b'\n')).sum::<i64>();
        }
        ensure!(lines == events, "{lines} of {events} events came");
        Ok(count(lines) / started.elapsed().as_secs_f64())
    })
}
