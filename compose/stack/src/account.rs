//! The account that Postgres runs under: it refuses to run as root.

use nix::unistd::{User, geteuid};

use anyhow::{Context, Result};

/// An unprivileged account.
#[derive(Clone, Debug)]
pub struct Account {
    pub user_id: u32,
    pub group_id: u32,
}

impl Account {
    /// `None` unless the launcher runs as root.
    pub fn for_postgres() -> Result<Option<Self>> {
        if !geteuid().is_root() {
            return Ok(None);
        }
        let user = User::from_name("postgres")?
            .map_or_else(|| User::from_name("nobody"), |user| Ok(Some(user)))?
            .context("Postgres refuses to run as root, and neither the user postgres nor nobody exists here")?;
        Ok(Some(Self { user_id: user.uid.as_raw(), group_id: user.gid.as_raw() }))
    }

    /// Switches to this account and keeps a single capability of root: to reach files below folders that only root may
    /// enter, such as a checkout in `/root`.
    pub fn setpriv_options(&self) -> [String; 8] {
        [
            // Postgres checks its programs with access(2), which ignores the capability unless this bit is set.
            "--securebits=+no_setuid_fixup".to_owned(),
            format!("--reuid={}", self.user_id),
            format!("--regid={}", self.group_id),
            "--clear-groups".to_owned(),
            "--inh-caps=-all,+dac_override".to_owned(),
            "--ambient-caps=-all,+dac_override".to_owned(),
            "--bounding-set=-all,+dac_override".to_owned(),
            "--no-new-privs".to_owned(),
        ]
    }
}
