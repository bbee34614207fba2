//! `verify` detects every change that a superuser makes to the past, and names its position.

use auditor::{
    checkpoint::Checkpoints,
    evidence::{Evidence, Signed, open},
    peaks::Peaks,
    source::Source,
    verify::{Verdict, verify},
};
use contract::{cloud_event::CloudEvent, position::Position};
use event_log::{
    self,
    transparency::merkle::{Tree, record_hash},
};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use testing::cases;

use crate::support::{SignedLog, audited};

/// More than two tiles.
const EVENTS: usize = 600;

/// The log of a shop, and everything that an auditor has of it.
struct Audit {
    log: SignedLog,
    source: Source,
    checkpoints: Vec<Signed>,
    /// Position of the checkpoint that the auditor kept.
    kept: i64,
    head: i64,
}

impl Audit {
    async fn begin() -> Self {
        let log = SignedLog::create().await;
        let projector = log.projector().await;
        let mut kept = 0;
        for _ in 0..4 {
            kept = log.grow(EVENTS / 4).await;
        }
        let key = log.key.verifying_key();
        let checkpoints = log.notes().iter().map(|note| open(Some(key), note).unwrap()).collect();
        let head = log.grow(20).await;
        projector.kill();
        let backup = "create table honest_event as table event; create table honest_head as table head";
        log.databases.change_event_store(backup).await;
        let backup = "create table honest_tile as table tree_tile; create table honest_tree as table tree_head";
        log.databases.change_read_model(backup).await;
        let source = Source::parse(&log.event_store(), None).unwrap();
        Self { log, source, checkpoints, kept, head }
    }

    async fn verify(&self) -> Verdict {
        let read_model = self.log.databases.read_model().clone();
        let tree = Checkpoints::ReadModel(read_model);
        let mut evidence = Evidence { signed: self.checkpoints.clone(), ..Evidence::default() };
        evidence.add_served(Some(self.log.key.verifying_key()), &tree).await.unwrap();
        let until = self.source.end().await.unwrap();
        verify(&self.source, until, evidence, Peaks::default(), Some(&tree)).await.unwrap()
    }

    async fn restore(&self) {
        let log = "delete from event; insert into event select * from honest_event;
                   update head set (position, recorded_at) = (select position, recorded_at from honest_head)";
        self.log.databases.tamper(log).await;
        let tree = "delete from tree_tile; insert into tree_tile select * from honest_tile;
                    delete from tree_head; insert into tree_head select * from honest_tree";
        self.log.databases.change_read_model(tree).await;
    }

    /// An attacker with the databases and the private key: rebuilds the tree from the changed log, and signs it.
    async fn forge_tree(&self) {
        let events =
            event_log::read_after(self.log.databases.event_store(), Position::START, EVENTS * 2).await.unwrap();
        let (mut tree, mut tiles) = (Tree::default(), Vec::new());
        for event in &events {
            tree.push(&record_hash(&CloudEvent::try_from(event).unwrap().to_json()), |id, tile| tiles.push((id, tile)));
        }
        tiles.extend(tree.unfinished().map(|(id, tile)| (id, tile.to_vec())));
        let note = self.log.key.sign(Position::from_sequence(tree.size()), tree.root());
        let mut connection = self.log.databases.read_model().acquire().await.unwrap();
        sqlx::raw_sql("delete from tree_tile").execute(&mut *connection).await.unwrap();
        for (id, tile) in tiles {
            let insert = sqlx::query("insert into tree_tile (level, index, hashes) values ($1, $2, $3)");
            insert.bind(id.level).bind(id.index).bind(tile).execute(&mut *connection).await.unwrap();
        }
        let update = sqlx::query("update tree_head set position = $1, checkpoint = $2");
        let size = i64::try_from(tree.size()).unwrap();
        update.bind(size).bind(note).execute(&mut *connection).await.unwrap();
    }
}

/// A change of the log as SQL, with its first position and the last one at which it may be detected.
struct Crime {
    what: String,
    statements: String,
    first: i64,
    last: i64,
    /// The hashes are recomputed and signed as well.
    forged: bool,
}

/// One change of one field, each of which changes what is stored.
const CHANGES: [&str; 12] = [
    "recorded_at = recorded_at + interval '1 microsecond'",
    "recorded_at = recorded_at - interval '1 year'",
    "event_id = gen_random_uuid()",
    "schema_version = schema_version + 1",
    "event_type = case event_type when 'SalesReset' then 'LicensePurchased' else 'SalesReset' end",
    "event_type = event_type || ' '",
    "data = '{\"license\":\"enterprise\",\"price\":{\"amount_minor\":1,\"currency\":\"EUR\"}}'",
    "data = (data::text || ' ')::json",
    "data = (E'\\n' || data::text)::json",
    "metadata = '{\"actor\":\"nobody\"}'",
    "metadata = '{}'",
    "metadata = '{\"salt\":\"8f14e45fceea467fa7d1b8c9e3a20b64\",\"actor\":\"nobody\"}'",
];

fn commit_crime(random: &mut StdRng, kept: i64, head: i64) -> Crime {
    let p = random.random_range(1..=head);
    let crime = |what: &str, statements: String, first, last| Crime {
        what: what.to_owned(),
        statements,
        first,
        last,
        forged: false,
    };
    match random.random_range(0..12) {
        0..5 => {
            let change = CHANGES.choose(random).unwrap();
            crime("change", format!("update event set {change} where position = {p}"), p, p)
        }
        5 => crime("delete", format!("delete from event where position = {p}"), p, p),
        6 => {
            let shift = format!(
                "update event set position = position + 1000000 where position >= {p};
                 update event set position = position - 999999 where position > 1000000;
                 insert into event select {p}, recorded_at, gen_random_uuid(), schema_version, event_type, data, metadata
                    from honest_event where position = {p};
                 update head set position = position + 1"
            );
            crime("insert", shift, p, p)
        }
        7 => {
            let q = (p + random.random_range(1..head) - 1) % head + 1;
            let swap = format!(
                "update event set position = 1000000 where position = {p};
                 update event set position = {p} where position = {q};
                 update event set position = {q} where position = 1000000"
            );
            crime("swap", swap, p.min(q), p.max(q))
        }
        8 => {
            let cut = format!("delete from event where position >= {p}; update head set position = {p} - 1");
            crime("cut", cut, p, head)
        }
        9 => {
            let renumber = format!(
                "delete from event where position = {p};
                 update event set position = position + 1000000 where position > {p};
                 update event set position = position - 1000001 where position > 1000000;
                 update head set position = position - 1"
            );
            crime("remove and renumber", renumber, p, p)
        }
        10 => {
            // Reading position by position would never get there.
            let far = random.random_range(head + 2..i64::MAX);
            let insert = format!(
                "insert into event select {far}, recorded_at, gen_random_uuid(), schema_version, event_type, data, metadata
                    from honest_event where position = {p}"
            );
            crime("insert far away", insert, head + 1, head + 1)
        }
        _ => {
            let p = random.random_range(1..=kept);
            let statements = format!(
                "update event set data = '{{\"license\":\"basic\",\"price\":{{\"amount_minor\":1,\"currency\":\"EUR\"}}}}',
                     event_type = 'LicensePurchased' where position >= {p}"
            );
            Crime { forged: true, ..crime("rewrite", statements, p, kept) }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_to_the_past_is_named_with_its_position() {
    let audit = Audit::begin().await;
    let honest = audit.verify().await;
    assert_eq!(honest.fault, None, "an honest log");
    assert_eq!(honest.events.get(), audit.head);
    for seed in 0..u64::from(cases("TEST_TAMPERINGS", 60)) {
        let crime = commit_crime(&mut StdRng::seed_from_u64(seed), audit.kept, audit.head);
        audit.log.databases.tamper(&crime.statements).await;
        if crime.forged {
            audit.forge_tree().await;
        }
        let verdict = audit.verify().await;
        let Some(fault) = verdict.fault else {
            panic!("case {seed}: nobody noticed {}: {}", crime.what, crime.statements)
        };
        let (position, until) = (fault.position.get(), fault.until.get());
        let named = if crime.forged {
            // Leaf hashes are forged as well, so that only checkpoints bound the first change.
            position <= crime.first && (crime.first..=crime.last).contains(&until)
        } else if crime.what == "cut" {
            (position, until) == (crime.first, crime.last)
        } else {
            (position, until) == (crime.first, crime.first)
        };
        assert!(named, "case {seed}: {}: {} is named as {fault:?}", crime.what, crime.statements);
        audit.restore().await;
    }
    assert_eq!(audit.verify().await.fault, None, "the restored log");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_far_after_the_end_ends_a_replay_and_an_export() {
    let audit = Audit::begin().await;
    let insert = "insert into event select 9000000000000000000, recorded_at, gen_random_uuid(), schema_version, event_type, data, metadata
                      from event where position = 1";
    audit.log.databases.tamper(insert).await;
    let (event_store, file) = (audit.log.event_store(), audit.log.file("log.ndjson"));
    let replayed = audited(2, &["replay", &event_store]);
    assert!(replayed.contains("position 621 is missing, 9000000000000000000 follows"), "{replayed}");
    let exported = audited(1, &["export", &event_store, "-o", &file]);
    assert!(
        exported.contains("at position 621: it is missing: position 9000000000000000000 follows 620"),
        "{exported}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_leaf_hash_does_not_make_verify_name_another_event() {
    let audit = Audit::begin().await;
    // The first checkpoint after the event follows from the tile of level 1, not from the hashes in this tile.
    let event = "update event set data = '{\"license\":\"basic\",\"price\":{\"amount_minor\":1,\"currency\":\"EUR\"}}' where position = 200";
    audit.log.databases.tamper(event).await;
    let fault = audit.verify().await.fault.unwrap();
    assert_eq!((fault.position.get(), fault.until.get()), (200, 200), "{fault:?}");

    let tile = "update tree_tile set hashes = overlay(hashes placing decode(repeat('00', 32), 'hex') from 169 * 32 + 1)
                    where level = 0 and index = 0";
    audit.log.databases.change_read_model(tile).await;
    let fault = audit.verify().await.fault.unwrap();
    assert_eq!((fault.position.get(), fault.until.get()), (151, 300), "{fault:?}");
}
