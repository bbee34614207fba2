//! The web server of the pages: static files, compressed at build time.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tower_http::services::ServeDir;

/// The names of these files contain a hash of their content.
const HASHED: &str = "/assets/";
const IMMUTABLE: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// Cached, but revalidated before each use.
const REVALIDATE: HeaderValue = HeaderValue::from_static("no-cache");
/// The documents with which Traefik answers where no service does (compose/traefik/routes.yml).
const PROBLEMS: &str = "/problems/";
const NEVER_STORED: HeaderValue = HeaderValue::from_static("no-store");
const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");
/// Documents of problems that may be gone a second later.
const TEMPORARY: [&str; 2] = ["/problems/429.json", "/problems/503.json"];

/// From the accept or the last response to the end of the next request's head, as in the services.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Serves `root` until SIGTERM or Ctrl-C.
pub async fn serve(listen: SocketAddr, root: &Path) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    serve_until(shutdown, TcpListener::bind(listen).await?, router(root), HEAD_TIMEOUT).await;
    Ok(())
}

/// `axum::serve` has no limit for heads.
async fn serve_until(
    shutdown: impl Future<Output = ()>,
    mut listener: TcpListener,
    router: Router,
    head_timeout: Duration,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(head_timeout);
    let service = TowerToHyperService::new(router);
    let connections = GracefulShutdown::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let (peer, _) = tokio::select! {
            accepted = Listener::accept(&mut listener) => accepted,
            () = &mut shutdown => break,
        };
        let connection = connections.watch(http.serve_connection(TokioIo::new(peer), service.clone()));
        tokio::spawn(async move {
            // A broken connection concerns only its client.
            let _ = connection.await;
        });
    }
    drop(listener);
    connections.shutdown().await;
}

fn router(root: &Path) -> Router {
    let files = ServeDir::new(root).precompressed_br().precompressed_gzip();
    Router::new()
        .route("/livez", get(StatusCode::OK))
        .route("/readyz", get(StatusCode::OK))
        .route("/startupz", get(StatusCode::OK))
        .fallback_service(files)
        .layer(middleware::from_fn(set_headers))
}

async fn set_headers(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let mut response = next.run(request).await;
    let status = response.status();
    let headers = response.headers_mut();
    // A file that is missing during an upgrade may exist a moment later.
    let value = match &*path {
        path if path.starts_with(PROBLEMS) => NEVER_STORED,
        path if path.starts_with(HASHED) && !status.is_client_error() => IMMUTABLE,
        _ => REVALIDATE,
    };
    headers.insert(header::CACHE_CONTROL, value);
    if status == StatusCode::NOT_FOUND {
        // Also in the answer to HEAD: Traefik may send 200 before it retries a response of unknown length.
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    } else if path.starts_with(PROBLEMS) {
        headers.insert(header::CONTENT_TYPE, PROBLEM);
        if TEMPORARY.contains(&&*path) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tempfile::TempDir;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_connection_whose_head_does_not_end_is_closed() {
        let folder = TempDir::new().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve_until(pending(), listener, router(folder.path()), Duration::from_millis(50)));
        let mut peer = TcpStream::connect(address).await.unwrap();
        peer.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n").await.unwrap();
        let mut answer = Vec::new();
        timeout(Duration::from_secs(10), peer.read_to_end(&mut answer)).await.expect("it is closed").unwrap();
    }
}
