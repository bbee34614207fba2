//! Memory and CPU time of the stack's processes, from /proc.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};

use crate::figures::count;
use stack::identity::Stat;
use stack::stack::Stack;

/// CPU time in /proc has this unit on every architecture of Linux that Rust supports.
const TICKS_PER_SECOND: f64 = 100.0;

/// By the name of the process.
pub type Usage = BTreeMap<String, f64>;

/// Resident memory in MB. Without Postgres: its processes share most of their memory, a cache.
pub fn resident_mb(stack: &Stack) -> Result<Usage> {
    let processes = stack.status().processes.into_iter().filter(|process| process.name != "postgres");
    processes.map(|process| Ok((process.name, resident_mb_of(process.pid)?))).collect()
}

fn resident_mb_of(pid: i32) -> Result<f64> {
    let file = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
    let kilobytes = text.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix("kB"));
    let kilobytes: i64 = kilobytes.with_context(|| format!("{file} has no VmRSS"))?.trim().parse()?;
    Ok(count(kilobytes) * 1024.0 / 1e6)
}

/// Raises `most` to the memory that each process has now.
pub fn record_memory(stack: &Stack, most: &mut Usage) -> Result<()> {
    for (name, now) in resident_mb(stack)? {
        let most = most.entry(name).or_default();
        *most = most.max(now);
    }
    Ok(())
}

/// CPU time in seconds since each process started, including its children: those of Postgres do its work.
pub fn cpu_seconds(stack: &Stack) -> Result<Usage> {
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
