//! The example subscriber: the program itself, killed and restarted.

use std::{
    fs::{self, File},
    path::Path,
    process::Stdio,
};

use async_nats::jetstream;
use runtime::nats::STREAM;
use stack::checkout;
use tempfile::TempDir;
use testing::{Databases, Nats, eventually};
use tokio::process::{Child, Command};

fn subscriber(nats: &Nats, folder: &Path) -> Child {
    let append = |name: &str| File::options().create(true).append(true).open(folder.join(name)).unwrap();
    Command::new(checkout::example("subscriber").unwrap_or_else(|error| panic!("{error}")))
        .args(["--nats", &nats.url("subscriber")])
        .arg("--last-position")
        .arg(folder.join("last"))
        .stdin(Stdio::null())
        .stdout(append("out"))
        .stderr(append("err"))
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

fn read(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap_or_default()
}

/// Waits until the events up to a position are processed and the position is stored. Checks that nothing else was printed.
async fn assert_processed(folder: &Path, position: u64) {
    eventually("everything is processed", async || read(folder, "last").trim() == position.to_string()).await;
    let printed: Vec<u64> =
        read(folder, "out").lines().map(|line| line.split(' ').next().unwrap().parse().unwrap()).collect();
    assert_eq!(printed, (1..=position).collect::<Vec<_>>(), "{}", read(folder, "err"));
}

#[tokio::test]
async fn a_killed_subscriber_resumes_without_losing_or_duplicating_an_event() {
    let (databases, nats) = (Databases::create().await, Nats::start());
    let service = databases.command_api(&nats.url("command-api")).await;
    let folder = TempDir::new().unwrap();
    let buy = async |times: usize| {
        for _ in 0..times {
            service.buy("pro").await;
        }
    };
    let jetstream = jetstream::new(runtime::nats::connect(&nats.admin_url(), "test").await.unwrap());
    buy(20).await;
    eventually("there is a stream", async || jetstream.get_stream(STREAM).await.is_ok()).await;

    let mut first = subscriber(&nats, folder.path());
    assert_processed(folder.path(), 20).await;
    buy(20).await;
    assert_processed(folder.path(), 40).await;
    first.kill().await.unwrap();
    buy(20).await;

    let mut second = subscriber(&nats, folder.path());
    assert_processed(folder.path(), 60).await;
    second.kill().await.unwrap();

    // JetStream loses the consumer. The relay creates it again, and JetStream redelivers everything.
    let stream = jetstream.get_stream(STREAM).await.unwrap();
    stream.delete_consumer("subscriber").await.unwrap();
    eventually("there is a consumer again", async || stream.consumer_info("subscriber").await.is_ok()).await;
    buy(20).await;
    let _third = subscriber(&nats, folder.path());
    assert_processed(folder.path(), 80).await;
    assert!(read(folder.path(), "out").lines().all(|line| line.contains("LicensePurchased")));
}

#[tokio::test]
async fn a_running_subscriber_continues_after_a_refill_of_the_stream() {
    let (databases, nats) = (Databases::create().await, Nats::start());
    let service = databases.command_api(&nats.url("command-api")).await;
    let folder = TempDir::new().unwrap();
    service.buy("pro").await;
    service.buy("pro").await;
    let jetstream = jetstream::new(runtime::nats::connect(&nats.admin_url(), "test").await.unwrap());
    let consumer = async || match jetstream.get_stream(STREAM).await {
        Ok(stream) => stream.consumer_info("subscriber").await.is_ok(),
        Err(_) => false,
    };
    eventually("there is a consumer", consumer).await;
    let _running = subscriber(&nats, folder.path());
    assert_processed(folder.path(), 2).await;
    assert!(jetstream.get_stream(STREAM).await.unwrap().delete_message(1).await.unwrap());
    eventually("the stream is refilled", async || service.log().contains("relay.refilled")).await;
    service.buy("pro").await;
    assert_processed(folder.path(), 3).await;
}

#[tokio::test]
async fn a_subscriber_that_misses_an_event_names_where_to_read_it() {
    let (databases, nats) = (Databases::create().await, Nats::start());
    let service = databases.command_api(&nats.url("command-api")).await;
    let folder = TempDir::new().unwrap();
    for _ in 0..5 {
        service.buy("pro").await;
    }
    let jetstream = jetstream::new(runtime::nats::connect(&nats.admin_url(), "test").await.unwrap());
    let all = async || jetstream.get_stream(STREAM).await.is_ok_and(|stream| stream.cached_info().state.messages == 5);
    eventually("all are published", all).await;
    // The relay would refill the stream.
    assert!(service.terminate().await.success());
    jetstream.get_stream(STREAM).await.unwrap().purge().sequence(4).await.unwrap();

    let ended = subscriber(&nats, folder.path()).wait().await.unwrap();
    assert!(!ended.success());
    let said = read(folder.path(), "err");
    assert!(said.contains("/api/events?after=0&until=3"), "{said}");
    // It resumes once its file says that these are processed.
    fs::write(folder.path().join("last"), "3\n").unwrap();
    let _again = subscriber(&nats, folder.path());
    eventually("the others are processed", async || read(folder.path(), "last") == "5\n").await;
    assert_eq!(read(folder.path(), "out").lines().count(), 2);
}
