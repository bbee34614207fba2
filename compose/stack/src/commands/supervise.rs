//! Keeps a stack running until it is told to stop.

use anyhow::Result;

use crate::interrupt::Interrupt;
use crate::options::Options;
use crate::progress::Progress;
use crate::stack::Stack;

/// In the terminal of `up`, or without one for `up --detach`.
pub fn run(options: &Options, how_to_stop: &str) -> Result<()> {
    let interrupt = Interrupt::listen()?;
    Progress::Shown.heading("Starting");
    let stack = Stack::start(options, Progress::Shown, &interrupt)?;
    println!("Ready\n{}\n{how_to_stop}", stack.urls());
    interrupt.wait();
    stack.stop();
    Ok(())
}
