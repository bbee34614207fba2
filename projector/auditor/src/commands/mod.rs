//! The commands: from arguments to output and outcome.

mod checkpoint;
mod export;
mod proof;
mod replay;
mod verify;

use std::path::{Path, PathBuf};

use anyhow::Context;
use auditor::{checkpoint::Checkpoints, evidence, source::Source};
use event_log::{database, output::report};
use sqlx::PgPool;

pub use self::{checkpoint::checkpoint, export::export, proof::proof, replay::replay, verify::verify};
use crate::cli;

/// Tiles are read one after the other.
const READ_MODEL_CONNECTIONS: u32 = 1;

/// Keeps signed notes that contradict the log or each other, next to the auditor's own checkpoints.
fn keep_evidence(checkpoints: Option<&Path>, notes: &[String]) -> anyhow::Result<()> {
    for note in notes {
        report(format_args!("signed checkpoint:\n{}", note.trim_end()));
    }
    let Some(checkpoints) = checkpoints.filter(|_| !notes.is_empty()) else { return Ok(()) };
    let mut file = checkpoints.as_os_str().to_owned();
    file.push(".evidence");
    let file = PathBuf::from(file);
    let kept = evidence::keep(&file, notes.iter().map(String::as_str));
    kept.with_context(|| format!("cannot write {}", file.display()))?;
    report(format_args!("kept as evidence in {}", file.display()));
    Ok(())
}

fn read_model(log: &cli::Log) -> anyhow::Result<Option<PgPool>> {
    let pool = |url: &String| database::pool("--read-model", url, "auditor", READ_MODEL_CONNECTIONS);
    log.read_model.as_ref().map(pool).transpose()
}

fn checkpoints_of(source: &Source, read_model: Option<&PgPool>) -> Option<Checkpoints> {
    match (read_model, source) {
        (Some(read_model), _) => Some(Checkpoints::ReadModel(read_model.clone())),
        (None, Source::Http(url, client)) => Some(Checkpoints::Http(url.clone(), client.clone())),
        (None, Source::Database(_) | Source::File(_)) => None,
    }
}
