//! Fills the log with generated purchases.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::statvfs::statvfs;

use crate::figures::{count, number, whole};
use crate::test_bed::TestBed;
use stack::progress::Progress;
use stack::provision::remove_folder;

/// Events per statement: enough that the cost of a commit does not matter.
const BATCH: i64 = 10_000;
const REPORT_INTERVAL: Duration = Duration::from_secs(5);
/// An event with its indexes and its share of the write-ahead log, and a reserve.
const DISK_BYTES_PER_EVENT: u64 = 300;
/// What Postgres may keep of the write-ahead log.
const DISK_BYTES_OF_WAL: u64 = 6_000_000_000;

/// Appends purchases with `append_events`, which all writers use, until the log has `events` events. The services
/// that process each event are stopped meanwhile, and catch up afterwards.
pub fn fill(bed: &mut TestBed, events: i64) -> Result<()> {
    let head = bed.settle()?;
    if head >= events {
        return Ok(());
    }
    check_space(bed, events - head)?;
    for license in ["basic", "pro", "enterprise"] {
        bed.block_on(async { Ok(bed.purchase(license).send().await?.error_for_status()?) })?;
    }
    let samples: Vec<String> = bed.block_on(async {
        let samples = sqlx::query_scalar("select data::text from event where position > $1").bind(head);
        Ok(samples.fetch_all(&bed.event_store).await?)
    })?;
    bed.settle()?;
    println!("  filling the log up to {} events", whole(events));
    // The relay fills an empty stream with the events it would have kept. That is faster than publishing all of them.
    for role in ["command-api", "projector", "nats"] {
        bed.stack.pause(role);
    }
    remove_folder(&bed.folder.nats().join("jetstream"))?;
    append(bed, &samples, events)?;
    for role in ["nats", "projector", "command-api"] {
        bed.stack.resume(role)?;
    }
    Progress::Shown.heading("  relay and projection catch up");
    Progress::Shown.step("caught up", || bed.settle())?;
    Ok(())
}

/// Brings the table to the state of one that has grown slowly: statistics, visibility map, no dirty pages.
pub fn tidy(bed: &TestBed) -> Result<()> {
    Progress::Shown.step("vacuum, analyze and checkpoint", || {
        bed.block_on(async {
            sqlx::raw_sql("vacuum analyze event").execute(&bed.event_store).await?;
            sqlx::raw_sql("checkpoint").execute(&bed.event_store).await?;
            Ok(())
        })
    })
}

fn check_space(bed: &TestBed, events: i64) -> Result<()> {
    let folder = bed.folder.path();
    let disk = statvfs(folder)?;
    let free = disk.blocks_available() * disk.fragment_size();
    let needed = events.unsigned_abs() * DISK_BYTES_PER_EVENT + DISK_BYTES_OF_WAL;
    ensure!(
        free >= needed,
        "{} more events need about {} GB in {}, where {} GB are free; --folder selects another folder",
        whole(events),
        needed / 1_000_000_000,
        folder.display(),
        free / 1_000_000_000
    );
    Ok(())
}

fn append(bed: &TestBed, samples: &[String], events: i64) -> Result<()> {
    let started = Instant::now();
    let mut reported_at = started;
    let first = bed.head()?;
    let mut head = first;
    while head < events {
        let batch = BATCH.min(events - head);
        let statement = sqlx::query(
            "select append_events(
                 array(select gen_random_uuid() from generate_series(1, $1)),
                 array_fill('LicensePurchased'::text, array[$1]),
                 array_fill(1::smallint, array[$1]),
                 array(select $2[1 + floor(random() * cardinality($2))::int] from generate_series(1, $1)),
                 array_fill(null::text, array[$1]))",
        );
        let statement = statement.bind(i32::try_from(batch).context("a batch is small")?).bind(samples);
        bed.block_on(async { Ok(statement.execute(&bed.event_store).await?) })?;
        head += batch;
        if reported_at.elapsed() >= REPORT_INTERVAL {
            reported_at = Instant::now();
            let rate = count(head - first) / started.elapsed().as_secs_f64();
            let remaining = count(events - head) / rate;
            println!("    {} events, {}/s, {remaining:.0} s to go", whole(head), number(rate));
        }
    }
    let stored = bed.head()?;
    ensure!(stored == head, "the log was filled up to {head} but ends at {stored}");
    Ok(())
}
