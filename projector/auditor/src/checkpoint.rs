//! The newest checkpoint, and its consistency with older ones.

use std::fmt;

use anyhow::{Context, ensure};
use contract::position::Position;
use event_log::transparency::{
    self,
    merkle::{Hash, Proof, check_tree},
    signed_checkpoint::Checkpoint,
};
use reqwest::{Client, Url};
use serde::Deserialize;
use sqlx::PgPool;

use crate::peaks::Peaks;

/// Source of checkpoints and consistency proofs.
#[derive(Clone, Debug)]
pub enum Checkpoints {
    ReadModel(PgPool),
    Http(Url, Client),
}

#[derive(Deserialize)]
struct ConsistencyProof {
    hashes: Vec<String>,
}

impl Checkpoints {
    /// The newest signed note.
    pub async fn newest(&self) -> anyhow::Result<String> {
        match self {
            Self::ReadModel(pool) => {
                let (_, note) = transparency::head(pool).await.context("cannot read the read model")?;
                note.context("no checkpoint of this log is signed yet")
            }
            Self::Http(url, client) => get(client, url.join("/api/events/checkpoint")?).await,
        }
    }

    /// The newest signed note that a quorum of the operator's witnesses has cosigned.
    pub async fn cosigned(&self) -> anyhow::Result<String> {
        match self {
            Self::ReadModel(pool) => {
                let note = transparency::cosigned(pool).await.context("cannot read the read model")?;
                note.context("no checkpoint of this log is cosigned yet")
            }
            Self::Http(url, client) => get(client, url.join("/api/events/checkpoint/cosigned")?).await,
        }
    }

    /// The signed statements of operators, one after the other.
    pub async fn statements(&self) -> anyhow::Result<String> {
        match self {
            Self::ReadModel(pool) => {
                Ok(transparency::statements(pool).await.context("cannot read the read model")?.concat())
            }
            Self::Http(url, client) => get(client, url.join("/api/events/statements")?).await,
        }
    }

    /// The consistency proof of RFC 9162. It is not verified.
    pub async fn proof(&self, older: u64, newer: u64) -> anyhow::Result<Vec<Hash>> {
        match self {
            Self::ReadModel(pool) => Ok(transparency::prove(pool, Proof::Consistency { older, size: newer }).await?),
            Self::Http(url, client) => {
                let mut url = url.join("/api/events/consistency")?;
                url.query_pairs_mut().append_pair("from", &older.to_string()).append_pair("to", &newer.to_string());
                let proof: ConsistencyProof = serde_json::from_str(&get(client, url).await?)?;
                let hashes = proof.hashes.iter().map(|hash| Hash::parse_hash(hash));
                hashes.collect::<Result<_, _>>().context("the proof contains an invalid hash")
            }
        }
    }

    /// Verifies that the log of a newer checkpoint begins with the log of an older one.
    pub async fn compare(&self, older: &Checkpoint, newer: &Checkpoint) -> anyhow::Result<Result<(), String>> {
        if newer.position < older.position {
            let (newer, older) = (newer.position, older.position);
            return Ok(Err(format!("the log was signed up to position {older}, and now ends with {newer}")));
        }
        if newer.position == older.position {
            let position = newer.position;
            let wrong = || format!("{TWO_HISTORIES}: two checkpoints for position {position} have different roots");
            return Ok((newer.root == older.root).then_some(()).ok_or_else(wrong));
        }
        if older.position == Position::START {
            return Ok(Ok(()));
        }
        let (size, before) = (newer.position.as_sequence(), older.position.as_sequence());
        let proof = self.proof(before, size).await?;
        Ok(check_tree(&proof, size, newer.root, before, older.root)
            .map_err(|_| format!("what was signed up to position {before} is not the beginning of what is signed now")))
    }

    /// The tree of an older checkpoint, so that it can be extended. None if the newer tree does not begin with it.
    pub async fn edge(&self, older: &Checkpoint, newer: &Checkpoint) -> anyhow::Result<Option<Peaks>> {
        let (size, before) = (newer.position.as_sequence(), older.position.as_sequence());
        if before == 0 {
            return Ok(Some(Peaks::default()));
        }
        let proof = self.proof(before, size).await?;
        if check_tree(&proof, size, newer.root, before, older.root).is_err() {
            return Ok(None);
        }
        Ok(Some(match Peaks::from_proof(before, size, newer.root, &proof) {
            Some(edge) => edge,
            None => Peaks::of_root(before, older.root), // of a power of two
        }))
    }
}

pub const TWO_HISTORIES: &str = "the owner of the log signed two histories";

impl fmt::Display for Checkpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReadModel(_) => f.write_str("the read model"),
            Self::Http(url, _) => url.fmt(f),
        }
    }
}

/// The position that a note states. Does not verify the signature.
pub fn position_in(note: &str) -> anyhow::Result<Position> {
    Ok(Checkpoint::unverified(note).context("not a checkpoint")?.position)
}

async fn get(client: &Client, url: Url) -> anyhow::Result<String> {
    let response = client.get(url.clone()).send().await?;
    let status = response.status();
    let body = response.text().await?;
    ensure!(status.is_success(), "{url} answers {status}: {body}");
    Ok(body)
}
