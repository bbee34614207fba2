//! A log with signed checkpoints, and the auditor's command line.

use std::{
    path::Path,
    process::{Command, Output},
};

use event_log::transparency::signed_checkpoint::{Checkpoint, SigningKey, generate_keys, split_notes};
use tempfile::TempDir;
use testing::{Databases, NO_NATS, Service, Until, eventually, purchased, reset, values};

pub struct SignedLog {
    pub databases: Databases,
    pub key: SigningKey,
    private_key: String,
    folder: TempDir,
}

impl SignedLog {
    pub async fn create() -> Self {
        let (private_key, _) = generate_keys("sales.example/test").unwrap();
        let key = SigningKey::parse(&private_key).unwrap();
        let log = Self { databases: Databases::create().await, key, private_key, folder: TempDir::new().unwrap() };
        // The empty log is signed, as the projector signs no other log without an earlier checkpoint.
        log.projector().await.kill();
        log
    }

    /// Signs whatever the log is, as the owner of the key can.
    pub async fn decide_to_sign(&self) {
        self.decide(&["sign", "--actor", "mallory", "--reason", "a forgery"]).await;
    }

    /// Runs a command of the projector with which operators decide on the log.
    pub async fn decide(&self, decision: &[&str]) {
        let (event_store, read_model) =
            (self.databases.event_store_url("projector"), self.databases.read_model_url("projector"));
        let settings = [
            ("EVENT_STORE_URL", &*event_store),
            ("READ_MODEL_URL", &*read_model),
            ("CHECKPOINT_KEY", &*self.private_key),
            ("CHECKPOINT_LOG", &*self.checkpoints_file()),
        ];
        let ended = testing::Command::start("projector", decision, &settings).ended().await;
        assert!(ended.success, "{}", ended.log);
    }

    pub async fn projector(&self) -> Service {
        self.start_projector(Until::Ready).await
    }

    /// Of a log with events that cannot be counted: it signs them, and its projection halts.
    pub async fn projector_that_halts(&self) -> Service {
        self.start_projector(Until::Live).await
    }

    async fn start_projector(&self, until: Until) -> Service {
        let checkpoints = self.checkpoints_file();
        let settings =
            [("NATS_URL", NO_NATS), ("CHECKPOINT_KEY", &*self.private_key), ("CHECKPOINT_LOG", &*checkpoints)];
        self.databases.start("projector", until, &settings).await
    }

    /// Appends that many events, and waits until they are signed and projected. No projector runs afterwards.
    pub async fn fill(&self, events: usize) {
        let _projector = self.projector().await;
        let head = self.grow(events).await;
        self.projected(head).await;
    }

    pub async fn projected(&self, position: i64) {
        eventually("the log is projected", async || self.databases.checkpoint().await == position).await;
    }

    /// Appends that many events, and waits until a checkpoint covers them.
    pub async fn grow(&self, events: usize) -> i64 {
        let events: Vec<_> = (0..events)
            .map(|number| match number % 100 {
                99 => reset(),
                n if n % 2 == 0 => purchased("pro", 19_900),
                n => purchased("basic", 4_900 + i64::try_from(n).unwrap()),
            })
            .collect();
        let head = self.databases.append(&events).await;
        self.signed(head).await;
        head
    }

    pub async fn signed(&self, position: i64) {
        let signed = async || values::<i64>(self.databases.read_model(), "select position from tree_head").await;
        eventually("the log is signed", async || signed().await == [position]).await;
    }

    pub fn checkpoints_file(&self) -> String {
        self.file("checkpoints.txt")
    }

    /// Address of the event store, for the auditor.
    pub fn event_store(&self) -> String {
        self.databases.event_store_url("auditor")
    }

    /// Arguments that name the event store and the read model.
    pub fn both(&self) -> [String; 3] {
        [self.event_store(), "--read-model".to_owned(), self.databases.read_model_url("auditor")]
    }

    /// What the projector has published, after the checkpoint of the empty log.
    pub fn notes(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.checkpoints_file()).unwrap();
        split_notes(&text).into_iter().skip(1).map(str::to_owned).collect()
    }

    pub fn checkpoints(&self) -> Vec<Checkpoint> {
        self.notes().iter().map(|note| self.key.verifying_key().open(note).unwrap()).collect()
    }

    pub fn file(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// File with the public key.
    pub fn public_key_file(&self) -> String {
        let file = self.file("key.pub");
        std::fs::write(&file, self.key.verifying_key().to_string()).unwrap();
        file
    }
}

/// Runs the auditor's binary with nothing but the arguments.
pub fn audit(arguments: &[&str]) -> Output {
    auditor().args(arguments).output().unwrap()
}

/// Runs the auditor, which has to exit with this code. Returns all that it prints.
#[track_caller]
pub fn audited(code: i32, arguments: &[&str]) -> String {
    let output = audit(arguments);
    assert_eq!(output.status.code(), Some(code), "{}", text(&output));
    text(&output)
}

pub fn auditor() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_auditor"));
    for variable in ["EVENT_STORE_URL", "READ_MODEL_URL", "CHECKPOINT_PUBLIC_KEY"] {
        command.env_remove(variable);
    }
    command
}

pub fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

/// The second verifier, in Python.
pub fn second_verifier(arguments: &[&str], mode: &str) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/second_verifier.py");
    Command::new("python3").arg(script).arg(mode).args(arguments).output().expect("python3 runs")
}
