//! Logs that grow and fork, and the witness that they submit their checkpoints to.

use std::{collections::HashMap, path::PathBuf};

use contract::position::Position;
use event_log::transparency::{
    cosignature::{Cosignature, WitnessKey},
    merkle::{Hash, Proof, TileId, Tree, record_hash},
    signed_checkpoint::{SigningKey, generate_keys},
};
use reqwest::{Client, Response};
use tempfile::TempDir;
use testing::{Command, Service, Until};

/// A log whose owner has the key and may change the past.
pub struct Log {
    pub key: SigningKey,
    tree: Tree,
    tiles: HashMap<TileId, Vec<u8>>,
}

impl Log {
    pub fn new() -> Self {
        let (private, _) = generate_keys("sales.example/log").unwrap();
        Self { key: SigningKey::parse(&private).unwrap(), tree: Tree::default(), tiles: HashMap::new() }
    }

    pub fn public_key(&self) -> String {
        self.key.verifying_key().to_string()
    }

    /// Appends events until the log has that many.
    pub fn grow(&mut self, size: u64, content: &str) -> &mut Self {
        while self.tree.size() < size {
            let leaf = record_hash(format!("{content} {}", self.tree.size()).as_bytes());
            self.tree.push(&leaf, |id, tile| drop(self.tiles.insert(id, tile)));
        }
        self.tiles.extend(self.tree.unfinished().map(|(id, tile)| (id, tile.to_vec())));
        self
    }

    /// Another log with the same key and the same first events.
    pub fn fork(&self) -> Self {
        Self { key: self.key.clone(), tree: self.tree.clone(), tiles: self.tiles.clone() }
    }

    /// An empty log with the same key.
    pub fn another(&self) -> Self {
        Self { key: self.key.clone(), ..Self::new() }
    }

    pub fn size(&self) -> u64 {
        self.tree.size()
    }

    pub fn root(&self) -> Hash {
        self.tree.root()
    }

    pub fn note(&self) -> String {
        self.key.sign(Position::from_sequence(self.size()), self.root())
    }

    pub fn proof(&self, older: u64) -> Vec<Hash> {
        Proof::Consistency { older, size: self.size() }.from_tiles(&self.tiles).unwrap()
    }

    /// What the log submits after it was cosigned at that size.
    pub fn submission(&self, older: u64) -> String {
        let proof = lines(&self.proof(older));
        format!("old {older}\n{proof}\n{}", self.note())
    }
}

/// The lines of a proof.
pub fn lines(proof: &[Hash]) -> String {
    proof.iter().flat_map(|hash| [hash.to_string(), "\n".to_owned()]).collect()
}

/// The folder of a witness, with its key.
pub struct Witness {
    pub folder: TempDir,
    pub key: WitnessKey,
    logs: String,
}

impl Witness {
    pub async fn create(logs: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("key");
        let arguments = ["key", "--origin", "witness.example/test", "--file", file.to_str().unwrap()];
        let ended = Command::start("witness", &arguments, &[]).ended().await;
        assert!(ended.success, "{}", ended.log);
        let public = std::fs::read_to_string(folder.path().join("key.pub")).unwrap();
        assert_eq!(ended.log.trim(), public);
        Self { folder, key: WitnessKey::parse(&public).unwrap(), logs: logs.to_owned() }
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub async fn start(&self) -> Service {
        let key = self.file("key");
        let settings = [("WITNESS_KEY_FILE", key.to_str().unwrap()), ("WITNESS_LOGS", &self.logs)];
        Service::start("witness", Until::Live, &settings).await
    }

    /// The cosignature in a successful response.
    pub async fn cosignature(&self, response: Response, note: &str) -> Cosignature {
        let (status, lines) = (response.status(), response.text().await.unwrap());
        assert_eq!(status, 200, "{lines}");
        self.key.cosignature(&(note.to_owned() + &lines)).expect("a valid cosignature")
    }
}

pub async fn submit(service: &Service, body: impl Into<reqwest::Body>) -> Response {
    try_to_submit(service, body).await.expect("a running witness answers")
}

pub async fn try_to_submit(service: &Service, body: impl Into<reqwest::Body>) -> reqwest::Result<Response> {
    Client::new().post(format!("{}/add-checkpoint", service.url())).body(body).send().await
}
