//! Start-up time, memory and CPU time of each process.

use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use stack::{Stack, identity::Stat, options::Service, ports, probe::Probe, progress::Progress};

use crate::{
    Figure, Load, MOST_CONNECTIONS, READERS, Row, RunningLoad, Subject, Target, TestBed, Traffic, count, milliseconds,
};

const READY: Target = Target::AtMost(150.0);
const IDLE: Target = Target::AtMost(25.0);
const UNDER_LOAD: Target = Target::AtMost(120.0);

const STARTS: usize = 5;
/// The resolution of the start-up time.
const READY_POLL_INTERVAL: Duration = Duration::from_millis(1);
/// Lets lazy initialization finish before the memory of the idle stack is measured.
const SETTLING_TIME: Duration = Duration::from_secs(3);
const SAMPLE_INTERVAL: Duration = Duration::from_millis(200);
/// CPU time in /proc has this unit on every architecture of Linux that Rust supports.
const TICKS_PER_SECOND: f64 = 100.0;
/// CPU time is reported for this many purchases.
const PER_PURCHASES: f64 = 100_000.0;

/// By the name of the process.
pub type Usage = BTreeMap<String, f64>;

/// Memory soon after the start, before any load.
pub fn idle_memory(bed: &TestBed) -> Result<Usage> {
    bed.pause(SETTLING_TIME)?;
    resident_mb(&bed.stack)
}

pub fn measure(bed: &TestBed) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for name in Service::ALL.map(Service::name) {
        let what = format!("{name}: start to ready");
        let ready = Progress::Shown.measure(&format!("{what}, {STARTS} times"), || {
            let samples = (0..STARTS).map(|_| start_ms(bed, name)).collect::<Result<_>>()?;
            Ok(Figure::new("ms", samples))
        })?;
        rows.push(Row::new(what, ready).target(READY));
    }
    let (memory, cpu) = under_load(bed)?;
    for (state, usage, target) in [("idle", &bed.idle_memory, IDLE), ("under load", &memory, UNDER_LOAD)] {
        rows.extend(usage.iter().map(|(name, &megabytes)| {
            let is_service = Service::ALL.iter().any(|service| service.name() == name);
            let row = Row::new(format!("{name}: memory {state}"), Figure::new("MB", vec![megabytes]));
            row.target(is_service.then_some(target))
        }));
    }
    rows.extend(cpu.iter().map(|(name, &seconds)| {
        Row::new(format!("{name}: CPU time per 100,000 purchases"), Figure::new("s", vec![seconds]))
    }));
    Ok(rows)
}

/// Starts another process of a service with the same settings on another port, until it is ready.
fn start_ms(bed: &TestBed, name: &str) -> Result<f64> {
    let mut server = bed.stack.server(name)?.clone();
    server.address = ports::free()?;
    server.probe = Probe::Http { address: server.address, path: "/readyz".to_owned() };
    server.program.log = bed.folder.log(&format!("{name}-again"));
    server.program.environment.push(("LISTEN_ADDRESS".to_owned(), server.address.to_string()));
    let started = Instant::now();
    let mut process = server.start()?;
    while !server.probe.passes() && process.exit_status()?.is_none() && started.elapsed() < server.ready_within {
        thread::sleep(READY_POLL_INTERVAL);
    }
    let took = started.elapsed();
    // Reports why, unless it is ready.
    process.wait_ready(&server.probe, server.ready_within, &bed.interrupt)?;
    process.stop()?;
    Ok(milliseconds(took))
}

/// Peak memory during purchases and reads, and the CPU time of purchases until they are in the totals.
fn under_load(bed: &TestBed) -> Result<(Usage, Usage)> {
    let mut most = Usage::new();
    let mut drive = |subject: Subject, load: Load| {
        let name = format!("memory under load, {}, {} connections", subject.name, load.connections);
        let watched = || bed.drive(subject, load, |running| record_memory(bed, running, &mut most).map(|()| 0));
        Progress::Shown.measure(&name, watched)
    };
    bed.settle()?;
    let before = cpu_seconds(&bed.stack)?;
    let bought = drive(bed.purchases[0], bed.load(Traffic::Purchases, MOST_CONNECTIONS))?.answered;
    let after = cpu_seconds(&bed.stack)?;
    drive(bed.totals[0], bed.load(Traffic::Reads, READERS))?;
    let cpu = after.into_iter().map(|(name, after)| {
        let seconds = after - before.get(&name).copied().unwrap_or_default();
        (name, seconds * PER_PURCHASES / count(bought))
    });
    Ok((most, cpu.collect()))
}

/// Resident memory in MB. Without Postgres: its processes share most of their memory, a cache.
pub fn resident_mb(stack: &Stack) -> Result<Usage> {
    let processes = stack.status().processes.into_iter().filter(|process| process.name != "postgres");
    let usage = processes.map(|process| {
        let text = fs::read_to_string(format!("/proc/{}/status", process.pid))?;
        let kilobytes = text.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
        let kilobytes: i64 = kilobytes.with_context(|| format!("{} has ended", process.name))?.parse()?;
        Ok((process.name, count(kilobytes) * 1024.0 / 1e6))
    });
    usage.collect()
}

/// Raises `most` to the memory of each process until the load sends no more requests.
pub fn record_memory(bed: &TestBed, running: &RunningLoad, most: &mut Usage) -> Result<()> {
    while !running.remaining().is_zero() {
        for (name, now) in resident_mb(&bed.stack)? {
            let most = most.entry(name).or_default();
            *most = most.max(now);
        }
        bed.pause(SAMPLE_INTERVAL)?;
    }
    Ok(())
}

/// CPU time in seconds since each process started, including its children: those of Postgres do its work.
fn cpu_seconds(stack: &Stack) -> Result<Usage> {
    let pids = fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    // A process may end between the two reads.
    let all: Vec<Stat> = pids.filter_map(|pid| Stat::read(pid).ok()).collect();
    let usage = stack.status().processes.into_iter().map(|process| {
        let own = Stat::read(process.pid).with_context(|| format!("{} has ended", process.name))?;
        let children = all.iter().filter(|other| other.parent == process.pid);
        // A child is in `children_cpu_ticks` once it has ended, and in /proc until then.
        let ticks = own.cpu_ticks + own.children_cpu_ticks + children.map(|child| child.cpu_ticks).sum::<u64>();
        Ok((process.name, count(i64::try_from(ticks)?) / TICKS_PER_SECOND))
    });
    usage.collect()
}
