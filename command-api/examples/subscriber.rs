//! Consumes the events of the shop in order, each once. `/docs/events.json` describes them.
//!
//! ```text
//! NATS_URL=nats://user:password@127.0.0.1:4222 cargo run --example subscriber -- --last-position last.txt
//! ```
//!
//! It prints a line per event. A real system does its work there and stores the last position in the same transaction:
//! here, a crash between the line and the file prints the line twice.

use std::{
    fs,
    io::{ErrorKind, Write, stderr, stdout},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use async_nats::{
    ConnectOptions, ServerAddr,
    jetstream::{self, consumer::pull},
};
use clap::Parser;
use futures::StreamExt;
use serde_json::Value;
use tokio::time::sleep;

const STREAM: &str = "SALES_EVENTS";
/// The durable consumer that the shop creates for the user of this name. It delivers one event at a time.
const CONSUMER: &str = "subscriber";
const RETRY_DELAY: Duration = Duration::from_secs(1);

#[derive(Parser)]
struct Settings {
    /// Address of NATS, with user and password. In the environment, other users of the machine cannot read it.
    #[arg(long, env = "NATS_URL", hide_env_values = true)]
    nats: ServerAddr,
    /// File that stores the last processed position.
    #[arg(long, default_value = "last-position.txt")]
    last_position: PathBuf,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Settings { nats, last_position: file } = Settings::parse();
    let (user, password) = (nats.username().unwrap_or_default().into(), nats.password().unwrap_or_default().into());
    let options = ConnectOptions::with_user_and_password(user, password);
    let client = options.connect(nats.clone()).await.context("NATS is unreachable")?;
    let jetstream = jetstream::new(client);
    let mut messages = subscribe(&jetstream).await?;
    let mut last = read(&file)?;
    loop {
        let Some(Ok(message)) = messages.next().await else {
            // The shop deletes the consumer together with a stream that lacks messages, and creates both again.
            writeln!(stderr(), "the consumer was deleted, or NATS is unreachable: subscribing again")?;
            sleep(RETRY_DELAY).await;
            match subscribe(&jetstream).await {
                Ok(again) => messages = again,
                Err(error) => writeln!(stderr(), "{error:#}")?,
            }
            continue;
        };
        let event: Value = serde_json::from_slice(&message.payload).context("not an event of the shop")?;
        let position = event["position"].as_u64().context("an event without a position")?;
        if position > last + 1 {
            bail!(
                "position {position} follows {last}: the stream no longer holds the events in between. Process the events \
                 of GET /api/events?after={last}&until={}, write that last position to {}, then restart.",
                position - 1,
                file.display(),
            );
        }
        // Delivery is at least once: a known event is only acknowledged.
        if position == last + 1 {
            writeln!(stdout(), "{position} {} {} {}", event["time"], event["type"], event["data"])?;
            write(&file, position).with_context(|| format!("cannot write {}", file.display()))?;
            last = position;
        }
        // After its position is on disk: an acknowledged message is not redelivered.
        message.ack().await.map_err(anyhow::Error::from_boxed)?;
    }
}

async fn subscribe(jetstream: &jetstream::Context) -> anyhow::Result<pull::Stream> {
    let stream = jetstream.get_stream(STREAM).await.context("the shop has not published anything yet")?;
    let consumer = stream.get_consumer::<pull::Config>(CONSUMER).await.map_err(anyhow::Error::from_boxed)?;
    Ok(consumer.messages().await?)
}

fn read(file: &Path) -> anyhow::Result<u64> {
    match fs::read_to_string(file) {
        Ok(text) => text.trim().parse().with_context(|| format!("{} holds no position", file.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
    }
}

/// Replaces the file atomically: a crash leaves the old content or the new one.
fn write(file: &Path, position: u64) -> std::io::Result<()> {
    let partial = file.with_extension("partial");
    let mut writer = fs::File::create(&partial)?;
    writeln!(writer, "{position}")?;
    writer.sync_all()?;
    fs::rename(partial, file)
}
