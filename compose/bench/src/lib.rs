//! `cargo stack bench`: measures a stack and its baselines, all of them on their own data and ports.
//!
//! - [`options`]: sections, repetitions, durations; [`environment`]: machine and versions
//! - [`test_bed`]: the stack and its baselines; [`drive`]: puts them under load in turns
//! - [`load`]: the load generator; [`consistency_check`]: acknowledged = stored = projected
//! - [`rates`], [`visible`], [`streams`], [`rebuild`], [`watch`], [`footprint`], [`pages`], [`growth`]: the sections
//! - [`figures`], [`report`]: the results

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use chrono::{SubsecRound, Utc};
use stack::data_folder::DataFolder;
use stack::interrupt::Interrupt;
use stack::open_files;
use stack::progress::{Progress, print};
use stack::provision::remove_folder;

use self::drive::Runs;
use self::environment::Environment;
use self::figures::{Figure, Latency, count, milliseconds, number, percentile, whole};
use self::footprint::{Usage, record_memory, resident_mb};
use self::growth::fill;
use self::load::{Answers, Load, RunningLoad, Traffic, open_connections};
use self::options::{MOST_CONNECTIONS, Options, READERS, Section};
use self::report::{Report, Results, Row, Target};
use self::test_bed::{ONE_ROW_CONNECTIONS, Storage, Subject, TestBed};

mod consistency_check;
mod drive;
mod environment;
mod figures;
mod footprint;
mod growth;
mod load;
pub mod options;
mod pages;
mod rates;
mod rebuild;
mod report;
mod streams;
mod test_bed;
mod visible;
mod watch;

/// Limit of open files for each process: Traefik has two for each connection of a load at a fixed rate.
const OPEN_FILES: u64 = 2 * load::MAX_OPEN_CONNECTIONS as u64 + 1000;

/// Measures, saves the results in the folder and prints them. All programs have to be built already.
pub fn run(options: &Options) -> Result<()> {
    let interrupt = Interrupt::listen()?;
    open_files::allow(OPEN_FILES)?;
    if options.sections.contains(&Section::Pages) {
        pages::provide_browser()?;
    }
    // Two benches at once would remove each other's data and slow each other down.
    let folder = &options.folder;
    let running = || format!("another bench is running in {}; wait until it has finished", folder.display());
    let _lock = DataFolder::open(folder)?.lock()?.with_context(running)?;
    let data = folder.join("data");
    remove_folder(&data)?;
    let measured = measure(&data, options, &interrupt);
    if measured.is_err() && !interrupt.is_raised() {
        let logs = data.join("logs");
        return measured.map(drop).with_context(|| format!("the bench failed; its logs are in {}", logs.display()));
    }
    remove_folder(&data)?;
    let report = measured?;
    let saved = report.save(folder)?;
    print(format_args!("\n{}\nSaved as {saved}.json and {saved}.md", report.page()));
    Ok(())
}

fn measure(data: &Path, options: &Options, interrupt: &Interrupt) -> Result<Report> {
    let (started_at, started) = (Utc::now().trunc_subsecs(0), Instant::now());
    Progress::Shown.heading("Starting");
    let mut bed = TestBed::start(DataFolder::open(data)?, options, interrupt)?;
    let environment = environment::describe(&bed)?;
    bed.idle_memory = footprint::idle_memory(&bed)?;
    // In the order of the sections, whatever the order of the options: some use the results of others.
    let selected: BTreeSet<_> = options.sections.iter().copied().collect();
    let mut sections = Vec::new();
    for &section in &selected {
        let (index, number, minutes) = (sections.len() + 1, selected.len(), started.elapsed().as_secs() / 60);
        Progress::Shown
            .heading(format_args!("[{index} of {number}] {}, {minutes} min after the start", section.title()));
        let rows = match section {
            Section::Purchases => rates::purchases(&mut bed),
            Section::Traefik => rates::purchases_through_traefik(&mut bed),
            Section::Reads => rates::reads(&mut bed),
            Section::Visible => visible::measure(&bed),
            Section::Streams => streams::measure(&bed),
            Section::Rebuild => rebuild::measure(&mut bed),
            Section::Watch => watch::measure(&mut bed),
            Section::Footprint => footprint::measure(&bed),
            Section::Pages => pages::measure(&bed),
            Section::Growth => growth::measure(&mut bed),
        }?;
        sections.push(Results { section, rows });
    }
    Ok(Report { started_at, took_s: started.elapsed().as_secs(), settings: options.clone(), environment, sections })
}
