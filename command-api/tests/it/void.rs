//! `command-api void`.

use contract::cloud_event::CloudEvent;
use testing::{Databases, purchased, reset};

fn broken() -> (&'static str, String) {
    purchased("pro", i64::MAX)
}

#[tokio::test]
async fn the_decision_is_an_event_with_position_reason_and_name() {
    let databases = Databases::create().await;
    let position = databases.append_unchecked(&[purchased("pro", 1), broken()]).await;
    let void = async |reason: &str| databases.void(position, reason, "Ada \"A.\" Example").await;
    let ended = void("amount out of range, \"a\\b\" ü").await;
    assert!(ended.success && ended.log.contains("By decision at position 3"), "{}", ended.log);
    let decision = event_log::read_at(databases.event_store(), 3.try_into().unwrap()).await.unwrap().unwrap();
    assert_eq!((decision.event_type.as_str(), decision.schema_version), ("EventVoided", 1));
    assert_eq!(decision.data, r#"{"position":2,"reason":"amount out of range, \"a\\b\" ü"}"#);
    let metadata = serde_json::to_value(decision.decode_metadata().unwrap()).unwrap();
    assert_eq!((&metadata["actor"], &metadata["actor_role"]), (&"Ada \"A.\" Example".into(), &"operator".into()));
    CloudEvent::try_from(&decision).unwrap();
    // For example after an answer that was lost.
    let again = void("again").await;
    assert!(again.success && again.log.contains("already"), "{}", again.log);
    assert_eq!(databases.head().await, 3);
}

#[tokio::test]
async fn an_event_that_a_version_may_count_cannot_be_voided() {
    let databases = Databases::create().await;
    let unknown = ("LicenseRented", "{}".to_owned());
    databases.append_unchecked(&[purchased("pro", 1), reset(), purchased("gold", 1), unknown, broken()]).await;
    assert!(databases.void(5, "r", "a").await.success);
    for (position, expected) in [
        (1, "at position 1 counts"),
        (2, "at position 2 counts"),
        (3, "newer version"),
        (4, "newer version"),
        (6, "at position 6 counts"), // the decision
        (7, "no event at position 7"),
        (0, "no event at position 0"),
        (-1, "a position is"),
    ] {
        let ended = databases.void(position, "r", "a").await;
        assert!(!ended.success && ended.log.contains(expected), "{position}: {}", ended.log);
    }
    for (reason, actor) in [("", "a"), ("r", ""), ("two\nlines", "a"), ("r", "\u{2028}"), (&*"r".repeat(501), "a")] {
        let ended = databases.void(5, reason, actor).await;
        assert!(!ended.success && ended.log.contains("characters on one line"), "{reason:?}: {}", ended.log);
    }
    assert_eq!(databases.head().await, 6);
}
