//! Keeps a stack running until it is told to stop.

use anyhow::Result;

use crate::access;
use crate::data_folder::DataFolder;
use crate::interrupt::Interrupt;
use crate::options::Options;
use crate::progress::Progress;
use crate::secrets::Secrets;
use crate::stack::Stack;

/// Who reads what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terminal {
    /// The one who started it.
    Here,
    /// Nobody: it goes into a log, where no token belongs.
    None,
}

/// In the terminal of `up`, or without one for `up --detach`.
pub fn run(options: &Options, terminal: Terminal) -> Result<()> {
    let interrupt = Interrupt::listen()?;
    Progress::Shown.heading("Starting");
    let stack = Stack::start(options, Progress::Shown, &interrupt)?;
    println!("Ready\n{}", stack.urls());
    if !options.secure {
        println!("{}", access::IS_OPEN);
    }
    match terminal {
        Terminal::Here => {
            if options.secure {
                let folder = DataFolder::open(&options.data.folder)?;
                let secrets = Secrets::load_or_make(&folder.secrets())?;
                print!("{}", access::how_to_sign_in(options, &secrets.access_tokens));
            }
            println!("Ctrl-C stops it.");
        }
        Terminal::None => println!("`cargo stack down` stops it."),
    }
    interrupt.wait();
    stack.stop();
    Ok(())
}
