//! The watch: every change of the past raises an alarm with its position, within one round.

use std::fs;

use contract::{cloud_event::CloudEvent, position::Position};
use event_log::{
    catalogue,
    transparency::{
        merkle::{Tree, record_hash},
        signed_checkpoint::{SigningKey, generate_keys, split_notes},
    },
};
use projector::transparency::{Watch, watch};
use prometheus_client::registry::Registry;
use runtime::run_loop::Step;
use tempfile::TempDir;
use testing::{Databases, NO_NATS, Service, Until, eventually, purchased, reset, values};

/// A signed log of more than three tiles.
const HALF: usize = 400;
const EVENTS: i64 = 800;

/// A signed log. Checkpoints cover the first half, and all of it.
pub struct Watched {
    pub databases: Databases,
    private_key: String,
    folder: TempDir,
}

impl Watched {
    pub async fn create(half: usize) -> Self {
        let (private_key, _) = generate_keys("sales.example/test").unwrap();
        let watched = Self { databases: Databases::create().await, private_key, folder: TempDir::new().unwrap() };
        // The empty log is signed before the first event.
        let projector = watched.projector_until(Until::Ready).await;
        for _ in 0..2 {
            watched.grow(half).await;
        }
        projector.kill();
        watched.back_up("honest").await;
        watched
    }

    pub async fn projector(&self) -> Service {
        self.projector_until(Until::Live).await
    }

    async fn projector_until(&self, until: Until) -> Service {
        let file = self.file();
        let settings = [
            ("NATS_URL", NO_NATS),
            ("CHECKPOINT_KEY", &*self.private_key),
            ("CHECKPOINT_LOG", &*file),
            ("WATCH_SHARE", "1"),
        ];
        self.databases.start("projector", until, &settings).await
    }

    pub fn file(&self) -> String {
        self.folder.path().join("checkpoints.txt").to_str().unwrap().to_owned()
    }

    fn first_note(&self) -> String {
        split_notes(&fs::read_to_string(self.file()).unwrap())[0].to_owned()
    }

    pub async fn grow(&self, purchases: usize) {
        let mut events = vec![purchased("pro", 19_900); purchases - 1];
        events.push(reset());
        let head = self.databases.append(&events).await;
        let signed = async || values::<i64>(self.databases.read_model(), "select position from tree_head").await;
        eventually("the log is signed", async || signed().await == [head]).await;
    }

    /// A watch as a projector starts it. No other task of the projector runs.
    pub fn watch(&self) -> Watch {
        let pools = (self.databases.event_store().clone(), self.databases.read_model().clone());
        let key = SigningKey::parse(&self.private_key).unwrap().verifying_key().clone();
        let metrics = watch::Metrics::register(&mut Registry::default());
        Watch::new(pools.0, pools.1, key, self.file().into(), 1.0, metrics)
    }

    /// Copies log and tree under this name.
    pub async fn back_up(&self, name: &str) {
        let log = format!("create table {name}_event as table event; create table {name}_head as table head");
        self.databases.change_event_store(&log).await;
        let tree = format!("create table {name}_tile as table tree_tile; create table {name}_tree as table tree_head");
        self.databases.change_read_model(&tree).await;
    }

    pub async fn restore(&self) {
        // Only the rows that differ: thousands of cases would leave too many dead ones.
        let log = "delete from event where event::text not in (select honest_event::text from honest_event);
                   insert into event select * from honest_event where position not in (select position from event);
                   delete from head; insert into head select * from honest_head";
        self.databases.tamper(log).await;
        let tree = "delete from tree_tile; insert into tree_tile select * from honest_tile;
                    delete from tree_head; insert into tree_head select * from honest_tree";
        self.databases.change_read_model(tree).await;
    }

    /// Replaces the hashes in the tree, or only its leaves, by those that follow from the changed log.
    pub async fn forge_tree(&self, leaves_alone: bool) {
        let events = event_log::read_after(self.databases.event_store(), Position::START, 10_000).await.unwrap();
        let (mut tree, mut tiles) = (Tree::default(), Vec::new());
        for event in &events {
            tree.push(&record_hash(&CloudEvent::try_from(event).unwrap().to_json()), |id, tile| tiles.push((id, tile)));
        }
        tiles.extend(tree.unfinished().map(|(id, tile)| (id, tile.to_vec())));
        for (id, tile) in tiles.into_iter().filter(|(id, _)| id.level == 0 || !leaves_alone) {
            let update = sqlx::query("update tree_tile set hashes = $3 where level = $1 and index = $2");
            update.bind(id.level).bind(id.index).bind(tile).execute(self.databases.read_model()).await.unwrap();
        }
    }

    /// Appends the events that a backup has in addition. If they are signed, the tree grows as a projector lets it grow.
    pub async fn sell(&self, backup: &str, signed: bool) {
        let append = format!(
            "insert into event
             select head.position - honest_head.position + sold.position, sold.recorded_at, event_id, schema_version, event_type, data, metadata
                 from {backup}_event as sold, head, honest_head where sold.position > honest_head.position;
             update head set (position, recorded_at) = (select max(position), max(recorded_at) from event where position < 1000)"
        );
        self.databases.tamper(&append).await;
        if signed {
            let grow = format!(
                "insert into tree_tile select sold.* from {backup}_tile as sold, tree_head where level > 0 or index = position / 256
                     on conflict (level, index) do update set hashes = excluded.hashes;
                 update tree_head set (position, checkpoint) = (select position, checkpoint from {backup}_tree)"
            );
            self.databases.change_read_model(&grow).await;
        }
    }

    /// The difference that is stored, with its position.
    pub async fn difference(&self) -> Option<(Option<i64>, String)> {
        let row: (Option<i64>, Option<String>) = sqlx::query_as("select difference_position, difference from watch")
            .fetch_one(self.databases.read_model())
            .await
            .unwrap();
        row.1.map(|what| (row.0, what))
    }

    /// Completes a round, and returns the difference that is stored then.
    pub async fn round(&self, watch: &mut Watch) -> Option<(Option<i64>, String)> {
        step(watch).await;
        self.difference().await
    }
}

fn note_of_another_log() -> String {
    let (key, _) = generate_keys("sales.example/test").unwrap();
    SigningKey::parse(&key).unwrap().sign(Position::START.plus(EVENTS), record_hash(b""))
}

/// One step is a whole round over a log this short.
async fn step(watch: &mut Watch) {
    let outcome = watch.step().await;
    watch.observe(outcome.as_ref().copied()).await;
    outcome.unwrap();
}

const FORGED: &str = r#"'{"license":"pro","price":{"amount_minor":19901,"currency":"EUR"}}'"#;

#[tokio::test]
async fn the_catalogue_of_a_new_event_store_is_the_expected_one() {
    let databases = Databases::create().await;
    let found = catalogue::facts(databases.event_store()).await.unwrap();
    assert_eq!(found.join("\n") + "\n", catalogue::EXPECTED, "found:\n{}", found.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_change_is_found_at_its_position_and_is_gone_a_round_after_it_was_undone() {
    let watched = Watched::create(HALF).await;
    let mut watch = watched.watch();
    assert_eq!(watched.round(&mut watch).await, None);
    let event = |change: &str| format!("update event set {change} where position = 300");
    let swap =
        "update event set position = 9999 where position = 300; update event set position = 300 where position = 310;
                update event set position = 310 where position = 9999";
    let tile = |level: i32, index: i32, place: i32| {
        format!(
            "update tree_tile set hashes = overlay(hashes placing decode(repeat('00', 32), 'hex') from {place} * 32 + 1)
             where (level, index) = ({level}, {index})"
        )
    };
    let (log, tree) = (true, false);
    for (what, is_log, statements, position, reason) in [
        ("amount", log, event(&format!("data = {FORGED}")), Some(300), "the event at position 300 and its hash in the tree differ; the checkpoint for position 400 was signed"),
        ("time", log, event("recorded_at = recorded_at + interval '1 microsecond'"), Some(300), "position 300"),
        ("id", log, event("event_id = gen_random_uuid()"), Some(300), "position 300"),
        ("metadata", log, event(r#"metadata = '{"salt":"8f14e45fceea467fa7d1b8c9e3a20b64","actor":"nobody"}'"#), Some(300), "position 300"),
        ("encoding", log, event("data = (data::text || ' ')::json"), Some(300), "position 300"),
        ("unreadable", log, event("event_type = ''"), Some(300), "position 300"),
        ("swapped", log, swap.to_owned(), Some(300), "position 300"),
        ("missing", log, "delete from event where position = 300".to_owned(), Some(300), "position 300 is missing, 301 follows"),
        ("missing at the end", log, format!("delete from event where position = {EVENTS}"), Some(EVENTS), "its head is at position 800"),
        ("cut", log, "delete from event where position > 790; update head set position = 790".to_owned(), Some(791), "ends at position 790"),
        ("extra at the end", log, "insert into event select 9000, recorded_at, gen_random_uuid(), 1, event_type, data, metadata from event where position = 1".to_owned(), Some(801), "the log ends with position 9000"),
                ("leaf", tree, tile(0, 1, 43), Some(300), "those that were signed for position 400, so the tree is damaged"),
        ("leaf of the partial tile", tree, tile(0, 3, 31), Some(800), "position 800"),
        ("parent", tree, tile(1, 0, 1), Some(257), "from position 257 to 512 and their hash on level 1"),
        ("missing tile", tree, "delete from tree_tile where (level, index) = (0, 2)".to_owned(), Some(513), "tile 2 on level 0 of the tree is missing"),
        ("note of another log", tree, format!("update tree_head set checkpoint = '{}'", note_of_another_log()), None, "something else in place of the newest checkpoint"),
        ("older note", tree, format!("update tree_head set checkpoint = '{}'", watched.first_note()), None, "another note in place of the checkpoint for position 800"),
        ("short tile", tree, "update tree_tile set hashes = substr(hashes, 1, 64) where (level, index) = (0, 0)".to_owned(), Some(3), "position 3"),
    ] {
        if is_log {
            watched.databases.tamper(&statements).await;
        } else {
            watched.databases.change_read_model(&statements).await;
        }
        for _ in ["the watch that was running", "a watch that starts after the change"] {
            let (found, text) = watched.round(&mut watch).await.unwrap_or_else(|| panic!("{what} is not found"));
            assert_eq!(found, position, "{what}: {text}");
            assert!(text.contains(reason), "{what}: {text}");
            watch = watched.watch();
        }
        watched.restore().await;
        assert_eq!(watched.round(&mut watch).await, None, "{what}");
    }
}

/// The attacker has both databases, but not the key.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_whose_hashes_were_changed_as_well_is_found_by_the_checkpoints() {
    let watched = Watched::create(HALF).await;
    let mut watch = watched.watch();
    let database = &watched.databases;
    database.tamper(&format!("update event set data = {FORGED} where position = 300")).await;
    watched.forge_tree(false).await;
    let (position, text) = watched.round(&mut watch).await.unwrap();
    assert_eq!(position, Some(1), "{text}");
    assert!(text.contains("one of the events from position 1 to 400 is not the signed one"), "{text}");

    // Without the file, the note in the read model is left.
    fs::remove_file(watched.file()).unwrap();
    let (_, text) = watched.round(&mut watched.watch()).await.unwrap();
    assert!(text.contains("from position 1 to 800 is not the signed one"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_before_the_log_and_a_second_head_are_found() {
    let databases = Databases::create().await;
    databases.append(&[purchased("pro", 19_900)]).await;
    let outside = async || event_log::outside_of_the_log(databases.event_store()).await.unwrap().map(|(_, what)| what);
    assert_eq!(outside().await, None);
    databases.tamper("alter table event drop constraint event_position_starts_at_one").await;
    for position in [0, -5] {
        let insert = format!(
            "insert into event select {position}, recorded_at, gen_random_uuid(), 1, event_type, data from event where position = 1"
        );
        databases.tamper(&insert).await;
        let what = format!("there is an event at position {position}, before the beginning of the log");
        assert_eq!(outside().await, Some(what));
    }
    databases.tamper("delete from event where position < 1").await;
    for time in ["recorded_at - interval '1 second'", "now() + interval '1 day'"] {
        databases.tamper(&format!("create table before as table head; update head set recorded_at = {time}")).await;
        assert_eq!(outside().await.unwrap(), "the time of the head is neither that of the last event nor the present");
        databases.tamper("update head set recorded_at = before.recorded_at from before; drop table before").await;
    }
    databases.tamper("update head set recorded_at = now()").await;
    assert_eq!(outside().await, None);
    databases
        .tamper("alter table head drop constraint head_only_row_is_true; insert into head select 1, now(), false")
        .await;
    assert_eq!(outside().await.unwrap(), "the event store has 2 heads of the log instead of one");
    databases.tamper("delete from head").await;
    assert_eq!(outside().await.unwrap(), "the event store has 0 heads of the log instead of one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_the_catalogue_is_found() {
    let watched = Watched::create(HALF).await;
    let mut watch = watched.watch();
    let setting = |action: &str| {
        format!(
            "do $$ begin execute format('alter role query_api in database %I {action}', current_database()); end $$"
        )
    };
    for (change, undo, fact) in [
        (
            "alter table event drop constraint event_position_starts_at_one",
            "alter table event add constraint event_position_starts_at_one check (position >= 1)",
            "it lacks \"constraint event.event_position_starts_at_one",
        ),
        (
            "alter table event disable trigger event_is_append_only",
            "alter table event enable trigger event_is_append_only",
            "enabled D",
        ),
        (
            "alter table head owner to postgres",
            "alter table head owner to event_store_owner",
            "table head: kind r, owner postgres",
        ),
        (
            "grant insert on event to query_api",
            "revoke insert on event from query_api",
            "grant INSERT on event to query_api",
        ),
        (
            "grant update (data) on event to auditor",
            "revoke update (data) on event from auditor",
            "grant UPDATE on event.data to auditor",
        ),
        (
            "alter function append_events set search_path = pg_temp, public",
            "alter function append_events set search_path = public, pg_temp",
            "function append_events",
        ),
        (
            "create function append_events(event_ids uuid[]) returns bigint language sql return 1",
            "drop function append_events(uuid[])",
            "it has \"function append_events(event_ids uuid[])",
        ),
        (
            "create schema query_api; create table query_api.event ()",
            "drop schema query_api cascade",
            "it has \"table query_api.event hides the one of the log",
        ),
        (
            &setting("set search_path = pg_temp"),
            &setting("reset search_path"),
            "setting search_path=pg_temp of query_api",
        ),
        (
            "grant create on schema public to auditor",
            "revoke create on schema public from auditor",
            "grant CREATE on the schema public to auditor",
        ),
        (
            "alter schema public owner to command_api",
            "alter schema public owner to pg_database_owner",
            "the schema public is owned by command_api",
        ),
        (
            "alter table event set unlogged",
            "alter table event set logged",
            "table event: kind r, owner event_store_owner, persistence u",
        ),
        ("alter table event enable row level security", "alter table event disable row level security", "row security"),
    ] {
        watched.databases.change_event_store(change).await;
        let (position, text) = watched.round(&mut watch).await.unwrap_or_else(|| panic!("{change} is not found"));
        assert!(position.is_none() && text.contains(fact), "{change}: {text}");
        watched.databases.change_event_store(undo).await;
        assert_eq!(watched.round(&mut watch).await, None, "{undo}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sees_a_change_in_the_metrics_and_the_log_also_after_a_restart() {
    let watched = Watched::create(20).await;
    let projector = watched.projector().await;
    let alarm = async |projector: &Service| projector.metric("sales_watch_difference").await > 0.0;
    let place = async |projector: &Service| projector.metric("sales_watch_difference_position").await;
    eventually("a round is complete", async || {
        !values::<i64>(watched.databases.read_model(), "select position from watch where completed_at is not null")
            .await
            .is_empty()
    })
    .await;
    assert!(!alarm(&projector).await);
    watched.databases.tamper(&format!("update event set data = {FORGED} where position = 7")).await;
    eventually("the change is found", async || alarm(&projector).await).await;
    assert!((place(&projector).await - 7.0).abs() < f64::EPSILON);
    let log = projector.log();
    assert!(
        log.contains("watch.difference") && log.contains("the event at position 7 and its hash in the tree differ"),
        "{log}"
    );
    projector.kill();

    let projector = watched.projector().await;
    eventually("the alarm is still there", async || alarm(&projector).await && place(&projector).await > 6.0).await;
    assert!(projector.log().contains("The watch had found a difference before it was started"), "{}", projector.log());
    watched.restore().await;
    eventually("the alarm ends", async || !alarm(&projector).await).await;
    eventually("the end is logged", async || projector.log().contains("watch.recovered")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_alarm_does_not_depend_on_its_table() {
    let watched = Watched::create(20).await;
    watched.databases.change_read_model("revoke update, insert on watch from projector").await;
    let projector = watched.projector().await;
    watched.databases.tamper(&format!("update event set data = {FORGED} where position = 7")).await;
    let alarm = async |projector: &Service| projector.metric("sales_watch_difference").await > 0.0;
    eventually("the change is found", async || alarm(&projector).await).await;
    projector.kill();
    watched.databases.change_read_model("grant update, insert on watch to projector; delete from watch").await;
    watched.restore().await;
    let projector = watched.projector().await;
    let reason = "the row in which the watch stores its findings was removed";
    eventually("the missing row is found", async || projector.log().contains(reason)).await;
    eventually("the alarm ends after a whole round", async || !alarm(&projector).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_resumes_at_the_stored_position_unless_there_is_an_alarm() {
    let watched = Watched::create(HALF).await;
    // The restart continues at the stored position, from the stored tiles.
    watched.databases.change_read_model("update watch set position = 700").await;
    assert_eq!(watched.round(&mut watched.watch()).await, None);
    watched.databases.tamper(&format!("update event set data = {FORGED} where position = 650")).await;
    watched.databases.change_read_model("update watch set position = 700").await;
    let mut watch = watched.watch();
    assert_eq!(watched.round(&mut watch).await, None, "the rest of the round does not read it");
    assert_eq!(watched.round(&mut watch).await.unwrap().0, Some(650), "the next round does");
    watched.databases.change_read_model("update watch set position = 700").await;
    let found = watched.round(&mut watched.watch()).await;
    assert_eq!(found.unwrap().0, Some(650), "the rest of a round does not end the alarm");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_over_a_long_log_takes_several_steps_and_ends_with_the_partial_tiles() {
    const STEPS: usize = 3;
    let watched = Watched::create(10_000).await;
    let round = async |watch: &mut Watch| {
        for _ in 0..STEPS {
            step(watch).await;
        }
        watched.difference().await.map(|(position, _)| position)
    };
    let completed =
        async || values::<bool>(watched.databases.read_model(), "select completed_at is not null from watch").await;
    watched.databases.change_read_model("update watch set position = 0, completed_at = null").await;
    let mut watch = watched.watch();
    step(&mut watch).await;
    assert_eq!(completed().await, [false]);
    step(&mut watch).await;
    step(&mut watch).await;
    assert_eq!((completed().await, watched.difference().await), (vec![true], None));

    // An operator discards the tree in the middle of a round: there is nothing to compare with.
    step(&mut watch).await;
    let discard = "truncate tree_tile; update tree_head set position = 0, checkpoint = null";
    watched.databases.change_read_model(discard).await;
    step(&mut watch).await;
    assert_eq!(watched.difference().await, None);
    watched.restore().await;

    for position in [8192, 8193, 9999, 16_384, 19_712, 20_000] {
        watched.databases.tamper(&format!("update event set data = {FORGED} where position = {position}")).await;
        assert_eq!(round(&mut watch).await, Some(Some(position)), "{position}");
        watched.restore().await;
        assert_eq!(round(&mut watch).await, None, "{position}");
    }
    for (level, index, position) in [(0, 31, 7937), (0, 32, 8193), (0, 78, 19_969), (1, 0, 1)] {
        let damage = format!(
            "update tree_tile set hashes = sha256(hashes) || substr(hashes, 33) where (level, index) = ({level}, {index})"
        );
        watched.databases.change_read_model(&damage).await;
        assert_eq!(round(&mut watch).await, Some(Some(position)), "tile {index} on level {level}");
        watched.restore().await;
        assert_eq!(round(&mut watch).await, None, "tile {index} on level {level}");
    }
}
