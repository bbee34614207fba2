//! The container health check. Images contain no other program that could send the request.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, bail};
use clap::Args;

/// Shorter than Docker's timeout, so that the reason is printed.
const LIMIT: Duration = Duration::from_secs(1);
/// Limit of the printed response.
const MOST_BYTES: u64 = 1024;

/// Settings of the health check.
#[derive(Args, Clone, Debug)]
pub struct HealthcheckConfig {
    /// Address and port of the service.
    #[arg(long, env, default_value = "127.0.0.1:8081")]
    pub listen_address: SocketAddr,
}

/// Requests /startupz; the error has the reason.
pub fn run(config: &HealthcheckConfig) -> anyhow::Result<()> {
    let address = reachable(config.listen_address);
    let answer = ask(address).with_context(|| format!("{address} does not answer"))?;
    let (status, reason) = answer.split_once("\r\n").unwrap_or((&answer, ""));
    if status.split(' ').nth(1) != Some("200") {
        bail!("{status}: {}", reason.split("\r\n\r\n").nth(1).unwrap_or_default().trim());
    }
    Ok(())
}

fn ask(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    write!(stream, "GET /startupz HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(MOST_BYTES).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// A service that listens on all addresses is reachable on the loopback address.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    /// A service that answers one request.
    fn service(answer: &'static str) -> HealthcheckConfig {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let listen_address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let length = stream.read(&mut request).unwrap();
            assert!(request[..length].starts_with(b"GET /startupz "));
            stream.write_all(answer.as_bytes()).unwrap();
        });
        HealthcheckConfig { listen_address }
    }

    #[test]
    fn a_service_that_has_started_is_healthy() {
        run(&service("HTTP/1.0 200 OK\r\n\r\nstarted\n")).unwrap();
    }

    #[test]
    fn a_service_that_has_not_started_reports_the_reason() {
        let error = run(&service("HTTP/1.0 503 Service Unavailable\r\na: b\r\n\r\nno database\n")).unwrap_err();
        assert_eq!(error.to_string(), "HTTP/1.0 503 Service Unavailable: no database");
    }

    #[test]
    fn a_service_that_does_not_answer_is_not_healthy() {
        // The listener is dropped, its port is closed.
        let listen_address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(run(&HealthcheckConfig { listen_address }).is_err());
    }
}
