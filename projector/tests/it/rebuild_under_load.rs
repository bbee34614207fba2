//! Rebuilds that are killed at random moments, while purchases continue and every query returns correct totals.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use sqlx::{Connection, PgConnection, Row};
use testing::{Databases, NO_NATS, cases, eventually, purchased};

use crate::support::assert_projected;

/// For each kill: enough that a rebuild has several chunks.
const EVENTS_PER_KILL: u32 = 40_000;
const BATCH: usize = 10_000;
const PRO: i64 = 19_900;
const BASIC: i64 = 4_900;

/// State of the concurrent clients.
#[derive(Default)]
struct Load {
    finished: AtomicBool,
    reads: AtomicU64,
}

/// The log of this test: one licence at odd positions, the other at even ones, so the totals at any position are known.
async fn append_pairs(databases: &Databases, pairs: usize) {
    let pair = || [purchased("pro", PRO), purchased("basic", BASIC)];
    databases.append(&std::iter::repeat_with(pair).take(pairs).flatten().collect::<Vec<_>>()).await;
}

/// Queries as query-api does, in a loop. Each answer has to match the log at the position that it states.
async fn query(load: Arc<Load>, url: String) {
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let mut last = 0;
    while !load.finished.load(Ordering::SeqCst) {
        let rows = sqlx::query(include_str!("../../../query-api/src/totals/totals.sql"))
            .fetch_all(&mut connection)
            .await
            .unwrap();
        let position: i64 = rows.first().expect("a generation is live").get("position");
        assert!(position >= last, "the totals moved back from {last} to {position}");
        last = position;
        assert_eq!(rows.len(), 3, "a total is missing at {position}");
        let newest: Vec<i64> = rows[0].get("positions");
        assert!(newest.into_iter().eq((1..=position).rev().take(100)), "the newest purchases at {position} are wrong");
        for row in rows {
            let (count, revenue): (i64, i64) = (row.get("sales_count"), row.get("revenue_minor"));
            let expected = match row.get("license") {
                "pro" => (position - position / 2, (position - position / 2) * PRO),
                "basic" => (position / 2, position / 2 * BASIC),
                _ => (0, 0),
            };
            assert_eq!((count, revenue), expected, "at {position}");
        }
        load.reads.fetch_add(1, Ordering::SeqCst);
    }
}

async fn buy(load: Arc<Load>, databases: Databases) {
    while !load.finished.load(Ordering::SeqCst) {
        append_pairs(&databases, 10).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rebuilds_killed_at_random_moments_never_make_a_query_wrong() {
    let databases = Databases::create().await;
    let kills = cases("TEST_REBUILD_KILLS", 5);
    for _ in 0..(kills * EVENTS_PER_KILL) as usize / BATCH {
        append_pairs(&databases, BATCH / 2).await;
    }
    databases.rebuild().await; // faster than the projection
    let _projector = databases.projector(NO_NATS).await;
    let load = Arc::new(Load::default());
    let querying = tokio::spawn(query(Arc::clone(&load), databases.read_model_url("query_api")));
    let buying = tokio::spawn(buy(Arc::clone(&load), databases.clone()));
    let reads = || load.reads.load(Ordering::SeqCst);

    // The other rebuilds are killed after some of the queries that a whole rebuild takes.
    let before = reads();
    databases.rebuild().await;
    let whole = reads() - before;
    let mut random = StdRng::seed_from_u64(7);
    let (mut killed, mut resumed) = (0, 0);
    for _ in 0..kills {
        let until = reads() + random.random_range(0..=whole);
        let mut rebuild = databases.start_rebuild(&[]);
        let moment = async || reads() >= until || !rebuild.is_running() || querying.is_finished();
        eventually("it is time to kill the rebuild", moment).await;
        killed += i32::from(rebuild.is_running());
        resumed += i32::from(rebuild.kill().contains("Resuming an interrupted rebuild"));
    }
    databases.rebuild().await;
    load.finished.store(true, Ordering::SeqCst);
    buying.await.unwrap();
    querying.await.unwrap();
    assert!(killed > 0 && resumed > 0, "{killed} were killed and {resumed} resumed: this run proves nothing");
    assert_projected(&databases).await;
}
