//! A TCP proxy to a server or into a container. It can cut connections, or hold what they transmit, after any number of bytes.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, anyhow};
use stack::ports;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::select;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::torture::containers::Port;

const CHUNK_BYTES: usize = 16 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    ToServer,
    ToClient,
}

#[derive(Clone, Debug)]
pub enum Upstream {
    Address(SocketAddr),
    /// The first of these ports that accepts the connection.
    Containers(Arc<[Port]>),
}

/// What happens in one direction once the allowed bytes have passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Forward,
    Cut(Direction),
    Hold(Direction),
}

#[derive(Debug)]
pub struct Proxy {
    pub address: SocketAddr,
    state: Arc<State>,
    /// Dropping it stops listening and drops the connections.
    _accepting: JoinSet<()>,
}

#[derive(Debug)]
struct State {
    mode: watch::Sender<Mode>,
    /// Bytes of all connections together that still pass.
    left: AtomicU64,
}

/// What may happen to bytes that have arrived.
enum Admitted {
    Bytes(usize),
    Cut,
    Hold,
}

impl Proxy {
    pub async fn start(upstream: Upstream) -> Result<Self> {
        let listener = TcpListener::bind(ports::free()?).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State { mode: watch::Sender::new(Mode::Forward), left: AtomicU64::new(0) });
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, upstream, Arc::clone(&state)));
        Ok(Self { address, state, _accepting: accepting })
    }

    pub fn set(&self, mode: Mode, after_bytes: u64) {
        self.state.left.store(after_bytes, Ordering::SeqCst);
        self.state.mode.send_replace(mode);
    }
}

impl State {
    fn admit(&self, direction: Direction, length: usize) -> Admitted {
        let mode = *self.mode.borrow();
        if !matches!(mode, Mode::Cut(broken) | Mode::Hold(broken) if broken == direction) {
            return Admitted::Bytes(length);
        }
        let wanted = length as u64;
        let take = |left: u64| Some(left.saturating_sub(wanted));
        let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).unwrap_or_default();
        match (left, mode) {
            (0, Mode::Cut(_)) => Admitted::Cut,
            (0, _) => Admitted::Hold,
            (left, _) => Admitted::Bytes(usize::try_from(left.min(wanted)).unwrap_or(length)),
        }
    }

    async fn wait_until_forwarded(&self) {
        // The sender is in `self`.
        let _ = self.mode.subscribe().wait_for(|mode| !matches!(mode, Mode::Hold(_))).await;
    }
}

async fn accept(listener: TcpListener, upstream: Upstream, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        select! {
            accepted = listener.accept() => {
                if let Ok((client, _)) = accepted {
                    connections.spawn(connect(client, upstream.clone(), Arc::clone(&state)));
                }
            }
            // Drops connections that have ended.
            Some(_) = connections.join_next() => {}
        }
    }
}

impl Upstream {
    async fn connect(&self) -> Result<TcpStream> {
        let ports = match self {
            Self::Address(address) => return Ok(TcpStream::connect(address).await?),
            Self::Containers(ports) => ports,
        };
        let mut connected = Err(anyhow!("no container is named"));
        for port in ports.iter() {
            connected = port.connect().await;
            if connected.is_ok() {
                break;
            }
        }
        connected
    }
}

/// Closes both sides when one of them ends.
async fn connect(client: TcpStream, upstream: Upstream, state: Arc<State>) {
    let Ok(server) = upstream.connect().await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    select! {
        _ = forward(from_client, to_server, Direction::ToServer, &state) => {}
        _ = forward(from_server, to_client, Direction::ToClient, &state) => {}
    }
}

async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    direction: Direction,
    state: &State,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let length = from.read(&mut chunk).await?;
        if length == 0 {
            return Ok(());
        }
        let mut rest = &chunk[..length];
        while !rest.is_empty() {
            match state.admit(direction, rest.len()) {
                Admitted::Bytes(count) => {
                    to.write_all(&rest[..count]).await?;
                    rest = &rest[count..];
                }
                Admitted::Cut => return Ok(()),
                Admitted::Hold => state.wait_until_forwarded().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use stack::ports::loopback;
    use tokio::time::timeout;

    use super::*;

    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind(loopback(0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = client.into_split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        address
    }

    #[tokio::test]
    async fn a_connection_is_cut_or_held_after_the_given_bytes() {
        let proxy = Proxy::start(Upstream::Address(echo().await)).await.unwrap();
        let mut client = TcpStream::connect(proxy.address).await.unwrap();
        let mut answer = [0; 4];

        proxy.set(Mode::Hold(Direction::ToClient), 2);
        client.write_all(b"held").await.unwrap();
        client.read_exact(&mut answer[..2]).await.unwrap();
        assert!(timeout(Duration::from_millis(50), client.read_exact(&mut answer[2..])).await.is_err());
        proxy.set(Mode::Forward, 0);
        client.read_exact(&mut answer[2..]).await.unwrap();
        assert_eq!(&answer, b"held");

        proxy.set(Mode::Cut(Direction::ToServer), 3);
        client.write_all(b"cut!").await.unwrap();
        let mut rest = Vec::new();
        // The server may reset the connection instead of closing it.
        let _ = client.read_to_end(&mut rest).await;
        assert!(b"cut".starts_with(&rest[..]), "{rest:?}");
    }
}
