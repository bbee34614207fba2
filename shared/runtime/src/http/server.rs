//! The HTTP server: limits on connections, idle time and header size, and the rules of [`message`]. A handler can end the connection of
//! its request ([`Hangup`]).

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::Request,
    response::{IntoResponse, Response},
    serve::Listener,
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    http::{body, message, problem::Problem},
    log_limits::Sampler,
};

/// Concurrent connections, idle ones included. An idle one takes about two kilobytes; a proxy opens some hundred.
const MAX_CONNECTIONS: usize = 10_000;
/// This many more are refused with a response. Further connections are dropped.
const MAX_REFUSALS: usize = 500;
/// Other open files of a process.
const OTHER_FILES: u64 = 300;
/// From the accept or the last response to the end of the next request's head. The proxy closes idle connections sooner
/// (`idleConnTimeout`), so that it never sends a request on one that is being closed.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// A refusal must not hold resources for long.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
/// Twice the limit of the proxy, which adds headers of its own: a token and a cookie of some kilobytes each fit.
const MAX_HEAD_BYTES: usize = 32 * 1024;
/// A peer that reads nothing for this long is disconnected, which frees its response. A slow reader still reads something;
/// this one has vanished or stopped.
const STALLED_PEER_LIMIT: Duration = Duration::from_mins(1);
/// Unsent bytes in the kernel's buffer per peer. By default it buffers megabytes of outdated totals for each slow reader of
/// a stream. Fast readers are not slowed down, because their bytes leave at once.
const UNSENT_LIMIT_BYTES: u32 = 16 * 1024;

/// Ends the connection of a request; an extension of every request. A response that the client does not read is not polled, so only
/// something outside of its body can end it.
#[derive(Clone, Debug, Default)]
pub struct Hangup(CancellationToken);

impl Hangup {
    pub fn hang_up(&self) {
        self.0.cancel();
    }

    pub async fn hung_up(&self) {
        self.0.cancelled().await;
    }
}

/// Serves until stopped, then finishes the requests in flight.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    serve_at_most(room_for_connections(), listener, router, stop).await;
}

async fn serve_at_most(room: usize, mut listener: TcpListener, router: Router, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(room));
    let refusals = Arc::new(Semaphore::new(MAX_REFUSALS));
    // Converted once: a plain router would be rebuilt for every connection.
    let service = TowerToHyperService::new(router.with_state::<()>(()));
    let http = http(HEAD_TIMEOUT);
    let connections = GracefulShutdown::new();
    loop {
        let (peer, _) = tokio::select! {
            accepted = Listener::accept(&mut listener) => accepted,
            () = stop.cancelled() => break,
        };
        bound_sending(&peer, STALLED_PEER_LIMIT);
        if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
            let (service, hangup) = (service.clone(), Hangup::default());
            let of_requests = hangup.clone();
            let service = service_fn(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(of_requests.clone());
                message::conform(request, service.clone())
            });
            let connection = connections.watch(http.serve_connection(TokioIo::new(peer), service));
            tokio::spawn(async move {
                tokio::select! {
                    // A broken connection concerns only its client.
                    _ = connection => (),
                    () = hangup.hung_up() => (),
                }
                drop(place);
            });
        } else if let Ok(place) = Arc::clone(&refusals).try_acquire_owned() {
            tokio::spawn(async move {
                refuse(peer).await;
                drop(place);
            });
        }
    }
    drop(listener);
    connections.shutdown().await;
}

fn http(head_timeout: Duration) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(head_timeout).max_header_size(MAX_HEAD_BYTES);
    http
}

/// Reads one request and answers it, so that the client receives the reason.
async fn refuse(peer: TcpStream) {
    // Not an async closure: rustc 1.95 fails after an edit of this crate when it compiles one here incrementally.
    let full = service_fn(|request: Request<Incoming>| async move {
        body::discard(request.into_body()).await;
        let problem = Problem::unavailable("The connection limit is reached. Retry.");
        Ok::<Response, Infallible>(problem.into_response())
    });
    let connection = http(REFUSAL_TIMEOUT).keep_alive(false).serve_connection(TokioIo::new(peer), full);
    let _ = timeout(REFUSAL_TIMEOUT, connection).await;
}

/// Raises the limit of open files as far as the system allows, and derives the number of connections from it.
fn room_for_connections() -> usize {
    let needed = MAX_CONNECTIONS as u64 + MAX_REFUSALS as u64 + OTHER_FILES;
    let allowed = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        let allowed = needed.min(hard).max(soft);
        setrlimit(Resource::RLIMIT_NOFILE, allowed, hard).map(|()| allowed)
    });
    let room = allowed.unwrap_or(0).saturating_sub(needed - MAX_CONNECTIONS as u64);
    let room = usize::try_from(room).unwrap_or(usize::MAX).clamp(MAX_REFUSALS, MAX_CONNECTIONS);
    if room < MAX_CONNECTIONS {
        warn!(connections = room, "The hard limit of open files (ulimit -Hn) reduces the number of connections");
    }
    room
}

/// Enforced by the kernel: while a peer reads nothing, the server does not poll the response body, so that a timer of the
/// service would never run.
fn bound_sending(peer: &TcpStream, limit: Duration) {
    static SAMPLER: Sampler = Sampler::new();
    let socket = SockRef::from(peer);
    let bounded =
        socket.set_tcp_user_timeout(Some(limit)).and_then(|()| socket.set_tcp_notsent_lowat(UNSENT_LIMIT_BYTES));
    if let Err(error) = bounded
        && let Some(left_out) = SAMPLER.admit()
    {
        warn!(%error, left_out, "A stalled peer will not be disconnected");
    }
}

#[cfg(test)]
mod tests {
    use axum::{Extension, body::Body, routing::get};
    use bytes::Bytes;
    use futures::stream;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";

    async fn answer(peer: &mut TcpStream) -> String {
        answer_to(peer, REQUEST).await
    }

    async fn answer_to(peer: &mut TcpStream, request: &[u8]) -> String {
        peer.write_all(request).await.unwrap();
        let mut answer = [0; 1024];
        let length = timeout(Duration::from_secs(10), peer.read(&mut answer)).await.unwrap().unwrap();
        String::from_utf8_lossy(&answer[..length]).into_owned()
    }

    #[tokio::test]
    async fn connections_beyond_the_limit_are_refused_until_there_is_room() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (router, stop) = (Router::new().route("/", get(async || "here")), CancellationToken::new());
        let server = tokio::spawn(serve_at_most(2, listener, router, stop.clone()));
        let mut peers = [TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap()];
        for peer in &mut peers {
            assert!(answer(peer).await.ends_with("here"));
        }
        let refused = answer(&mut TcpStream::connect(address).await.unwrap()).await;
        assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
        assert!(refused.contains("retry-after: 1") && refused.contains("application/problem+json"), "{refused}");

        drop(peers);
        let room_again =
            async { while !answer(&mut TcpStream::connect(address).await.unwrap()).await.ends_with("here") {} };
        timeout(Duration::from_secs(10), room_again).await.unwrap();
        stop.cancel();
        timeout(Duration::from_secs(10), server).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_request_without_exactly_one_host_is_answered_400() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let router = Router::new().route("/", get(async || "here"));
        let server = tokio::spawn(serve_at_most(100, listener, router, stop.clone()));
        for (head, status) in [
            ("GET / HTTP/1.1\r\n", 400),
            ("GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n", 400),
            ("GET / HTTP/1.1\r\nhost:\r\n", 400),
            ("GET http://a/ HTTP/1.1\r\n", 400),
            ("GET / HTTP/1.1\r\nhost: a\r\n", 200),
            ("GET / HTTP/1.0\r\n", 200),
        ] {
            let mut peer = TcpStream::connect(address).await.unwrap();
            let answer = answer_to(&mut peer, format!("{head}\r\n").as_bytes()).await;
            let status_line = answer.lines().next().unwrap();
            assert_eq!(status_line.split(' ').nth(1), Some(&*status.to_string()), "{head}: {answer}");
            assert_eq!(answer.contains("urn:sales:problem:invalid-host"), status == 400, "{head}: {answer}");
        }
        stop.cancel();
        timeout(Duration::from_secs(10), server).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_response_that_does_not_declare_its_validity_is_not_stored() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let router = Router::new()
            .route("/", get(async || "here"))
            .route("/public", get(async || ([("cache-control", "public, max-age=300")], "here")));
        let server = tokio::spawn(serve_at_most(100, listener, router, stop.clone()));
        for (path, kept) in [("/", "no-store"), ("/missing", "no-store"), ("/public", "public, max-age=300")] {
            let mut peer = TcpStream::connect(address).await.unwrap();
            let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
            let answer = answer_to(&mut peer, request.as_bytes()).await;
            let lines: Vec<_> = answer.lines().filter(|line| line.starts_with("cache-control: ")).collect();
            assert_eq!(lines, [format!("cache-control: {kept}")], "{path}: {answer}");
        }
        stop.cancel();
        timeout(Duration::from_secs(10), server).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_handler_can_end_the_connection_of_a_response_that_is_not_read() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (taken, mut was_taken) = tokio::sync::mpsc::channel(1);
        let endless = get(async move |Extension(hangup): Extension<Hangup>| {
            taken.send(hangup).await.unwrap();
            Body::from_stream(stream::repeat(Ok::<_, Infallible>(Bytes::from_static(&[0; 1024]))))
        });
        let stop = CancellationToken::new();
        tokio::spawn(serve_at_most(1, listener, Router::new().route("/", endless), stop.clone()));
        let mut peer = TcpStream::connect(address).await.unwrap();
        peer.write_all(REQUEST).await.unwrap();
        was_taken.recv().await.unwrap().hang_up();
        let end = timeout(Duration::from_secs(10), tokio::io::copy(&mut peer, &mut tokio::io::sink())).await;
        let _ = end.expect("the connection ends");
        let mut next = TcpStream::connect(address).await.unwrap();
        next.write_all(REQUEST).await.unwrap();
        timeout(Duration::from_secs(10), was_taken.recv()).await.expect("there is room again").unwrap();
        stop.cancel();
    }

    #[tokio::test]
    async fn a_stalled_peer_is_disconnected() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _stalled = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut peer, _) = listener.accept().await.unwrap();
        bound_sending(&peer, Duration::from_secs(1));
        let writing = async {
            loop {
                if let Err(error) = peer.write_all(&[0; 8 * 1024]).await {
                    return error;
                }
            }
        };
        let error = timeout(Duration::from_secs(30), writing).await.expect("the connection is closed");
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    }
}
