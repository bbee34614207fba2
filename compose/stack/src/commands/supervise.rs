//! Runs a stack until it is interrupted.

use std::thread;
use std::time::Duration;

use anyhow::Result;

use crate::access;
use crate::data_folder::DataFolder;
use crate::interrupt::Interrupt;
use crate::options::Options;
use crate::progress::Progress;
use crate::secrets::Secrets;
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
    println!("Ready\n{}", stack.urls());
    if !options.secure {
        println!("{}", access::IS_OPEN);
    }
    match output {
        Output::Terminal => {
            if options.secure {
                let folder = DataFolder::open(&options.data.folder)?;
                let secrets = Secrets::load_or_create(&folder.secrets())?;
                print!("{}", access::how_to_sign_in(options, &secrets.access_tokens));
            }
            println!("Press Ctrl-C to stop.");
        }
        Output::Log => println!("Stop it with `cargo stack down`."),
    }
    while !interrupt.is_raised() {
        stack.restart_exited();
        stack.rotate_large_logs();
        thread::sleep(POLL_INTERVAL);
    }
    stack.stop();
    Ok(())
}
