//! Free ports on loopback for the servers that only we talk to.

use std::io;
use std::mem;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{self as unix, UnixListener};

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

/// A port that is free, and that nobody of ours is given again while this process lives: until a server opens it, it is free to everybody.
pub fn free() -> Result<SocketAddr> {
    // A random start keeps processes out of each other's way.
    let start = rand::random_range(INTERNAL_PORTS);
    (start..INTERNAL_PORTS.end)
        .chain(INTERNAL_PORTS.start..start)
        // The name first: to try a port that is somebody else's could be just when they open it.
        .find(|port| take(*port).is_ok() && is_free(*port).is_ok_and(|free| free))
        .map(loopback)
        .with_context(|| format!("no port from {INTERNAL_PORTS:?} is free on 127.0.0.1"))
}

/// Takes the name that stands for a port, which one process can have at a time. The kernel gives it back when the process ends.
fn take(port: u16) -> io::Result<()> {
    let name = unix::SocketAddr::from_abstract_name(format!("sales-port-{port}"))?;
    mem::forget(UnixListener::bind_addr(&name)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_somebody_was_given_is_given_to_nobody_else() {
        let given = free().unwrap().port();
        assert!(is_free(given).unwrap());
        assert_eq!(take(given).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
