//! The limit of open files and connections per process, which children inherit.

use anyhow::{Result, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the limit if it is lower.
pub fn allow(needed: u64) -> Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft >= needed {
        return Ok(());
    }
    ensure!(
        hard >= needed,
        "a process needs {needed} open files, but the limit is {hard}; as root, `ulimit -Hn {needed}` raises it for a \
         shell and its children"
    );
    Ok(setrlimit(Resource::RLIMIT_NOFILE, needed, hard)?)
}
