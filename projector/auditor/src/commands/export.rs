//! `auditor export`: writes the log to a file, or continues it.

use std::path::Path;

use anyhow::{Context, bail};
use auditor::{
    checkpoint::Checkpoints,
    evidence::{self, Evidence, Signed},
    export::{Export, checkpoints_file},
    locate::{agrees, leaves},
    notes,
    outcome::Outcome,
    reading::{Fault, Reading},
    source::Source,
    verify::Conclusion,
};
use contract::position::Position;
use event_log::output::{print, report};

use super::{checkpoints_of, keep_evidence, read_model};
use crate::cli;

pub async fn export(arguments: cli::Export) -> anyhow::Result<Outcome> {
    let source = Source::parse(&arguments.log.source, arguments.log.access_token.as_deref())?;
    let read_model = read_model(&arguments.log)?;
    let tree = checkpoints_of(&source, read_model.as_ref());
    let key = arguments.public_key.as_deref().map(notes::public_key).transpose()?;
    let until = arguments.until.map(Position::try_from).transpose()?;
    let mut export = Export::open(&arguments.output)?;
    let own = checkpoints_file(&arguments.output);
    let mut evidence = Evidence::default();
    evidence.add_file_if_any(key.as_ref(), &own)?;
    let signed = evidence.signed.clone();
    let newest = match &tree {
        Some(tree) => evidence.add_served(key.as_ref(), tree).await,
        None => None,
    };
    for what in &evidence.not_compared {
        report(format_args!("NOT COMPARED: {what}"));
    }

    let reading = export.read(signed).await?;
    let comparison = Comparison { source: &source, tree: tree.as_ref(), newest: newest.as_ref() };
    let reading = match comparison.with_file(&export, reading).await? {
        Ok(reading) => reading,
        Err(wrong) => return wrong.refuse(&own),
    };
    if !evidence.not_compared.is_empty() {
        bail!("nothing was exported, because not everything could be compared");
    }
    if export.position > Position::START {
        report(format_args!("continuing after position {}", export.position));
    }
    let until = until.or(newest.as_ref().map(|newest| newest.checkpoint.position));
    if until.is_none_or(|until| until > export.position)
        && let Some(wrong) = comparison.extend(&mut export, reading, until).await?
    {
        export.discard()?;
        return wrong.refuse(&own);
    }
    if let Some(newest) = newest.filter(|newest| newest.checkpoint.position == export.position) {
        // After the lines: an interrupted export would hold less than its checkpoint covers.
        evidence::keep(&own, [&*newest.note])?;
    }
    print(format_args!("{} holds the log up to position {}", arguments.output.display(), export.position))?;
    if tree.is_none() {
        report("exported without a checkpoint: --read-model gives the address of the checkpoints");
    }
    Ok(Outcome::Right)
}

/// Why nothing is appended.
struct Wrong {
    what: &'static str,
    fault: Fault,
    evidence: Vec<String>,
    fork: Option<String>,
}

const NOT_SIGNED: &str = "the log is not the one that was signed";
const NOT_THE_FILE: &str = "the log does not begin with the events of the file";

impl Wrong {
    fn refuse(self, own: &Path) -> anyhow::Result<Outcome> {
        let Fault { position, until, what } = self.fault;
        let place = if position == until {
            format!("at position {position}")
        } else {
            format!("within positions {position} to {until}")
        };
        report(format_args!("WRONG: {}, {place}: {what}", self.what));
        if let Some(fork) = self.fork {
            report(fork);
        }
        report("nothing was appended");
        keep_evidence(Some(own), &self.evidence)?;
        Ok(Outcome::Wrong)
    }
}

/// Compares with the log and its newest checkpoint.
#[derive(Clone, Copy)]
struct Comparison<'a> {
    source: &'a Source,
    tree: Option<&'a Checkpoints>,
    newest: Option<&'a Signed>,
}

impl Comparison<'_> {
    /// Whether the file is that of its checkpoints, and the log begins with it. The signed tree and the last event of the file show it
    /// at once. Otherwise, both are read, which also finds the place.
    async fn with_file(self, export: &Export, reading: Reading) -> anyhow::Result<Result<Reading, Wrong>> {
        if !reading.is_right() {
            let file = Source::File(export.path.clone());
            let wrong = self.conclude("the file is not what was exported", &file, reading, false).await;
            return Ok(Err(wrong.context("a fault was found")?));
        }
        if export.position == Position::START {
            return Ok(Ok(reading));
        }
        let newest = self.newest.filter(|newest| newest.checkpoint.position >= export.position);
        if let Some((tree, newest)) = self.tree.zip(newest)
            && agrees(tree, &newest.checkpoint, &reading.tree).await == Some(true)
            && self.has_last(&reading).await
        {
            return Ok(Ok(reading));
        }
        let fault = export.first_difference(self.source).await?.or_else(|| {
            let what = "the log has these events, but the tree of its newest checkpoint does not";
            newest.map(|_| Fault { position: Position::START.next(), until: export.position, what: what.to_owned() })
        });
        let Some(fault) = fault else { return Ok(Ok(reading)) };
        // The file has the tree of its last checkpoint.
        let own = reading.signed[..reading.reached].last();
        let evidence = [own, self.newest].into_iter().flatten().map(|signed| signed.note.clone()).collect();
        Ok(Err(Wrong { what: NOT_THE_FILE, fault, evidence, fork: None }))
    }

    /// Whether the log has the last event of the file: the stored tree may be older than the log.
    async fn has_last(self, reading: &Reading) -> bool {
        let before = Position::from_sequence(reading.last.as_sequence() - 1);
        let found = leaves(self.source, before, reading.last).await;
        found.is_ok_and(|leaves| leaves.last() == reading.last_leaf.as_ref())
    }

    /// Appends the rest of the log.
    async fn extend(
        self,
        export: &mut Export,
        mut reading: Reading,
        until: Option<Position>,
    ) -> anyhow::Result<Option<Wrong>> {
        if let Some(newest) = self.newest {
            reading.expect(newest.clone());
        }
        export.extend(self.source, until, &mut reading).await?;
        let (last, before) = (reading.last, export.position);
        let wrong = match (self.tree, self.newest.filter(|newest| newest.checkpoint.position > last)) {
            // Less was asked for than was signed.
            (Some(tree), Some(newest)) if reading.is_right() && until == Some(last) => {
                let is_right = agrees(tree, &newest.checkpoint, &reading.tree).await == Some(true);
                let what = "the tree of the newest checkpoint does not have these events".to_owned();
                let fault = Fault { position: before.next(), until: last, what };
                (!is_right).then(|| Wrong { what: NOT_SIGNED, fault, evidence: vec![newest.note.clone()], fork: None })
            }
            _ => {
                let ends_early = until.filter(|until| last < *until).map(|until| {
                    let what = format!("they are missing: the log ends with position {last}");
                    Wrong {
                        what: "the log ends early",
                        fault: Fault { position: last.next(), until, what },
                        evidence: Vec::new(),
                        fork: None,
                    }
                });
                self.conclude(NOT_SIGNED, self.source, reading, true).await.or(ends_early)
            }
        };
        let Some(wrong) = wrong else {
            export.position = last;
            return Ok(None);
        };
        // It may have lost or changed events of the file, too.
        Ok(Some(match export.first_difference(self.source).await? {
            Some(fault) => Wrong { what: NOT_THE_FILE, fault, ..wrong },
            None => wrong,
        }))
    }

    async fn conclude(self, what: &'static str, source: &Source, reading: Reading, is_complete: bool) -> Option<Wrong> {
        let conclusion = Conclusion { reading, source, tree: self.tree, is_complete, not_compared: Vec::new() };
        let verdict = conclusion.verdict(None).await;
        let (evidence, fork) = (verdict.evidence, verdict.fork);
        verdict.fault.map(|fault| Wrong { what, fault, evidence, fork })
    }
}
