//! The proof that comes with a receipt: that its purchase is in the log that was signed.

use anyhow::Context;
use contract::cloud_event::CloudEvent;
use event_log::transparency::{
    merkle::{Hash, check_record, record_hash},
    signed_checkpoint::{Checkpoint, VerifyingKey},
};
use serde::Deserialize;

/// `GET /api/events/{event}/proof`, as far as it is believed: the position and the sizes follow from what is signed.
#[derive(Deserialize)]
struct InclusionProof {
    event: String,
    hashes: Vec<String>,
    checkpoint: Option<String>,
}

/// Returns the event and the checkpoint that proves it; the inner error says what is wrong with the proof.
pub fn verify(json: &str, key: &VerifyingKey) -> anyhow::Result<Result<(String, Checkpoint), String>> {
    let proof: InclusionProof = serde_json::from_str(json).context("this is no proof of an event")?;
    let note = proof.checkpoint.context("the proof comes without a checkpoint: ask for it without `checkpoint=`")?;
    let checkpoint = match key.open(&note) {
        Ok(checkpoint) => checkpoint,
        Err(error) => return Ok(Err(format!("its checkpoint cannot be trusted: {error}"))),
    };
    let position = CloudEvent::parse(proof.event.as_bytes()).context("what is proved is no event")?.position;
    let hashes = proof.hashes.iter().map(|hash| Hash::parse_hash(hash));
    let Ok(hashes) = hashes.collect::<Result<Vec<_>, _>>() else {
        return Ok(Err("it holds what is no hash".to_owned()));
    };
    let leaf = position.as_sequence().checked_sub(1).context("position 0 holds no event")?;
    let (size, hash) = (checkpoint.position.as_sequence(), record_hash(proof.event.as_bytes()));
    Ok(match check_record(&hashes, size, checkpoint.root, leaf, hash) {
        Ok(()) => Ok((proof.event, checkpoint)),
        Err(_) => Err(format!("the event is not at position {position} of the log that was signed")),
    })
}
