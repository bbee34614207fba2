//! Access tokens in a file: one line each, with the token's hash. The file is read again when it changes: a removed token is
//! refused a second later.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, RwLock},
    time::Duration,
};

use anyhow::{Context, ensure};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use rand_core::{OsRng, RngCore};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::caller::Caller;
use crate::log_events;
use contract::role::Role;

/// The prefix of every token, by which people and secret scanners recognize one.
pub const PREFIX: &str = "sales_";
const RANDOM_BYTES: usize = 32;
const POLL_INTERVAL: Duration = Duration::from_secs(1);
const HEADING: &str = "# subject  roles  SHA-256 of the token  [until]\n";

struct Entry {
    hash: [u8; 32],
    caller: Caller,
    until: Option<DateTime<Utc>>,
}

/// The newest readable content of the file.
pub struct TokenFile {
    path: PathBuf,
    entries: RwLock<Arc<[Entry]>>,
    /// Of the first content.
    opened: Stamp,
}

impl TokenFile {
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        // Taken before the file is read: `follow` notices any later change, however late it starts.
        let opened = Stamp::of(path);
        let entries = read(path)?;
        Ok(Self { path: path.to_owned(), entries: RwLock::new(entries.into()), opened })
    }

    /// The owner of a token. High-entropy secrets need no slow hash. Every hash is compared, in constant time, so that the
    /// time reveals none of them.
    pub fn find(&self, token: &str) -> Option<Caller> {
        let hash: [u8; 32] = Sha256::digest(token).into();
        let entries = Arc::clone(&self.entries.read().unwrap_or_else(std::sync::PoisonError::into_inner));
        let now = Utc::now();
        let mut found = None;
        for entry in entries.iter() {
            let is_valid = Choice::from(u8::from(entry.until.is_none_or(|until| now < until)));
            if bool::from(entry.hash.ct_eq(&hash) & is_valid) {
                found = Some(&entry.caller);
            }
        }
        found.cloned()
    }

    /// Reloads the file on changes until stopped. An unreadable file leaves the tokens as they are.
    pub async fn follow(self: Arc<Self>, stop: CancellationToken) -> anyhow::Result<()> {
        let mut known = self.opened;
        while stop.run_until_cancelled(sleep(POLL_INTERVAL)).await.is_some() {
            let stamp = Stamp::of(&self.path);
            if stamp == known {
                continue;
            }
            known = stamp;
            match read(&self.path) {
                Ok(entries) => {
                    info!(event.name = log_events::TOKENS_RELOADED, tokens = entries.len(), "Access tokens reloaded");
                    *self.entries.write().unwrap_or_else(std::sync::PoisonError::into_inner) = entries.into();
                }
                Err(error) => error!(
                    event.name = log_events::TOKENS_NOT_RELOADED,
                    error = format!("{error:#}"),
                    "The access tokens cannot be reloaded; the previous ones stay valid"
                ),
            }
        }
        Ok(())
    }
}

/// Changes with the file.
#[derive(Clone, Copy, Eq, PartialEq)]
struct Stamp(Option<(u64, u64, i64, i64)>);

impl Stamp {
    fn of(path: &Path) -> Self {
        let metadata = fs::metadata(path).ok();
        Self(metadata.map(|file| (file.ino(), file.size(), file.mtime(), file.mtime_nsec())))
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<Entry>> {
    let text = fs::read_to_string(path).with_context(|| format!("ACCESS_TOKENS {} cannot be read", path.display()))?;
    let lines = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty() && !line.starts_with('#'));
    lines
        .map(|(line, number)| parse(line).with_context(|| format!("line {number} of ACCESS_TOKENS {}", path.display())))
        .collect()
}

fn parse(line: &str) -> anyhow::Result<Entry> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (subject, roles, hash, until) = match fields[..] {
        [subject, roles, hash] => (subject, roles, hash, None),
        [subject, roles, hash, until] => (subject, roles, hash, Some(until)),
        _ => anyhow::bail!("expected a subject, roles, the SHA-256 of a token and an optional time"),
    };
    let roles = roles.split(',').map(str::parse).collect::<Result<Vec<Role>, _>>()?;
    let until = until.map(|until| until.parse().context("the last field is not a time such as 2027-12-31T00:00:00Z"));
    let mut sha256 = [0; 32];
    hex::decode_to_slice(hash, &mut sha256).context("the third field is not the SHA-256 of a token in hexadecimal")?;
    Ok(Entry { hash: sha256, caller: Caller::named(subject, roles)?, until: until.transpose()? })
}

/// A new random token.
pub fn generate() -> String {
    let mut bytes = [0; RANDOM_BYTES];
    OsRng.fill_bytes(&mut bytes);
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
}

/// The line of a token.
pub fn line(token: &str, subject: &str, roles: &[Role], until: Option<DateTime<Utc>>) -> anyhow::Result<String> {
    ensure!(
        !subject.is_empty() && !subject.starts_with('#') && !subject.contains(char::is_whitespace),
        "a subject is a name without blanks that does not begin with #"
    );
    Caller::named(subject, [])?;
    ensure!(!roles.is_empty(), "a token needs a role");
    let roles: Vec<&str> = roles.iter().map(|role| role.name()).collect();
    let until = until.map(|until| format!("  {}", until.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)));
    let hash = hex::encode(Sha256::digest(token));
    Ok(format!("{subject}  {}  {hash}{}\n", roles.join(","), until.unwrap_or_default()))
}

/// Appends a line to the file, and creates the file if it is missing.
pub fn append(path: &Path, line: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(path)?;
    let end = file.metadata()?.len();
    let before = if end == 0 {
        HEADING
    } else {
        // Editors may omit the last line break.
        let mut last = [0];
        file.read_exact_at(&mut last, end - 1)?;
        if last == *b"\n" { "" } else { "\n" }
    };
    file.write_all(format!("{before}{line}").as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(line: &str) -> anyhow::Result<Entry> {
        parse(line.trim_end())
    }

    fn file_of(line: &str) -> TokenFile {
        let entries = RwLock::new(vec![entry(line).unwrap()].into());
        TokenFile { path: PathBuf::new(), entries, opened: Stamp(None) }
    }

    #[test]
    fn a_token_is_found_by_its_hash_alone() {
        let token = generate();
        let line = line(&token, "alice", &[Role::Sales, Role::Operator], None).unwrap();
        assert!(!line.contains(&token) && token.len() == 49);
        let file = file_of(&line);
        let caller = file.find(&token).unwrap();
        assert_eq!(caller.subject.as_deref(), Some("alice"));
        assert_eq!(caller.roles, [Role::Customer, Role::Sales, Role::Operator].into());
        assert!(file.find(&generate()).is_none());
        assert!(file.find("").is_none());
    }

    #[test]
    fn a_token_expires_at_its_time() {
        for (days, valid) in [(-1, false), (1, true)] {
            let token = generate();
            let until = Utc::now() + chrono::Duration::days(days);
            let line = line(&token, "bob", &[Role::Sales], Some(until)).unwrap();
            let file = file_of(&line);
            assert_eq!(file.find(&token).is_some(), valid);
        }
    }

    #[test]
    fn a_malformed_line_is_an_error_and_never_skipped() {
        let hash = "ab".repeat(32);
        entry(&format!("alice sales {hash}")).unwrap();
        for wrong in [
            "alice sales".to_owned(),
            format!("alice admin {hash}"),
            format!("anonymous sales {hash}"),
            format!("alice sales {}", &hash[1..]),
            format!("alice sales {}", hash.replace('a', "g")),
            format!("alice sales {hash} tomorrow"),
            format!("alice sales {hash} 2027-12-31T00:00:00Z more"),
        ] {
            assert!(entry(&wrong).is_err(), "{wrong}");
        }
        for subject in ["", "a b", "#a", "anonymous", "a\0", "a\u{2028}b", &"a".repeat(256)] {
            assert!(line("t", subject, &[Role::Sales], None).is_err(), "{subject}");
        }
        for subject in ["a\0", "a\u{7}b", &"a".repeat(256)] {
            assert!(entry(&format!("{subject} sales {hash}")).is_err(), "{subject:?}");
        }
    }
}
