//! The signed checkpoints that a log is compared with, and all that was given in their place. A note that cannot be trusted is
//! reported; the others are compared nevertheless.

use std::{
    fs::{self, File},
    io,
    num::NonZero,
    path::Path,
    thread,
};

use chrono::{DateTime, Utc};
use contract::position::Position;
use event_log::transparency::{
    signed_checkpoint::{Checkpoint, VerifyingKey, append_note},
    statement::{Kind, Statement},
};
use serde::Serialize;

use crate::{
    checkpoint::Checkpoints,
    notes::{self, Entry},
    witnesses::Policy,
};

/// Longest excerpt of a note that cannot be trusted.
const EXCERPT_CHARS: usize = 300;
/// Below it, threads cost more than they save.
const NOTES_PER_THREAD: usize = 500;

/// A checkpoint and its signed note.
#[derive(Clone, Debug)]
pub struct Signed {
    pub checkpoint: Checkpoint,
    pub note: String,
}

/// A restore that an operator has stated: the events after the position are lost.
#[derive(Clone, Debug, Serialize)]
pub struct Restore {
    pub position: Position,
    pub time: DateTime<Utc>,
    pub reason: String,
    /// Positions of the checkpoints that are no longer compared.
    pub given_up: Vec<Position>,
}

/// What a log is compared with.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    pub signed: Vec<Signed>,
    /// Signed statements of operators.
    pub statements: Vec<Statement>,
    /// What could not be compared, and why.
    pub not_compared: Vec<String>,
}

impl Evidence {
    /// Adds the notes of a file. Without a key, signatures are not verified.
    pub fn add_file(&mut self, key: Option<&VerifyingKey>, file: &Path) -> anyhow::Result<()> {
        let entries = notes::read(file)?;
        if entries.is_empty() {
            self.not_compared.push(format!("{} contains no checkpoint", file.display()));
        }
        self.add(key, &entries, &file.display().to_string());
        Ok(())
    }

    /// As [`Self::add_file`]. The file may be missing or empty.
    pub fn add_file_if_any(&mut self, key: Option<&VerifyingKey>, file: &Path) -> anyhow::Result<()> {
        let entries = notes::read_if_any(file)?;
        self.add(key, &entries, &file.display().to_string());
        Ok(())
    }

    /// Adds the newest checkpoint that the read model or the shop serves. Returns it if it is usable.
    pub async fn add_served(&mut self, key: Option<&VerifyingKey>, tree: &Checkpoints) -> Option<Signed> {
        let opened = match tree.newest().await {
            Ok(note) => open(key, &note),
            Err(error) => Err(format!("{error:#}")),
        };
        if let Some(key) = key {
            self.add_statements(key, tree).await;
        }
        match opened {
            Ok(signed) => {
                self.signed.push(signed.clone());
                Some(signed)
            }
            Err(error) => {
                self.not_compared.push(format!("the newest checkpoint of {tree}: {error}"));
                None
            }
        }
    }

    /// Adds the statements of operators that the read model or the shop serves.
    pub async fn add_statements(&mut self, key: &VerifyingKey, tree: &Checkpoints) {
        match tree.statements().await {
            Ok(notes) => self.add(Some(key), &notes::split(&notes), &format!("the statements of {tree}")),
            Err(error) => self.not_compared.push(format!("the statements of {tree}: {error:#}")),
        }
    }

    /// Adds the newest cosigned checkpoint that is served, if the policy requires any.
    pub async fn add_cosigned(&mut self, key: &VerifyingKey, policy: &Policy, tree: &Checkpoints) {
        let note = policy.served(tree).await.map_err(|error| format!("{error:#}"));
        match note.and_then(|note| note.map(|note| open(Some(key), &note)).transpose()) {
            Ok(signed) => self.signed.extend(signed),
            Err(error) => self.not_compared.push(format!("the newest cosigned checkpoint of {tree}: {error}")),
        }
    }

    /// Separates the checkpoints that restores have given up: they cover events that are lost, and the log cannot agree with them.
    pub fn give_up(&mut self) -> Vec<Restore> {
        let mut restores = Vec::new();
        for statement in self.statements.iter().filter(|statement| matches!(statement.kind, Kind::Restored { .. })) {
            let (given_up, rest): (Vec<_>, Vec<_>) =
                self.signed.drain(..).partition(|signed| statement.gives_up(&signed.checkpoint));
            self.signed = rest;
            let given_up = given_up.iter().map(|signed| signed.checkpoint.position).collect();
            restores.push(Restore {
                position: statement.position,
                time: statement.time,
                reason: statement.reason.clone(),
                given_up,
            });
        }
        restores
    }

    /// Position of the newest checkpoint.
    pub fn newest(&self) -> Option<Position> {
        self.signed.iter().map(|signed| signed.checkpoint.position).max()
    }

    fn add(&mut self, key: Option<&VerifyingKey>, entries: &[Entry], origin: &str) {
        for (entry, opened) in entries.iter().zip(open_all(key, entries)) {
            match opened {
                Ok(signed) => self.signed.push(signed),
                // A power failure kept the rest from the disk, or it is being written: it is not published yet.
                Err(_) if entry.is_cut && begins_note(&entry.origin, key) => (),
                Err(error) => match statement(key, entry) {
                    Some(statement) if self.statements.contains(&statement) => (),
                    Some(statement) => self.statements.push(statement),
                    None => self.not_compared.push(format!("{origin}, line {}: {error}", entry.line)),
                },
            }
        }
    }
}

fn statement(key: Option<&VerifyingKey>, entry: &Entry) -> Option<Statement> {
    Statement::open(entry.note.as_ref().ok()?, key?).ok()
}

fn begins_note(line: &str, key: Option<&VerifyingKey>) -> bool {
    !line.is_empty() && key.is_some_and(|key| key.origin().starts_with(line))
}

/// Opens a note that must be signed by the key, if there is one.
pub fn open(key: Option<&VerifyingKey>, note: &str) -> Result<Signed, String> {
    let opened = match key {
        Some(key) => key.open(note).map_err(|error| error.to_string()),
        None => Checkpoint::unverified(note).ok_or_else(|| "it is not a signed note".to_owned()),
    };
    let excerpt = || note.chars().take(EXCERPT_CHARS).collect::<String>();
    let checkpoint = opened.map_err(|error| format!("a checkpoint cannot be trusted: {error}: {:?}", excerpt()))?;
    Ok(Signed { checkpoint, note: note.to_owned() })
}

/// Opens notes on all cores: verifying a signature takes longer than hashing a hundred events.
fn open_all(key: Option<&VerifyingKey>, entries: &[Entry]) -> Vec<Result<Signed, String>> {
    let open = |entry: &Entry| entry.note.clone().and_then(|note| open(key, &note));
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let share = entries.len().div_ceil(cores).max(NOTES_PER_THREAD);
    thread::scope(|scope| {
        let threads: Vec<_> = entries
            .chunks(share)
            .map(|entries| scope.spawn(move || entries.iter().map(open).collect::<Vec<_>>()))
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("opening a note does not panic")).collect()
    })
}

/// Appends notes to a file, except for those that it contains.
pub fn keep<'a>(file: &Path, notes: impl IntoIterator<Item = &'a str>) -> io::Result<()> {
    let open = File::options().create(true).append(true).open(file)?;
    let text = fs::read(file)?;
    let known = notes::split(&String::from_utf8_lossy(&text));
    if !text.is_empty() && !text.ends_with(b"\n") {
        append_note(&open, "\n")?;
    }
    for note in notes {
        if !known.iter().any(|entry| entry.note.as_deref() == Ok(note)) {
            append_note(&open, note)?;
        }
    }
    Ok(())
}
