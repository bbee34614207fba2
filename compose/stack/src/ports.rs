//! Free ports on loopback for the servers that only we talk to.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;

use anyhow::{Context, Result};

/// Below the range from which Linux takes the local ports of outgoing connections, so that no such connection can sit
/// on a port while its owner is being restarted.
const INTERNAL_PORTS: Range<u16> = 20_000..32_000;

pub fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

pub fn is_free(port: u16) -> io::Result<bool> {
    match TcpListener::bind(loopback(port)) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(false),
        Err(error) => Err(error),
    }
}

/// Hands out ports that are free and different from each other.
#[derive(Default)]
pub struct FreePorts {
    /// Held until all are chosen, so that no two servers get the same one.
    held: Vec<TcpListener>,
}

impl FreePorts {
    pub fn take(&mut self) -> Result<SocketAddr> {
        // A random start keeps test processes that run at the same time out of each other's way.
        let start = rand::random_range(INTERNAL_PORTS);
        let listener = (start..INTERNAL_PORTS.end)
            .chain(INTERNAL_PORTS.start..start)
            .find_map(|port| TcpListener::bind(loopback(port)).ok())
            .with_context(|| format!("no port from {INTERNAL_PORTS:?} is free on 127.0.0.1"))?;
        let address = listener.local_addr()?;
        self.held.push(listener);
        Ok(address)
    }
}

/// One free port.
pub fn free() -> Result<SocketAddr> {
    FreePorts::default().take()
}
