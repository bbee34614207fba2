//! What each process takes: time to start, memory, CPU time.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use crate::driver::{Bench, Subject};
use crate::figures::{Figure, Unit, count};
use crate::ledger::Books;
use crate::load::{Load, Traffic};
use crate::row::{Row, Target};
use crate::settings::{MOST_CONNECTIONS, READERS};
use crate::usage::{Usage, cpu_seconds, raise, resident_mb};
use stack::options::Service;
use stack::ports;
use stack::probe::Probe;

const READY: Target = Target::AtMost(150.0);
const IDLE: Target = Target::AtMost(25.0);
const UNDER_LOAD: Target = Target::AtMost(120.0);

const STARTS: usize = 5;
/// How finely the time to start is measured.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// For what starts lazily, before the memory of an idle system is looked at.
const SETTLED_AFTER: Duration = Duration::from_secs(3);
const SAMPLE_EVERY: Duration = Duration::from_millis(200);
/// Purchases to which CPU time is related.
const PER_PURCHASES: f64 = 100_000.0;

/// Memory soon after the start, before any load.
#[derive(Debug, Default)]
pub struct Idle(Usage);

impl Idle {
    pub fn look(bench: &Bench) -> Result<Self> {
        let started = Instant::now();
        while started.elapsed() < SETTLED_AFTER {
            bench.interrupt.check()?;
            thread::sleep(SAMPLE_EVERY);
        }
        Ok(Self(resident_mb(&bench.rig.stack)?))
    }
}

pub fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for service in Service::ALL {
        let name = service.name();
        let ready =
            bench.progress.measure(&format!("{name}: start to ready, {STARTS} times"), || starts(bench, name))?;
        rows.push(Row::new(format!("{name}: start to ready"), ready).target(READY));
    }
    let (memory, cpu) = under_load(bench)?;
    let is_ours = |name: &str| Service::ALL.iter().any(|service| service.name() == name);
    let megabytes = |value: f64| Figure::new(Unit::Megabytes, vec![value]);
    for (name, &idle) in &bench.idle.0 {
        rows.push(Row::new(format!("{name}: memory idle"), megabytes(idle)).target(is_ours(name).then_some(IDLE)));
    }
    for (name, &most) in &memory {
        let target = is_ours(name).then_some(UNDER_LOAD);
        rows.push(Row::new(format!("{name}: memory under load"), megabytes(most)).target(target));
    }
    for (name, &seconds) in &cpu {
        let what = format!("{name}: CPU time per 100,000 purchases");
        rows.push(Row::new(what, Figure::new(Unit::Seconds, vec![seconds])));
    }
    Ok(rows)
}

/// Starts one more process of a service, with the same settings on another port, until it is ready.
fn starts(bench: &Bench, name: &str) -> Result<Figure> {
    let mut samples = Vec::new();
    for _ in 0..STARTS {
        bench.interrupt.check()?;
        let mut server = bench.rig.server(name)?.clone();
        server.address = ports::free()?;
        server.probe = Probe::Http { address: server.address, path: "/readyz".to_owned() };
        server.program.log = bench.rig.folder.log(&format!("{name}-again"));
        server.program.environment.push(("LISTEN_ADDRESS".to_owned(), server.address.to_string()));
        let started = Instant::now();
        let mut process = server.start()?;
        while !server.probe.passes() {
            ensure!(started.elapsed() < server.ready_within, "{name} did not get ready");
            if let Some(status) = process.exit_status()? {
                bail!("{}", process.exit_report(status));
            }
            thread::sleep(LOOK_AGAIN);
        }
        samples.push(started.elapsed().as_secs_f64() * 1000.0);
        process.stop()?;
    }
    Ok(Figure::new(Unit::Milliseconds, samples))
}

/// The most memory while licences are bought and while totals are read, and the CPU time that purchases take until they
/// are in the totals.
fn under_load(bench: &Bench) -> Result<(Usage, Usage)> {
    let mut most = Usage::new();
    let buy = bench.load(Traffic::Purchases, MOST_CONNECTIONS);
    let read = bench.load(Traffic::Reads, READERS);
    let readers = Subject { name: "totals", address: bench.rig.addresses.query_api, books: Books::None };
    bench.block_on(bench.ledger.settle())?;
    let before = cpu_seconds(&bench.rig.stack)?;
    let bought = sampled(bench, bench.command_api(), buy, &mut most)?;
    let after = cpu_seconds(&bench.rig.stack)?;
    sampled(bench, readers, read, &mut most)?;
    let per = PER_PURCHASES / count(bought);
    let cpu = after.into_iter().map(|(name, after)| {
        let seconds = (after - before.get(&name).copied().unwrap_or_default()) * per;
        (name, seconds)
    });
    Ok((most, cpu.collect()))
}

fn sampled(bench: &Bench, subject: Subject, load: Load, most: &mut Usage) -> Result<i64> {
    let name = format!("memory under load, {}, {} connections", subject.name, load.connections);
    let measured = bench.progress.measure(&name, || {
        bench.drive(subject, load, |running| {
            while running.is_sending() {
                raise(most, resident_mb(&bench.rig.stack)?);
                bench.interrupt.check()?;
                thread::sleep(SAMPLE_EVERY);
            }
            Ok(())
        })
    })?;
    Ok(measured.acknowledged)
}
