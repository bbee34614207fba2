//! `auditor replay`: totals and history from the log.

use std::io;

use anyhow::{Context, bail};
use auditor::{
    history::History,
    outcome::Outcome,
    replay::{self, AsOf, Live, Replayed, Until},
    source::Source,
};
use contract::{
    catalogue::License,
    position::Position,
    time_zone::{TimeZones, Zone},
    totals::SNAPSHOT_INTERVAL,
};
use event_log::output::{print, report};
use serde_json::{Value, json};
use sqlx::PgPool;

use super::read_model;
use crate::cli;

fn time_zone(arguments: &cli::Replay) -> anyhow::Result<Zone> {
    let folder = arguments.time_zone_folder.as_deref();
    let time_zones = folder.map_or_else(|| Ok(TimeZones::bundled()), TimeZones::in_folder)?;
    let (name, version) = (&arguments.time_zone, time_zones.version());
    time_zones.get(name).with_context(|| format!("{name:?} is not a time zone of the IANA database, version {version}"))
}

pub async fn replay(arguments: cli::Replay) -> anyhow::Result<Outcome> {
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
    let (Some(read_model), Some(live)) = (read_model, live) else { return Ok(Outcome::Right) };
    if to_the_end && !matches!(source, Source::File(_)) && replayed.totals.position < live.totals.position {
        let (end, position) = (replayed.totals.position, live.totals.position);
        report(format_args!(
            "WRONG: the log ends with position {end}, and the read model has counted up to {position}"
        ));
        return Ok(Outcome::Wrong);
    }
    compare(&replayed, history.as_ref(), &live, &read_model).await
}

/// Compares with the read model: totals and history at its own position, only the totals at a snapshot.
async fn compare(
    replayed: &Replayed,
    history: Option<&History>,
    live: &Live,
    read_model: &PgPool,
) -> anyhow::Result<Outcome> {
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
        return Ok(Outcome::Right);
    };
    if found.totals != held.totals {
        report(format_args!("WRONG: for position {} the read model holds {}", held.position, totals_json(&held)));
        return Ok(Outcome::Wrong);
    }
    report(format_args!("the read model holds the same totals for position {}", held.position));
    let Some(history) = history else { return Ok(Outcome::Right) };
    match &live.history {
        Some(held) if at_live => {
            if let Some(beginning) = history.first_difference(held) {
                report(format_args!("WRONG: the history of the read model differs from {beginning} on"));
                return Ok(Outcome::Wrong);
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
    Ok(Outcome::Right)
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
