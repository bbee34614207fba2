//! The relay: whatever happens to NATS, the stream ends up as a copy of the log.

use std::{sync::Arc, time::Duration};

use async_nats::jetstream::{self, consumer::pull};
use command_api::relay::{
    comparison::missing_messages,
    metrics::Metrics,
    publisher::{NewStream, Publisher, RelayError, min_age},
};
use futures::{StreamExt, future::join_all};
use runtime::nats::{STREAM, SUBJECTS, Settings};
use serde_json::Value;
use sqlx::PgPool;
use testing::{Databases, Nats, eventually, purchased, reset, values};

async fn connected(url: &str) -> async_nats::Client {
    let client = runtime::nats::connect(url, "test").await.unwrap();
    client.flush().await.unwrap();
    client
}

async fn admin(nats: &Nats) -> jetstream::Context {
    jetstream::new(connected(&nats.admin_url()).await)
}

/// The last sequence of the stream; 0 when there is no stream.
async fn end_of(jetstream: &jetstream::Context) -> i64 {
    match jetstream.get_stream(STREAM).await {
        Ok(stream) => i64::try_from(stream.cached_info().state.last_sequence).unwrap(),
        Err(_) => 0,
    }
}

/// Waits until the stream has the end of the log, and compares both.
async fn assert_copy_of_log(databases: &Databases, jetstream: &jetstream::Context) {
    let ids: Vec<String> = values(databases.event_store(), "select event_id::text from event order by position").await;
    let end = databases.head().await;
    eventually("the stream holds the whole log", async || end_of(jetstream).await == end).await;
    let stream = jetstream.get_stream(STREAM).await.unwrap();
    let state = &stream.cached_info().state;
    assert_eq!((state.first_sequence, state.last_sequence), (1, ids.len() as u64));
    assert_eq!(state.messages, ids.len() as u64);
    for (sequence, id) in (1..).zip(&ids) {
        let message = stream.get_raw_message(sequence).await.unwrap();
        let event: Value = serde_json::from_slice(&message.payload).unwrap();
        assert_eq!(event["position"], sequence);
        assert_eq!(event["id"], **id);
        assert_eq!(message.subject.as_str(), format!("sales.events.{}", event["type"].as_str().unwrap()));
    }
}

async fn publisher(databases: &Databases, nats: &Nats) -> Publisher {
    publisher_keeping(1_000_000, databases, nats).await
}

async fn publisher_keeping(messages: i64, databases: &Databases, nats: &Nats) -> Publisher {
    let pool = PgPool::connect(&databases.event_store_url("command_api")).await.unwrap();
    let client = connected(&nats.url("command-api")).await;
    let new_stream = NewStream { max_messages: messages, settings: Settings { stream_replicas: 1 } };
    Publisher::new(pool, client, Arc::default(), new_stream, Metrics::default())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_relays_publish_every_event_once_and_in_order() {
    let (databases, nats) = (Databases::create().await, Nats::start());
    let publishers = join_all((0..3).map(|_| publisher(&databases, &nats))).await;
    let appending = async {
        for batch in 1..40 {
            databases.append(&vec![purchased("pro", batch); 50]).await;
            databases.append(&[reset()]).await;
        }
    };
    let publishing = publishers.into_iter().map(|mut publisher| {
        tokio::spawn(async move {
            let mut conflicts = 0;
            loop {
                match publisher.publish_next().await {
                    Ok(_) if publisher.position() == 39 * 51 => return conflicts,
                    Ok(_) => publisher.forget(),
                    Err(RelayError::WrongLastSequence) => conflicts += 1,
                    Err(error) => panic!("{error}"),
                }
            }
        })
    });
    let (conflicts, ()) = tokio::join!(join_all(publishing.collect::<Vec<_>>()), appending);
    let conflicts: usize = conflicts.into_iter().map(Result::unwrap).sum();
    assert!(conflicts > 0, "the relays never met, so this run shows nothing");
    assert_copy_of_log(&databases, &admin(&nats).await).await;
}

/// The end of the stream is read after each conflict, some hundred times per second.
#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_reads_the_end_of_the_stream_again_and_again_compares_no_messages_each_time() {
    const READS: u64 = 100;
    let (databases, nats) = (Databases::create().await, Nats::start());
    databases.append(&[purchased("pro", 1)]).await;
    publisher(&databases, &nats).await.publish_next().await.unwrap();
    let (mut publisher, jetstream) = (publisher(&databases, &nats).await, admin(&nats).await);
    let requests = async || jetstream.query_account().await.unwrap().requests.total;
    let before = requests().await;
    for _ in 0..READS {
        databases.append(&[purchased("pro", 1)]).await;
        publisher.publish_next().await.unwrap();
        publisher.forget();
    }
    // The stream and its consumer. A comparison would take two more.
    let made = requests().await - before;
    assert!((2 * READS..3 * READS).contains(&made), "{made} requests");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_wiped_during_purchases_is_refilled() {
    let (databases, mut nats) = (Databases::create().await, Nats::start());
    let service = databases.command_api(&nats.url("command-api")).await;
    for round in 0..3 {
        for _ in 0..20 {
            service.buy("pro").await;
        }
        if round == 1 {
            // Deleted by an administrator while the server runs.
            let jetstream = admin(&nats).await;
            eventually("there is a stream to delete", async || jetstream.delete_stream(STREAM).await.is_ok()).await;
        }
        nats.stop();
        nats.wipe();
        for _ in 0..20 {
            service.buy("basic").await; // purchases do not need NATS
        }
        nats.start_again();
        service.buy("enterprise").await;
    }
    assert_eq!(databases.head().await, 3 * 41);
    assert_copy_of_log(&databases, &admin(&nats).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_writing_concurrently_publish_every_event_once_and_in_order() {
    let (databases, nats) = (Databases::create().await, Nats::start());
    let services =
        [databases.command_api(&nats.url("command-api")).await, databases.command_api(&nats.url("command-api")).await];
    let customers = (0..20).map(|customer| {
        let service = &services[customer % 2];
        async move {
            for _ in 0..25 {
                service.buy("pro").await;
            }
        }
    });
    join_all(customers).await;
    assert_eq!(databases.head().await, 500);
    assert_copy_of_log(&databases, &admin(&nats).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_lost_its_tail_in_a_crash_is_refilled() {
    let (databases, mut nats) = (Databases::create().await, Nats::start());
    let service = databases.command_api(&nats.url("command-api")).await;
    for _ in 0..5 {
        for _ in 0..20 {
            service.buy("pro").await;
        }
        // NATS acknowledges before it syncs: the newest messages may be lost in a crash.
        nats.stop();
        nats.start_again();
        assert_copy_of_log(&databases, &admin(&nats).await).await;
    }
}

#[tokio::test]
async fn events_of_a_dead_instance_are_published_by_another() {
    let (databases, nats) = (Databases::create().await, Nats::start());
    let _idle = databases.command_api(&nats.url("command-api")).await;
    let jetstream = admin(&nats).await;
    // Committed by an instance that died before publishing: no notification is sent.
    databases.append(&[purchased("pro", 1), reset(), purchased("basic", 2)]).await;
    eventually("the other instance publishes it", async || end_of(&jetstream).await == 3).await;
}

#[tokio::test]
async fn a_stream_of_another_log_is_left_unchanged() {
    let (databases, nats) = (Databases::create().await, Nats::start());
    let jetstream = admin(&nats).await;
    let config = jetstream::stream::Config {
        name: STREAM.to_owned(),
        subjects: vec![SUBJECTS.to_owned()],
        allow_atomic_publish: true,
        ..Default::default()
    };
    jetstream.create_stream(config).await.unwrap();
    for _ in 0..2 {
        jetstream.publish("sales.events.LicensePurchased", "not of this log".into()).await.unwrap().await.unwrap();
    }
    let mut publisher = publisher(&databases, &nats).await;
    let diverged = publisher.publish_next().await;
    assert!(matches!(diverged, Err(RelayError::Diverged { .. })), "ahead of the log: {diverged:?}");
    databases.append(&vec![purchased("pro", 1); 3]).await;
    let diverged = publisher.publish_next().await;
    assert!(matches!(diverged, Err(RelayError::Diverged { .. })), "other events than the log: {diverged:?}");
    assert!(jetstream.get_stream(STREAM).await.unwrap().delete_message(2).await.unwrap());
    let diverged = publisher.publish_next().await;
    assert!(matches!(diverged, Err(RelayError::Diverged { .. })), "other events before a damaged end: {diverged:?}");
    assert_eq!(end_of(&jetstream).await, 2);
    // The remedy that the error names.
    jetstream.delete_stream(STREAM).await.unwrap();
    assert_eq!(publisher.publish_next().await.unwrap(), 3);
    assert_copy_of_log(&databases, &jetstream).await;
}

#[tokio::test]
async fn a_purged_stream_continues_at_the_right_sequence() {
    let (databases, nats) = (Databases::create().await, Nats::start());
    let mut publisher = publisher(&databases, &nats).await;
    let jetstream = admin(&nats).await;
    databases.append(&vec![purchased("pro", 1); 2500]).await;
    assert_eq!(publisher.publish_next().await.unwrap(), 1000);
    assert_eq!(publisher.publish_next().await.unwrap(), 1000);
    assert_eq!(publisher.publish_next().await.unwrap(), 500);
    jetstream.get_stream(STREAM).await.unwrap().purge().await.unwrap();
    databases.append(&[purchased("basic", 1)]).await;
    assert_eq!(publisher.publish_next().await.unwrap(), 1);
    let stream = jetstream.get_stream(STREAM).await.unwrap();
    assert_eq!(stream.cached_info().state.last_sequence, 2501);
    let event: Value = serde_json::from_slice(&stream.get_raw_message(2501).await.unwrap().payload).unwrap();
    assert_eq!(event["position"], 2501);
}

#[tokio::test]
async fn a_stream_whose_end_was_deleted_continues_at_the_right_sequence() {
    for purged in [false, true] {
        let (databases, nats) = (Databases::create().await, Nats::start());
        let jetstream = admin(&nats).await;
        databases.append(&[purchased("pro", 1), reset(), purchased("pro", 2), purchased("pro", 3)]).await;
        assert_eq!(publisher(&databases, &nats).await.publish_next().await.unwrap(), 4);
        let stream = jetstream.get_stream(STREAM).await.unwrap();
        if purged {
            stream.purge().filter("sales.events.LicensePurchased").await.unwrap();
        } else {
            assert!(stream.delete_message(4).await.unwrap());
        }
        for position in 5..7 {
            databases.append(&[purchased("basic", 1)]).await;
            // Each has just started: it does not know the end of the stream.
            assert_eq!(publisher(&databases, &nats).await.publish_next().await.unwrap(), 1);
            let message = jetstream.get_stream(STREAM).await.unwrap().get_raw_message(position).await.unwrap();
            let event: Value = serde_json::from_slice(&message.payload).unwrap();
            assert_eq!(event["position"], position);
        }
    }
}

/// As after a damaged file: JetStream reads what is left of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_lacks_messages_is_refilled_and_its_subscriber_continues() {
    for (position, lost) in [("within", 40), ("at the beginning", 1)] {
        let (databases, nats) = (Databases::create().await, Nats::start());
        databases.append(&vec![purchased("pro", 1); 100]).await;
        // One of them refills the stream.
        let services = [
            databases.command_api(&nats.url("command-api")).await,
            databases.command_api(&nats.url("command-api")).await,
        ];
        let refills = || services.iter().map(|service| service.log().matches("relay.refilled").count()).sum::<usize>();
        let jetstream = admin(&nats).await;
        let subscriber =
            || async { jetstream.get_consumer_from_stream::<pull::Config, _, _>("subscriber", STREAM).await };
        eventually("there is a subscriber", async || end_of(&jetstream).await == 100 && subscriber().await.is_ok())
            .await;
        let mut messages = subscriber().await.unwrap().messages().await.unwrap();
        for _ in 0..50 {
            messages.next().await.unwrap().unwrap().double_ack().await.unwrap();
        }
        drop(messages);
        assert!(jetstream.get_stream(STREAM).await.unwrap().delete_message(lost).await.unwrap());
        eventually("the stream is refilled", async || refills() == 1).await;
        assert_copy_of_log(&databases, &jetstream).await;
        for service in &services {
            let missing = async || service.metric("sales_relay_missing_messages").await;
            eventually("nothing is missing", async || missing().await < 0.5).await;
        }
        eventually("there is a subscriber again", async || subscriber().await.is_ok()).await;
        let mut messages = subscriber().await.unwrap().messages().await.unwrap();
        let next = messages.next().await.unwrap().unwrap();
        assert_eq!(next.info().unwrap().stream_sequence, 51, "a message is lost {position}");
        // Not only once.
        assert!(jetstream.get_stream(STREAM).await.unwrap().delete_message(lost).await.unwrap());
        eventually("the stream is refilled again", async || refills() == 2).await;
        assert_copy_of_log(&databases, &jetstream).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_leaves_a_stream_that_another_relay_refills() {
    let (databases, nats) = (Databases::create().await, Nats::start());
    databases.append(&vec![purchased("pro", 1); 10]).await;
    let (mut slow, mut fast) = (publisher(&databases, &nats).await, publisher(&databases, &nats).await);
    slow.publish_next().await.unwrap();
    fast.publish_next().await.unwrap();
    let jetstream = admin(&nats).await;
    let created = async || jetstream.get_stream(STREAM).await.ok().map(|stream| stream.cached_info().created);
    let damaged = created().await;
    assert!(jetstream.get_stream(STREAM).await.unwrap().delete_message(5).await.unwrap());
    // Both notice it, and one of them refills the stream.
    slow.forget();
    slow.publish_next().await.unwrap();
    eventually("the stream is refilled", async || {
        fast.forget();
        fast.publish_next().await.unwrap();
        fast.refill_if_incomplete().await.unwrap();
        created().await.is_some_and(|created| Some(created) != damaged)
    })
    .await;
    let refilled = created().await;
    slow.refill_if_incomplete().await.unwrap();
    assert_eq!(created().await, refilled);
    assert_copy_of_log(&databases, &jetstream).await;
}

#[test]
fn a_stream_is_refilled_again_the_later_the_longer_it_is() {
    for (messages, seconds) in [(0, 1), (10_000, 1), (100_000, 10), (1_000_000, 100)] {
        assert_eq!(min_age(messages), Duration::from_secs(seconds), "{messages}");
    }
}

#[tokio::test]
async fn the_messages_that_a_stream_lacks_are_counted() {
    let (databases, nats) = (Databases::create().await, Nats::start());
    databases.append(&vec![purchased("pro", 1); 250]).await;
    let mut publisher = publisher_keeping(100, &databases, &nats).await;
    assert_eq!(publisher.publish_next().await.unwrap(), 100);
    let jetstream = admin(&nats).await;
    let missing = async || {
        let stream = jetstream.get_stream(STREAM).await.unwrap();
        missing_messages(stream.cached_info(), databases.head().await.try_into().unwrap())
    };
    assert_eq!(missing().await, 0, "the oldest ones are in the log alone");
    let stream = jetstream.get_stream(STREAM).await.unwrap();
    stream.purge().sequence(161).await.unwrap();
    assert_eq!(missing().await, 10, "from 151 on");
    assert!(stream.delete_message(200).await.unwrap());
    assert_eq!(missing().await, 11);
    stream.purge().await.unwrap();
    assert_eq!(missing().await, 100);
}

#[tokio::test]
async fn a_message_that_differs_from_the_log_is_found_wherever_it_is() {
    let (databases, nats) = (Databases::create().await, Nats::start());
    databases.append(&vec![purchased("pro", 1); 2500]).await;
    let mut first = publisher(&databases, &nats).await;
    for published in [1000, 1000, 500] {
        assert_eq!(first.publish_next().await.unwrap(), published);
    }
    databases.tamper("update event set event_id = gen_random_uuid() where position = 2100").await;
    // Its first comparisons are those of the messages before.
    let mut publisher = publisher(&databases, &nats).await;
    let mut next = async || {
        publisher.forget();
        publisher.publish_next().await
    };
    assert_eq!(next().await.unwrap(), 0);
    let is_diverged = |published: Result<usize, RelayError>| matches!(published, Err(RelayError::Diverged { .. }));
    eventually("the third comparison finds it", async || is_diverged(next().await)).await;
    assert!(is_diverged(next().await), "it stays found");
    // The remedy that the error names.
    admin(&nats).await.delete_stream(STREAM).await.unwrap();
    assert_eq!(next().await.unwrap(), 1000);
}

#[tokio::test]
async fn a_log_that_is_cut_back_and_grows_again_between_purchases_is_noticed() {
    let (databases, nats) = (Databases::create().await, Nats::start());
    let mut publisher = publisher(&databases, &nats).await;
    databases.append(&vec![purchased("pro", 1); 10]).await;
    assert_eq!(publisher.publish_next().await.unwrap(), 10);
    databases.tamper("delete from event where position > 5; update head set position = 5").await;
    databases.append(&vec![purchased("basic", 1); 10]).await;
    eventually("it is noticed while events arrive", async || {
        databases.append(&[purchased("basic", 2)]).await;
        matches!(publisher.publish_next().await, Err(RelayError::Diverged { .. }))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn started_without_nats_it_reports_that_nothing_is_known_to_be_published() {
    let (databases, mut nats) = (Databases::create().await, Nats::start());
    databases.append(&vec![purchased("pro", 1); 3]).await;
    nats.stop();
    let service = databases.command_api(&nats.url("command-api")).await;
    let lag = async || service.metric("sales_relay_lag_seconds").await;
    eventually("the lag grows", async || lag().await > 1.0).await;
    assert!(service.metric("sales_relay_lag_positions").await.is_nan(), "no number of events is known");
    assert!(service.log().contains("NATS cannot be used"), "{}", service.log());
    nats.start_again();
    eventually("the lag ends", async || lag().await <= 0.0).await;
    assert!(service.metric("sales_relay_lag_positions").await <= 0.0);
    assert_copy_of_log(&databases, &admin(&nats).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reason_why_nats_cannot_be_used_is_logged_when_it_changes() {
    let (databases, mut nats) = (Databases::create().await, Nats::start());
    nats.stop();
    let refused = nats.url("command-api").replace("command-api:", "command-api:wrong-");
    let service = databases.command_api(&refused).await;
    eventually("it is unreachable", async || service.log().contains("IO error")).await;
    nats.start_again();
    eventually("it refuses the password", async || service.log().contains("authorization violation")).await;
}

#[tokio::test]
async fn a_new_stream_for_a_long_log_holds_its_tail_under_the_right_sequences() {
    let (databases, nats) = (Databases::create().await, Nats::start());
    databases.append(&vec![purchased("pro", 1); 250]).await;
    let mut publisher = publisher_keeping(100, &databases, &nats).await;
    assert_eq!(publisher.publish_next().await.unwrap(), 100);
    databases.append(&[purchased("basic", 1)]).await;
    assert_eq!(publisher.publish_next().await.unwrap(), 1);
    let stream = admin(&nats).await.get_stream(STREAM).await.unwrap();
    let state = &stream.cached_info().state;
    assert_eq!((state.first_sequence, state.last_sequence, state.messages), (152, 251, 100));
    for sequence in [152, 251] {
        let event: Value = serde_json::from_slice(&stream.get_raw_message(sequence).await.unwrap().payload).unwrap();
        assert_eq!(event["position"], sequence);
    }
}
