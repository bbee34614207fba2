//! `cargo stack bench`: measures a stack of its own, beside baselines of its own.
//!
//! - [`settings`]: what is measured, how often and for how long; [`environment`]: on what
//! - [`rig`]: the stack and what it is compared with, all running at once and driven one after the other
//! - [`load`]: wrk, whose every purchase is counted, and its [`answers`]; [`ledger`]: acknowledged = stored = projected; [`driver`]: both
//! - [`purchases`], [`reads`], [`visible`], [`streams`], [`rebuild`], [`footprint`], [`growth`]: the sections
//! - [`usage`]: memory and CPU time of processes; [`fill`]: a log that has grown
//! - [`figures`], [`row`], [`report`]: what came out

use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use stack::data_folder::DataFolder;
use stack::interrupt::Interrupt;
use stack::progress::Progress;
use stack::provision::remove_folder;

use self::driver::Bench;
use self::report::Report;
use self::rig::Rig;
use self::row::Row;
use self::settings::{Section, Settings};

mod answers;
mod driver;
mod environment;
mod figures;
mod fill;
mod footprint;
mod growth;
mod ledger;
mod load;
mod purchases;
mod reads;
mod rebuild;
mod report;
mod rig;
mod row;
pub mod settings;
mod streams;
mod usage;
mod visible;

/// Files that each process may have to have open: Traefik has two for each of the connections that keep to a rate, and
/// everybody some more.
pub const OPEN_FILES: u64 = 2 * load::MOST_OPEN_CONNECTIONS as u64 + 1000;

/// Measures, saves the results in `folder` and shows them. Everything has to be built before.
pub fn run(folder: &Path, settings: Settings, interrupt: &Interrupt) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let _only_one = lock(folder)?;
    let data = folder.join("data");
    remove_folder(&data)?;
    let measured = measure(&data, settings, interrupt);
    if measured.is_err() && !interrupt.is_raised() {
        let logs = data.join("logs");
        return measured.map(drop).with_context(|| format!("the bench failed; its logs are in {}", logs.display()));
    }
    remove_folder(&data)?;
    let report = measured?;
    let saved = report.save(folder)?;
    println!("\n{}\nSaved as {saved}.json and {saved}.md", report.page());
    Ok(())
}

fn measure(data: &Path, settings: Settings, interrupt: &Interrupt) -> Result<Report> {
    let started = Instant::now();
    let progress = Progress::Shown;
    progress.heading("Starting");
    let rig = Rig::start(DataFolder::open(data)?, progress, interrupt)?;
    let mut bench = Bench::new(rig, settings, progress, interrupt)?;
    let environment = environment::describe(&bench)?;
    bench.idle = footprint::Idle::look(&bench)?;
    let mut report = Report::new(environment, bench.settings.clone());
    let sections = bench.settings.sections.clone();
    for (index, &section) in sections.iter().enumerate() {
        let minutes = started.elapsed().as_secs() / 60;
        let name = section.name();
        progress.heading(format_args!("[{} of {}] {name}, {minutes} min after the start", index + 1, sections.len()));
        let rows = measure_section(&mut bench, section)?;
        report.add(section, rows);
    }
    report.finish(started.elapsed());
    Ok(report)
}

fn measure_section(bench: &mut Bench, section: Section) -> Result<Vec<Row>> {
    match section {
        Section::Purchases => purchases::direct(bench),
        Section::Traefik => purchases::through_traefik(bench),
        Section::Reads => reads::measure(bench),
        Section::Visible => visible::measure(bench),
        Section::Streams => streams::measure(bench),
        Section::Rebuild => rebuild::measure(bench),
        Section::Footprint => footprint::measure(bench),
        Section::Growth => growth::measure(bench),
    }
}

/// Two benches at once would remove each other's data, and measure each other.
fn lock(folder: &Path) -> Result<File> {
    let file = File::create(folder.join("lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!("another bench is running in {}; wait for it", folder.display()),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}
