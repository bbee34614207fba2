//! JetStream delivers events twice, in another order, not at all, or something else.

use async_nats::jetstream::{self, stream};
use runtime::nats::{STREAM, SUBJECTS};
use serde_json::{Value, json};
use testing::{Databases, Nats, eventually, purchased, reset};

use crate::support::{assert_projected, readiness};

async fn stream(nats: &Nats) -> jetstream::Context {
    let client = runtime::nats::connect(&nats.admin_url(), "test").await.unwrap();
    client.flush().await.unwrap();
    let jetstream = jetstream::new(client);
    let config = stream::Config { name: STREAM.to_owned(), subjects: vec![SUBJECTS.to_owned()], ..Default::default() };
    jetstream.create_stream(config).await.unwrap();
    jetstream
}

async fn deliver(jetstream: &jetstream::Context, message: impl Into<Vec<u8>>) {
    let message = message.into();
    jetstream.publish("sales.events.LicensePurchased", message.into()).await.unwrap().await.unwrap();
}

/// The stored event at a position, as the relay publishes it.
async fn message(databases: &Databases, position: i64) -> String {
    let (id, event_type, time, data): (String, String, String, String) = sqlx::query_as(
        "select event_id::text, event_type, to_char(recorded_at at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'),
             data::text
         from event where position = $1",
    )
    .bind(position)
    .fetch_one(databases.event_store())
    .await
    .unwrap();
    let data: Value = serde_json::from_str(&data).unwrap();
    json!({
        "specversion": "1.0", "id": id, "source": "/sales/event-store", "type": event_type,
        "time": time, "datacontenttype": "application/json",
        "position": position, "schemaversion": 1, "data": data,
    })
    .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicates_disorder_gaps_and_garbage_change_nothing() {
    let (databases, nats) = (Databases::create().await, Nats::start());
    let jetstream = stream(&nats).await;
    let projector = databases.projector(&nats.url("projector")).await;
    let mut events = vec![purchased("pro", 19_900), purchased("basic", 4_900), reset()];
    events.extend((1..=27).map(|cents| purchased("enterprise", cents)));
    databases.append(&events).await;
    for position in [1, 1, 2, 1, 4, 3, 5, 5, 9, 7, 8, 6, 12] {
        deliver(&jetstream, message(&databases, position).await).await;
    }
    for garbage in ["", "garbage", "{}", "[1,2,3]", r#"{"specversion":"1.0"}"#] {
        deliver(&jetstream, garbage).await;
    }
    for position in [30, 13, 14, 30] {
        deliver(&jetstream, message(&databases, position).await).await;
    }
    assert_projected(&databases).await;
    assert!((projector.metric("sales_projection_events_total").await - 30.0).abs() < 0.5, "each event counts once");
    assert_eq!(readiness(&projector).await, (200, "ready\n".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_is_used_while_it_works() {
    let (databases, nats) = (Databases::create().await, Nats::start());
    let jetstream = stream(&nats).await;
    databases.append(&[purchased("pro", 1)]).await;
    deliver(&jetstream, message(&databases, 1).await).await;
    let projector = databases.projector(&nats.url("projector")).await;
    assert_projected(&databases).await;
    let listens = async || jetstream.get_stream(STREAM).await.unwrap().cached_info().state.consumer_count == 1;
    eventually("the projector consumes the stream", listens).await;
    // The event store is unreachable, the stream continues.
    let second = message(&databases, 1).await.replace(r#""position":1"#, r#""position":2"#);
    databases.change_event_store("revoke select on event from projector").await;
    deliver(&jetstream, second).await;
    eventually("the event arrives through the stream", async || databases.checkpoint().await == 2).await;
    drop(projector);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_another_log_is_not_counted() {
    let (databases, other, nats) = (Databases::create().await, Databases::create().await, Nats::start());
    let jetstream = stream(&nats).await;
    other.append(&vec![purchased("enterprise", 99_900); 5]).await;
    for position in 1..=5 {
        deliver(&jetstream, message(&other, position).await).await;
    }
    databases.append(&[purchased("pro", 19_900)]).await;
    let _projector = databases.projector(&nats.url("projector")).await;
    assert_projected(&databases).await;
    // Up to the length of the other log's stream, and beyond.
    for _ in 0..9 {
        databases.append(&[purchased("pro", 19_900)]).await;
        assert_projected(&databases).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_turns_into_that_of_another_log_halts_the_projection_while_it_delivers() {
    let (databases, other, nats) = (Databases::create().await, Databases::create().await, Nats::start());
    let jetstream = stream(&nats).await;
    databases.append(&[purchased("pro", 19_900)]).await;
    deliver(&jetstream, message(&databases, 1).await).await;
    let projector = databases.projector(&nats.url("projector")).await;
    let consumes = async || jetstream.get_stream(STREAM).await.unwrap().cached_info().state.consumer_count == 1;
    eventually("the projector consumes the stream", consumes).await;
    // Both logs grow, and the stream holds the events of the other one. The events come so fast that the stream is never idle.
    let (mut position, pause) = (1, std::time::Duration::from_millis(20));
    other.append(&[purchased("pro", 19_900)]).await;
    let halted = async || {
        for log in [&databases, &other] {
            log.append(&[purchased("basic", 4_900)]).await;
        }
        position += 1;
        deliver(&jetstream, message(&other, position).await).await;
        tokio::time::sleep(pause).await;
        readiness(&projector).await.1.contains("is not the one that had been read")
    };
    eventually("the projection halts", halted).await;
    assert!(projector.metric("sales_projection_halted").await > 0.5);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_projectors_count_every_event_once() {
    let (databases, nats) = (Databases::create().await, Nats::start());
    let jetstream = stream(&nats).await;
    let projectors =
        [databases.projector(&nats.url("projector")).await, databases.projector(&nats.url("projector")).await];
    for round in 0..100 {
        let last = databases.append(&[purchased("pro", 19_900), purchased("basic", round)]).await;
        for position in [last - 1, last] {
            deliver(&jetstream, message(&databases, position).await).await;
        }
    }
    assert_projected(&databases).await;
    let [first, second] = [0, 1].map(|index| projectors[index].metric("sales_projection_events_total"));
    assert!((first.await + second.await - 200.0).abs() < 0.5, "some event was counted by both, or by none");
}
