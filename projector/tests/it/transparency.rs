//! The transparency log: any number of projectors grow one tree, and a changed log gets no signature.

use std::{fs, path::PathBuf};

use contract::{cloud_event::CloudEvent, position::Position};
use event_log::{
    self,
    transparency::{
        self,
        merkle::{Proof, Tree, record_hash},
        signed_checkpoint::{Checkpoint, SigningKey, VerifyingKey, generate_keys, split_notes},
    },
};
use nix::sys::signal::Signal;
use runtime::nats::CHECKPOINT_SUBJECT;
use sqlx::PgPool;
use tempfile::TempDir;
use testing::{Command, Databases, NO_NATS, Nats, Proxy, Service, Until, eventually, purchased};

struct Signed {
    databases: Databases,
    private_key: String,
    key: VerifyingKey,
    folder: TempDir,
}

impl Signed {
    async fn create() -> Self {
        let (private_key, public_key) = generate_keys("sales.example/test").unwrap();
        let key = VerifyingKey::parse(&public_key).unwrap();
        Self { databases: Databases::create().await, private_key, key, folder: TempDir::new().unwrap() }
    }

    fn file(&self, replica: &str) -> PathBuf {
        self.folder.path().join(format!("{replica}.txt"))
    }

    async fn projector(&self, replica: &str, nats_url: &str) -> Service {
        self.projector_until(replica, nats_url, Until::Ready).await
    }

    async fn projector_until(&self, replica: &str, nats_url: &str, until: Until) -> Service {
        let file = self.file(replica);
        let settings =
            [("NATS_URL", nats_url), ("CHECKPOINT_KEY", &self.private_key), ("CHECKPOINT_LOG", file.to_str().unwrap())];
        self.databases.start("projector", until, &settings).await
    }

    async fn buy(&self, purchases: usize) -> i64 {
        self.databases.append(&vec![purchased("pro", 19_900); purchases]).await
    }

    /// Buys, and waits until a checkpoint covers the purchases.
    async fn grow(&self, purchases: usize) {
        let head = self.buy(purchases).await;
        self.signed(head).await;
    }

    async fn head(&self) -> (i64, Option<String>) {
        sqlx::query_as("select position, checkpoint from tree_head")
            .fetch_one(self.databases.read_model())
            .await
            .unwrap()
    }

    async fn signed(&self, position: i64) {
        eventually("the log is signed", async || self.head().await.0 == position).await;
    }

    fn checkpoints(&self, replica: &str) -> Vec<Checkpoint> {
        let text = fs::read_to_string(self.file(replica)).unwrap();
        split_notes(&text).into_iter().map(|note| self.key.open(note).unwrap()).collect()
    }

    /// Compares the checkpoints with the tree that follows from the log.
    async fn assert_true(&self, mut checkpoints: Vec<Checkpoint>) {
        checkpoints.sort_by_key(|checkpoint| checkpoint.position);
        let mut checkpoints = checkpoints.into_iter().peekable();
        assert!(checkpoints.peek().is_some(), "nothing was signed");
        let events = event_log::read_after(self.databases.event_store(), Position::START, 100_000).await.unwrap();
        let mut tree = Tree::default();
        for event in events {
            tree.push(&record_hash(&CloudEvent::try_from(&event).unwrap().to_json()), |_, _| ());
            while let Some(checkpoint) = checkpoints.next_if(|next| next.position == event.position) {
                assert_eq!(checkpoint.root, tree.root(), "at position {}", event.position);
            }
        }
        assert!(checkpoints.next().is_none(), "something beyond the log was signed");
    }

    /// Changes an event whose checkpoint is signed, and removes the tree.
    async fn change_the_past(&self) {
        let earlier = "update event set recorded_at = recorded_at - interval '1 second' where position = 1";
        self.databases.tamper(earlier).await;
        self.forget_the_tree().await;
    }

    async fn truncate_to(&self, position: i64) {
        let truncate = format!("delete from event where position > {position}; update head set position = {position}");
        self.databases.tamper(&truncate).await;
    }

    async fn forget_the_tree(&self) {
        self.databases
            .change_read_model("truncate tree_tile; update tree_head set position = 0, checkpoint = null")
            .await;
    }
}

/// A log that a projector has signed, which still runs.
async fn signed_log(purchases: usize, nats_url: &str) -> (Signed, Service) {
    let signed = Signed::create().await;
    let projector = signed.projector("one", nats_url).await;
    signed.grow(purchases).await;
    (signed, projector)
}

/// A log whose checkpoint is published in a file and on NATS. Also returns the note. No projector runs.
async fn published_log(nats: &Nats) -> (Signed, Option<String>) {
    let (signed, _projector) = signed_log(300, &nats.url("projector")).await;
    let note = signed.head().await.1;
    eventually("NATS has it", async || note_on_nats(nats).await == note).await;
    (signed, note)
}

async fn is_refused(projector: &Service) -> bool {
    projector.metric("sales_checkpoint_refused").await > 0.0
}

/// The last note that was published on NATS.
async fn note_on_nats(nats: &Nats) -> Option<String> {
    let client = runtime::nats::connect(&nats.admin_url(), "test").await.unwrap();
    let stream = async_nats::jetstream::new(client).get_stream("SALES_CHECKPOINTS").await.ok()?;
    let last = stream.get_last_raw_message_by_subject(CHECKPOINT_SUBJECT).await.ok()?;
    Some(String::from_utf8(last.payload.to_vec()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_signed_and_published_in_the_file_and_on_nats() {
    let nats = Nats::start();
    let (signed, projector) = signed_log(1, &nats.url("projector")).await;
    for _ in 0..10 {
        signed.grow(30).await;
    }
    assert!(projector.metric("sales_checkpoint_delay_seconds").await >= 0.0);
    eventually("the metric says so", async || projector.metric("sales_checkpoint_position").await >= 301.0).await;

    let note = signed.head().await.1.unwrap();
    assert_eq!(signed.key.open(&note).unwrap(), signed.checkpoints("one").pop().unwrap());
    eventually("the checkpoint is on NATS", async || note_on_nats(&nats).await.as_ref() == Some(&note)).await;
    eventually("nothing waits any more", async || projector.metric("sales_checkpoint_delay_seconds").await <= 0.0)
        .await;
    signed.assert_true(signed.checkpoints("one")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_projectors_killed_again_and_again_sign_one_tree() {
    let (signed, nats) = (Signed::create().await, Nats::start());
    let nats_url = nats.url("projector");
    let replicas = ["one", "two", "three"];
    let mut running = Vec::new();
    for replica in replicas {
        running.push(signed.projector(replica, &nats_url).await);
    }
    for round in 0..6 {
        let head = signed.buy(700).await;
        let victim = round % replicas.len();
        running.remove(victim).kill();
        running.insert(victim, signed.projector(replicas[victim], &nats_url).await);
        signed.signed(head).await;
    }
    let all: Vec<Checkpoint> = replicas.iter().flat_map(|replica| signed.checkpoints(replica)).collect();
    assert_eq!(all.iter().map(|checkpoint| checkpoint.position.get()).max(), Some(4200));
    signed.assert_true(all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_tree_is_rebuilt_and_continues_after_the_published_checkpoints() {
    let (signed, projector) = signed_log(600, NO_NATS).await;
    projector.kill();
    signed.forget_the_tree().await;
    // A crash during a write leaves a partial note.
    let file = signed.file("one");
    let whole = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{whole}sales.example/test\n60")).unwrap();
    signed.buy(5).await;
    let _projector = signed.projector("one", NO_NATS).await;
    signed.signed(605).await;
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.starts_with(&whole), "published checkpoints stay");
    signed.assert_true(signed.checkpoints("one")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_log_gets_no_signature_even_if_the_tree_is_rebuilt() {
    let (signed, projector) = signed_log(300, NO_NATS).await;
    projector.kill();
    signed.change_the_past().await;
    signed.buy(10).await;
    let before = fs::read(signed.file("one")).unwrap();
    let projector = signed.projector("one", NO_NATS).await;
    eventually("the fork is detected", async || is_refused(&projector).await).await;
    assert!(
        projector.log().contains("the log differs from the one whose first 300 events were signed"),
        "{}",
        projector.log()
    );
    assert_eq!(fs::read(signed.file("one")).unwrap(), before, "nothing is signed");
    assert_eq!(signed.head().await.1, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_log_gets_no_signature_if_the_file_is_lost_and_nats_has_the_checkpoint() {
    for tree_is_there in [false, true] {
        let nats = Nats::start();
        let (signed, true_note) = published_log(&nats).await;
        signed.change_the_past().await;
        if tree_is_there {
            // The owner of the key can sign without publishing.
            let forger = signed.projector("forger", NO_NATS).await;
            signed.signed(300).await;
            forger.kill();
        }
        let before = signed.head().await;
        signed.buy(10).await;
        let projector = signed.projector("lost", &nats.url("projector")).await;
        eventually("the fork is detected", async || is_refused(&projector).await).await;
        let log = projector.log();
        assert!(log.contains("the log differs from the one whose first 300 events were signed"), "{log}");
        assert_eq!(fs::read(signed.file("lost")).unwrap(), b"", "nothing is signed");
        assert_eq!(signed.head().await.1, before.1);
        assert_eq!(note_on_nats(&nats).await, true_note);
        eventually("the totals continue", async || signed.databases.checkpoint().await == 310).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_file_and_nats_nothing_is_signed_until_nats_responds() {
    let mut nats = Nats::start();
    let (signed, projector) = signed_log(20, &nats.url("projector")).await;
    projector.kill();
    nats.stop();
    let projector = signed.projector("lost", &nats.url("projector")).await;
    signed.buy(5).await;
    let reason = "the checkpoint file is empty, and NATS does not return its last checkpoint";
    eventually("it reports why it waits", async || projector.log().contains(reason)).await;
    eventually("the totals continue", async || signed.databases.checkpoint().await == 25).await;
    assert_eq!(signed.head().await.0, 20);
    nats.start_again();
    signed.signed(25).await;
    let note = signed.head().await.1;
    eventually("NATS has it", async || note_on_nats(&nats).await == note).await;
    signed.assert_true(signed.checkpoints("lost")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_checkpoint_on_nats_is_compared_when_it_is_back_and_is_not_hidden_by_newer_ones() {
    let mut nats = Nats::start();
    let (signed, true_note) = published_log(&nats).await;
    nats.stop();
    signed.change_the_past().await;
    signed.buy(10).await;
    // Without file, tree and NATS, this is a new log to the projector.
    let projector = signed.projector("lost", &nats.url("projector")).await;
    signed.signed(310).await;
    nats.start_again();
    eventually("the fork is detected", async || is_refused(&projector).await).await;
    signed.buy(10).await;
    eventually("the totals continue", async || signed.databases.checkpoint().await == 320).await;
    assert_eq!(note_on_nats(&nats).await, true_note);
    assert_eq!(signed.head().await.0, 310);
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_signed_without_nats_are_published_after_a_restart() {
    let mut nats = Nats::start();
    let (signed, projector) = signed_log(1, &nats.url("projector")).await;
    // NATS does not recover a stream whose creation it was killed in.
    let first = signed.head().await.1;
    eventually("the stream exists", async || note_on_nats(&nats).await == first).await;
    nats.stop();
    signed.grow(2).await;
    projector.kill();
    nats.start_again();
    let _projector = signed.projector("one", &nats.url("projector")).await;
    let note = signed.head().await.1;
    eventually("NATS has it", async || note_on_nats(&nats).await == note).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_truncated_and_extended_gets_no_signature() {
    for seen in [true, false] {
        let (signed, projector) = signed_log(20, NO_NATS).await;
        if !seen {
            projector.signal(Signal::SIGSTOP);
        }
        signed.truncate_to(10).await;
        if seen {
            eventually("the cut is detected", async || projector.log().contains("ends at position 10")).await;
        }
        signed.buy(15).await;
        projector.signal(Signal::SIGCONT);
        let reason = "the event at position 20 differs from the one that was added to the tree";
        eventually("the extension is detected", async || projector.log().contains(reason)).await;
        assert!(is_refused(&projector).await, "the alarm stays");
        assert!(!projector.log().contains("transparency.recovered"), "{}", projector.log());
        assert_eq!(signed.head().await.0, 20);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_log_or_a_foreign_event_gets_no_signature() {
    let (signed, projector) = signed_log(20, NO_NATS).await;
    signed.databases.tamper("insert into event select 21, recorded_at, gen_random_uuid(), 1, event_type, data, '{\"a\":1}' from event where position = 20").await;
    signed.databases.tamper("update head set position = 21").await;
    eventually("the foreign event is detected", async || is_refused(&projector).await).await;
    assert!(projector.log().contains("the event at position 21 was not written by this system"), "{}", projector.log());
    signed.truncate_to(10).await;
    eventually("the cut is detected", async || projector.log().contains("the event log ends at position 10")).await;
    assert_eq!(signed.head().await.0, 20);
    // Not even with a lost tree.
    projector.kill();
    signed.forget_the_tree().await;
    let projector = signed.projector_until("one", NO_NATS, Until::Live).await;
    let reason = "the event log ends at position 10, before position 20";
    eventually("the cut is detected once more", async || projector.log().contains(reason)).await;
    assert_eq!(signed.head().await, (0, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restore_of_the_event_store_alone_the_documented_commands_lead_to_new_checkpoints() {
    for sells_again in [false, true] {
        let nats = Nats::start();
        let (signed, _) = published_log(&nats).await;
        signed.truncate_to(200).await;
        if sells_again {
            signed.buy(150).await;
        }
        let nats_url = nats.url("projector");
        let projector = signed.projector_until("one", &nats_url, Until::Live).await;
        eventually("it is refused", async || is_refused(&projector).await).await;
        projector.kill();

        fs::rename(signed.file("one"), signed.file("before")).unwrap();
        let admin = runtime::nats::connect(&nats.admin_url(), "test").await.unwrap();
        async_nats::jetstream::new(admin).delete_stream("SALES_CHECKPOINTS").await.unwrap();
        let projector = signed.projector_until("one", &nats_url, Until::Live).await;
        eventually("the tree is refused", async || is_refused(&projector).await).await;
        let rebuilt = signed.databases.start_rebuild(&["--tree"]).ended().await;
        assert!(rebuilt.success, "{}", rebuilt.log);
        signed.signed(signed.databases.head().await).await;
        eventually("the alarm ends", async || !is_refused(&projector).await).await;
        signed.assert_true(signed.checkpoints("one")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_that_an_operator_discards_is_built_again_without_a_sale() {
    let (signed, _projector) = signed_log(20, NO_NATS).await;
    let before = signed.head().await;
    let rebuilt = signed.databases.start_rebuild(&["--tree"]).ended().await;
    assert!(rebuilt.success, "{}", rebuilt.log);
    eventually("the tree is the same again", async || signed.head().await == before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_a_tree_that_is_discarded_meanwhile_still_makes_proofs() {
    let (signed, projector) = signed_log(20, NO_NATS).await;
    projector.kill();
    let of_role = async |role| PgPool::connect(&signed.databases.read_model_url(role)).await.unwrap();
    let mut snapshot = transparency::snapshot(&of_role("query_api").await).await.unwrap();
    assert_eq!(transparency::head(&mut *snapshot).await.unwrap().0.get(), 20);
    let read_model = of_role("projector").await;
    let discard = tokio::spawn(async move { projector::transparency::discard(&read_model).await });
    let waiting = "select exists (select from pg_locks where relation = 'tree_tile'::regclass and not granted)";
    eventually("the tree is discarded, or its lock is awaited", async || {
        let waits: bool = sqlx::query_scalar(waiting).fetch_one(signed.databases.read_model()).await.unwrap();
        waits || discard.is_finished()
    })
    .await;
    let root = transparency::prove(&mut *snapshot, Proof::Root { size: 20 }).await.unwrap();
    assert_eq!(root[0], signed.checkpoints("one").pop().unwrap().root);
    snapshot.rollback().await.unwrap();
    discard.await.unwrap().unwrap();
    assert_eq!(signed.head().await, (0, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_database_does_not_end_the_alarm_of_a_refusal() {
    let (signed, projector) = signed_log(20, NO_NATS).await;
    projector.kill();
    signed.change_the_past().await;
    let proxy = Proxy::start(testing::postgres().address()).await;
    let read_model = signed.databases.read_model_url_via("projector", proxy.address());
    let file = signed.file("one");
    let settings = [
        ("NATS_URL", NO_NATS),
        ("READ_MODEL_URL", &*read_model),
        ("CHECKPOINT_KEY", &*signed.private_key),
        ("CHECKPOINT_LOG", file.to_str().unwrap()),
    ];
    let projector = signed.databases.start("projector", Until::Ready, &settings).await;
    eventually("the fork is detected", async || is_refused(&projector).await).await;
    proxy.refuse(true);
    proxy.cut();
    eventually("it waits for the database", async || projector.log().contains("transparency.waiting")).await;
    assert!(is_refused(&projector).await, "the alarm stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_something_else_is_not_changed_and_stops_signing_alone() {
    let signed = Signed::create().await;
    let file = signed.file("one");
    let sign = |key: &str| SigningKey::parse(key).unwrap().sign(Position::START.next(), record_hash(b""));
    let note = sign(&signed.private_key);
    let (other, _) = generate_keys("sales.example/other").unwrap();
    let foreign = "contains something other than checkpoints at byte";
    for (content, reason) in [
        (sign(&other), "a new key needs a new file".to_owned()),
        ("a shopping list".to_owned(), format!("{foreign} 0: \"a shopping list\"")),
        ("milk\nbutter\n".repeat(10_000), format!("{foreign} ")),
        (note.clone() + "a shopping list\n", format!("{foreign} {}: \"a shopping list\\n\"", note.len())),
        ("a shopping list\n".to_owned() + &note, format!("{foreign} 0: \"a shopping list\\nsales.")),
        (note.replace('\n', "\r\n"), format!("{foreign} 0: \"sales.example/test\\r\\n1\\r\\n")),
        (note.clone() + &note.replace('\n', "\r\n"), format!("{foreign} {}: \"sales.example/test\\r\\n", note.len())),
        (format!("\u{feff}{note}"), format!("{foreign} 0: \"\\u{{feff}}sales.")),
        // The last note with a damaged signature line is no partial note: it may have been published.
        (note.clone() + &note.replace("— ", "- "), format!("{foreign} {}: \"sales.", note.len())),
    ] {
        fs::write(&file, &content).unwrap();
        let projector = signed.projector("one", NO_NATS).await;
        eventually("signing is refused", async || is_refused(&projector).await).await;
        let head = signed.buy(1).await;
        eventually("the totals continue", async || signed.databases.checkpoint().await == head).await;
        assert!(projector.log().contains(&reason), "{reason} is not in {}", projector.log());
        assert_eq!(signed.head().await, (0, None));
        assert_eq!(fs::read_to_string(&file).unwrap(), content);
    }

    // Signing resumes without a restart once the file is repaired.
    let projector = signed.projector("one", NO_NATS).await;
    eventually("signing is refused", async || is_refused(&projector).await).await;
    fs::remove_file(&file).unwrap();
    signed.signed(signed.databases.head().await).await;
    eventually("the alarm ends", async || !is_refused(&projector).await).await;
    signed.assert_true(signed.checkpoints("one")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_opened_delays_signing_alone() {
    let signed = Signed::create().await;
    let file = signed.file("one");
    fs::create_dir(&file).unwrap();
    let projector = signed.projector("one", NO_NATS).await;
    let head = signed.buy(3).await;
    eventually("the totals continue", async || signed.databases.checkpoint().await == head).await;
    let reason = format!("the checkpoint file {} cannot be used", file.display());
    eventually("it reports why", async || projector.log().contains(&reason)).await;
    eventually("the delay grows", async || projector.metric("sales_checkpoint_delay_seconds").await > 0.0).await;
    fs::remove_dir(&file).unwrap();
    signed.signed(head).await;
    signed.assert_true(signed.checkpoints("one")).await;
}

#[tokio::test]
async fn a_key_is_generated_once() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("key");
    let make = async |more: &[&str]| {
        let arguments = [&["key", "--file", file.to_str().unwrap()], more].concat();
        Command::start("projector", &arguments, &[]).ended().await.success
    };
    assert!(make(&["--if-missing"]).await);
    let key = fs::read(&file).unwrap();

    assert!(make(&["--if-missing"]).await);
    assert!(!make(&[]).await);

    assert_eq!(fs::read(&file).unwrap(), key);
}
