//! The tree with its newest checkpoint, in one snapshot of the read model. It makes only proofs that verify against this checkpoint:
//! after the restore of one database alone, log and tree do not belong together.

use contract::position::Position;
use event_log::transparency::{
    self,
    merkle::{Hash, Proof, check_record, check_tree},
    signed_checkpoint::Checkpoint,
};
use runtime::{http::problem::Problem, log_limits::Sampler};
use sqlx::{Postgres, Transaction};
use tracing::error;

use crate::{problems, sources::Sources};

pub struct SignedTree {
    snapshot: Transaction<'static, Postgres>,
    /// The newest checkpoint, as a signed note.
    pub note: String,
    checkpoint: Checkpoint,
}

impl SignedTree {
    pub async fn read(sources: &Sources) -> Result<Self, Problem> {
        Self::find(sources).await?.ok_or_else(|| Problem::unavailable("No checkpoint of the log is signed yet."))
    }

    /// The same; `None` before the first checkpoint.
    pub async fn find(sources: &Sources) -> Result<Option<Self>, Problem> {
        let mut snapshot = transparency::snapshot(&sources.read_model).await.map_err(problems::transparency_log)?;
        let (_, note) = transparency::head(&mut *snapshot).await.map_err(problems::transparency_log)?;
        let Some(note) = note else { return Ok(None) };
        let checkpoint = Checkpoint::unverified(&note).ok_or_else(|| {
            static SAMPLER: Sampler = Sampler::new();
            if let Some(left_out) = SAMPLER.admit() {
                error!(
                    event.name = "proof.refused",
                    left_out, "The newest checkpoint in the read model is not a checkpoint"
                );
            }
            Problem::internal()
        })?;
        Ok(Some(Self { snapshot, note, checkpoint }))
    }

    /// Position of the newest checkpoint.
    pub fn position(&self) -> Position {
        self.checkpoint.position
    }

    /// The proof that the event with this hash is at the position, in the tree of an older or of the newest checkpoint.
    pub async fn inclusion(&mut self, position: Position, hash: Hash, tree: Position) -> Result<Vec<Hash>, Problem> {
        let (leaf, size) = (position.as_sequence() - 1, tree.as_sequence());
        let root = self.root(size).await?;
        let proof = self.prove(Proof::Inclusion { leaf, size }).await?;
        check_record(&proof, size, root, leaf, hash).map_err(|_| self.refuse(position))?;
        Ok(proof)
    }

    /// The proof that the tree of one checkpoint begins with that of another.
    pub async fn consistency(&mut self, from: Position, to: Position) -> Result<Vec<Hash>, Problem> {
        let (older, size) = (from.as_sequence(), to.as_sequence());
        let (before, root) = (self.root(older).await?, self.root(size).await?);
        let proof = self.prove(Proof::Consistency { older, size }).await?;
        check_tree(&proof, size, root, older, before).map_err(|_| self.refuse(from))?;
        Ok(proof)
    }

    /// The root of the first events, if the signed tree begins with them.
    async fn root(&mut self, events: u64) -> Result<Hash, Problem> {
        let Checkpoint { position, root: signed, .. } = self.checkpoint;
        let size = position.as_sequence();
        let root = self.prove(Proof::Root { size: events }).await?[0];
        let proof = self.prove(Proof::Consistency { older: events, size }).await?;
        check_tree(&proof, size, signed, events, root).map_err(|_| self.refuse(position))?;
        Ok(root)
    }

    async fn prove(&mut self, proof: Proof) -> Result<Vec<Hash>, Problem> {
        transparency::prove(&mut *self.snapshot, proof).await.map_err(problems::transparency_log)
    }

    fn refuse(&self, position: Position) -> Problem {
        static SAMPLER: Sampler = Sampler::new();
        if let Some(left_out) = SAMPLER.admit() {
            error!(
                event.name = "proof.refused",
                position = position.get(),
                checkpoint = self.checkpoint.position.get(),
                left_out,
                "A proof would not verify against the signed checkpoint: the log or the tree was changed or restored"
            );
        }
        Problem::internal()
    }
}
