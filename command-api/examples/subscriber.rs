//! How another system consumes the events of the shop, in order and each of them once. `/docs/events.json` describes them.
//!
//! ```text
//! cargo run --release --example subscriber -- --nats nats://user:password@127.0.0.1:4222 --last-position last.txt
//! ```
//!
//! It prints a line per event. That is where a real system does its work, and keeps the last position in the same
//! transaction: here, a crash between the line and the file would print the line once more.

use std::{
    fs,
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use async_nats::{
    ConnectOptions, ServerAddr,
    jetstream::{
        self,
        consumer::{AckPolicy, pull},
    },
};
use clap::Parser;
use futures::StreamExt;
use serde_json::Value;

const STREAM: &str = "SALES_EVENTS";
/// The name under which JetStream remembers what was acknowledged: one for each system that consumes.
const DURABLE: &str = "example-subscriber";
/// Longer than an event takes to process: past it, JetStream thinks that we died, and delivers the event again.
const ACK_WAIT: Duration = Duration::from_secs(5);

#[derive(Parser)]
struct Settings {
    /// Address of NATS, with user and password.
    #[arg(long)]
    nats: ServerAddr,
    /// The file that remembers the last processed position.
    #[arg(long, default_value = "last-position.txt")]
    last_position: PathBuf,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Settings { nats, last_position: file } = Settings::parse();
    let (user, password) = (nats.username().unwrap_or_default().into(), nats.password().unwrap_or_default().into());
    let options = ConnectOptions::with_user_and_password(user, password);
    let client = options.connect(nats.clone()).await.context("NATS cannot be reached")?;
    let stream = jetstream::new(client).get_stream(STREAM).await.context("the shop has not published anything yet")?;
    let config = pull::Config {
        durable_name: Some(DURABLE.to_owned()),
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT,
        // One at a time: otherwise those after an event that is to be delivered again would come before it.
        max_ack_pending: 1,
        ..pull::Config::default()
    };
    let consumer = stream.get_or_create_consumer(DURABLE, config).await?;
    let mut messages = consumer.messages().await?;
    let mut last = read(&file)?;
    while let Some(message) = messages.next().await {
        let message = message?;
        let event: Value = serde_json::from_slice(&message.payload).context("not an event of the shop")?;
        let position = event["position"].as_u64().context("an event without a position")?;
        if position > last + 1 {
            bail!(
                "after position {last} comes {position}: the stream no longer holds what is between. Process the events \
                 of GET /api/events?after={last}&until={} and put that last position into {}; then start again.",
                position - 1,
                file.display(),
            );
        }
        // At least once means that it may be one that we know: then there is nothing left but to say so.
        if position == last + 1 {
            println!("{position} {} {} {}", event["time"], event["type"], event["data"]);
            write(&file, position).with_context(|| format!("cannot write {}", file.display()))?;
            last = position;
        }
        // Not before its position is on disk: what is acknowledged never comes again.
        message.ack().await.map_err(anyhow::Error::from_boxed)?;
    }
    bail!("NATS has closed the subscription")
}

fn read(file: &Path) -> anyhow::Result<u64> {
    match fs::read_to_string(file) {
        Ok(text) => text.trim().parse().with_context(|| format!("{} holds no position", file.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
    }
}

/// The file has either the old content or the new one, whenever the machine stops.
fn write(file: &Path, position: u64) -> std::io::Result<()> {
    let partial = file.with_extension("partial");
    let mut writer = fs::File::create(&partial)?;
    writeln!(writer, "{position}")?;
    writer.sync_all()?;
    fs::rename(partial, file)
}
