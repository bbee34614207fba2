//! How fast the log is read and counted again, beside Postgres' own binary copy of the same rows.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::TryStreamExt;
use serde::Deserialize;
use sqlx::postgres::PgPoolCopyExt;

use super::driver::Bench;
use super::figures::{Figure, Unit, count, number, whole};
use super::fill::fill;
use super::row::{Row, Target};
use crate::process::Process;

const BESIDE_COPY: Target = Target::RatioAtLeast(0.5);

/// A hundred million events at a tenth of what is aimed at.
const REBUILT_WITHIN: Duration = Duration::from_hours(1);
/// The most that query-api gives at once.
const PAGE: i64 = 1000;

const TO_US: &str = "copy (select * from event order by position) to stdout (format binary)";
const TO_NOWHERE: &str = "copy (select * from event order by position) to '/dev/null' (format binary)";

pub fn measure(bench: &mut Bench) -> Result<Vec<Row>> {
    fill(bench, bench.settings.rebuilt_events)?;
    let events = bench.block_on(bench.ledger.settle())?;
    let (mut rebuilt, mut copied, mut copied_within, mut paged) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
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
        measure("pages over HTTP, one after the other", &mut paged, &|| read_pages(bench, events))?;
    }
    let figure = |samples| Figure::new(Unit::PerSecond, samples);
    Ok(vec![
        Row::new(named("rebuild of"), figure(rebuilt.clone()))
            .beside("binary COPY to a client", figure(copied.clone()))
            .target(BESIDE_COPY),
        Row::new(named("rebuild of"), figure(rebuilt)).beside("binary COPY within the server", figure(copied_within)),
        Row::new(format!("replay over HTTP, pages of {PAGE} events"), figure(paged))
            .beside("binary COPY to a client", figure(copied)),
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

/// What an auditor does, page after page, for as long as a load lasts.
fn read_pages(bench: &Bench, events: i64) -> Result<f64> {
    let started = Instant::now();
    bench.block_on(async {
        let mut read = 0;
        while read < events && started.elapsed() < bench.settings.load_time() {
            let url = format!("http://{}/api/events?after={read}&limit={PAGE}", bench.rig.addresses.query_api);
            bench.ledger.http.get(url).send().await?.error_for_status()?.bytes().await?;
            read = events.min(read + PAGE);
        }
        Ok(count(read) / started.elapsed().as_secs_f64())
    })
}
