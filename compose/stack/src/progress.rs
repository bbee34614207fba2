//! Prints a line for each step with its duration.

use std::fmt::Display;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// How long progress waits for a reader, in milliseconds, before lines are dropped.
const READER_TIMEOUT_MS: u16 = 1000;
/// A pipe that accepts a byte accepts as many (`PIPE_BUF`) at once. Half of them may be in the buffer of standard output.
const CHUNK_BYTES: usize = 2048;

/// Prints a line of a result. Unlike `println!`, it does not panic if the output is closed, as `head` does.
pub fn print(line: impl Display) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// Prints a line of progress. It is dropped if the output is closed, full, or not read: a stack continues without it, and stops in order.
pub fn note(line: impl Display) {
    static IS_STUCK: AtomicBool = AtomicBool::new(false);
    write_if_read(&mut io::stdout(), &format!("{line}\n"), &IS_STUCK);
}

/// Prints a line as an error, in the same way.
pub fn report(line: impl Display) {
    static IS_STUCK: AtomicBool = AtomicBool::new(false);
    write_if_read(&mut io::stderr(), &format!("{line}\n"), &IS_STUCK);
}

fn write_if_read(output: &mut (impl Write + AsFd), text: &str, is_stuck: &AtomicBool) {
    for chunk in text.as_bytes().chunks(CHUNK_BYTES) {
        // Only the first time, so that a supervisor does not wait with each line.
        let timeout = if is_stuck.load(Ordering::Relaxed) { 0 } else { READER_TIMEOUT_MS };
        let ready = poll(&mut [PollFd::new(output.as_fd(), PollFlags::POLLOUT)], PollTimeout::from(timeout));
        is_stuck.store(ready == Ok(0), Ordering::Relaxed);
        if ready == Ok(0) || output.write_all(chunk).is_err() {
            return;
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    Shown,
    /// For tests.
    Silent,
}

impl Progress {
    pub fn heading(self, text: impl Display) {
        if self == Self::Shown {
            note(text);
        }
    }

    /// Runs one step and prints how long it took.
    pub fn step<T>(self, name: &str, run: impl FnOnce() -> Result<T>) -> Result<T> {
        let started = Instant::now();
        let result = run()?;
        self.done(name, started.elapsed());
        Ok(result)
    }

    /// Prints the name of a measurement before it runs, and its result afterwards.
    pub fn measure<T: Display>(self, name: &str, run: impl FnOnce() -> Result<T>) -> Result<T> {
        if self == Self::Shown {
            // Fails only if the terminal is closed.
            let _ = write!(io::stdout(), "  {name:<56} ").and_then(|()| io::stdout().flush());
        }
        let result = run();
        if self == Self::Shown {
            match &result {
                Ok(measured) => print(measured),
                Err(_) => print("failed"),
            }
        }
        result
    }

    pub fn done(self, name: &str, took: Duration) {
        if self == Self::Shown {
            note(format_args!("  {name:<28} {:>8}", seconds(took)));
        }
    }
}

pub fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn progress_that_no_one_reads_is_dropped() {
        let (mut reader, mut writer) = io::pipe().unwrap();
        let is_stuck = AtomicBool::new(false);
        let text = "a line\n".repeat(1000);
        let mut lines = 0;
        while !is_stuck.load(Ordering::Relaxed) {
            write_if_read(&mut writer, &text, &is_stuck);
            lines += 1;
        }
        assert!(lines > 1, "the pipe holds some");
        write_if_read(&mut writer, &text, &is_stuck);
        let mut held = vec![0; text.len()];
        reader.read_exact(&mut held).unwrap();
        write_if_read(&mut writer, "another line\n", &is_stuck);
        drop(writer);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        assert!(rest.ends_with("another line\n"), "it is read again");
    }
}
