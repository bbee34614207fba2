//! What is happening, for the one who waits: a tidy line for each step, with the time that it took.

use std::fmt::Display;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use anyhow::Result;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    Shown,
    /// For tests, whose own output is what matters.
    Silent,
}

impl Progress {
    /// Announces something that may take long or prints output of its own.
    pub fn heading(self, text: impl Display) {
        if self == Self::Shown {
            println!("{text}");
        }
    }

    /// Runs one step and says how long it took.
    pub fn step<T>(self, name: &str, run: impl FnOnce() -> Result<T>) -> Result<T> {
        let started = Instant::now();
        let result = run()?;
        self.done(name, started.elapsed());
        Ok(result)
    }

    /// Names what is about to be measured, and then says what came out.
    pub fn measure<T: Display>(self, name: &str, run: impl FnOnce() -> Result<T>) -> Result<T> {
        if self == Self::Shown {
            print!("  {name:<56} ");
            // Only a terminal that has gone away refuses, and then nobody waits for it.
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
            println!("  {name:<28} {:>8}", seconds(took));
        }
    }
}

pub fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}
