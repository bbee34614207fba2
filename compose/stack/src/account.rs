//! The account that Postgres runs under: it refuses to run as root.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::unistd::{User, geteuid};

/// The working folder of a process, for the process itself. It need not be allowed to enter the folders above, such as `/root`.
pub const WORKING_FOLDER: &str = "/proc/self/cwd";

/// An unprivileged account, and a folder that it owns, for a program to work in.
#[derive(Clone, Debug)]
pub struct Account {
    pub user_id: u32,
    pub group_id: u32,
    pub folder: PathBuf,
}

impl Account {
    /// `None` unless the launcher runs as root.
    pub fn for_postgres(folder: &Path) -> Result<Option<Self>> {
        if !geteuid().is_root() {
            return Ok(None);
        }
        let user = User::from_name("postgres")?
            .map_or_else(|| User::from_name("nobody"), |user| Ok(Some(user)))?
            .context("Postgres refuses to run as root, and neither the user postgres nor nobody exists here")?;
        Ok(Some(Self { user_id: user.uid.as_raw(), group_id: user.gid.as_raw(), folder: folder.to_owned() }))
    }

    /// Switches to this account for good, without any capability of root: a superuser of the database reads and writes
    /// files as this account.
    pub fn setpriv_options(&self) -> [String; 7] {
        [
            format!("--reuid={}", self.user_id),
            format!("--regid={}", self.group_id),
            "--clear-groups".to_owned(),
            "--inh-caps=-all".to_owned(),
            "--ambient-caps=-all".to_owned(),
            "--bounding-set=-all".to_owned(),
            "--no-new-privs".to_owned(),
        ]
    }

    /// Whether it may enter a folder and all folders above.
    pub fn may_enter(&self, folder: &Path) -> io::Result<bool> {
        for folder in folder.canonicalize()?.ancestors() {
            let metadata = folder.metadata()?;
            let class = if metadata.uid() == self.user_id {
                6
            } else if metadata.gid() == self.group_id {
                3
            } else {
                0
            };
            if (metadata.mode() >> class) & 1 == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn another_account_enters_no_private_folder() {
        let private = TempDir::new().unwrap();
        let below = private.path().join("below");
        fs::create_dir(&below).unwrap();
        fs::set_permissions(private.path(), Permissions::from_mode(0o700)).unwrap();
        let other = Account { user_id: u32::MAX, group_id: u32::MAX, folder: PathBuf::new() };
        assert!(!other.may_enter(&below).unwrap());
        let owner = Account { user_id: private.path().metadata().unwrap().uid(), ..other.clone() };
        assert!(owner.may_enter(&below).unwrap());
        for path in [private.path(), &below] {
            fs::set_permissions(path, Permissions::from_mode(0o711)).unwrap();
        }
        assert!(other.may_enter(&below).unwrap());
    }
}
