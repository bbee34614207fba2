//! What is cosigned, and how everything else is refused.

use base64::prelude::{BASE64_STANDARD, Engine};
use chrono::{TimeDelta, Utc};
use contract::position::Position;
use event_log::transparency::{
    merkle::{Hash, record_hash},
    signed_checkpoint::{SigningKey, generate_keys},
};
use testing::Service;

use crate::support::{Log, Witness, lines, submit};

async fn witnessed(size: u64) -> (Log, Witness, Service) {
    let mut log = Log::new();
    log.grow(size, "event");
    let witness = Witness::create(&log.public_key()).await;
    let service = witness.start().await;
    if size > 0 {
        witness.cosignature(submit(&service, log.submission(0)).await, &log.note()).await;
    }
    (log, witness, service)
}

async fn assert_refused(service: &Service, body: impl Into<reqwest::Body>, status: u16, reason: &str) {
    let response = submit(service, body).await;
    let (found, text) = (response.status(), response.text().await.unwrap());
    assert_eq!((found.as_u16(), text.trim_end()), (status, reason));
}

/// Refused because the witness has cosigned a tree of this size.
async fn assert_conflict(service: &Service, body: String, size: u64) {
    let response = submit(service, body).await;
    assert_eq!(response.status(), 409);
    assert_eq!(response.headers()["content-type"], "text/x.tlog.size");
    assert_eq!(response.text().await.unwrap(), format!("{size}\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_only_grows_is_cosigned_at_every_size() {
    let (mut log, witness, service) = witnessed(1).await;
    for size in [2, 3, 7, 255, 256, 257, 600, 70_000] {
        let older = log.size();
        log.grow(size, "event");
        let cosignature = witness.cosignature(submit(&service, log.submission(older)).await, &log.note()).await;
        assert!((Utc::now() - cosignature.time).abs() < TimeDelta::minutes(1), "{}", cosignature.time);
    }
    // Again, without growth: the time is renewed.
    witness.cosignature(submit(&service, log.submission(70_000)).await, &log.note()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_does_not_continue_the_cosigned_one_is_refused() {
    let (mut log, witness, service) = witnessed(300).await;
    // The client learns the size, and tries again.
    let mut grown = log.fork();
    grown.grow(310, "event");
    assert_conflict(&service, format!("old 0\n\n{}", grown.note()), 300).await;
    assert_conflict(&service, grown.submission(299), 300).await;

    // Signed with the key of the log, and with an honest proof for its own history.
    let mut forged = log.another();
    forged.grow(310, "forged");
    let wrong_proof = "the proof does not show that the log begins with the last cosigned checkpoint";
    assert_refused(&service, forged.submission(300), 422, wrong_proof).await;
    assert!(service.log().contains("witness.refused"), "{}", service.log());
    let mut other_of_same_size = log.another();
    other_of_same_size.grow(300, "forged");
    assert_conflict(&service, other_of_same_size.submission(300), 300).await;
    // Cut back.
    let mut shorter = log.another();
    shorter.grow(200, "event");
    assert_conflict(&service, shorter.submission(200), 300).await;
    assert_conflict(&service, shorter.submission(100), 300).await;

    // Proofs that are too short, too long, changed, or of no use.
    let whole = grown.proof(300);
    let zero = Hash([0; 32]);
    for proof in [&[][..], &whole[1..], &[&whole[..], &[zero]].concat(), &[&[zero], &whole[1..]].concat()] {
        let proof = lines(proof);
        assert_refused(&service, format!("old 300\n{proof}\n{}", grown.note()), 422, wrong_proof).await;
    }
    assert_refused(&service, format!("old 300\n{zero}\n\n{}", log.note()), 422, wrong_proof).await;

    // None of it has moved the witness.
    log.grow(310, "event");
    witness.cosignature(submit(&service, log.submission(300)).await, &log.note()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_checkpoint_needs_no_proof_and_the_empty_log_has_one_root() {
    let (mut log, witness, service) = witnessed(0).await;
    let wrong_proof = "the proof does not show that the log begins with the last cosigned checkpoint";
    let not_empty = log.key.sign(Position::START, record_hash(b""));
    assert_refused(&service, format!("old 0\n\n{not_empty}"), 422, wrong_proof).await;
    let empty =
        Hash(BASE64_STANDARD.decode("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=").unwrap().try_into().unwrap());
    let note = log.key.sign(Position::START, empty);
    witness.cosignature(submit(&service, format!("old 0\n\n{note}")).await, &note).await;
    log.grow(3, "event");
    assert_refused(&service, format!("old 0\n{empty}\n\n{}", log.note()), 422, wrong_proof).await;
    witness.cosignature(submit(&service, log.submission(0)).await, &log.note()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_submissions_are_refused() {
    let (log, _witness, service) = witnessed(3).await;
    let note = log.note();
    let hash = record_hash(b"").to_string();
    let (proof_of_63, proof_of_64) = (format!("{hash}\n").repeat(63), format!("{hash}\n").repeat(64));
    let no_checkpoint = "after the empty line, there is no signed checkpoint";
    let no_old = "the first line is not `old` and the size of the checkpoint before";
    let wrong_proof = "the proof does not show that the log begins with the last cosigned checkpoint";
    for (body, status, reason) in [
        (String::new(), 400, "there is no empty line between the proof and the checkpoint"),
        ("old 3\n".to_owned(), 400, "there is no empty line between the proof and the checkpoint"),
        (note.clone(), 400, no_old),
        (format!("\n\n{note}"), 400, no_old),
        (format!("old 03\n\n{note}"), 400, no_old),
        (format!("old +3\n\n{note}"), 400, no_old),
        (format!("old -3\n\n{note}"), 400, no_old),
        (format!("old  3\n\n{note}"), 400, no_old),
        (format!("old 3\r\n\n{note}"), 400, no_old),
        (format!("old 9223372036854775808\n\n{note}"), 400, no_old),
        (format!("OLD 3\n\n{note}"), 400, no_old),
        (format!("old 4\n\n{note}"), 400, "the old size exceeds the size of the checkpoint"),
        (format!("old 3\nproof\n\n{note}"), 400, "line 1 of the proof is not a hash in base64"),
        (format!("old 3\n{hash}\nAAAA\n\n{note}"), 400, "line 2 of the proof is not a hash in base64"),
        (format!("old 3\n{proof_of_64}\n{note}"), 400, "the proof has more than 63 lines"),
        (format!("old 3\n{proof_of_63}\n{note}"), 422, wrong_proof),
        ("old 3\n\n".to_owned(), 400, no_checkpoint),
        (format!("old 3\n\n{}", note.trim_end()), 400, no_checkpoint),
        (format!("old 3\n\n{}", note.replace("\n\n", "\n")), 400, no_checkpoint),
        (format!("old 3\n\n{}", note.replace("\n3\n", "\nthree\n")), 400, no_checkpoint),
        (format!("old 3\n\n{}", note.replace("\n3\n", "\n9223372036854775808\n")), 400, no_checkpoint),
        (format!("old 3\n\n{}", note.replace("— ", "- ")), 400, no_checkpoint),
        (format!("old 3\n\n{note}more"), 400, no_checkpoint),
    ] {
        assert_refused(&service, body, status, reason).await;
    }
    assert_refused(&service, vec![b'o', 0xff], 400, "the body is not UTF-8").await;
    let response = submit(&service, format!("old 3\n\n{note}{}", "x".repeat(1 << 20))).await;
    assert_eq!(response.status(), 413);
    assert_eq!(service.get("/add-checkpoint").await.status(), 405);
    assert_eq!(service.get("/metrics").await.status(), 404);
    assert_eq!(service.text("/livez").await, "alive\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_checkpoints_that_a_known_log_has_signed_are_cosigned() {
    let (log, witness, service) = witnessed(3).await;
    let stranger = |origin| SigningKey::parse(&generate_keys(origin).unwrap().0).unwrap();
    let at = Position::from_sequence(3);

    let unknown = stranger("other.example/log").sign(at, log.root());
    assert_refused(
        &service,
        format!("old 3\n\n{unknown}"),
        404,
        "this witness does not cosign the log \"other.example/log\"",
    )
    .await;
    let other_key = stranger("sales.example/log").sign(at, log.root());
    let unsigned = format!("the key {} has not signed it", log.public_key());
    assert_refused(&service, format!("old 3\n\n{other_key}"), 403, &unsigned).await;
    let forged = log.note().replace(&log.root().to_string(), &record_hash(b"").to_string());
    let invalid = format!("the signature by the key {} is invalid", log.public_key());
    assert_refused(&service, format!("old 3\n\n{forged}"), 403, &invalid).await;

    // A foreign signature line does no harm.
    let foreign = other_key.lines().last().unwrap();
    let note = format!("{}{foreign}\n", log.note());
    witness.cosignature(submit(&service, format!("old 3\n\n{note}")).await, &note).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_may_replace_its_key() {
    let mut log = Log::new();
    log.grow(3, "event");
    let (private, public) = generate_keys("sales.example/log").unwrap();
    let witness = Witness::create(&format!("{}\n{public}", log.public_key())).await;
    let service = witness.start().await;
    witness.cosignature(submit(&service, log.submission(0)).await, &log.note()).await;
    log.key = SigningKey::parse(&private).unwrap();
    log.grow(5, "event");
    witness.cosignature(submit(&service, log.submission(3)).await, &log.note()).await;
    let mut forged = log.another();
    forged.grow(7, "forged");
    assert_eq!(submit(&service, forged.submission(5)).await.status(), 422);
}
