//! `auditor checkpoint`: fetches the newest checkpoint, and compares it with older ones.

use anyhow::{Context, anyhow};
use auditor::{
    evidence::{self, Evidence, open},
    notes,
    outcome::Outcome,
    source::Source,
};
use event_log::output::{print, report};

use super::{checkpoints_of, keep_evidence, read_model};
use crate::cli;

pub async fn checkpoint(arguments: cli::Checkpoint) -> anyhow::Result<Outcome> {
    let source = Source::parse(&arguments.log.source, arguments.log.access_token.as_deref())?;
    let read_model = read_model(&arguments.log)?;
    let key = notes::public_key(&arguments.public_key)?;
    let checkpoints = checkpoints_of(&source, read_model.as_ref())
        .context("checkpoints come from the shop (https://…) or from the read model (--read-model)")?;
    let note = match arguments.witnesses.policy()?.served(&checkpoints).await? {
        Some(cosigned) => cosigned,
        None => checkpoints.newest().await?,
    };
    let newest = open(Some(&key), &note).map_err(|error| anyhow!(error))?;
    let mut known = Evidence::default();
    if let Some(file) = &arguments.file {
        known.add_file_if_any(Some(&key), file)?;
    }
    for what in &known.not_compared {
        report(format_args!("NOT COMPARED: {what}"));
    }
    known.add_statements(&key, &checkpoints).await;
    for restore in known.give_up().iter().filter(|restore| !restore.given_up.is_empty()) {
        report(format_args!(
            "RESTORED to position {}, as stated {}: {:?}; {} checkpoints of lost events are given up",
            restore.position,
            restore.time,
            restore.reason,
            restore.given_up.len()
        ));
    }
    for older in &known.signed {
        if let Err(wrong) = checkpoints.compare(&older.checkpoint, &newest.checkpoint).await? {
            report(format_args!("WRONG: {wrong}"));
            keep_evidence(arguments.file.as_deref(), &[older.note.clone(), newest.note])?;
            return Ok(Outcome::Wrong);
        }
    }
    if let Some(file) = arguments.file {
        evidence::keep(&file, [&*newest.note]).with_context(|| format!("cannot write {}", file.display()))?;
    }
    print(newest.note.trim_end())?;
    report(format_args!("consistent with {} older checkpoints", known.signed.len()));
    Ok(if known.not_compared.is_empty() { Outcome::Right } else { Outcome::Unknown })
}
