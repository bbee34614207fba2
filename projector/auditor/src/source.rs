//! Sources of the log. Each delivers batches in stored order, unchecked.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use bytes::{Bytes, BytesMut};
use contract::position::Position;
use event_log::{
    database,
    scan::{scan, scan_first},
};
use futures::StreamExt;
use memchr::{memchr_iter, memrchr};
use reqwest::{
    Client, StatusCode, Url,
    header::{self, HeaderMap, HeaderValue},
};
use sqlx::PgPool;
use tokio::{
    sync::mpsc::{self, Receiver, Sender},
    task::spawn_blocking,
    time::sleep,
};

use crate::checkpoint::{self, Checkpoints};

/// Events per batch: enough to keep all cores busy, small in memory.
pub const BATCH: usize = 8192;
/// The same for lines.
const BATCH_BYTES: usize = 2 << 20;
/// Batches read ahead.
const AHEAD: usize = 4;
/// Bytes of a file that are read at once.
const READ_BYTES: usize = 256 * 1024;
/// Events per statement. Statements stay short, because a running one keeps the database from removing old row versions.
const CHUNK_EVENTS: i64 = 200_000;
/// One for the log, one for queries in between.
const CONNECTIONS: u32 = 2;
/// Past it, the server counts as unreachable.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest pause within a response. The server reads a chunk of the log meanwhile, for ten seconds at most.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Upper bound for a line: requests are bounded, and the rest of a line has a fixed length.
pub const LONGEST_LINE: usize = 256 * 1024;
/// Attempts to resume a download without progress.
const ATTEMPTS: u32 = 5;
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// A source of the log.
#[derive(Clone, Debug)]
pub enum Source {
    /// The event store itself.
    Database(PgPool),
    /// `https://…`, the address under which `/api/events` is found.
    Http(Url, Client),
    /// A file that `export` wrote.
    File(PathBuf),
}

/// Some events in their stored form.
pub enum Batch {
    /// Rows of a binary COPY.
    Rows(Vec<Bytes>),
    /// Complete lines of an export.
    Lines(Bytes),
    /// The bytes after the last line break of a file.
    Torn(Bytes),
    /// The beginning of a line that exceeds the bound.
    Endless(Bytes),
}

impl Batch {
    /// Stored size, including line breaks.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Rows(rows) => rows.iter().map(Bytes::len).sum(),
            Self::Lines(lines) | Self::Torn(lines) | Self::Endless(lines) => lines.len(),
        }
    }
}

/// Sends the access token, if any, with every request.
fn client(access_token: Option<&str>) -> anyhow::Result<Client> {
    let mut headers = HeaderMap::new();
    if let Some(token) = access_token {
        let mut value: HeaderValue = format!("Bearer {token}").parse().context("the access token holds line breaks")?;
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
    }
    let client = Client::builder().default_headers(headers);
    Ok(client.connect_timeout(CONNECT_TIMEOUT).read_timeout(IDLE_TIMEOUT).build()?)
}

impl Source {
    pub fn parse(text: &str, access_token: Option<&str>) -> anyhow::Result<Self> {
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Ok(Self::Database(database::pool("the source", text, "auditor", CONNECTIONS)?));
        }
        if text.starts_with("http://") || text.starts_with("https://") {
            let url = text.parse().with_context(|| format!("{text} is not a URL"))?;
            return Ok(Self::Http(url, client(access_token)?));
        }
        let file = Path::new(text);
        if file.is_file() {
            return Ok(Self::File(file.to_owned()));
        }
        bail!("{text} is neither a file nor the address of an event store (postgres://…) or of the shop (https://…)")
    }

    /// The position of the last event, where it is known without reading everything.
    pub async fn end(&self) -> anyhow::Result<Option<Position>> {
        match self {
            Self::Database(pool) => {
                let end: i64 = sqlx::query_scalar("select coalesce(max(position), 0) from event")
                    .fetch_one(pool)
                    .await
                    .context("the event store cannot be read")?;
                Ok(Some(end.try_into()?))
            }
            Self::Http(..) | Self::File(_) => Ok(None),
        }
    }

    /// An estimate of the end, for the progress display only.
    pub async fn supposed_end(&self) -> Option<Position> {
        match self {
            Self::Database(_) => self.end().await.ok()?,
            Self::Http(url, client) => {
                let note = Checkpoints::Http(url.clone(), client.clone()).newest().await.ok()?;
                checkpoint::position_in(&note).ok()
            }
            Self::File(_) => None,
        }
    }

    /// Size in bytes, where the number of events is unknown.
    pub fn bytes(&self) -> Option<u64> {
        match self {
            Self::File(file) => file.metadata().map(|metadata| metadata.len()).ok(),
            Self::Database(_) | Self::Http(..) => None,
        }
    }

    /// Reads the events after a position, up to and including another one.
    pub fn read(&self, after: Position, until: Option<Position>) -> Receiver<anyhow::Result<Batch>> {
        let (sender, receiver) = mpsc::channel(AHEAD);
        let source = self.clone();
        tokio::spawn(async move {
            let read = match source {
                Self::Database(pool) => read_rows(&pool, after, until, &sender).await,
                Self::Http(url, client) => read_http(&url, &client, after, until, &sender).await,
                Self::File(file) => {
                    let sender = sender.clone();
                    spawn_blocking(move || read_file(&file, &sender)).await.unwrap_or_else(|error| Err(error.into()))
                }
            };
            if let Err(error) = read {
                // The receiver may be gone; then the error is of no interest.
                let _ = sender.send(Err(error)).await;
            }
        });
        receiver
    }
}

async fn read_rows(
    pool: &PgPool,
    mut after: Position,
    until: Option<Position>,
    batches: &Sender<anyhow::Result<Batch>>,
) -> anyhow::Result<()> {
    let end = match until {
        Some(until) => until,
        None => Source::Database(pool.clone()).end().await?.context("a database knows its end")?,
    };
    while after < end {
        let until = end.min(after.plus(CHUNK_EVENTS));
        let mut chunk = scan(pool, after, until).await?;
        let mut missing = usize::try_from(until.get() - after.get()).unwrap_or(usize::MAX);
        loop {
            let rows = chunk.next_rows(BATCH).await.context("the event store cannot be read")?;
            let last = rows.len() < BATCH;
            missing = missing.saturating_sub(rows.len());
            if !rows.is_empty() && batches.send(Ok(Batch::Rows(rows))).await.is_err() {
                return Ok(());
            }
            if last {
                break;
            }
        }
        drop(chunk);
        if missing > 0 {
            // Deliver the first event after the gap and no more: it may be arbitrarily far away.
            let next =
                scan_first(pool, until, end).await?.next_rows(1).await.context("the event store cannot be read")?;
            let _ = batches.send(Ok(Batch::Rows(next))).await;
            return Ok(());
        }
        after = until;
    }
    Ok(())
}

fn read_file(file: &Path, batches: &Sender<anyhow::Result<Batch>>) -> anyhow::Result<()> {
    let mut reader = File::open(file)?;
    let (mut lines, mut buffer) = (Lines::default(), vec![0; READ_BYTES]);
    loop {
        let read = reader.read(&mut buffer).with_context(|| format!("{} cannot be read", file.display()))?;
        if read == 0 {
            break;
        }
        lines.add(&buffer[..read]);
        if lines.is_endless() {
            break;
        }
        if let Some(batch) = lines.take(BATCH_BYTES)
            && batches.blocking_send(Ok(batch)).is_err()
        {
            return Ok(());
        }
    }
    for batch in lines.rest() {
        let _ = batches.blocking_send(Ok(batch));
    }
    Ok(())
}

/// Breaks a stream of bytes at the ends of lines.
#[derive(Default)]
struct Lines {
    bytes: BytesMut,
    /// Length of the complete lines.
    whole: usize,
}

impl Lines {
    fn add(&mut self, bytes: &[u8]) {
        if let Some(end) = memrchr(b'\n', bytes) {
            self.whole = self.bytes.len() + end + 1;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The current line exceeds the bound; reading stops here.
    fn is_endless(&self) -> bool {
        self.bytes.len() - self.whole > LONGEST_LINE
    }

    fn take(&mut self, at_least: usize) -> Option<Batch> {
        let whole = std::mem::take(&mut self.whole);
        if whole == 0 || whole < at_least {
            self.whole = whole;
            return None;
        }
        let mut rest = BytesMut::with_capacity(BATCH_BYTES + READ_BYTES);
        rest.extend_from_slice(&self.bytes[whole..]);
        self.bytes.truncate(whole);
        Some(Batch::Lines(std::mem::replace(&mut self.bytes, rest).freeze()))
    }

    fn rest(mut self) -> impl Iterator<Item = Batch> {
        let kind = if self.is_endless() { Batch::Endless } else { Batch::Torn };
        let whole = self.take(1);
        let torn = (!self.bytes.is_empty()).then(|| kind(self.bytes.freeze()));
        whole.into_iter().chain(torn)
    }
}

/// An interrupted download resumes after the last complete line.
async fn read_http(
    url: &Url,
    client: &Client,
    mut after: Position,
    until: Option<Position>,
    batches: &Sender<anyhow::Result<Batch>>,
) -> anyhow::Result<()> {
    let mut attempts = 0;
    loop {
        let from = after;
        match download(url, client, &mut after, until, batches).await {
            Ok(()) => return Ok(()),
            Err(Broken::Refused(error)) => return Err(error),
            Err(Broken::Connection(error)) => {
                attempts = if after > from { 1 } else { attempts + 1 };
                if attempts == ATTEMPTS {
                    return Err(error).context(format!("the download was interrupted after position {after}"));
                }
                sleep(RETRY_DELAY).await;
            }
        }
    }
}

enum Broken {
    /// A retry may succeed.
    Connection(anyhow::Error),
    Refused(anyhow::Error),
}

impl From<reqwest::Error> for Broken {
    fn from(error: reqwest::Error) -> Self {
        Self::Connection(error.into())
    }
}

async fn download(
    url: &Url,
    client: &Client,
    after: &mut Position,
    until: Option<Position>,
    batches: &Sender<anyhow::Result<Batch>>,
) -> Result<(), Broken> {
    let mut address = url.join("/api/events").map_err(|error| Broken::Refused(error.into()))?;
    address.query_pairs_mut().append_pair("after", &after.to_string());
    if let Some(until) = until {
        address.query_pairs_mut().append_pair("until", &until.to_string());
    }
    let response = client.get(address.clone()).header(header::ACCEPT, "application/x-ndjson").send().await?;
    let status = response.status();
    if status == StatusCode::SERVICE_UNAVAILABLE || status == StatusCode::BAD_GATEWAY {
        return Err(Broken::Connection(anyhow::anyhow!("{address} answers {status}")));
    }
    if !status.is_success() {
        let body = response.text().await.unwrap_or_default();
        return Err(Broken::Refused(anyhow::anyhow!("{address} answers {status}: {body}")));
    }
    let (mut lines, mut body) = (Lines::default(), response.bytes_stream());
    loop {
        let chunk = body.next().await;
        if let Some(Ok(chunk)) = &chunk {
            lines.add(chunk);
        }
        if lines.is_endless() {
            for batch in lines.rest() {
                let _ = batches.send(Ok(batch)).await;
            }
            return Ok(());
        }
        let at_least = if matches!(chunk, Some(Ok(_))) { BATCH_BYTES } else { 1 };
        if let Some(batch) = lines.take(at_least) {
            if let Batch::Lines(lines) = &batch {
                let events = memchr_iter(b'\n', lines).count();
                *after = after.plus(i64::try_from(events).unwrap_or(i64::MAX));
            }
            if batches.send(Ok(batch)).await.is_err() {
                return Ok(());
            }
        }
        match chunk {
            Some(Ok(_)) => (),
            Some(Err(error)) => return Err(error.into()),
            None => return Ok(()),
        }
    }
}
