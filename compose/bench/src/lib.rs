//! `cargo stack bench`: measures a stack and its baselines, all of them on their own data and ports.
//!
//! - [`settings`]: sections, repetitions, durations; [`environment`]: machine and versions
//! - [`test_bed`]: the stack and its baselines; [`drive`]: puts them under load in turns
//! - [`load`], [`wrk`]: the load generator; [`consistency_check`]: acknowledged = stored = projected
//! - [`rates`], [`visible`], [`streams`], [`rebuild`], [`footprint`], [`growth`]: the sections
//! - [`usage`]: memory and CPU time of processes; [`fill`]: fills the log
//! - [`figures`], [`runs`], [`row`], [`report`]: the results

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use chrono::{SubsecRound, Utc};

use stack::data_folder::DataFolder;
use stack::interrupt::Interrupt;
use stack::progress::Progress;
use stack::provision::remove_folder;

use self::report::{Measured, Report};
use self::row::Row;
use self::settings::{Section, Settings};
use self::test_bed::TestBed;

mod consistency_check;
mod drive;
mod environment;
mod figures;
mod fill;
mod footprint;
mod growth;
mod load;
mod rates;
mod rebuild;
mod report;
mod row;
mod runs;
pub mod settings;
mod streams;
mod test_bed;
mod usage;
mod visible;
mod wrk;

/// Limit of open files for each process: Traefik has two for each connection of a load at a fixed rate.
pub const OPEN_FILES: u64 = 2 * load::MAX_OPEN_CONNECTIONS as u64 + 1000;

/// Measures, saves the results in `folder` and prints them. All programs have to be built already.
pub fn run(folder: &Path, settings: Settings, interrupt: &Interrupt) -> Result<()> {
    // Two benches at once would remove each other's data and slow each other down.
    let running = || format!("another bench is running in {}; wait until it has finished", folder.display());
    let _lock = DataFolder::open(folder)?.lock()?.with_context(running)?;
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
    let (started_at, started) = (Utc::now().trunc_subsecs(0), Instant::now());
    Progress::Shown.heading("Starting");
    let mut bed = TestBed::start(DataFolder::open(data)?, settings.clone(), interrupt)?;
    let environment = environment::describe(&bed)?;
    bed.idle_memory = footprint::idle_memory(&bed)?;
    let mut sections = Vec::new();
    for (index, &section) in settings.sections.iter().enumerate() {
        let minutes = started.elapsed().as_secs() / 60;
        let (number, name) = (settings.sections.len(), section.name());
        Progress::Shown.heading(format_args!("[{} of {number}] {name}, {minutes} min after the start", index + 1));
        sections.push(Measured { section, rows: measure_section(&mut bed, section)? });
    }
    Ok(Report { started_at, took_s: started.elapsed().as_secs(), settings, environment, sections })
}

fn measure_section(bed: &mut TestBed, section: Section) -> Result<Vec<Row>> {
    match section {
        Section::Purchases => rates::purchases(bed),
        Section::Traefik => rates::purchases_through_traefik(bed),
        Section::Reads => rates::reads(bed),
        Section::Visible => visible::measure(bed),
        Section::Streams => streams::measure(bed),
        Section::Rebuild => rebuild::measure(bed),
        Section::Footprint => footprint::measure(bed),
        Section::Growth => growth::measure(bed),
    }
}
