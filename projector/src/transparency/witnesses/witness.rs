//! The client of a witness (C2SP tlog-witness, add-checkpoint).

use contract::position::Position;
use event_log::transparency::{
    self,
    cosignature::{Cosignature, WitnessKey},
    merkle::{Proof, check_tree},
    signed_checkpoint::Checkpoint,
};
use reqwest::{Client, Response, StatusCode, Url};
use runtime::log_limits::shorten;
use sqlx::PgPool;

/// Of a response: some signature lines.
const MAX_RESPONSE_BYTES: usize = 64 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    #[error("it does not respond: {0}")]
    Http(#[from] reqwest::Error),
    #[error("it answers {0}: {1}")]
    Refused(StatusCode, String),
    #[error("it answers without a valid cosignature")]
    NoCosignature,
    #[error("another projector submits newer checkpoints")]
    Overtaken,
    #[error("it has seen another history: {0}")]
    Contradicts(String),
    #[error(transparent)]
    Tree(#[from] transparency::ReadError),
    #[error("the tree in the read model does not belong to the signed checkpoint")]
    WrongTree,
}

impl From<sqlx::Error> for SubmitError {
    fn from(error: sqlx::Error) -> Self {
        Self::Tree(error.into())
    }
}

pub struct Witness {
    pub key: WitnessKey,
    pub url: Url,
    /// The size that it has cosigned, as far as is known.
    cosigned: Position,
}

enum Answer {
    Lines(String),
    /// It has cosigned this size.
    Size(Position),
    /// The proof does not lead from what it has cosigned to the checkpoint.
    NotAProof(String),
}

impl Witness {
    pub fn new(key: WitnessKey, url: Url) -> Self {
        Self { key, url, cosigned: Position::START }
    }

    /// Has a signed checkpoint cosigned.
    pub async fn submit(
        &mut self,
        client: &Client,
        read_model: &PgPool,
        note: &str,
        checkpoint: &Checkpoint,
    ) -> Result<Cosignature, SubmitError> {
        let size = checkpoint.position;
        let contradicts = |what: String| Err(SubmitError::Contradicts(what));
        // The second time with the size that it has answered.
        for _ in 0..2 {
            let old = if self.cosigned > size { Position::START } else { self.cosigned };
            let proof = consistency(read_model, old, checkpoint).await?;
            match self.post(client, format!("old {old}\n{proof}\n{note}")).await? {
                Answer::Lines(lines) => {
                    let cosigned = self.key.cosignature(&(note.to_owned() + &lines));
                    self.cosigned = size;
                    return cosigned.ok_or(SubmitError::NoCosignature);
                }
                Answer::NotAProof(reason) => {
                    return contradicts(format!(
                        "it refuses the proof that the log it cosigned at position {old} continues to {size} ({reason})"
                    ));
                }
                Answer::Size(known) if known == old => {
                    return contradicts(format!("it has cosigned another root for position {known}"));
                }
                Answer::Size(known) if known > size => {
                    // Another projector may have submitted a newer one meanwhile. It is stored before it is submitted.
                    let (head, _) = transparency::head(read_model).await?;
                    if known <= head {
                        return Err(SubmitError::Overtaken);
                    }
                    return contradicts(format!(
                        "it has cosigned position {known}, and the log is signed up to {head}"
                    ));
                }
                Answer::Size(known) => self.cosigned = known,
            }
        }
        Err(SubmitError::Overtaken)
    }

    async fn post(&self, client: &Client, body: String) -> Result<Answer, SubmitError> {
        let response = client.post(self.url.clone()).body(body).send().await?;
        let status = response.status();
        let text = bounded(response).await?;
        let position = || text.trim_end().parse().ok().and_then(|size: i64| Position::try_from(size).ok());
        match status {
            StatusCode::OK => Ok(Answer::Lines(text)),
            StatusCode::UNPROCESSABLE_ENTITY => Ok(Answer::NotAProof(shorten(&text.trim_end()))),
            StatusCode::CONFLICT if let Some(size) = position() => Ok(Answer::Size(size)),
            _ => Err(SubmitError::Refused(status, shorten(&text.trim_end()))),
        }
    }
}

/// The lines of the proof, which is verified here: if a witness refuses it, then not because of the tree in the read model.
async fn consistency(read_model: &PgPool, old: Position, new: &Checkpoint) -> Result<String, SubmitError> {
    let (older, size) = (old.as_sequence(), new.position.as_sequence());
    if older == 0 {
        return Ok(String::new());
    }
    let root = transparency::prove(read_model, Proof::Root { size: older }).await?[0];
    let proof = transparency::prove(read_model, Proof::Consistency { older, size }).await?;
    check_tree(&proof, size, new.root, older, root).map_err(|_| SubmitError::WrongTree)?;
    Ok(proof.iter().flat_map(|hash| [hash.to_string(), "\n".to_owned()]).collect())
}

async fn bounded(mut response: Response) -> Result<String, SubmitError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_RESPONSE_BYTES {
            return Err(SubmitError::Refused(response.status(), "with too long a response".to_owned()));
        }
    }
    Ok(String::from_utf8_lossy(&body).into_owned())
}
