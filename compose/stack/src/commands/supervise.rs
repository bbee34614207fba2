//! Runs a stack until it is interrupted.

use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::sign_in;
use crate::access;
use crate::interrupt::Interrupt;
use crate::options::Options;
use crate::progress::{Progress, note, report};
use crate::stack::Stack;

const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Where the output goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    Terminal,
    /// Must not contain tokens.
    Log,
}

/// In the foreground for `up`, in the background for `up --detach`.
pub fn run(options: &Options, output: Output) -> Result<()> {
    let interrupt = Interrupt::listen()?;
    Progress::Shown.heading("Starting");
    let mut stack = Stack::start(options, Progress::Shown, &interrupt)?;
    note(format_args!("Ready\n{}", stack.urls()));
    if !options.secure {
        note(access::IS_OPEN);
    }
    match output {
        Output::Terminal => {
            // `cargo stack sign-in` can repeat it.
            if options.secure {
                match sign_in::addresses(&options.data) {
                    Ok(addresses) => note(addresses),
                    Err(error) => report(format_args!("cannot create addresses that sign in: {error:#}")),
                }
            }
            note("Press Ctrl-C to stop.");
        }
        Output::Log => note("Stop it with `cargo stack down`."),
    }
    while !interrupt.is_raised() {
        stack.restart_exited();
        stack.rotate_large_logs();
        thread::sleep(POLL_INTERVAL);
    }
    stack.stop();
    Ok(())
}
