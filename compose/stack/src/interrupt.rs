//! Ctrl-C and SIGTERM, as a flag that every wait looks at.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

/// The exit status of a process that Ctrl-C ended, as shells report it.
const ENDED_BY_SIGINT: i32 = 128 + SIGINT;

/// How soon a signal is noticed.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From now on these signals only raise the flag. A second Ctrl-C ends us at once, for whom an orderly end takes
    /// too long; the kernel then tells the children.
    pub fn listen() -> io::Result<Self> {
        let interrupt = Self::default();
        flag::register_conditional_shutdown(SIGINT, ENDED_BY_SIGINT, Arc::clone(&interrupt.0))?;
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            flag::register(signal, Arc::clone(&interrupt.0))?;
        }
        Ok(interrupt)
    }

    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub fn wait(&self) {
        while !self.is_raised() {
            thread::sleep(LOOK_AGAIN);
        }
    }

    /// An error once the flag is raised, to leave a wait with `?`.
    pub fn check(&self) -> Result<()> {
        if self.is_raised() {
            bail!("interrupted");
        }
        Ok(())
    }
}
