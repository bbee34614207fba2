//! A policy of witnesses: the log counts as signed only as far as enough of them have cosigned it.

use std::fs;

use chrono::Utc;
use event_log::transparency::{cosignature::CosigningKey, signed_checkpoint::generate_keys};

use crate::support::{SignedLog, audited};

fn witness(name: &str) -> CosigningKey {
    CosigningKey::parse(&generate_keys(name).unwrap().0).unwrap()
}

fn cosigned(note: &str, witnesses: &[&CosigningKey]) -> String {
    let lines = witnesses.iter().map(|witness| witness.cosign(note, Utc::now()).unwrap());
    [note.to_owned()].into_iter().chain(lines).collect()
}

impl SignedLog {
    /// The newest signed note.
    async fn head_note(&self) -> String {
        let note = sqlx::query_scalar("select checkpoint from tree_head");
        note.fetch_one(self.databases.read_model()).await.unwrap()
    }

    /// As the projector does after a submission.
    async fn serve_cosigned(&self, note: &str) {
        let position = self.key.verifying_key().open(note).unwrap().position.get();
        let insert = sqlx::query(
            "insert into cosigned_checkpoint (position, note, submitted_at) values ($1, $2, now())
             on conflict (only_row) do update set position = excluded.position, note = excluded.note",
        );
        insert.bind(position).bind(note).execute(self.databases.read_model()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_policy_only_a_checkpoint_with_enough_cosignatures_counts() {
    let log = SignedLog::create().await;
    log.fill(10).await;
    let older = log.head_note().await;
    log.fill(290).await;
    let old = log.head_note().await;
    let [one, two, stranger] = ["one.example/w", "two.example/w", "three.example/w"].map(witness);
    let [key_of_one, key_of_two] = [&one, &two].map(|witness| witness.witness_key().to_string());
    let (both, key) = (log.both(), log.public_key_file());
    let [event_store, read_model, address] = &both;
    let verify = |code, more: &[&str]| {
        let policy = ["--witness", &key_of_one, "--witness", &key_of_two];
        let log = ["verify", event_store, read_model, address, "--public-key", &key];
        audited(code, &[&log[..], &policy, more].concat())
    };
    let none = "no checkpoint that counts is cosigned by 2 of 2 witnesses";
    let printed = verify(2, &[]);
    assert!(printed.contains("no checkpoint of this log is cosigned yet") && printed.contains(none), "{printed}");

    // One of two, and one that does not count; a cosignature of another checkpoint; one signature twice.
    let of_another = two.cosign(&older, Utc::now()).unwrap();
    for note in
        [cosigned(&old, &[&one, &stranger]), cosigned(&old, &[&one]) + &of_another, cosigned(&old, &[&one, &one])]
    {
        log.serve_cosigned(&note).await;
        assert!(verify(2, &[]).contains(none), "{note}");
        let printed = verify(0, &["--witness-quorum", "1"]);
        assert!(printed.contains("the witnesses have cosigned the log up to position 300"), "{printed}");
    }
    log.serve_cosigned(&cosigned(&old, &[&one, &two])).await;
    verify(0, &[]);

    // What is newer counts again when it is cosigned.
    {
        let _projector = log.projector().await;
        log.grow(50).await;
    }
    let printed = verify(0, &[]);
    assert!(printed.contains("up to position 300") && printed.contains("the newest for position 350"), "{printed}");
    let kept = log.file("kept.txt");
    fs::write(&kept, cosigned(&log.head_note().await, &[&two, &one])).unwrap();
    assert!(verify(0, &["--checkpoints", &kept]).contains("up to position 350"));

    log.databases
        .tamper("update event set data = replace(data::text, '19900', '19901')::json where position = 1")
        .await;
    assert!(verify(1, &[]).contains("WRONG at position 1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_cosigned_checkpoint_is_fetched() {
    let log = SignedLog::create().await;
    log.fill(20).await;
    let [one, two] = ["one.example/w", "two.example/w"].map(witness);
    let [key_of_one, key_of_two] = [&one, &two].map(|witness| witness.witness_key().to_string());
    let (both, key, file) = (log.both(), log.public_key_file(), log.file("kept.txt"));
    let [event_store, read_model, address] = &both;
    let fetch = |code, witnesses: &[&str]| {
        let log = ["checkpoint", event_store, read_model, address, "--public-key", &key, "--file", &file];
        audited(code, &[&log[..], witnesses].concat())
    };
    fetch(2, &["--witness", &key_of_one]);
    let note = cosigned(&log.head_note().await, &[&one]);
    log.serve_cosigned(&note).await;
    fetch(2, &["--witness", &key_of_two]);
    assert!(!fs::exists(&file).unwrap());
    fetch(0, &["--witness", &key_of_one]);
    assert_eq!(fs::read_to_string(&file).unwrap(), note);
    // A file holds a key as well, and none counts twice.
    let key_file = log.file("witness.pub");
    fs::write(&key_file, &key_of_one).unwrap();
    fetch(0, &["--witness", &key_file]);
    assert!(fetch(2, &["--witness", &key_file, "--witness", &key_of_one]).contains("twice"));
    assert!(fetch(2, &["--witness", &key_of_one, "--witness-quorum", "2"]).contains("--witness-quorum is 2"));
    assert!(fetch(2, &["--witness", &key_of_one, "--witness-quorum", "0"]).contains("--witness-quorum is 0"));
    fetch(2, &["--witness", &log.key.verifying_key().to_string()]);
}
