//! Free ports on loopback, for the servers that clients reach through Traefik.

use std::io;
use std::mem;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{self as unix, UnixListener};

use anyhow::{Context, Result};

/// Below the range of Linux's ephemeral ports, so that no outgoing connection occupies the port of a server that is being
/// restarted.
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

/// A free port. It is not handed out again while this process lives, in this or another process that uses this function.
pub fn free() -> Result<SocketAddr> {
    // A random start: concurrent processes rarely try the same ports.
    let start = rand::random_range(INTERNAL_PORTS);
    (start..INTERNAL_PORTS.end)
        .chain(INTERNAL_PORTS.start..start)
        // The reservation comes first: probing a port reserved by another process could collide with its server's start.
        .find(|port| reserve(*port).is_ok() && is_free(*port).is_ok_and(|free| free))
        .map(loopback)
        .with_context(|| format!("no port from {INTERNAL_PORTS:?} is free on 127.0.0.1"))
}

/// Binds the abstract socket that represents a port. The kernel releases it when the process ends.
fn reserve(port: u16) -> io::Result<()> {
    let name = unix::SocketAddr::from_abstract_name(format!("sales-port-{port}"))?;
    mem::forget(UnixListener::bind_addr(&name)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_handed_out_once() {
        let given = free().unwrap().port();
        assert!(is_free(given).unwrap());
        assert_eq!(reserve(given).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
