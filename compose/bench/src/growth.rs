//! The same loads in a grown log, and its disk space.

use anyhow::{Context, Result, ensure};
use indicatif::{DecimalBytes, ProgressBar, ProgressStyle};
use nix::sys::statvfs::statvfs;
use sqlx::{query, query_scalar};
use stack::{progress::Progress, provision::remove_folder};

use crate::{Figure, MOST_CONNECTIONS, READERS, Row, Runs, Target, TestBed, Traffic, count, whole};

const TO_EMPTY_LOG: Target = Target::RatioAtLeast(0.9);
const BYTES_PER_EVENT: Target = Target::AtMost(220.0);

/// Events per statement: enough that the cost of a commit does not matter.
const BATCH: i64 = 10_000;
const APPEND_BATCH: &str = "select append_events(
    array(select gen_random_uuid() from generate_series(1, $1)),
    array_fill('LicensePurchased'::text, array[$1]),
    array_fill(1::smallint, array[$1]),
    array(select $2[1 + floor(random() * cardinality($2))::int] from generate_series(1, $1)),
    array_fill(null::text, array[$1]))";
/// An event with its indexes and its share of the write-ahead log, and a reserve.
const DISK_BYTES_PER_EVENT: u64 = 300;
/// What Postgres may keep of the write-ahead log.
const DISK_BYTES_OF_WAL: u64 = 6_000_000_000;

pub fn measure(bed: &mut TestBed) -> Result<Vec<Row>> {
    let [purchases, stores_nothing, _] = bed.purchases;
    let purchase_loads = bed.options.connections.iter().map(|&number| bed.load(Traffic::Purchases, number));
    let mut loads: Vec<_> = purchase_loads.map(|load| ([purchases, stores_nothing], load)).collect();
    loads.push((bed.totals, bed.load(Traffic::Reads, READERS)));
    for &(subjects, load) in &loads {
        // Unless another section of this run has measured it.
        if bed.measured_at_start(subjects[0], load.connections).is_none() {
            let runs = bed.in_turns(subjects, load)?;
            bed.at_start.push(runs);
        }
    }
    let mut rows = Vec::new();
    for events in bed.options.grown_to.clone() {
        fill(bed, events)?;
        tidy(bed)?;
        rows.push(bytes_per_event(bed)?);
        for &(subjects, load) in &loads {
            let now = bed.in_turns(subjects, load)?;
            let then = bed.measured_at_start(subjects[0], load.connections).context("it was measured at the start")?;
            rows.extend(compared_with_start(then, &now));
        }
    }
    Ok(rows)
}

/// The machine may have become slower or faster since the start. So the target applies to the ratios to the baseline,
/// which was measured at the same time and does not depend on the log.
fn compared_with_start([ours_then, baseline_then]: &[Runs; 2], [ours, baseline]: &[Runs; 2]) -> [Row; 2] {
    let (Runs { name, connections, .. }, events) = (ours, whole(ours.events));
    let before = format!("at {} events", whole(ours_then.events));
    let what = format!("… each beside what stores nothing, {connections} connections");
    [
        ours.row(format!("{name} at {events} events, {connections} connections")).relative_to(&before, &ours_then.rate),
        Row::new(what, ours.rate.relative_to(&baseline.rate))
            .relative_to(&before, &ours_then.rate.relative_to(&baseline_then.rate))
            .target((*connections == MOST_CONNECTIONS).then_some(TO_EMPTY_LOG)),
    ]
}

/// Including indexes, free space map and visibility map.
fn bytes_per_event(bed: &TestBed) -> Result<Row> {
    let bytes = bed.scalar(&bed.event_store, query_scalar("select pg_total_relation_size('event')"))?;
    let events = bed.head()?;
    let what = format!("disk per event at {} events, indexes included", whole(events));
    Ok(Row::new(what, Figure::new("B", vec![count(bytes) / count(events)])).target(BYTES_PER_EVENT))
}

/// Appends purchases with `append_events`, which all writers use, until the log has `events` events. The services
/// that process each event are stopped meanwhile, and catch up afterwards.
pub fn fill(bed: &mut TestBed, events: i64) -> Result<()> {
    let head = bed.settle()?;
    if head >= events {
        return Ok(());
    }
    check_space(bed, events - head)?;
    for license in ["basic", "pro", "enterprise"] {
        bed.block_on(bed.buy(license))?;
    }
    bed.settle()?;
    // The relay fills an empty stream with the events it would have kept. That is faster than publishing all of them.
    for role in ["command-api", "projector", "nats"] {
        bed.stack.pause(role);
    }
    remove_folder(&bed.folder.nats().join("jetstream"))?;
    Progress::Shown.step(&format!("filled to {} events", whole(events)), || bed.block_on(append(bed, head, events)))?;
    for role in ["nats", "projector", "command-api"] {
        bed.stack.resume(role)?;
    }
    Progress::Shown.step("relay and projection caught up", || bed.settle()).map(drop)
}

fn check_space(bed: &TestBed, events: i64) -> Result<()> {
    let (folder, events) = (bed.folder.path(), whole(events));
    let disk = statvfs(folder)?;
    let free = DecimalBytes(disk.blocks_available() * disk.fragment_size());
    let needed = DecimalBytes(events.0 * DISK_BYTES_PER_EVENT + DISK_BYTES_OF_WAL);
    let folder = folder.display();
    ensure!(
        free.0 >= needed.0,
        "{events} more events need {needed} in {folder}, where {free} are free; --folder selects another folder"
    );
    Ok(())
}

/// Repeats the events after `head` in a random order.
async fn append(bed: &TestBed, head: i64, events: i64) -> Result<()> {
    let samples = query_scalar("select data::text from event where position > $1").bind(head);
    let samples: Vec<String> = samples.fetch_all(&bed.event_store).await?;
    let style = ProgressStyle::with_template("  {bar:30} {human_pos} of {human_len} events, {per_sec}, {eta} to go")?;
    let bar = ProgressBar::new(events.unsigned_abs()).with_style(style);
    let mut head = head + i64::try_from(samples.len())?;
    while head < events {
        let batch = BATCH.min(events - head);
        query(APPEND_BATCH).bind(i32::try_from(batch)?).bind(&samples).execute(&bed.event_store).await?;
        head += batch;
        bar.set_position(head.unsigned_abs());
    }
    bar.finish_and_clear();
    let stored: i64 = query_scalar("select position from head").fetch_one(&bed.event_store).await?;
    ensure!(stored == head, "the log was filled up to {head} but ends at {stored}");
    Ok(())
}

/// Brings the table to the state of one that has grown slowly: statistics, visibility map, no dirty pages.
fn tidy(bed: &TestBed) -> Result<()> {
    Progress::Shown.step("vacuum, analyze and checkpoint", || {
        bed.execute("vacuum analyze event")?;
        bed.execute("checkpoint")
    })
}
