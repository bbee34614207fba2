//! Prints a line for each step with its duration.

use std::fmt::Display;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use anyhow::Result;

/// Prints a line. Unlike `println!`, it does not panic if the output is closed: a stack continues without it, and stops in order.
pub fn print(line: impl Display) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// Prints a line as an error.
pub fn report(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
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
            print(text);
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
            print!("  {name:<56} ");
            // Fails only if the terminal is closed.
            let _ = io::stdout().flush();
        }
        let result = run();
        if self == Self::Shown {
            match &result {
                Ok(measured) => println!("{measured}"),
                Err(_) => println!("failed"),
            }
        }
        result
    }

    pub fn done(self, name: &str, took: Duration) {
        if self == Self::Shown {
            print(format_args!("  {name:<28} {:>8}", seconds(took)));
        }
    }
}

pub fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}
