//! Events of a newer program: what they mean is unknown here, what was signed is not.

use crate::support::{SignedLog, audited};

const EURO: &str = r#"{"license":"gold","price":{"amount_minor":1,"currency":"EUR"}}"#;

#[tokio::test(flavor = "multi_thread")]
async fn newer_events_have_a_verdict_of_their_own_and_what_follows_is_verified() {
    let purchase = |data: &str| ("LicensePurchased", data.to_owned());
    let money = EURO.replace("gold", "pro");
    for (event, schema_version, expected) in [
        (purchase(EURO), 1, "unknown licence \"gold\""),
        (purchase(&money.replace("EUR", "USD")), 1, "unknown variant `USD`"),
        (("LicenseRented", money.clone()), 1, "unknown event type \"LicenseRented\""),
        (purchase(&money), 7, "in version 7"),
    ] {
        let log = SignedLog::create().await;
        log.databases.append_unchecked(&[purchase(&money), event, purchase(&money)]).await;
        let version = format!("update event set schema_version = {schema_version} where position = 2");
        log.databases.tamper(&version).await;
        let projector = log.projector_that_halts().await;
        log.signed(3).await;
        drop(projector);
        let query_api = log.databases.query_api().await;
        let (key, url) = (log.public_key_file(), query_api.url());
        let [event_store, read_model, address] = &log.both();
        let sources = [&[event_store, read_model, address][..], &[&url]];
        let verify = |code, source: &[&String]| {
            let source = source.iter().map(|argument| argument.as_str());
            audited(code, &["verify"].into_iter().chain(source).chain(["--public-key", &key]).collect::<Vec<_>>())
        };
        for source in sources {
            let verdict = verify(3, source);
            assert!(verdict.contains("newer events       1, the first at position 2: "), "{verdict}");
            assert!(verdict.contains(expected) && verdict.contains("NEWER than this auditor"), "{verdict}");
            assert!(verdict.contains("1 agree, the newest for position 3"), "{verdict}");
        }
        log.databases.tamper("update event set event_id = gen_random_uuid() where position = 3").await;
        for source in sources {
            let verdict = verify(1, source);
            assert!(verdict.contains("WRONG at position 3: it is not the event that was signed"), "{verdict}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn data_that_no_currency_makes_valid_is_a_fault() {
    for data in [
        EURO.replace("EUR", "dollar"),
        EURO.replace("EUR", "EURO"),
        EURO.replace("EUR", "USD").replace(":1,", ":-1,"),
        EURO.replace("EUR", "USD").replace("gold", "pro").replace('}', ",\"tax\":1}"),
    ] {
        let log = SignedLog::create().await;
        log.databases.append_unchecked(&[("LicensePurchased", data)]).await;
        let verdict = audited(1, &["verify", &log.event_store(), "--well-formed"]);
        assert!(verdict.contains("WRONG at position 1: it cannot be counted"), "{verdict}");
    }
}
