//! The verdict names what happened, and where.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use contract::{cloud_event::CloudEvent, recorded_event::RecordedEvent};

use crate::support::{SignedLog, audited};

const LATER: &str = "update event set recorded_at = recorded_at + interval '1 microsecond'";
/// One event is removed, and the later ones are renumbered.
const RENUMBER: &str = "delete from event where position = 230;
    update event set position = position + 1000000 where position > 230;
    update event set position = position - 1000001 where position > 1000000;
    update head set position = position - 1";

#[tokio::test(flavor = "multi_thread")]
async fn a_time_that_is_later_by_a_microsecond_blames_the_event_that_has_it() {
    let log = SignedLog::create().await;
    log.fill(300).await;
    let key = log.public_key_file();
    let query_api = log.databases.query_api().await;
    let [event_store, read_model, address] = &log.both();
    let from_databases = ["verify", event_store, read_model, address, "--public-key", &key];
    for position in [1, 2, 64, 65, 255, 256, 257, 299, 300] {
        let change = |sign| format!("{} where position = {position}", LATER.replace('+', sign));
        log.databases.tamper(&change("+")).await;
        for arguments in [&from_databases[..], &["verify", &query_api.url(), "--public-key", &key]] {
            let verdict = audited(1, arguments);
            assert!(verdict.contains(&format!("WRONG at position {position}: ")), "{position}: {verdict}");
        }
        log.databases.tamper(&change("-")).await;
    }
    audited(0, &from_databases);
    // Without the stored tree, it is one of two.
    log.databases.tamper(&format!("{LATER} where position = 42")).await;
    let kept = log.checkpoints_file();
    let verdict = audited(1, &["verify", event_store, "--public-key", &key, "--checkpoints", &kept]);
    assert!(verdict.contains("WRONG within positions 42 to 43: the time of position 43"), "{verdict}");
}

#[tokio::test(flavor = "multi_thread")]
async fn removed_and_renumbered_events_are_told_from_a_log_that_was_cut_off() {
    let log = SignedLog::create().await;
    log.fill(300).await;
    let key = log.public_key_file();
    let file = log.file("log.ndjson");
    let query_api = log.databases.query_api().await;
    let [event_store, read_model, address] = &log.both();
    let sources = [
        &["verify", event_store, read_model, address, "--public-key", &key][..],
        &["verify", &query_api.url(), "--public-key", &key],
    ];
    audited(0, &["export", event_store, read_model, address, "--output", &file]);
    log.databases.change_event_store("create table honest as table event").await;
    for (statements, expected) in [
        (
            "delete from event where position > 290; update head set position = 290",
            "WRONG within positions 291 to 300: they are missing: the log ends with position 290",
        ),
        (
            RENUMBER,
            "WRONG at position 230: it is not the event that was signed, as if events were removed and the later ones renumbered: 1 event is missing",
        ),
    ] {
        log.databases.tamper(statements).await;
        for arguments in sources {
            let verdict = audited(1, arguments);
            assert!(verdict.contains(expected), "{verdict}");
        }
        log.databases
            .tamper("delete from event; insert into event select * from honest; update head set position = 300")
            .await;
    }
    // A file has no tree to compare with.
    let lines = fs::read_to_string(&file).unwrap();
    let renumbered: String = lines
        .lines()
        .enumerate()
        .filter(|(index, _)| *index != 229)
        .enumerate()
        .map(|(index, (_, line))| {
            let event = RecordedEvent::from(CloudEvent::parse(line.as_bytes()).unwrap());
            let position = i64::try_from(index + 1).unwrap().try_into().unwrap();
            let line = CloudEvent::try_from(&RecordedEvent { position, ..event }).unwrap().to_json();
            String::from_utf8(line).unwrap() + "\n"
        })
        .collect();
    fs::write(&file, renumbered).unwrap();
    let verdict = audited(1, &["verify", &file, "--public-key", &key]);
    assert!(
        verdict.contains("WRONG within positions 1 to 300: 1 event is missing (the log ends with position 299"),
        "{verdict}"
    );
    assert!(verdict.contains("nothing shows whether the last ones were removed"), "{verdict}");
}

/// Forwards connections, and counts requests.
fn counting_proxy(target: String) -> (String, Arc<AtomicUsize>) {
    let (listener, requests) = (TcpListener::bind("127.0.0.1:0").unwrap(), Arc::new(AtomicUsize::new(0)));
    let (address, count) = (format!("http://{}", listener.local_addr().unwrap()), Arc::clone(&requests));
    thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, mut server) = (client.unwrap(), TcpStream::connect(&target).unwrap());
            let (mut answers, mut to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            thread::spawn(move || std::io::copy(&mut answers, &mut to_client));
            let count = Arc::clone(&count);
            thread::spawn(move || {
                let mut buffer = [0; 16 * 1024];
                while let Ok(read @ 1..) = client.read(&mut buffer) {
                    let text = String::from_utf8_lossy(&buffer[..read]);
                    count.fetch_add(text.matches("GET /api/events/consistency").count(), Ordering::SeqCst);
                    if server.write_all(&buffer[..read]).is_err() {
                        break;
                    }
                }
            });
        }
    });
    (address, requests)
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http_a_dozen_proofs_find_the_changed_event() {
    let log = SignedLog::create().await;
    log.fill(5200).await;
    let query_api = log.databases.query_api().await;
    let (url, requests) =
        counting_proxy(query_api.url().trim_start_matches("http://").trim_end_matches('/').to_owned());
    let key = log.public_key_file();
    audited(0, &["verify", &url, "--public-key", &key]);
    assert_eq!(requests.load(Ordering::SeqCst), 0);
    log.databases.tamper("update event set event_id = gen_random_uuid() where position = 3217").await;
    let verdict = audited(1, &["verify", &url, "--public-key", &key]);
    assert!(verdict.contains("WRONG at position 3217: it is not the event that was signed"), "{verdict}");
    let requests = requests.load(Ordering::SeqCst);
    assert!((1..=14).contains(&requests), "{requests} requests");
}
