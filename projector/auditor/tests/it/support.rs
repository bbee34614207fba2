//! A log with signed checkpoints, and the auditor's command line.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use event_log::transparency::signed_checkpoint::{Checkpoint, SigningKey, generate_keys, split_notes};
use tempfile::TempDir;
use testing::{Databases, Service, Until, eventually, purchased, reset};

/// Nothing listens at this address: these tests need no NATS.
const NO_NATS: &str = "nats://127.0.0.1:1";

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
        Self { databases: Databases::create().await, key, private_key, folder: TempDir::new().unwrap() }
    }

    pub async fn projector(&self) -> Service {
        let (event_store, read_model) =
            (self.databases.event_store_url("projector"), self.databases.read_model_url("projector"));
        let checkpoints = self.checkpoints_file();
        let environment = [
            ("EVENT_STORE_URL", event_store.as_str()),
            ("READ_MODEL_URL", &read_model),
            ("NATS_URL", NO_NATS),
            ("CHECKPOINT_KEY", &self.private_key),
            ("CHECKPOINT_LOG", checkpoints.to_str().unwrap()),
        ];
        Service::start("projector", Until::Ready, &environment).await
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
        eventually("the log is signed", async || self.signed_up_to().await == position).await;
    }

    pub async fn signed_up_to(&self) -> i64 {
        sqlx::query_scalar("select position from tree_head").fetch_one(self.databases.read_model()).await.unwrap()
    }

    pub fn checkpoints_file(&self) -> PathBuf {
        self.folder.path().join("checkpoints.txt")
    }

    /// What the projector has published.
    pub fn notes(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.checkpoints_file()).unwrap();
        split_notes(&text).into_iter().map(str::to_owned).collect()
    }

    pub fn checkpoints(&self) -> Vec<Checkpoint> {
        self.notes().iter().map(|note| self.key.verifying_key().open(note).unwrap()).collect()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// File with the public key.
    pub fn public_key_file(&self) -> PathBuf {
        let file = self.file("key.pub");
        std::fs::write(&file, self.key.verifying_key().to_string()).unwrap();
        file
    }
}

/// Runs the auditor's binary with nothing but the arguments.
pub fn audit(arguments: &[&str]) -> Output {
    auditor().args(arguments).output().unwrap()
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
pub fn second_verifier(arguments: &[&Path], mode: &str) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/second_verifier.py");
    Command::new("python3").arg(script).arg(mode).args(arguments).output().expect("python3 runs")
}
