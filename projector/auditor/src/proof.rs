//! The inclusion proof of a receipt.

use anyhow::Context;
use contract::cloud_event::CloudEvent;
use event_log::transparency::{
    merkle::{Hash, check_record, record_hash},
    signed_checkpoint::{Checkpoint, VerifyingKey},
};
use serde::Deserialize;

/// The trusted part of `GET /api/events/{event}/proof`: position and tree size follow from the signed checkpoint.
#[derive(Deserialize)]
struct InclusionProof {
    event: String,
    hashes: Vec<String>,
    checkpoint: Option<String>,
}

/// Returns the event and the checkpoint that proves it. The inner error is the reason why the proof is wrong.
pub fn verify(json: &str, key: &VerifyingKey) -> anyhow::Result<Result<(String, Checkpoint), String>> {
    let proof: InclusionProof = serde_json::from_str(json).context("this is not an inclusion proof")?;
    let note = proof.checkpoint.context("the proof has no checkpoint: request it without `checkpoint=`")?;
    let checkpoint = match key.open(&note) {
        Ok(checkpoint) => checkpoint,
        Err(error) => return Ok(Err(format!("its checkpoint cannot be trusted: {error}"))),
    };
    let position = CloudEvent::parse(proof.event.as_bytes()).context("the proof does not contain an event")?.position;
    let hashes = proof.hashes.iter().map(|hash| Hash::parse_hash(hash));
    let Ok(hashes) = hashes.collect::<Result<Vec<_>, _>>() else {
        return Ok(Err("it contains an invalid hash".to_owned()));
    };
    let leaf = position.as_sequence().checked_sub(1).context("position 0 holds no event")?;
    let (size, hash) = (checkpoint.position.as_sequence(), record_hash(proof.event.as_bytes()));
    Ok(match check_record(&hashes, size, checkpoint.root, leaf, hash) {
        Ok(()) => Ok((proof.event, checkpoint)),
        Err(_) => Err(format!("the event is not at position {position} of the log that was signed")),
    })
}
