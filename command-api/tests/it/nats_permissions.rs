//! Permissions of the NATS users, with the accounts of production.

use async_nats::{
    Client,
    jetstream::{self, consumer::pull, stream},
};
use command_api::relay::publisher;
use futures::{FutureExt, StreamExt};
use runtime::nats::STREAM;
use serde_json::{Value, json};
use testing::{Nats, eventually};

const CHECKPOINTS: &str = "SALES_CHECKPOINTS";
const EVENT: &str = "sales.events.LicensePurchased";

/// A server with the streams of events and checkpoints, one message in each.
async fn server() -> (Nats, jetstream::Context) {
    let nats = Nats::start();
    let admin = jetstream::new(client(&nats, "admin").await);
    for (name, subjects) in [(STREAM, "sales.events.>"), (CHECKPOINTS, "sales.checkpoints")] {
        let config =
            stream::Config { name: name.to_owned(), subjects: vec![subjects.to_owned()], ..Default::default() };
        admin.create_stream(config).await.unwrap();
    }
    for subject in [EVENT, "sales.checkpoints"] {
        admin.publish(subject, "{}".into()).await.unwrap().await.unwrap();
    }
    (nats, admin)
}

async fn client(nats: &Nats, user: &str) -> Client {
    runtime::nats::connect(&nats.url(user), "test").await.unwrap()
}

/// All that a request could have changed: messages, settings, consumers.
async fn state(admin: &jetstream::Context) -> Vec<Value> {
    let mut state = Vec::new();
    for name in [STREAM, CHECKPOINTS] {
        let stream = admin.get_stream(name).await.unwrap();
        let info = stream.cached_info();
        state.push(json!({ "messages": info.state.messages, "settings": info.config }));
        let consumers = stream.consumers().map(|consumer| json!(consumer.unwrap().config));
        state.extend(consumers.collect::<Vec<_>>().await);
    }
    state
}

/// Sends requests, and waits until the server has handled them: it handles those of a connection in order.
async fn send(client: &Client, requests: impl IntoIterator<Item = (String, String, String)>) {
    for (subject, reply, body) in requests {
        client.publish_with_reply(subject, reply, body.into()).await.unwrap();
    }
    client.flush().await.unwrap();
    client.request("$JS.API.INFO", "".into()).await.unwrap();
}

#[tokio::test]
async fn the_answer_to_a_request_of_a_reader_cannot_become_a_message_of_a_stream() {
    let (nats, admin) = server().await;
    let before = state(&admin).await;
    // The projector may publish checkpoints.
    for (user, replies) in [("projector", &[EVENT][..]), ("subscriber", &[EVENT, "sales.checkpoints"])] {
        let client = client(&nats, user).await;
        let requests = ["$JS.API.INFO".to_owned(), format!("$JS.API.STREAM.INFO.{STREAM}")]
            .into_iter()
            .flat_map(|request| replies.iter().map(move |reply| (request.clone(), (*reply).to_owned(), String::new())));
        send(&client, requests).await;
        assert_eq!(state(&admin).await, before, "{user}");
    }
}

#[tokio::test]
async fn readers_change_neither_streams_nor_the_consumers_of_others() {
    let (nats, admin) = server().await;
    let other = pull::Config { durable_name: Some("other".to_owned()), ..Default::default() };
    admin.get_stream(STREAM).await.unwrap().create_consumer(other).await.unwrap();
    let before = state(&admin).await;
    let changes = |stream: &str| {
        let config = format!(r#"{{"name":"{stream}","subjects":["changed"]}}"#);
        let consumer = |name: &str| {
            format!(
                r#"{{"stream_name":"{stream}","config":{{"durable_name":"{name}","description":"changed","ack_policy":"explicit"}}}}"#
            )
        };
        vec![
            (format!("$JS.API.STREAM.UPDATE.{stream}"), config.clone()),
            (format!("$JS.API.STREAM.PURGE.{stream}"), String::new()),
            (format!("$JS.API.STREAM.MSG.DELETE.{stream}"), r#"{"seq":1}"#.to_owned()),
            (format!("$JS.API.STREAM.DELETE.{stream}"), String::new()),
            (format!("$JS.API.STREAM.RESTORE.{stream}"), String::new()),
            ("$JS.API.STREAM.CREATE.MORE".to_owned(), r#"{"name":"MORE","subjects":["more"]}"#.to_owned()),
            (format!("$JS.API.CONSUMER.DELETE.{stream}.other"), String::new()),
            (format!("$JS.API.CONSUMER.DURABLE.CREATE.{stream}.other"), consumer("other")),
            (format!("$JS.API.CONSUMER.CREATE.{stream}.other"), consumer("other")),
            (format!("$JS.API.CONSUMER.CREATE.{stream}.another"), consumer("another")),
            (format!("$JS.API.CONSUMER.CREATE.{stream}"), consumer("another")),
            (format!("$JS.API.CONSUMER.PAUSE.{stream}.other"), r#"{"pause_until":"2099-01-01T00:00:00Z"}"#.to_owned()),
            (EVENT.to_owned(), "{}".to_owned()),
        ]
    };
    // The projector may publish checkpoints.
    let of_subscriber = [("sales.checkpoints".to_owned(), "{}".to_owned())];
    for (user, more) in [("projector", &[][..]), ("subscriber", &of_subscriber)] {
        let client = client(&nats, user).await;
        let requests = [changes(STREAM), changes(CHECKPOINTS), more.to_vec()].concat();
        send(&client, requests.into_iter().map(|(subject, body)| (subject, client.new_inbox(), body))).await;
        assert_eq!(state(&admin).await, before, "{user}");
    }
}

/// The server delivers within the account of the streams, without checking permissions.
#[tokio::test]
async fn a_subscriber_does_not_choose_where_the_server_delivers() {
    let (nats, admin) = server().await;
    let before = state(&admin).await;
    let client = client(&nats, "subscriber").await;
    for deliver_subject in
        ["sales.checkpoints", "$JS.API.STREAM.PURGE.SALES_EVENTS", "$JS.API.STREAM.DELETE.SALES_EVENTS"]
    {
        let config = json!({ "durable_name": "subscriber", "deliver_subject": deliver_subject, "ack_policy": "none" });
        let body = json!({ "stream_name": STREAM, "config": config }).to_string();
        let create = format!("$JS.API.CONSUMER.CREATE.{STREAM}.subscriber");
        send(&client, [(create, client.new_inbox(), body)]).await;
        assert_eq!(state(&admin).await, before, "{deliver_subject}");
    }
}

#[tokio::test]
async fn readers_do_not_see_the_answers_to_others() {
    let (nats, _admin) = server().await;
    let writer = jetstream::new(client(&nats, "command-api").await);
    for user in ["projector", "subscriber"] {
        let reader = client(&nats, user).await;
        let mut seen = reader.subscribe("_INBOX.>").await.unwrap();
        let mut events = reader.subscribe("sales.>").await.unwrap();
        reader.flush().await.unwrap();
        writer.publish(EVENT, "{}".into()).await.unwrap().await.unwrap();
        // The answer to its own request arrives after all that was sent to it before.
        reader.request("$JS.API.INFO", "".into()).await.unwrap();
        let own = seen.next().await.unwrap();
        assert!(own.payload.starts_with(br#"{"type":"io.nats.jetstream.api.v1.account_info_response""#), "{user}");
        assert!(seen.next().now_or_never().is_none() && events.next().now_or_never().is_none(), "{user}");
    }
}

#[tokio::test]
async fn a_subscriber_reads_and_acknowledges() {
    let (nats, admin) = server().await;
    admin.get_stream(STREAM).await.unwrap().create_consumer(publisher::subscriber()).await.unwrap();
    let stream = jetstream::new(client(&nats, "subscriber").await).get_stream(STREAM).await.unwrap();
    let consumer = stream.get_consumer::<pull::Config>("subscriber").await.unwrap();
    let message = consumer.messages().await.unwrap().next().await.unwrap().unwrap();
    assert_eq!(&message.payload[..], b"{}");
    message.ack().await.unwrap();
    eventually("the event is acknowledged", async || {
        let stream = admin.get_stream(STREAM).await.unwrap();
        let mut consumer = stream.get_consumer::<pull::Config>("subscriber").await.unwrap();
        consumer.info().await.unwrap().ack_floor.stream_sequence == 1
    })
    .await;
}
