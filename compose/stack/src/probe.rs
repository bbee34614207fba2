//! Checks whether a server is ready, through the interface that its clients use.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A server on the same machine that takes longer is not ready.
const TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Probe {
    /// Answers `GET path` with 200.
    Http { address: SocketAddr, path: String },
    /// Requests authentication on a new connection, instead of refusing it while it starts up or shuts down.
    Postgres { address: SocketAddr },
}

impl Probe {
    pub fn passes(&self) -> bool {
        self.check().unwrap_or(false)
    }

    /// Whether the server reports that it is ready; an error if it reports nothing.
    pub fn check(&self) -> io::Result<bool> {
        match self {
            Self::Http { address, path } => http_answers_200(*address, path),
            Self::Postgres { address } => postgres_accepts(*address),
        }
    }
}

fn http_answers_200(address: SocketAddr, path: &str) -> io::Result<bool> {
    let mut stream = connect(address)?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut status_line = [0; "HTTP/1.0 200".len()];
    stream.read_exact(&mut status_line)?;
    Ok(status_line.ends_with(b" 200"))
}

/// The first step of a connection, as `pg_isready` does it: protocol 3.0, user and database "postgres".
/// <https://www.postgresql.org/docs/current/protocol-message-formats.html>
fn postgres_accepts(address: SocketAddr) -> io::Result<bool> {
    const START: &[u8] = b"\0\0\0\x29\0\x03\0\0user\0postgres\0database\0postgres\0\0";
    const AUTHENTICATION_REQUEST: u8 = b'R';
    let mut stream = connect(address)?;
    stream.write_all(START)?;
    let mut header = [0; 5];
    stream.read_exact(&mut header)?;
    let [kind, length @ ..] = header;
    // The length includes itself. The server logs a fault if the message is not read to its end.
    let rest = u64::from(u32::from_be_bytes(length)).saturating_sub(4);
    io::copy(&mut stream.take(rest), &mut io::sink())?;
    Ok(kind == AUTHENTICATION_REQUEST)
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    Ok(stream)
}
