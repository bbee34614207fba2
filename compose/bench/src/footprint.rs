//! Start-up time, memory and CPU time of each process.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use tokio::time::sleep;

use crate::figures::{Figure, Unit, count, milliseconds};
use crate::load::{Load, Traffic};
use crate::row::{Row, Target};
use crate::settings::{MOST_CONNECTIONS, READERS};
use crate::test_bed::{Subject, TestBed};
use crate::usage::{Usage, cpu_seconds, record_memory, resident_mb};
use stack::options::Service;
use stack::ports;
use stack::probe::Probe;
use stack::progress::Progress;

const READY: Target = Target::AtMost(150.0);
const IDLE: Target = Target::AtMost(25.0);
const UNDER_LOAD: Target = Target::AtMost(120.0);

const STARTS: usize = 5;
/// The resolution of the start-up time.
const READY_POLL_INTERVAL: Duration = Duration::from_millis(1);
/// Lets lazy initialization finish before the memory of the idle stack is measured.
const SETTLING_TIME: Duration = Duration::from_secs(3);
pub const SAMPLE_INTERVAL: Duration = Duration::from_millis(200);
/// CPU time is reported for this many purchases.
const PER_PURCHASES: f64 = 100_000.0;

/// Memory soon after the start, before any load.
pub fn idle_memory(bed: &TestBed) -> Result<Usage> {
    bed.block_on(async {
        sleep(SETTLING_TIME).await;
        resident_mb(&bed.stack)
    })
}

pub fn measure(bed: &TestBed) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for name in Service::ALL.map(Service::name) {
        let what = format!("{name}: start to ready");
        let ready = Progress::Shown.measure(&format!("{what}, {STARTS} times"), || starts(bed, name))?;
        rows.push(Row::new(what, ready).target(READY));
    }
    let (memory, cpu) = under_load(bed)?;
    for (state, usage, target) in [("idle", &bed.idle_memory, IDLE), ("under load", &memory, UNDER_LOAD)] {
        rows.extend(usage.iter().map(|(name, &megabytes)| {
            let is_service = Service::ALL.iter().any(|service| service.name() == name);
            Row::new(format!("{name}: memory {state}"), Figure::single(Unit::Megabytes, megabytes))
                .target(is_service.then_some(target))
        }));
    }
    rows.extend(cpu.iter().map(|(name, &seconds)| {
        Row::new(format!("{name}: CPU time per 100,000 purchases"), Figure::single(Unit::Seconds, seconds))
    }));
    Ok(rows)
}

/// Starts another process of a service with the same settings on another port, and waits until it is ready.
fn starts(bed: &TestBed, name: &str) -> Result<Figure> {
    let mut samples = Vec::new();
    for _ in 0..STARTS {
        bed.interrupt.check()?;
        let mut server = bed.server(name)?.clone();
        server.address = ports::free()?;
        server.probe = Probe::Http { address: server.address, path: "/readyz".to_owned() };
        server.program.log = bed.folder.log(&format!("{name}-again"));
        server.program.environment.push(("LISTEN_ADDRESS".to_owned(), server.address.to_string()));
        let started = Instant::now();
        let mut process = server.start()?;
        while !server.probe.passes() {
            ensure!(started.elapsed() < server.ready_within, "{name} did not get ready");
            if let Some(status) = process.exit_status()? {
                bail!("{}", process.exit_report(status));
            }
            thread::sleep(READY_POLL_INTERVAL);
        }
        samples.push(milliseconds(started.elapsed()));
        process.stop()?;
    }
    Ok(Figure::new(Unit::Milliseconds, samples))
}

/// Peak memory during purchases and reads, and the CPU time of purchases until they are in the totals.
fn under_load(bed: &TestBed) -> Result<(Usage, Usage)> {
    let mut most = Usage::new();
    let mut drive = |subject: Subject, load: Load| {
        let name = format!("memory under load, {}, {} connections", subject.name, load.connections);
        Progress::Shown.measure(&name, || {
            bed.drive(subject, load, |running| {
                running.while_sending(SAMPLE_INTERVAL, || record_memory(&bed.stack, &mut most))
            })
        })
    };
    bed.settle()?;
    let before = cpu_seconds(&bed.stack)?;
    let bought = drive(bed.purchases[0], bed.load(Traffic::Purchases, MOST_CONNECTIONS))?.acknowledged;
    let after = cpu_seconds(&bed.stack)?;
    drive(bed.totals[0], bed.load(Traffic::Reads, READERS))?;
    let cpu = after.into_iter().map(|(name, after)| {
        let seconds = after - before.get(&name).copied().unwrap_or_default();
        (name, seconds * PER_PURCHASES / count(bought))
    });
    Ok((most, cpu.collect()))
}
