//! Installs the packages that tests need. A person at a terminal is asked first.

use std::env;
use std::io::{IsTerminal, Write, stdin, stdout};

use anyhow::Result;
use nix::unistd::geteuid;

use crate::prerequisites::{self, Need};
use crate::progress::{Progress, print};
use crate::provision;
use crate::tool::Tool;

pub fn provide(needs: &[Need]) -> Result<()> {
    let packages: Vec<_> = prerequisites::missing(needs).into_iter().flat_map(|missing| missing.packages).collect();
    if !packages.is_empty() && geteuid().is_root() && may_install(&packages)? {
        let install = [&["install", "--yes", "--no-install-recommends"], &packages[..]].concat();
        for arguments in [vec!["update"], install] {
            let apt = Tool::new("apt-get").args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
            print(format_args!("  {}", apt.line()));
            // The check below reports more than its exit status.
            let _ = apt.run_quietly();
        }
    }
    prerequisites::check(needs)?;
    if needs.contains(&Need::Browser)
        && let Some(chromium) = prerequisites::chromium()
    {
        print(format_args!("  browser {}", chromium.display()));
    }
    provision::tools(Progress::Shown)?;
    Ok(())
}

fn may_install(packages: &[&str]) -> Result<bool> {
    if env::var_os("CI").is_some() || !stdin().is_terminal() {
        return Ok(true);
    }
    write!(stdout(), "Install {} with apt-get? [y/N] ", packages.join(" "))?;
    stdout().flush()?;
    let mut answer = String::new();
    stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
