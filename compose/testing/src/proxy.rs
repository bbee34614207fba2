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
    let (client_reads, client_writes) = client.into_split();
    let (server_reads, server_writes) = server.into_split();
    select! {
        _ = cuts.changed() => {}
        _ = forward_requests(client_reads, server_writes, &faults, &lose_next_reply) => {}
        _ = forward_replies(server_reads, client_writes, &lose_next_reply) => {}
    }
}

async fn forward_requests(
    mut client: OwnedReadHalf,
    mut server: OwnedWriteHalf,
    faults: &Faults,
    lose_next_reply: &AtomicBool,
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
        server.write_all(&chunk[..length]).await?;
    }
}

async fn forward_replies(
    mut server: OwnedReadHalf,
    mut client: OwnedWriteHalf,
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
