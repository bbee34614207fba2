//! A log that has grown, without waiting for as many customers.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::statvfs::statvfs;
use serde_json::json;
use uuid::Uuid;

use crate::driver::Bench;
use crate::figures::{count, number, whole};
use stack::progress::seconds;
use stack::provision::remove_folder;

/// Events per statement: enough that the commit no longer counts.
const BATCH: i64 = 10_000;
/// How often the filling says how it stands.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// An event with its indexes, the write-ahead log's share of it, and some air.
const DISK_BYTES_PER_EVENT: u64 = 300;
/// What Postgres may keep of the write-ahead log.
const DISK_BYTES_BESIDE: u64 = 6_000_000_000;

/// Appends purchases through the function that is the only way into the log, until it has so many events. The services
/// that would carry each of them on are away meanwhile; afterwards it is as if they had been here all the time.
pub fn fill(bench: &mut Bench, events: i64) -> Result<()> {
    let head = bench.block_on(bench.ledger.settle())?;
    if head >= events {
        return Ok(());
    }
    check_space(bench, events - head)?;
    let samples = bench.block_on(buy_one_of_each(bench))?;
    bench.block_on(bench.ledger.settle())?;
    println!("  filling the log up to {} events", whole(events));
    // What the stream would keep of them, the relay fills in afterwards, sooner than it would publish all.
    for role in ["command-api", "projector", "nats"] {
        bench.rig.stack.pause(role);
    }
    remove_folder(&bench.rig.folder.nats().join("jetstream"))?;
    bench.block_on(append(bench, &samples, events))?;
    for role in ["nats", "projector", "command-api"] {
        bench.rig.stack.resume(role)?;
    }
    bench.progress.heading("  relay and projection catch up");
    bench.progress.step("caught up", || bench.block_on(bench.ledger.settle()))?;
    Ok(())
}

/// As the table is in a system that has grown up by itself: statistics, visibility map, no dirty pages.
pub fn tidy(bench: &Bench) -> Result<()> {
    let started = Instant::now();
    bench.progress.measure("vacuum, analyze and checkpoint", || {
        bench.block_on(async {
            sqlx::raw_sql("vacuum analyze event").execute(&bench.ledger.event_store).await?;
            sqlx::raw_sql("checkpoint").execute(&bench.ledger.event_store).await?;
            Ok(())
        })?;
        Ok(seconds(started.elapsed()))
    })?;
    Ok(())
}

fn check_space(bench: &Bench, events: i64) -> Result<()> {
    let folder = bench.rig.folder.path();
    let disk = statvfs(folder)?;
    let free = disk.blocks_available() * disk.fragment_size();
    let needed = events.unsigned_abs() * DISK_BYTES_PER_EVENT + DISK_BYTES_BESIDE;
    ensure!(
        free >= needed,
        "{} more events need about {} GB in {}, where {} GB are free; --folder chooses another place",
        whole(events),
        needed / 1_000_000_000,
        folder.display(),
        free / 1_000_000_000
    );
    Ok(())
}

/// Has the service itself write an event of each licence. Returns their data.
async fn buy_one_of_each(bench: &Bench) -> Result<Vec<String>> {
    let before = bench.ledger.head().await?;
    let url = format!("http://{}/api/buy_mpi", bench.rig.addresses.command_api);
    for license in ["basic", "pro", "enterprise"] {
        let key = Uuid::new_v4().to_string();
        let purchase = bench.ledger.http.post(&url).header("idempotency-key", key).json(&json!({ "license": license }));
        purchase.send().await?.error_for_status()?;
    }
    let samples = sqlx::query_scalar("select data::text from event where position > $1").bind(before);
    Ok(samples.fetch_all(&bench.ledger.event_store).await?)
}

async fn append(bench: &Bench, samples: &[String], events: i64) -> Result<()> {
    let started = Instant::now();
    let mut told_at = started;
    let first = bench.ledger.head().await?;
    let mut head = first;
    while head < events {
        let batch = BATCH.min(events - head);
        sqlx::query(
            "select append_events(
                 array(select gen_random_uuid() from generate_series(1, $1)),
                 array_fill('LicensePurchased'::text, array[$1]),
                 array_fill(1::smallint, array[$1]),
                 array(select $2[1 + floor(random() * cardinality($2))::int] from generate_series(1, $1)),
                 array_fill(null::text, array[$1]))",
        )
        .bind(i32::try_from(batch).context("a batch is small")?)
        .bind(samples)
        .execute(&bench.ledger.event_store)
        .await?;
        head += batch;
        if told_at.elapsed() >= TELL_EVERY {
            told_at = Instant::now();
            let rate = count(head - first) / started.elapsed().as_secs_f64();
            let remaining = count(events - head) / rate;
            println!("    {} events, {}/s, {remaining:.0} s to go", whole(head), number(rate));
        }
    }
    let stored = bench.ledger.head().await?;
    ensure!(stored == head, "the log was filled up to {head} but ends at {stored}");
    Ok(())
}
