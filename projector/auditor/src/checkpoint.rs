//! The newest checkpoint, and its consistency with older ones.

use anyhow::{Context, bail, ensure};
use contract::position::Position;
use event_log::transparency::{
    self,
    merkle::{Hash, Proof, check_tree},
    signed_checkpoint::{Checkpoint, VerifyingKey},
};
use reqwest::{Client, Url};
use serde::Deserialize;
use sqlx::PgPool;

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

    async fn proof(&self, older: Position, newer: Position) -> anyhow::Result<Vec<Hash>> {
        match self {
            Self::ReadModel(pool) => {
                let proof = Proof::Consistency { older: older.as_sequence(), size: newer.as_sequence() };
                Ok(transparency::prove(pool, proof).await?)
            }
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
        if older.position == Position::START {
            return Ok(Ok(()));
        }
        let proof = self.proof(older.position, newer.position).await?;
        let (size, before) = (newer.position.as_sequence(), older.position.as_sequence());
        Ok(check_tree(&proof, size, newer.root, before, older.root)
            .map_err(|_| format!("what was signed up to position {before} is not the beginning of what is signed now")))
    }
}

/// The position that a note states. Does not verify the signature.
pub fn position_in(note: &str) -> anyhow::Result<Position> {
    let size: i64 = note.lines().nth(1).and_then(|size| size.parse().ok()).context("not a checkpoint")?;
    Ok(size.try_into()?)
}

async fn get(client: &Client, url: Url) -> anyhow::Result<String> {
    let response = client.get(url.clone()).send().await?;
    let status = response.status();
    let body = response.text().await?;
    ensure!(status.is_success(), "{url} answers {status}: {body}");
    Ok(body)
}

/// Opens notes that must all be signed by the key.
pub fn open_all(key: &VerifyingKey, notes: &[String]) -> anyhow::Result<Vec<Checkpoint>> {
    let mut checkpoints = Vec::with_capacity(notes.len());
    for note in notes {
        match key.open(note) {
            Ok(checkpoint) => checkpoints.push(checkpoint),
            Err(error) => bail!("a checkpoint cannot be trusted: {error}\n{note}"),
        }
    }
    Ok(checkpoints)
}
