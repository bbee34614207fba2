//! `cargo stack torture`: breaks a system in many ways while clients use it.
//!
//! - [`options`]: the command line; [`on`]: what can be broken; [`kinds`]: the table of faults; [`plan`]: which of them when, by a seed;
//!   [`journal`]: what happened
//! - [`system`]: the system, either [`native`] with its [`disk`]s, or [`deployed`] in [`containers`]; [`addresses`]: where it is;
//!   [`proxy`]: on the way to its servers
//! - [`faults`]: injects faults, in a deployment with [`container_faults`]; [`lasting`]: when they end; [`firewall`]: lost packets
//! - [`clients`]: all clients; [`shopper`]: one, of the [`buyers`], [`slow_buyers`] or [`readers`]; [`memory`]: what they remember;
//!   [`answer`]: documented answers
//! - [`check`]: compares everything with the [`log`] and the [`stream`]; [`service_logs`]: appends that collided; [`alarms`]: metrics
//!   that have to show faults; [`report`]: the table; [`shrink`]: fewer faults

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, bail, ensure};
use chrono::Utc;
use futures::future::try_join_all;
use nix::unistd::geteuid;
use stack::data_folder::DataFolder;
use stack::interrupt::Interrupt;
use stack::progress::{Progress, print, seconds};
use stack::provision::remove_folder;
use tokio::runtime::Runtime;
use tokio::time::sleep;
use tokio::{join, select};
use tokio_util::sync::CancellationToken;

use self::check::Checker;
use self::journal::{Entry, Journal};
use self::kinds::Kind;
use self::memory::{Finding, Harm, Memory};
use self::on::On;
use self::options::Options;
use self::plan::{Plan, Round};
use self::report::{Outcome, Report};
use self::system::{Platform, System};
use crate::engine::Engine;
use crate::images::Images;

mod addresses;
mod alarms;
mod answer;
mod buyers;
mod check;
mod clients;
mod container_faults;
mod containers;
mod deployed;
mod disk;
mod faults;
mod firewall;
mod journal;
mod kinds;
mod lasting;
mod log;
mod memory;
mod native;
mod on;
pub mod options;
mod plan;
mod proxy;
mod readers;
mod report;
mod service_logs;
mod shopper;
mod shrink;
mod slow_buyers;
mod stream;
mod system;

const INTERRUPT_POLL_INTERVAL: Duration = Duration::from_millis(50);
/// The journal and the report have all of them.
const SHOWN_FINDINGS: usize = 3;

/// Breaks a system and prints the report. False if something was found. All programs have to be built already.
pub fn run(options: &Options) -> Result<bool> {
    if options.list {
        for kind in Kind::all(options.on) {
            print(kind.name);
        }
        return Ok(true);
    }
    ensure!(
        options.on == On::Native || !(options.power_loss || options.packet_loss),
        "only a native system can lose its power or packets"
    );
    let interrupt = Interrupt::listen()?;
    let running = || format!("another run uses {}; wait until it has finished", options.folder.display());
    let _lock = DataFolder::open(&options.folder)?.lock()?.with_context(running)?;
    let kinds = kinds(options)?;
    let with_disks = kinds.iter().any(Kind::needs_disks);
    let with_firewall = kinds.iter().any(Kind::needs_firewall);
    if !with_disks && options.on == On::Native {
        print("Without power losses and full file systems, which need root: --power-loss");
    }
    if !with_firewall && options.on == On::Native {
        print("Without lost packets, which need root: --packet-loss");
    }
    let (seed, rounds) = rounds(options, &kinds)?;
    let name = Utc::now().format("%Y%m%dT%H%M%SZ").to_string();
    let rounds = rounds.take(options.rounds.unwrap_or(usize::MAX));
    let engine = if options.on == On::Native { None } else { Some(engine()?) };
    let images = engine.as_ref().map(|engine| images(engine, options.on)).transpose()?;
    let run = Run { options, interrupt: &interrupt, seed, with_disks, with_firewall, images };
    let report = run.once(rounds, &options.folder.join(&name).with_extension("ndjson"))?;
    let saved = report.save(&options.folder, &name)?;
    print(format_args!("\n{}\nSaved as {saved}.json, .md and .ndjson, the journal", report.page()));
    if report.is_good() {
        remove_folder(&run.data())?;
    } else {
        print(format_args!("The logs are in {}", run.logs(&options.folder.join(&name)).display()));
        if options.shrink {
            run.shrink(&options.folder.join(name), &report)?;
        }
    }
    let without_effect = report.without_effect();
    ensure!(
        !report.is_good() || without_effect.is_empty(),
        "no fault of these kinds had an effect, see the journal: {}",
        without_effect.join(", ")
    );
    Ok(report.is_good())
}

struct Run<'a> {
    options: &'a Options,
    interrupt: &'a Interrupt,
    seed: u64,
    /// Postgres and NATS have disks of their own.
    with_disks: bool,
    with_firewall: bool,
    /// Of a deployment.
    images: Option<Images<'a>>,
}

/// The Docker engine of this machine.
fn engine() -> Result<Engine> {
    ensure!(geteuid().is_root(), "only root can enter the networks of containers");
    Engine::find()?.map_err(Error::msg)
}

fn images(engine: &Engine, on: On) -> Result<Images<'_>> {
    let images = Images::find_or_build(engine)?.map_err(Error::msg)?;
    if on == On::HighAvailability {
        images.provide_high_availability()?;
    }
    Ok(images)
}

impl Run<'_> {
    fn data(&self) -> PathBuf {
        self.options.folder.join("data")
    }

    /// Of the services, after a run that has failed.
    fn logs(&self, name: &Path) -> PathBuf {
        if self.images.is_some() { name.with_extension("log") } else { self.data().join("logs") }
    }

    /// Starts a system, breaks it and stops it.
    fn once(&self, rounds: impl Iterator<Item = Round>, journal_file: &Path) -> Result<Report> {
        let started_at = Utc::now();
        let journal = Journal::create(journal_file)?;
        journal.write(Entry::Run { seed: self.seed })?;
        disk::unmount_all(&self.data())?;
        if self.with_firewall {
            firewall::remove_orphans()?;
        }
        remove_folder(&self.data())?;
        let runtime = Runtime::new()?;
        Progress::Shown.heading(format_args!("Starting, seed {}", self.seed));
        let (platform, addresses) = if let Some(images) = &self.images {
            let (deployed, addresses) = deployed::start(self.options.on, images, self.interrupt, &runtime)?;
            (Platform::Deployed(Box::new(deployed)), addresses)
        } else {
            let folder = DataFolder::open(&self.data())?;
            let (native, addresses) = native::start(folder, self.with_disks, self.interrupt, &runtime)?;
            (Platform::Native(native), addresses)
        };
        let system = System::new(self.options.on, platform, addresses, &runtime)?;
        let interrupted = async {
            while !self.interrupt.is_raised() {
                sleep(INTERRUPT_POLL_INTERVAL).await;
            }
        };
        let report = runtime.block_on(async {
            select! {
                report = torture(&system, rounds, self.seed, self.options, &journal) => report,
                () = interrupted => bail!("interrupted"),
            }
        });
        if let Platform::Deployed(deployed) = &system.platform
            && !report.as_ref().is_ok_and(Report::is_good)
        {
            fs::write(self.logs(journal_file), deployed.deployment.log())?;
        }
        drop(system);
        Ok(Report { started_at, command: self.options.command(self.seed), ..report? })
    }

    /// Leaves faults out of a run that has failed until it no longer fails, and saves the last plan that did as a journal.
    fn shrink(&self, name: &Path, report: &Report) -> Result<()> {
        let tried = name.with_extension("tried.ndjson");
        let shortest = name.with_extension("shortest.ndjson");
        let (_, rounds) = Journal::read(&name.with_extension("ndjson"))?;
        // What happened afterwards has no part in it.
        let failed = rounds.iter().take_while(|round| Some(round.number) <= report.first_failure).cloned();
        let rounds: Vec<Round> = if report.first_failure.is_some() { failed.collect() } else { rounds };
        let found = shrink::shrink(&rounds, |fewer| {
            let faults: usize = fewer.iter().map(|round| round.faults.len()).sum();
            Progress::Shown.heading(format_args!("Trying {faults} faults"));
            Ok(!self.once(fewer.iter().cloned(), &tried)?.is_good())
        })?;
        let journal = Journal::create(&shortest)?;
        journal.write(Entry::Run { seed: self.seed })?;
        for round in found {
            for fault in &round.faults {
                print(format_args!(
                    "  {:>4}  {} at {} ms for {} ms",
                    round.number, fault.kind, fault.at_ms, fault.lasts_ms
                ));
            }
            journal.write(Entry::Round(round))?;
        }
        print(format_args!("Repeat them with: cargo stack torture --replay {}", shortest.display()));
        Ok(())
    }
}

/// The kinds that the run chooses from, or repeats.
fn kinds(options: &Options) -> Result<Vec<Kind>> {
    let all = Kind::all(options.on);
    let kinds: Vec<Kind> = match &options.replay {
        Some(journal) => {
            let (_, rounds) = Journal::read(journal)?;
            rounds
                .iter()
                .flat_map(|round| &round.faults)
                .map(|fault| Kind::named(&fault.kind))
                .collect::<Result<_>>()?
        }
        None => options.only.clone(),
    };
    if let Some(Kind { name, .. }) = kinds.iter().find(|kind| !all.contains(kind)) {
        bail!("{name} is no fault of a system that is {}; --list lists them", options.on.name());
    }
    let is_possible =
        |kind: &Kind| (options.power_loss || !kind.needs_disks()) && (options.packet_loss || !kind.needs_firewall());
    Ok(if kinds.is_empty() { all.into_iter().filter(is_possible).collect() } else { kinds })
}

/// The seed, and the rounds in their order.
fn rounds(options: &Options, kinds: &[Kind]) -> Result<(u64, Box<dyn Iterator<Item = Round>>)> {
    if let Some(journal) = &options.replay {
        let (seed, rounds) = Journal::read(journal)?;
        return Ok((seed, Box::new(rounds.into_iter())));
    }
    let seed = options.seed.unwrap_or_else(rand::random);
    Ok((seed, Box::new(Plan::new(seed, kinds))))
}

async fn torture(
    system: &System<'_>,
    rounds: impl Iterator<Item = Round>,
    seed: u64,
    options: &Options,
    journal: &Journal,
) -> Result<Report> {
    let (started, started_at) = (Instant::now(), Utc::now());
    let memory = Arc::new(Memory::new());
    let heals_within = options.heals_within.map_or(system.on.heals_within(), Duration::from_secs);
    let mut checker = Checker::new(system, heals_within)?;
    if let Err(missing) = checker.wait_until_healed(system).await {
        memory.found(Harm::Wrong, format!("the system is not ready before the first fault: {missing}"));
        return Ok(Report::new(seed, started_at, &[], memory.end().findings));
    }
    let stopping = CancellationToken::new();
    let clients = clients::start(&system.entrances, &memory, seed, &stopping)?;
    let mut outcomes = Vec::new();
    for round in rounds {
        if started.elapsed() > Duration::from_mins(options.minutes) {
            break;
        }
        let outcome = torture_once(system, round, &mut checker, &memory, journal).await?;
        print(line(&outcome, started.elapsed()));
        let is_beyond_help = outcome.healed.is_err() && !help(system, &checker, journal).await?;
        let is_enough = options.until_found && outcome.has_failed();
        outcomes.push(outcome);
        if is_beyond_help || is_enough {
            break;
        }
    }
    stopping.cancel();
    clients.join_all().await;
    Progress::Shown.heading("Checking everything");
    checker.check_all(system, &memory).await?;
    let report = Report::new(seed, started_at, &outcomes, memory.end().findings);
    Ok(Report { purchases: memory.purchases_after(0).len(), events: checker.events(), ..report })
}

/// Injects the faults of a round, waits until the system has healed, and checks it.
async fn torture_once(
    system: &System<'_>,
    round: Round,
    checker: &mut Checker,
    memory: &Memory,
    journal: &Journal,
) -> Result<Outcome> {
    journal.write(Entry::Round(round.clone()))?;
    let mut kinds = Vec::new();
    for fault in &round.faults {
        kinds.push(Kind::named(&fault.kind)?);
    }
    let known_answers = kinds.iter().flat_map(Kind::known_answers).collect();
    memory.begin(known_answers, kinds.iter().all(Kind::drains_command_api));
    let (raised, ended) = (CancellationToken::new(), CancellationToken::new());
    let alarm = alarms::expected(&round)?;
    let awaited = alarm.map(|_| (&raised, checker.heals_within));
    let inject = async {
        let _ended = ended.clone().drop_guard();
        try_join_all(round.faults.iter().map(|fault| faults::inject(system, fault, awaited, journal))).await
    };
    let watch = async {
        let Some(alarm) = alarm else { return true };
        let _raised = raised.clone().drop_guard();
        ended.run_until_cancelled(checker.wait_until_raised(alarm, system)).await.is_some()
    };
    let (had_effect, raised) = join!(inject, watch);
    let had_effect = had_effect?;
    if let Some(alarm) = alarm.filter(|_| !raised && had_effect.contains(&true)) {
        memory.found(Harm::Silent, format!("{} was not raised", alarm.metric));
    }
    let healed = checker.wait_until_healed(system).await;
    match &healed {
        Ok(after) => {
            journal.event(format!("healed after {}", seconds(*after)))?;
            checker.check(system, memory).await;
        }
        Err(missing) => journal.event(format!("not healed: {missing}"))?,
    }
    let period = memory.end();
    for Finding { harm, what } in &period.findings {
        journal.event(format!("{harm:?}: {what}"))?;
    }
    let injected = had_effect.into_iter().filter(|had_effect| *had_effect).count();
    let in_time = healed.as_ref().is_ok_and(|after| *after <= checker.heals_within);
    Ok(Outcome { round, injected, period, healed, in_time })
}

/// Restarts everything that is native. True if the system works again.
async fn help(system: &System<'_>, checker: &Checker, journal: &Journal) -> Result<bool> {
    if let Platform::Native(native) = &system.platform {
        journal.event("everything is restarted")?;
        native.restart_all();
    }
    Ok(checker.wait_until_healed(system).await.is_ok())
}

fn line(outcome: &Outcome, elapsed: Duration) -> String {
    let Outcome { round, period, healed, .. } = outcome;
    let kinds: Vec<&str> = round.faults.iter().map(|fault| fault.kind.as_str()).collect();
    let healed = healed.as_ref().map_or_else(|missing| format!("not healed: {missing}"), |after| seconds(*after));
    let mut line = format!(
        "  {:>5} s  {:>4}  {:<60}  no purchases {}, no totals {}, healed after {healed}",
        elapsed.as_secs(),
        round.number,
        kinds.join(" + "),
        seconds(period.no_purchases),
        seconds(period.no_totals),
    );
    for Finding { harm, what } in period.findings.iter().take(SHOWN_FINDINGS) {
        let _ = write!(line, "\n           {harm:?}: {what}");
    }
    line
}
