//! How many files a process may have open, connections included. Children inherit it.

use anyhow::{Result, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the limit where it is lower, as far as the system lets us.
pub fn allow(needed: u64) -> Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft >= needed {
        return Ok(());
    }
    ensure!(
        hard >= needed,
        "{needed} files have to be open in one process, but no more than {hard} may be; as root, `ulimit -Hn {needed}` \
         raises that for a shell and what it starts"
    );
    Ok(setrlimit(Resource::RLIMIT_NOFILE, needed, hard)?)
}
