//! What processes take: memory and CPU time, as the kernel counts them.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};

use crate::figures::count;
use stack::identity::Stat;
use stack::stack::Stack;

/// The unit of CPU time in /proc: 100 to the second on every architecture of Linux that Rust runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// By the name of the process.
pub type Usage = BTreeMap<String, f64>;

/// Resident memory in MB. Postgres is left out: most of it is one cache that all its processes share.
pub fn resident_mb(stack: &Stack) -> Result<Usage> {
    let mut usage = Usage::new();
    for process in stack.status().processes.into_iter().filter(|process| process.name != "postgres") {
        usage.insert(process.name, resident_mb_of(process.pid)?);
    }
    Ok(usage)
}

fn resident_mb_of(pid: i32) -> Result<f64> {
    let file = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
    let kilobytes = text.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix("kB"));
    let kilobytes: i64 = kilobytes.with_context(|| format!("{file} has no VmRSS"))?.trim().parse()?;
    Ok(count(kilobytes) * 1024.0 / 1e6)
}

/// CPU time in seconds since each process started, with its children: those of Postgres do its work.
pub fn cpu_seconds(stack: &Stack) -> Result<Usage> {
    let everybody = everybody()?;
    let mut usage = Usage::new();
    for process in stack.status().processes {
        let own = Stat::read(process.pid).with_context(|| format!("{} has ended", process.name))?;
        let children = everybody.iter().filter(|other| other.parent == process.pid);
        // Children that have ended are counted as waited for, so that nothing is lost or counted twice.
        let ticks = own.cpu_ticks + own.children_cpu_ticks + children.map(|child| child.cpu_ticks).sum::<u64>();
        usage.insert(process.name, count(i64::try_from(ticks)?) / TICKS_PER_SECOND);
    }
    Ok(usage)
}

fn everybody() -> Result<Vec<Stat>> {
    let pids = fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    // Who has ended since the folder was read is not there any more.
    Ok(pids.filter_map(|pid| Stat::read(pid).ok()).collect())
}

/// The larger of both, process by process.
pub fn raise(most: &mut Usage, now: Usage) {
    for (name, value) in now {
        let most = most.entry(name).or_default();
        *most = most.max(value);
    }
}
