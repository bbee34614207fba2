//! The commands: from arguments to output. They return false when the log is wrong.

use std::{
    fs::File,
    io,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use auditor::{
    checkpoint::{Checkpoints, open_all, position_in},
    export::{self, checkpoints_file},
    history::History,
    notes, proof,
    recorded::Recorded,
    replay::{self, AsOf, Live, Replayed, Until},
    source::Source,
    uncounted::Decision,
    verify,
};
use contract::{
    catalogue::License,
    position::Position,
    time_zone::{TimeZones, Zone},
    totals::SNAPSHOT_INTERVAL,
};
use event_log::{
    database,
    output::{print, report},
    transparency::signed_checkpoint::append_note,
};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::cli;

/// Tiles are read one after the other.
const READ_MODEL_CONNECTIONS: u32 = 1;

pub async fn verify(arguments: cli::Verify) -> anyhow::Result<bool> {
    let started = Instant::now();
    let source = Source::parse(&arguments.log.source, arguments.log.access_token.as_deref())?;
    let read_model = read_model(&arguments.log)?;
    let policy = arguments.witnesses.policy()?;
    let mut signed = Vec::new();
    for file in &arguments.checkpoints {
        signed.extend(notes::read(file)?);
    }
    if let Source::File(file) = &source {
        signed.extend(notes::read_if_any(&checkpoints_file(file))?);
    }
    let mut checkpoints = Vec::new();
    if let Some(key) = &arguments.public_key {
        let key = notes::public_key(key)?;
        // Fetched before the end of the log is read, so that the log is not shorter. A file comes with its own checkpoints.
        if !matches!(source, Source::File(_))
            && let Some(known) = checkpoints_of(&source, read_model.as_ref())
        {
            signed.push(known.newest().await?);
            match policy.served(&known).await {
                Ok(cosigned) => signed.extend(cosigned),
                // The others are compared all the same.
                Err(error) => report(format_args!("no cosigned checkpoint: {error:#}")),
            }
        }
        checkpoints = open_all(&key, &signed)?;
    }
    let newest = checkpoints.iter().map(|checkpoint| checkpoint.position).max();
    let until = match &source {
        Source::Http(..) => newest,
        Source::Database(_) => source.end().await?,
        Source::File(_) => None,
    };
    let verdict = verify::verify(&source, until, checkpoints, read_model.map(Recorded::new)).await?;
    if arguments.json {
        print(serde_json::to_string_pretty(&verdict)?)?;
    } else {
        print_verdict(&verdict, started.elapsed())?;
    }
    // A part of the log proves nothing about the rest.
    ensure!(!verdict.is_interrupted, "the export is incomplete");
    if verdict.fault.is_none() {
        let notes = signed.iter().map(String::as_str);
        if let Some(position) = policy.require(notes, |position| verdict.confirmed.contains(&position))? {
            report(format_args!("the witnesses have cosigned the log up to position {position}"));
        }
    }
    Ok(verdict.fault.is_none())
}

fn print_verdict(verdict: &verify::Verdict, took: Duration) -> io::Result<()> {
    let seconds = took.as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = verdict.events.get() as f64 / seconds.max(1e-9);
    print(format_args!("{} events in {seconds:.1} s, {rate:.0} a second", verdict.events))?;
    print(format_args!("root of the tree   {}", verdict.root))?;
    if let Some(time) = verdict.last_recorded_at {
        print(format_args!("last event         {time}"))?;
    }
    match verdict.confirmed.last() {
        Some(newest) => {
            print(format_args!(
                "checkpoints        {} agree, the newest for position {newest}",
                verdict.confirmed.len()
            ))?;
        }
        None => print("checkpoints        none: nothing shows whether this is the log that was signed")?,
    }
    for Decision { position, voids, reason, has_effect } in &verdict.decisions {
        let meaning = if *has_effect { "voids" } else { "has no effect on" };
        print(format_args!(
            "decision           at position {position} {meaning} the event at position {voids}: {reason:?}"
        ))?;
    }
    match &verdict.fault {
        None => print("verdict            no fault found")?,
        Some(fault) if verdict.is_interrupted => {
            print(format_args!("verdict            UNFINISHED at position {}: {}", fault.position, fault.what))?;
        }
        Some(fault) if fault.position == fault.until => {
            print(format_args!("verdict            WRONG at position {}: {}", fault.position, fault.what))?;
        }
        Some(fault) => {
            print(format_args!(
                "verdict            WRONG within positions {} to {}: {}",
                fault.position, fault.until, fault.what
            ))?;
        }
    }
    Ok(())
}

fn time_zone(arguments: &cli::Replay) -> anyhow::Result<Zone> {
    let folder = arguments.time_zone_folder.as_deref();
    let time_zones = folder.map_or_else(|| Ok(TimeZones::bundled()), TimeZones::in_folder)?;
    let (name, version) = (&arguments.time_zone, time_zones.version());
    time_zones.get(name).with_context(|| format!("{name:?} is not a time zone of the IANA database, version {version}"))
}

pub async fn replay(arguments: cli::Replay) -> anyhow::Result<bool> {
    let source = Source::parse(&arguments.log.source, arguments.log.access_token.as_deref())?;
    let read_model = read_model(&arguments.log)?;
    let wanted = arguments.at_position.map(Position::try_from).transpose()?;
    let mut history = match arguments.history {
        Some(interval) => Some(History::new(interval, time_zone(&arguments)?)),
        None => None,
    };
    // Read before the log, so that the log is not shorter.
    let live = match &read_model {
        Some(read_model) => Some(replay::live(read_model, history.as_ref()).await?),
        None => None,
    };
    let to_the_end = wanted.is_none() && arguments.at_time.is_none();
    let position = if to_the_end { live.as_ref().map(|live| live.totals.position) } else { wanted };
    let until = Until { position, time: arguments.at_time };
    let replayed = replay::replay(&source, until, history.as_mut()).await?;
    if let Some(wanted) = wanted.filter(|wanted| *wanted > replayed.totals.position) {
        bail!("the log ends with position {}, before {wanted}", replayed.totals.position);
    }
    match arguments.format {
        cli::Format::Text => print_replay(&replayed.totals, history.as_ref())?,
        cli::Format::Json => {
            let mut answer = totals_json(&replayed.totals);
            if let Some(history) = &history {
                answer["history"] = json!(history.buckets);
            }
            if let Some(live) = live.as_ref().filter(|_| to_the_end) {
                answer["read_model"] = totals_json(&live.totals);
            }
            print(format_args!("{answer:#}"))?;
        }
        cli::Format::Csv => print_csv(history.as_ref().context("--format csv needs --history")?)?,
    }
    let (Some(read_model), Some(live)) = (read_model, live) else { return Ok(true) };
    if to_the_end && !matches!(source, Source::File(_)) && replayed.totals.position < live.totals.position {
        let (end, position) = (replayed.totals.position, live.totals.position);
        report(format_args!(
            "WRONG: the log ends with position {end}, and the read model has counted up to {position}"
        ));
        return Ok(false);
    }
    compare(&replayed, history.as_ref(), &live, &read_model).await
}

/// Compares with the read model: totals and history at its own position, only the totals at a snapshot.
async fn compare(
    replayed: &Replayed,
    history: Option<&History>,
    live: &Live,
    read_model: &PgPool,
) -> anyhow::Result<bool> {
    let at_live = replayed.totals.position == live.totals.position;
    let (found, held) = if at_live {
        (Some(&replayed.totals), Some(live.totals.clone()))
    } else {
        let kept = match &replayed.kept {
            Some(kept) => replay::kept(read_model, kept.position).await?,
            None => None,
        };
        (replayed.kept.as_ref(), kept)
    };
    let (Some(found), Some(held)) = (found, held) else {
        report(format_args!(
            "not compared: the read model keeps totals for every {SNAPSHOT_INTERVAL}th position and for its own, {}",
            live.totals.position
        ));
        return Ok(true);
    };
    if found.totals != held.totals {
        report(format_args!("WRONG: for position {} the read model holds {}", held.position, totals_json(&held)));
        return Ok(false);
    }
    report(format_args!("the read model holds the same totals for position {}", held.position));
    let Some(history) = history else { return Ok(true) };
    match &live.history {
        Some(held) if at_live => {
            if let Some(beginning) = history.first_difference(held) {
                report(format_args!("WRONG: the history of the read model differs from {beginning} on"));
                return Ok(false);
            }
            report("the read model holds the same history");
        }
        _ => {
            report(format_args!(
                "history not compared: the read model holds the one of position {}",
                live.totals.position
            ));
        }
    }
    Ok(true)
}

fn print_replay(replayed: &AsOf, history: Option<&History>) -> io::Result<()> {
    print(format_args!("position           {}", replayed.position))?;
    if let Some(time) = replayed.as_of {
        print(format_args!("as of              {time}"))?;
    }
    for license in License::ALL {
        print(format_args!("{:18} {}", license.name(), replayed.totals.of(license)))?;
    }
    for (beginning, bucket) in history.iter().flat_map(|history| &history.buckets) {
        let sold: Vec<String> = bucket
            .by_license
            .iter()
            .map(|(license, sold)| format!("{} {} for {}", sold.sales_count, license.name(), sold.revenue))
            .collect();
        let resets = if bucket.resets > 0 { format!(", {} resets", bucket.resets) } else { String::new() };
        print(format_args!("{beginning:18} {}{resets}", sold.join(", ")))?;
    }
    Ok(())
}

fn print_csv(history: &History) -> io::Result<()> {
    print("from,license,sales_count,revenue_minor,currency,resets")?;
    for (beginning, bucket) in &history.buckets {
        for (license, sold) in &bucket.by_license {
            let (minor, currency) = (sold.revenue.amount_minor(), sold.revenue.currency().code());
            print(format_args!("{beginning},{},{},{minor},{currency},0", license.name(), sold.sales_count))?;
        }
        if bucket.resets > 0 {
            print(format_args!("{beginning},,0,0,,{}", bucket.resets))?;
        }
    }
    Ok(())
}

/// The shape of `GET /api/get_current_money`, without the sums over all licences.
fn totals_json(replayed: &AsOf) -> Value {
    json!({ "position": replayed.position, "as_of": replayed.as_of, "by_license": replayed.totals.by_license() })
}

pub async fn export(arguments: cli::Export) -> anyhow::Result<bool> {
    let source = Source::parse(&arguments.log.source, arguments.log.access_token.as_deref())?;
    let read_model = read_model(&arguments.log)?;
    let mut export = export::Export::open(&arguments.output)?;
    let newest = match checkpoints_of(&source, read_model.as_ref()) {
        Some(checkpoints) if arguments.until.is_none() => Some(checkpoints.newest().await?),
        _ => None,
    };
    let until = match &newest {
        Some(note) => Some(position_in(note)?),
        None => arguments.until.map(Position::try_from).transpose()?,
    };
    if export.position > Position::START {
        report(format_args!("continuing after position {}", export.position));
    }
    export.extend(&source, until).await?;
    if let Some(note) = newest {
        // After the lines: an interrupted export would hold less than its checkpoint covers. `verify` checks the signature.
        let file = checkpoints_file(&arguments.output);
        if notes::read_if_any(&file)?.last() != Some(&note) {
            append(&file, &note)?;
        }
    }
    print(format_args!("{} holds the log up to position {}", arguments.output.display(), export.position))?;
    if until.is_none() {
        report("exported without a checkpoint: --read-model names where they are");
    }
    Ok(true)
}

fn append(file: &Path, note: &str) -> anyhow::Result<()> {
    let append = || append_note(&File::options().create(true).append(true).open(file)?, note);
    append().with_context(|| format!("cannot write {}", file.display()))
}

pub async fn checkpoint(arguments: cli::Checkpoint) -> anyhow::Result<bool> {
    let source = Source::parse(&arguments.log.source, arguments.log.access_token.as_deref())?;
    let read_model = read_model(&arguments.log)?;
    let key = notes::public_key(&arguments.public_key)?;
    let checkpoints = checkpoints_of(&source, read_model.as_ref())
        .context("checkpoints come from the shop (https://…) or from the read model (--read-model)")?;
    let policy = arguments.witnesses.policy()?;
    let note = match policy.served(&checkpoints).await? {
        Some(cosigned) => cosigned,
        None => checkpoints.newest().await?,
    };
    let [newest] = &open_all(&key, std::slice::from_ref(&note))?[..] else { bail!("expected one checkpoint") };
    let known = match &arguments.file {
        Some(file) => notes::read_if_any(file)?,
        None => Vec::new(),
    };
    for older in open_all(&key, &known)? {
        if let Err(wrong) = checkpoints.compare(&older, newest).await? {
            report(format_args!("WRONG: {wrong}"));
            return Ok(false);
        }
    }
    if let Some(file) = arguments.file.filter(|_| known.last() != Some(&note)) {
        append(&file, &note)?;
    }
    print(note.trim_end())?;
    report(format_args!("consistent with {} older checkpoints", known.len()));
    Ok(true)
}

pub fn proof(arguments: &cli::Proof) -> anyhow::Result<bool> {
    let key = notes::public_key(&arguments.public_key)?;
    let json = std::fs::read_to_string(&arguments.file)
        .with_context(|| format!("cannot read {}", arguments.file.display()))?;
    match proof::verify(&json, &key)? {
        Ok((event, checkpoint)) => {
            print(event)?;
            report(format_args!(
                "the log that {} signed up to position {} contains this event",
                checkpoint.origin, checkpoint.position
            ));
            Ok(true)
        }
        Err(wrong) => {
            report(format_args!("WRONG: {wrong}"));
            Ok(false)
        }
    }
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
