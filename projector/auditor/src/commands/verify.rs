//! `auditor verify`: compares the log with signed checkpoints.

use std::{
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use auditor::{
    checkpoint::Checkpoints,
    evidence::{Evidence, Signed},
    export::checkpoints_file,
    notes,
    outcome::Outcome,
    peaks::Peaks,
    source::Source,
    uncounted::Decision,
    verify::{self, Fault, Verdict},
};
use contract::position::Position;
use event_log::{
    catalogue,
    output::{print, report},
    transparency::signed_checkpoint::VerifyingKey,
};

use super::{checkpoints_of, keep_evidence, read_model};
use crate::cli;

/// So many notes that cannot be trusted are listed.
const LISTED: usize = 20;

pub async fn verify(arguments: cli::Verify) -> anyhow::Result<Outcome> {
    let started = Instant::now();
    let source = Source::parse(&arguments.log.source, arguments.log.access_token.as_deref())?;
    let read_model = read_model(&arguments.log)?;
    let tree = checkpoints_of(&source, read_model.as_ref());
    let key = arguments.public_key.as_deref().filter(|_| !arguments.well_formed).map(notes::public_key).transpose()?;
    let policy = arguments.witnesses.policy()?;
    let kept = kept_file(&arguments, &source);
    let (mut evidence, mut start, mut rewritten) = (Evidence::default(), Start::default(), None);
    let mut restores = Vec::new();
    if let Some(key) = &key {
        let served = collect(&mut evidence, key, &arguments, &source, tree.as_ref()).await?;
        if let Some(tree) = tree.as_ref().filter(|_| !matches!(source, Source::File(_))) {
            evidence.add_cosigned(key, &policy, tree).await;
        }
        restores = evidence.give_up();
        let served = served.filter(|served| evidence.signed.iter().any(|signed| signed.note == served.note));
        if let Some(file) = &arguments.since {
            match since(file, key, &mut evidence, served.as_ref(), tree.as_ref()).await? {
                Ok(known) => start = known,
                Err(older) => rewritten = Some((older, served.context("--since has compared it")?)),
            }
        }
    } else if !arguments.well_formed {
        let missing = "checkpoints: without --public-key, no signature can be verified; --well-formed leaves them out";
        evidence.not_compared.push(missing.to_owned());
    }
    let notes: Vec<_> = evidence.signed.iter().map(|signed| signed.note.clone()).collect();
    let until = match &source {
        _ if start.is_end => Some(start.tree.position()),
        Source::Http(..) => evidence.newest(),
        Source::Database(_) => source.end().await?,
        Source::File(_) => None,
    };
    let mut verdict = match rewritten {
        Some((older, newest)) => Verdict::rewritten(evidence, &older, &newest),
        None => verify::verify(&source, until, evidence, start.tree, tree.as_ref()).await?,
    };
    verdict.restores = restores;
    if let Source::Database(pool) = &source {
        verdict.unprotected.extend(catalogue::difference(pool).await.context("the catalogue cannot be read")?);
        let outside = event_log::outside_of_the_log(pool).await.context("the event store cannot be read")?;
        verdict.unprotected.extend(outside.map(|(_, what)| what));
    }
    let covers_nothing = verdict.confirmed.last().is_none_or(|newest| *newest == Position::START);
    if !arguments.well_formed && covers_nothing {
        let unknown = "the log with any signed checkpoint: nothing shows whether it is the one that was signed";
        verdict.not_compared.push(unknown.to_owned());
    }
    let cosigned = policy.require(notes.iter().map(String::as_str), |position| verdict.confirmed.contains(&position));
    if let Err(error) = &cosigned {
        verdict.not_compared.push(format!("{error:#}"));
    }
    if arguments.json {
        print(serde_json::to_string_pretty(&verdict)?)?;
    } else {
        print_verdict(&verdict, arguments.well_formed, started.elapsed())?;
    }
    if let Ok(Some(position)) = cosigned {
        report(format_args!("the witnesses have cosigned the log up to position {position}"));
    }
    if verdict.fault.is_some() && !verdict.is_interrupted {
        keep_evidence(kept.as_deref(), &verdict.evidence)?;
    }
    if verdict.is_interrupted {
        // A part of the log proves nothing about the rest.
        report("error: the export is incomplete");
    }
    Ok(verdict.outcome())
}

/// The checkpoints that the auditor has kept.
fn kept_file(arguments: &cli::Verify, source: &Source) -> Option<PathBuf> {
    let of_export = match source {
        Source::File(file) => Some(checkpoints_file(file)),
        Source::Database(_) | Source::Http(..) => None,
    };
    arguments.checkpoints.first().or(arguments.since.as_ref()).cloned().or(of_export)
}

/// Collects all checkpoints that the log is compared with. Returns the newest one that is served.
async fn collect(
    evidence: &mut Evidence,
    key: &VerifyingKey,
    arguments: &cli::Verify,
    source: &Source,
    tree: Option<&Checkpoints>,
) -> anyhow::Result<Option<Signed>> {
    for file in &arguments.checkpoints {
        evidence.add_file(Some(key), file)?;
    }
    if let Source::File(file) = source {
        // A file comes with its own checkpoints.
        evidence.add_file_if_any(Some(key), &checkpoints_file(file))?;
        return Ok(None);
    }
    // Fetched before the end of the log is read, so that the log is not shorter.
    match tree {
        Some(tree) => Ok(evidence.add_served(Some(key), tree).await),
        None => Ok(None),
    }
}

/// Where to begin.
#[derive(Default)]
struct Start {
    tree: Peaks,
    /// There is nothing to read after it.
    is_end: bool,
}

/// The tree of the newest checkpoint in a file. If the stored tree does not extend it, the inner error is this checkpoint.
async fn since(
    file: &Path,
    key: &VerifyingKey,
    evidence: &mut Evidence,
    served: Option<&Signed>,
    tree: Option<&Checkpoints>,
) -> anyhow::Result<Result<Start, Signed>> {
    let mut known = Evidence::default();
    known.add_file(Some(key), file)?;
    let newest = known.signed.into_iter().max_by_key(|signed| signed.checkpoint.position);
    let older = newest.with_context(|| format!("--since needs a checkpoint: {}", known.not_compared.join("; ")))?;
    evidence.not_compared.append(&mut known.not_compared);
    let tree = tree.context("--since needs the stored tree: that of the shop (https://…), or of --read-model")?;
    let no_newer = || format!("--since needs a newer checkpoint: {}", evidence.not_compared.join("; "));
    let newer = &served.with_context(no_newer)?.checkpoint;
    let position = older.checkpoint.position;
    let skipped = evidence.signed.iter().filter(|signed| signed.checkpoint.position < position).count();
    if skipped > 0 {
        report(format_args!("{skipped} older checkpoints are not compared: verify without --since compares them"));
    }
    evidence.signed.push(older.clone());
    if newer.position < position || (newer.position == position && newer.root != older.checkpoint.root) {
        return Ok(Err(older));
    }
    if newer.position > position {
        let edge = tree.edge(&older.checkpoint, newer).await?;
        return Ok(edge.map(|tree| Start { tree, is_end: false }).ok_or(older));
    }
    let newest = evidence.newest().unwrap_or_default();
    ensure!(
        newest == position,
        "no checkpoint is served that is newer than that of --since, and one for {newest} is known"
    );
    Ok(Ok(Start { tree: Peaks::of_root(position.as_sequence(), older.checkpoint.root), is_end: true }))
}

fn print_verdict(verdict: &Verdict, well_formed: bool, took: Duration) -> io::Result<()> {
    let seconds = took.as_secs_f64();
    let events = verdict.events.get() - verdict.since.get();
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = events as f64 / seconds.max(1e-9);
    let after =
        if verdict.since > Position::START { format!(" after position {}", verdict.since) } else { String::new() };
    print(format_args!("{events} events{after} in {seconds:.1} s, {rate:.0} a second"))?;
    print(format_args!("root of the tree   {}", verdict.root))?;
    if let Some(time) = verdict.last_recorded_at {
        print(format_args!("last event         {time}"))?;
    }
    match verdict.confirmed.last() {
        Some(newest) => {
            let agree = verdict.confirmed.len();
            print(format_args!("checkpoints        {agree} agree, the newest for position {newest}"))?;
            if verdict.uncovered > 0 {
                print(format_args!("not yet covered    {} events after position {newest}", verdict.uncovered))?;
            }
        }
        None => print("checkpoints        none: nothing shows whether this is the log that was signed")?,
    }
    for what in verdict.not_compared.iter().take(LISTED) {
        print(format_args!("NOT COMPARED       {what}"))?;
    }
    if let Some(more) = verdict.not_compared.len().checked_sub(LISTED).filter(|more| *more > 0) {
        print(format_args!("NOT COMPARED       {more} more"))?;
    }
    for Decision { position, voids, reason, has_effect } in &verdict.decisions {
        let meaning = match has_effect {
            Some(true) => "voids",
            Some(false) => "has no effect on",
            None => "is about",
        };
        print(format_args!(
            "decision           at position {position} {meaning} the event at position {voids}: {reason:?}"
        ))?;
    }
    for restore in &verdict.restores {
        let (position, time, reason) = (restore.position, restore.time, &restore.reason);
        let given_up = match &restore.given_up[..] {
            [] => "no checkpoint that was compared covers them".to_owned(),
            positions => format!(
                "{} checkpoints of them are given up, up to position {}",
                positions.len(),
                positions[positions.len() - 1]
            ),
        };
        print(format_args!(
            "restored           to position {position}, as stated {time}: {reason:?}; the later events are lost, and {given_up}"
        ))?;
    }
    for what in &verdict.unprotected {
        print(format_args!("WRONG              {what}"))?;
    }
    if let Some(newer) = &verdict.newer {
        let (events, position, what) = (newer.events, newer.position, &newer.what);
        print(format_args!("newer events       {events}, the first at position {position}: {what}"))?;
    }
    match &verdict.fault {
        Some(fault) => print_fault(verdict, fault),
        None if !verdict.unprotected.is_empty() => {
            print("verdict            WRONG: the event store is not as the migrations create it")
        }
        None if !verdict.not_compared.is_empty() => {
            print("verdict            UNKNOWN: no fault found, but not everything was compared")
        }
        None if verdict.outcome() == Outcome::Restored => print(
            "verdict            RESTORED: no fault found in what is left; the operator states that later events were lost",
        ),
        None if verdict.newer.is_some() => print(
            "verdict            NEWER than this auditor: some events cannot be counted; their lines are what was signed. \
             Use a newer auditor",
        ),
        None if well_formed => print("verdict            well-formed; not compared with any checkpoint"),
        None if verdict.uncovered > 0 => print(format_args!(
            "verdict            no fault found; no checkpoint covers the last {} events yet",
            verdict.uncovered
        )),
        None => print("verdict            no fault found"),
    }
}

fn print_fault(verdict: &Verdict, fault: &Fault) -> io::Result<()> {
    let Fault { position, until, what } = fault;
    if verdict.is_interrupted {
        print(format_args!("verdict            UNFINISHED at position {position}: {what}"))?;
    } else if position == until {
        print(format_args!("verdict            WRONG at position {position}: {what}"))?;
    } else {
        print(format_args!("verdict            WRONG within positions {position} to {until}: {what}"))?;
    }
    match &verdict.fork {
        Some(fork) => print(format_args!("                   {fork}")),
        None => Ok(()),
    }
}
