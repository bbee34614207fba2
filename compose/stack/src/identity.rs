//! Identifies a process by its id and start time: the kernel reuses ids, but not with the same start time.

use std::fmt;
use std::fs;
use std::io;
use std::process::Child;
use std::str::FromStr;

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    pub pid: i32,
    /// In clock ticks since boot.
    start_time: u64,
}

impl ProcessId {
    pub fn of_child(child: &Child) -> io::Result<Self> {
        // An exited child keeps its entry in /proc until its parent waits for it.
        Self::of(i32::try_from(child.id()).map_err(io::Error::other)?)
    }

    pub fn own() -> io::Result<Self> {
        Self::of(Pid::this().as_raw())
    }

    /// Of the process that has this id now.
    pub fn of(pid: i32) -> io::Result<Self> {
        Ok(Self { pid, start_time: Stat::read(pid)?.start_time })
    }

    /// False for a zombie too, once its last thread has ended.
    pub fn is_alive(self) -> bool {
        Stat::read(self.pid).is_ok_and(|stat| stat.start_time == self.start_time && !stat.has_ended)
    }

    /// Does nothing if the process has ended.
    pub fn signal(self, signal: Signal) {
        if self.is_alive() {
            let _ = signal::kill(Pid::from_raw(self.pid), signal);
        }
    }
}

/// `pid-start_time`, for the names of folders.
impl fmt::Display for ProcessId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.pid, self.start_time)
    }
}

impl FromStr for ProcessId {
    type Err = io::Error;

    fn from_str(text: &str) -> io::Result<Self> {
        let (pid, start_time) = text.split_once('-').ok_or(io::ErrorKind::InvalidInput)?;
        let parse = || Some(Self { pid: pid.parse().ok()?, start_time: start_time.parse().ok()? });
        parse().ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }
}

/// Fields of `/proc/<pid>/stat`.
#[derive(Debug)]
pub struct Stat {
    has_ended: bool,
    start_time: u64,
    pub parent: i32,
    /// CPU time in clock ticks: its own, and that of the children it has waited for.
    pub cpu_ticks: u64,
    pub children_cpu_ticks: u64,
}

impl Stat {
    pub fn read(pid: i32) -> io::Result<Self> {
        let line = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        Self::parse(&line).ok_or_else(|| io::Error::other(format!("cannot read /proc/{pid}/stat: {line}")))
    }

    /// Fields as in proc(5). The second one, the name in parentheses, may itself contain spaces and parentheses.
    fn parse(line: &str) -> Option<Self> {
        const STATE: usize = 3;
        const PARENT: usize = 4;
        const USER_TIME: usize = 14;
        const SYSTEM_TIME: usize = 15;
        const CHILDREN_USER_TIME: usize = 16;
        const CHILDREN_SYSTEM_TIME: usize = 17;
        const THREADS: usize = 20;
        const START_TIME: usize = 22;
        let (_, after_name) = line.rsplit_once(") ")?;
        let field = |number: usize| after_name.split(' ').nth(number - STATE);
        let integer = |number| field(number)?.parse::<u64>().ok();
        Some(Self {
            // A killed process is a zombie as soon as its first thread has ended; the other threads may still hold its sockets and files.
            has_ended: matches!(field(STATE)?, "Z" | "X") && integer(THREADS)? <= 1,
            start_time: integer(START_TIME)?,
            parent: field(PARENT)?.parse().ok()?,
            cpu_ticks: integer(USER_TIME)? + integer(SYSTEM_TIME)?,
            children_cpu_ticks: integer(CHILDREN_USER_TIME)? + integer(CHILDREN_SYSTEM_TIME)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zombie_with_threads_has_not_ended() {
        let stat = |state: &str, threads: u32| {
            let line = format!("7 (a) b) {state} 1 7 7 0 -1 0 0 0 0 0 6 5 4 3 20 0 {threads} 0 99 0 0");
            Stat::parse(&line).unwrap().has_ended
        };
        assert!(!stat("S", 3));
        assert!(!stat("Z", 3), "it may still accept connections");
        assert!(stat("Z", 1));
        assert!(stat("X", 0));
    }
}
