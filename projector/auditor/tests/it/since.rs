//! Verifying only what is new.

use std::fs;

use contract::position::Position;
use event_log::transparency::merkle::record_hash;

use crate::support::{SignedLog, audited};

#[tokio::test(flavor = "multi_thread")]
async fn since_a_checkpoint_only_newer_events_are_read() {
    let log = SignedLog::create().await;
    let projector = log.projector().await;
    let (since, key) = (log.file("since.txt"), log.public_key_file());
    let query_api = log.databases.query_api().await;
    let [event_store, read_model, address] = &log.both();
    let from_databases = ["verify", event_store, read_model, address, "--public-key", &key, "--since", &since];
    let over_http = ["verify", &query_api.url(), "--public-key", &key, "--since", &since];
    // Also at powers of two and at the ends of tiles.
    let mut newest = 0;
    for events in [1, 1, 1, 4, 1, 248, 1, 255, 1, 300] {
        newest = log.grow(events).await;
        fs::write(&since, log.notes().last().unwrap()).unwrap();
        for arguments in [&from_databases[..], &over_http] {
            let verdict = audited(0, arguments);
            assert!(verdict.contains(&format!("0 events after position {newest}")), "{verdict}");
        }
        let before = newest;
        newest = log.grow(1).await;
        for arguments in [&from_databases[..], &over_http] {
            let verdict = audited(0, arguments);
            assert!(verdict.contains(&format!("1 events after position {before}")), "{verdict}");
            assert!(verdict.contains(&format!("2 agree, the newest for position {newest}")), "{verdict}");
        }
    }
    let at = log.grow(100).await;
    projector.kill();
    for (position, found) in [(1, false), (newest, false), (newest + 1, true), (at - 1, true)] {
        let change = |price: &str| {
            format!("update event set data = replace(data::text, '{price}')::json where position = {position}")
        };
        log.databases.tamper(&change("EUR', 'EUr")).await;
        fs::write(&since, &log.notes()[log.notes().len() - 2]).unwrap();
        for arguments in [&from_databases[..], &over_http] {
            let verdict = audited(i32::from(found), arguments);
            assert_eq!(verdict.contains(&format!("WRONG at position {position}: ")), found, "{verdict}");
        }
        log.databases.tamper(&change("EUr', 'EUR")).await;
    }
    log.databases.tamper("delete from event where position > 500; update head set position = 500").await;
    for arguments in [&from_databases[..], &over_http] {
        let verdict = audited(1, arguments);
        assert!(verdict.contains("the log ends before position"), "{verdict}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn since_a_checkpoint_of_another_history_the_log_is_wrong() {
    let log = SignedLog::create().await;
    log.fill(30).await;
    let (since, key) = (log.file("since.txt"), log.public_key_file());
    let query_api = log.databases.query_api().await;
    let [event_store, read_model, address] = &log.both();
    for (position, place) in
        [(20, "within positions 1 to 20"), (30, "within positions 1 to 30"), (32, "within positions 31 to 32")]
    {
        let other = log.key.sign(Position::from_sequence(position), record_hash(b"another history"));
        fs::write(&since, &other).unwrap();
        for source in [&[event_store, read_model, address][..], &[&query_api.url()]] {
            let source = source.iter().map(|argument| argument.as_str());
            let arguments: Vec<_> =
                ["verify"].into_iter().chain(source).chain(["--public-key", &key, "--since", &since]).collect();
            let verdict = audited(1, &arguments);
            assert!(verdict.contains(place) && verdict.contains(other.trim_end()), "{verdict}");
        }
    }
    fs::write(&since, "null").unwrap();
    let refused = audited(2, &["verify", event_store, read_model, address, "--public-key", &key, "--since", &since]);
    assert!(refused.contains("--since needs a checkpoint"), "{refused}");
}
