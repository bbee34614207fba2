//! The transparency log: any number of projectors grow one tree, and a changed log gets no signature.

use std::{fs, path::PathBuf};

use async_nats::jetstream::stream;
use chrono::{TimeDelta, Utc};
use contract::{cloud_event::CloudEvent, position::Position};
use event_log::{
    self,
    transparency::{
        self,
        merkle::{Proof, Tree, record_hash},
        signed_checkpoint::{Checkpoint, SigningKey, VerifyingKey, generate_keys, split_notes},
        statement::{Kind, Statement},
    },
};
use nix::sys::signal::Signal;
use runtime::nats::{CHECKPOINT_SUBJECT, STREAM, SUBJECTS, subject};
use sqlx::PgPool;
use tempfile::TempDir;
use testing::{Command, Databases, NO_NATS, Nats, Proxy, Service, Until, eventually, purchased, values};

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
        self.notes(replica).iter().filter_map(|note| self.checkpoint(note)).collect()
    }

    fn notes(&self, replica: &str) -> Vec<String> {
        let text = fs::read_to_string(self.file(replica)).unwrap();
        split_notes(&text).into_iter().map(str::to_owned).collect()
    }

    /// The checkpoint, unless the note is a statement.
    fn checkpoint(&self, note: &str) -> Option<Checkpoint> {
        Statement::open(note, &self.key).is_err().then(|| self.key.open(note).unwrap())
    }

    /// Compares the checkpoints with the tree that follows from the log.
    async fn assert_true(&self, mut checkpoints: Vec<Checkpoint>) {
        checkpoints.sort_by_key(|checkpoint| checkpoint.position);
        let mut checkpoints = checkpoints.into_iter().peekable();
        assert!(checkpoints.peek().is_some(), "nothing was signed");
        let events = event_log::read_after(self.databases.event_store(), Position::START, 100_000).await.unwrap();
        let mut tree = Tree::default();
        while let Some(checkpoint) = checkpoints.next_if(|next| next.position == Position::START) {
            assert_eq!(checkpoint.root, tree.root(), "of the empty log");
        }
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

    /// As if the read model was lost.
    async fn forget_the_tree(&self) {
        self.databases
            .change_read_model(
                "truncate tree_tile; update tree_head set position = 0, checkpoint = null, signed = null",
            )
            .await;
    }

    /// Runs `projector sign` or `projector restored`.
    async fn decide(&self, arguments: &[&str], nats_url: &str) -> (bool, String) {
        let (event_store, read_model) =
            (self.databases.event_store_url("projector"), self.databases.read_model_url("projector"));
        let file = self.file("one");
        let settings = [
            ("EVENT_STORE_URL", &*event_store),
            ("READ_MODEL_URL", &*read_model),
            ("NATS_URL", nats_url),
            ("CHECKPOINT_KEY", &*self.private_key),
            ("CHECKPOINT_LOG", file.to_str().unwrap()),
        ];
        let arguments = [arguments, &["--actor", "olga", "--reason", "a test"]].concat();
        let ended = Command::start("projector", &arguments, &settings).ended().await;
        (ended.success, ended.log)
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

/// Whether the projector waits for a decision.
async fn is_unconfirmed(projector: &Service) -> bool {
    projector.metric("sales_checkpoint_unconfirmed").await > 0.0
}

async fn publish(nats: &Nats, message: String) {
    let client = runtime::nats::connect(&nats.admin_url(), "test").await.unwrap();
    async_nats::jetstream::new(client).publish(CHECKPOINT_SUBJECT, message.into()).await.unwrap().await.unwrap();
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
    let nats = Nats::start();
    let (signed, _) = published_log(&nats).await;
    signed.forget_the_tree().await;
    // A crash during a write leaves a partial note.
    let file = signed.file("one");
    let whole = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{whole}sales.example/test\n30")).unwrap();
    signed.buy(5).await;
    let _projector = signed.projector("one", &nats.url("projector")).await;
    signed.signed(305).await;
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
            // The owner of the key can decide and sign without publishing.
            assert!(signed.decide(&["sign"], NO_NATS).await.0);
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
    let reason = "fewer than two places have a checkpoint: the checkpoint file has no checkpoint, NATS does not respond, the read model has checkpoints up to position 20";
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
    let projector = signed.projector("lost", &nats.url("projector")).await;
    eventually("nothing can be compared", async || is_unconfirmed(&projector).await).await;
    nats.start_again();
    eventually("the fork is detected", async || is_refused(&projector).await).await;
    signed.buy(10).await;
    eventually("the totals continue", async || signed.databases.checkpoint().await == 320).await;
    assert_eq!(note_on_nats(&nats).await, true_note);
    assert_eq!(signed.head().await, (0, None));
    assert_eq!(fs::read(signed.file("lost")).unwrap(), b"", "nothing is signed");
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
        let (restored, log) = signed.decide(&["restored", "--to", "200"], &nats_url).await;
        assert!(restored, "{log}");
        signed.signed(signed.databases.head().await).await;
        eventually("the alarm ends", async || !is_refused(&projector).await).await;
        let notes = signed.notes("one");
        let at = notes.iter().rposition(|note| signed.checkpoint(note).is_none()).unwrap();
        let statement = Statement::open(&notes[at], &signed.key).unwrap();
        let Kind::Restored { given_up, .. } = statement.kind else { panic!("{statement:?}") };
        assert_eq!((statement.position.get(), given_up.get(), &*statement.actor), (200, 300, "olga"));
        let (before, after): (Vec<_>, Vec<_>) = (notes[..at].to_vec(), notes[at + 1..].to_vec());
        let after: Vec<_> = after.iter().filter_map(|note| signed.checkpoint(note)).collect();
        assert!(after.iter().all(|checkpoint| !statement.gives_up(checkpoint)));
        assert!(before.iter().filter_map(|note| signed.checkpoint(note)).any(|lost| statement.gives_up(&lost)));
        signed.assert_true(after).await;
        let last = notes.last().cloned();
        eventually("NATS has the new checkpoint", async || note_on_nats(&nats).await == last).await;

        // The next start decides the same, and so does one without the file. A change after the restore is detected.
        projector.kill();
        for replica in ["one", "lost"] {
            let projector = signed.projector_until(replica, &nats_url, Until::Live).await;
            signed.grow(5).await;
            let is_quiet =
                async || values::<bool>(signed.databases.read_model(), "select difference is null from watch").await;
            eventually("the watch compares no checkpoint that was given up", async || is_quiet().await == [true]).await;
            projector.kill();
        }
        let change = "update event set recorded_at = recorded_at - interval '1 second' where position = 203";
        signed.databases.tamper(change).await;
        signed.forget_the_tree().await;
        let projector = signed.projector_until("one", &nats_url, Until::Live).await;
        eventually("it is refused", async || is_refused(&projector).await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_has_lost_nothing_signed_cannot_be_stated() {
    let nats = Nats::start();
    let (signed, _) = published_log(&nats).await;
    for (position, reason) in [("300", "there is nothing to give up"), ("301", "there is nothing to give up")] {
        let (stated, log) = signed.decide(&["restored", "--to", position], &nats.url("projector")).await;
        assert!(!stated && log.contains(reason), "{log}");
    }
    let (stated, log) = signed.decide(&["sign", "--after", "301"], NO_NATS).await;
    assert!(!stated && log.contains("the log ends at position 300"), "{log}");
}

/// Everything but one place is lost, and the log was changed after what that place has.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_compared_is_signed_only_if_an_operator_decides() {
    let mut nats = Nats::start();
    let (signed, _) = published_log(&nats).await;
    signed.change_the_past().await;
    nats.stop();
    nats.wipe();
    nats.start_again();
    let nats_url = nats.url("projector");
    let projector = signed.projector("lost", &nats_url).await;
    eventually("it waits", async || is_unconfirmed(&projector).await).await;
    let head = signed.buy(5).await;
    eventually("the totals continue", async || signed.databases.checkpoint().await == head).await;
    assert_eq!(signed.head().await, (0, None));
    assert_eq!(fs::read(signed.file("lost")).unwrap(), b"", "nothing is signed");

    let (decided, log) = signed.decide(&["sign"], &nats_url).await;
    assert!(decided, "{log}");
    signed.signed(head).await;
    eventually("the alarm ends", async || !is_unconfirmed(&projector).await).await;
    let statement = Statement::open(&signed.notes("lost")[0], &signed.key).unwrap();
    assert_eq!((statement.kind, statement.position.get()), (Kind::Accepted, head));
    assert_eq!((&*statement.actor, &*statement.reason), ("olga", "a test"));
    assert!(projector.log().contains("transparency.statement"), "{}", projector.log());
    let note = signed.head().await.1;
    eventually("NATS has it", async || note_on_nats(&nats).await == note).await;
    // No memory that is still there is overruled.
    projector.kill();
    let projector = signed.projector("one", &nats_url).await;
    eventually("it is refused", async || is_refused(&projector).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_log_gets_no_signature_whatever_the_newest_message_on_nats_is() {
    for newest in ["garbage", "old", "other key"] {
        let nats = Nats::start();
        let (signed, _) = published_log(&nats).await;
        let old = signed.notes("one")[0].clone();
        let message = match newest {
            "garbage" => "a shopping list".to_owned(),
            "old" => old.clone(),
            _ => SigningKey::parse(&generate_keys("sales.example/test").unwrap().0)
                .unwrap()
                .sign(Position::from_sequence(400), record_hash(b"")),
        };
        publish(&nats, message).await;
        signed.change_the_past().await;
        signed.databases.change_read_model(&format!("update tree_head set signed = '{old}'")).await;
        signed.buy(10).await;
        let projector = signed.projector("lost", &nats.url("projector")).await;
        eventually("the fork is detected", async || is_refused(&projector).await).await;
        assert_eq!(fs::read(signed.file("lost")).unwrap(), b"", "nothing is signed");
        assert_eq!(signed.head().await, (0, None));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_log_gets_no_signature_whatever_is_done_to_the_file() {
    let damaged = |case, notes: &[String]| match case {
        "cut back" => notes[0].clone(),
        "an old note is the last" => notes.concat() + &notes[0],
        "zeros follow" => notes.concat() + &"\0".repeat(64 * 1024),
        _ => notes.concat() + "sales.example/test\n301\nab" + &"\0".repeat(64 * 1024),
    };
    for case in ["cut back", "an old note is the last", "zeros follow", "zeros follow a partial note"] {
        let (signed, projector) = signed_log(300, NO_NATS).await;
        projector.kill();
        fs::write(signed.file("one"), damaged(case, &signed.notes("one"))).unwrap();
        signed.change_the_past().await;
        signed.buy(10).await;
        let projector = signed.projector("one", NO_NATS).await;
        eventually(case, async || is_refused(&projector).await || is_unconfirmed(&projector).await).await;
        assert_eq!(is_refused(&projector).await, case != "cut back", "{case}");
        assert_eq!(signed.head().await.1, None, "{case}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn zeros_after_the_last_note_do_not_stop_an_unchanged_log() {
    let (signed, projector) = signed_log(20, NO_NATS).await;
    projector.kill();
    let whole = fs::read_to_string(signed.file("one")).unwrap();
    fs::write(signed.file("one"), whole.clone() + &"\0".repeat(64 * 1024)).unwrap();
    let _projector = signed.projector("one", NO_NATS).await;
    signed.grow(5).await;
    assert!(fs::read_to_string(signed.file("one")).unwrap().starts_with(&whole));
    signed.assert_true(signed.checkpoints("one")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_is_thinned_when_it_is_opened() {
    let (signed, projector) = signed_log(20, NO_NATS).await;
    projector.kill();
    let key = SigningKey::parse(&signed.private_key).unwrap();
    let (count, now) = (6000_i64, Utc::now());
    let old =
        |number| key.sign_at(Position::START, Tree::default().root(), now - TimeDelta::seconds(20 * (count - number)));
    let old: Vec<_> = (0..count).map(old).collect();
    let notes = signed.notes("one");
    fs::write(signed.file("one"), old.concat() + &notes.concat()).unwrap();
    let _projector = signed.projector("one", NO_NATS).await;
    signed.grow(5).await;
    let thinned = signed.notes("one");
    assert!(thinned.len() < 2000, "{}", thinned.len());
    assert_eq!(thinned[0], old[0]);
    assert!(thinned.contains(notes.last().unwrap()));
    signed.assert_true(signed.checkpoints("one")).await;
}

/// What waits for long, because no projector runs, may be changed before it is signed.
#[tokio::test(flavor = "multi_thread")]
async fn events_that_waited_for_their_signature_are_compared_with_nats() {
    // An attacker may also change the times.
    for (on_nats, changed, time) in [
        (true, true, "- interval '1 hour'"),
        (true, true, "+ interval '1 minute'"),
        (true, false, "- interval '1 hour'"),
        (false, false, "- interval '1 hour'"),
    ] {
        let nats = Nats::start();
        let (signed, nats_url) = (Signed::create().await, nats.url("projector"));
        signed.projector("one", &nats_url).await.kill();
        signed.buy(20).await;
        signed.databases.tamper(&format!("update event set recorded_at = recorded_at {time}")).await;
        if on_nats {
            let client = runtime::nats::connect(&nats.admin_url(), "test").await.unwrap();
            let jetstream = async_nats::jetstream::new(client);
            let subjects = vec![SUBJECTS.to_owned()];
            let config = stream::Config { name: STREAM.to_owned(), subjects, ..Default::default() };
            jetstream.create_stream(config).await.unwrap();
            for event in event_log::read_after(signed.databases.event_store(), Position::START, 20).await.unwrap() {
                let line = CloudEvent::try_from(&event).unwrap().to_json();
                jetstream.publish(subject("LicensePurchased"), line.into()).await.unwrap().await.unwrap();
            }
        }
        if changed {
            let change = "update event set data = replace(data::text, '19900', '19901')::json where position = 7";
            signed.databases.tamper(change).await;
        }
        let projector = signed.projector("one", &nats_url).await;
        if changed {
            eventually("it is refused", async || is_refused(&projector).await).await;
            let reason = "the event at position 7 is not the one that was published on NATS";
            assert!(projector.log().contains(reason), "{}", projector.log());
            assert_eq!(signed.head().await, (0, None));
            continue;
        }
        signed.signed(20).await;
        let expected = if on_nats { 0.0 } else { 20.0 };
        eventually("the metrics are set", async || {
            projector.metric("sales_checkpoint_longest_delay_seconds").await >= 3600.0
                && (projector.metric("sales_checkpoint_unpublished_events_total").await - expected).abs() < 0.5
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_loss_of_one_place_needs_no_operator() {
    for lost in ["file", "NATS", "read model"] {
        let mut nats = Nats::start();
        let (signed, _) = published_log(&nats).await;
        match lost {
            "file" => fs::remove_file(signed.file("one")).unwrap(),
            "NATS" => {
                nats.stop();
                nats.wipe();
                nats.start_again();
            }
            _ => signed.forget_the_tree().await,
        }
        let _projector = signed.projector("one", &nats.url("projector")).await;
        signed.grow(10).await;
        let note = signed.head().await.1;
        eventually("NATS has it", async || note_on_nats(&nats).await == note).await;
        signed.assert_true(signed.checkpoints("one")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_that_an_operator_discards_is_built_again_without_a_sale() {
    let (signed, _projector) = signed_log(20, NO_NATS).await;
    let notes = signed.notes("one").len();
    let rebuilt = signed.databases.start_rebuild(&["--tree"]).ended().await;
    assert!(rebuilt.success, "{}", rebuilt.log);
    eventually("the tree is signed again", async || signed.notes("one").len() > notes && signed.head().await.0 == 20)
        .await;
    signed.assert_true(signed.checkpoints("one")).await;
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
    eventually("nothing was signed before", async || is_unconfirmed(&projector).await).await;
    assert!(signed.decide(&["sign"], NO_NATS).await.0);
    signed.signed(signed.databases.head().await).await;
    eventually("the alarm ends", async || !is_refused(&projector).await).await;
    signed.assert_true(signed.checkpoints("one")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_opened_delays_signing_alone() {
    let nats = Nats::start();
    let (signed, _) = published_log(&nats).await;
    let file = signed.file("one");
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    let projector = signed.projector("one", &nats.url("projector")).await;
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

#[tokio::test]
async fn two_installations_have_logs_of_different_names() {
    let folder = TempDir::new().unwrap();
    let mut names = Vec::new();
    for installation in ["one", "two"] {
        let file = folder.path().join(installation);
        let made = Command::start("projector", &["key", "--file", file.to_str().unwrap()], &[]).ended().await;
        assert!(made.success, "{}", made.log);
        let public_key = VerifyingKey::parse(&fs::read_to_string(file.with_extension("pub")).unwrap()).unwrap();
        names.push(public_key.origin().to_owned());
    }
    assert_ne!(names[0], names[1]);
}

/// The tiles after the last checkpoint have no signature: they are not taken for the log.
#[tokio::test(flavor = "multi_thread")]
async fn forged_tiles_beyond_the_last_checkpoint_are_not_signed() {
    let (signed, projector) = signed_log(20, NO_NATS).await;
    projector.kill();
    let head = signed.buy(10).await;
    let events = event_log::read_after(signed.databases.event_store(), Position::START, 100).await.unwrap();
    let mut tree = Tree::default();
    for event in &events {
        let line = CloudEvent::try_from(event).unwrap().to_json();
        let forged = event.position.get() == 21;
        tree.push(&record_hash(if forged { b"an event that never was" } else { &line }), |_, _| ());
    }
    for (id, tile) in tree.unfinished() {
        let forge = sqlx::query("update tree_tile set hashes = $3 where level = $1 and index = $2");
        forge.bind(id.level).bind(id.index).bind(tile).execute(signed.databases.read_model()).await.unwrap();
    }
    signed.databases.change_read_model(&format!("update tree_head set position = {head}, checkpoint = null")).await;
    let _projector = signed.projector("one", NO_NATS).await;
    let after = signed.buy(5).await;
    signed.signed(after).await;
    signed.assert_true(signed.checkpoints("one")).await;
}

/// A projector that has lost all checkpoints of a log, and waits for a decision.
async fn unconfirmed() -> (Signed, Service) {
    let (signed, projector) = signed_log(20, NO_NATS).await;
    projector.kill();
    fs::remove_file(signed.file("one")).unwrap();
    let forget = "truncate tree_tile; update tree_head set position = 0, checkpoint = null, signed = null";
    signed.databases.change_read_model(forget).await;
    let projector = signed.projector_until("one", NO_NATS, Until::Live).await;
    eventually("it waits for a decision", async || is_unconfirmed(&projector).await).await;
    (signed, projector)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_empty_for_a_moment_is_not_signed_without_a_memory() {
    let (signed, projector) = unconfirmed().await;
    signed.databases.tamper("create table lost as table event; delete from event; update head set position = 0").await;
    eventually("the empty log needs none", async || !is_unconfirmed(&projector).await).await;
    signed.databases.tamper("insert into event select * from lost; update head set position = 20").await;
    eventually("it waits again", async || is_unconfirmed(&projector).await).await;
    assert_eq!(signed.head().await, (0, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_with_events_is_not_empty_whatever_its_head_is() {
    let (signed, projector) = unconfirmed().await;
    projector.kill();
    signed.databases.tamper("update head set position = 0").await;
    let projector = signed.projector_until("one", NO_NATS, Until::Live).await;
    eventually("it waits again", async || is_unconfirmed(&projector).await).await;
    assert_eq!(fs::read_to_string(signed.file("one")).unwrap(), "", "the empty log is not signed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_the_read_model_lacks_is_signed_again_without_a_sale() {
    let (signed, _projector) = signed_log(20, NO_NATS).await;
    let (other, _) = generate_keys("sales.example/test").unwrap();
    let foreign = SigningKey::parse(&other).unwrap().sign(Position::START.plus(20), record_hash(b""));
    for note in ["null".to_owned(), format!("'{foreign}'")] {
        signed.databases.change_read_model(&format!("update tree_head set checkpoint = {note}")).await;
        let is_ours = async || signed.head().await.1.is_some_and(|note| signed.key.open(&note).is_ok());
        eventually("there is one again", is_ours).await;
    }
    signed.assert_true(signed.checkpoints("one")).await;
}
