//! A TCP proxy that breaks connections as networks do.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::select;
use tokio::sync::watch;
use tokio::task::JoinSet;

use stack::ports::loopback;

/// The most that is forwarded at once and counted as one chunk.
const CHUNK_BYTES: usize = 64 * 1024;
/// Messages of Postgres' protocol: executes a statement without a name, and ends the implicit transaction.
const EXECUTE: &[u8] = b"E\0\0\0\x09\0\0\0\0\0";
const SYNC: &[u8] = b"S\0\0\0\x04";

/// Forwards connections to a server until it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    faults: Arc<Faults>,
    /// Dropping it stops listening and drops the connections.
    _accepting: JoinSet<()>,
}

#[derive(Debug)]
struct Faults {
    refuse: AtomicBool,
    /// Client chunks to go until the reply to one is lost; 0 when none is to be lost.
    lose_reply_after: AtomicUsize,
    fall_silent_before_sync: AtomicBool,
    /// Each new value drops the connections of that moment.
    cuts: watch::Sender<u64>,
}

impl Proxy {
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind(loopback(0)).await.expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let faults = Arc::new(Faults {
            refuse: AtomicBool::new(false),
            lose_reply_after: AtomicUsize::new(0),
            fall_silent_before_sync: AtomicBool::new(false),
            cuts: watch::Sender::new(0),
        });
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, target, Arc::clone(&faults)));
        Self { address, faults, _accepting: accepting }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Drops all live connections now.
    pub fn cut(&self) {
        self.faults.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// New connections are closed at once, until called with `false`.
    pub fn refuse(&self, refuse: bool) {
        self.faults.refuse.store(refuse, Ordering::SeqCst);
    }

    /// Forwards `count` more chunks from clients, lets the server answer the last of them, discards that answer and
    /// drops the connection: the server has handled the request, and the client does not learn of it.
    pub fn cut_before_reply(&self, count: usize) {
        self.faults.lose_reply_after.store(count, Ordering::SeqCst);
    }

    /// Forwards the next statement to Postgres without the end of its transaction, and then nothing more on that connection, not even
    /// that the client closes it: its host has vanished.
    pub fn fall_silent_before_sync(&self) {
        self.faults.fall_silent_before_sync.store(true, Ordering::SeqCst);
    }

    /// Whether the silence that [`Self::fall_silent_before_sync`] requested is pending.
    pub fn is_waiting_to_fall_silent(&self) -> bool {
        self.faults.fall_silent_before_sync.load(Ordering::SeqCst)
    }

    /// Whether the loss that [`Self::cut_before_reply`] requested is pending.
    pub fn is_waiting_to_cut(&self) -> bool {
        self.faults.lose_reply_after.load(Ordering::SeqCst) > 0
    }
}

impl Faults {
    /// Counts one chunk from a client; true when its reply is the one to lose.
    fn loses_reply(&self) -> bool {
        let counted =
            self.lose_reply_after.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        counted == Ok(1)
    }

    /// The part of a chunk to forward before the connection falls silent, if it is the one to fall silent at.
    fn last_before_silence<'a>(&self, chunk: &'a [u8]) -> Option<&'a [u8]> {
        let statement = chunk.strip_suffix(SYNC)?;
        let executes = statement.windows(EXECUTE.len()).any(|window| window == EXECUTE);
        (executes && self.fall_silent_before_sync.swap(false, Ordering::SeqCst)).then_some(statement)
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, faults: Arc<Faults>) {
    let mut connections = JoinSet::new();
    loop {
        select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                if !faults.refuse.load(Ordering::SeqCst) {
                    let cuts = faults.cuts.subscribe();
                    connections.spawn(connect(client, target, cuts, Arc::clone(&faults)));
                }
            }
            // Drops connections that have ended.
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Closes both sides when one of them ends.
async fn connect(client: TcpStream, target: SocketAddr, mut cuts: watch::Receiver<u64>, faults: Arc<Faults>) {
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let lose_next_reply = AtomicBool::new(false);
    let silent = AtomicBool::new(false);
    let (mut client_reads, mut client_writes) = client.into_split();
    let (mut server_reads, mut server_writes) = server.into_split();
    select! {
        _ = cuts.changed() => {}
        _ = forward_requests(&mut client_reads, &mut server_writes, &faults, &lose_next_reply, &silent) => {}
        _ = forward_replies(&mut server_reads, &mut client_writes, &lose_next_reply) => {}
    }
    if silent.load(Ordering::SeqCst) {
        let _ = cuts.changed().await;
    }
}

async fn forward_requests(
    client: &mut OwnedReadHalf,
    server: &mut OwnedWriteHalf,
    faults: &Faults,
    lose_next_reply: &AtomicBool,
    silent: &AtomicBool,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let length = client.read(&mut chunk).await?;
        if length == 0 {
            return Ok(());
        }
        // Before the chunk is sent: the reply may arrive at once.
        if faults.loses_reply() {
            lose_next_reply.store(true, Ordering::SeqCst);
        }
        if let Some(statement) = faults.last_before_silence(&chunk[..length]) {
            silent.store(true, Ordering::SeqCst);
            return server.write_all(statement).await;
        }
        server.write_all(&chunk[..length]).await?;
    }
}

async fn forward_replies(
    server: &mut OwnedReadHalf,
    client: &mut OwnedWriteHalf,
    lose_next_reply: &AtomicBool,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let length = server.read(&mut chunk).await?;
        if length == 0 || lose_next_reply.load(Ordering::SeqCst) {
            return Ok(());
        }
        client.write_all(&chunk[..length]).await?;
    }
}
