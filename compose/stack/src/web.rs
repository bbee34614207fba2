//! The web server of the pages: static files, compressed at build time.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tower_http::services::ServeDir;

/// The names of these files contain a hash of their content.
const HASHED: &str = "/assets/";
const IMMUTABLE: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// Cached, but revalidated before each use.
const REVALIDATE: HeaderValue = HeaderValue::from_static("no-cache");

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
    let listener = TcpListener::bind(listen).await?;
    axum::serve(listener, router(root)).with_graceful_shutdown(shutdown).await
}

fn router(root: &Path) -> Router {
    let files = ServeDir::new(root).precompressed_br().precompressed_gzip();
    Router::new()
        .route("/livez", get(StatusCode::OK))
        .route("/readyz", get(StatusCode::OK))
        .route("/startupz", get(StatusCode::OK))
        .fallback_service(files)
        .layer(middleware::from_fn(set_cache_control))
}

async fn set_cache_control(request: Request, next: Next) -> Response {
    let is_hashed = request.uri().path().starts_with(HASHED);
    let mut response = next.run(request).await;
    // A file that is missing during an upgrade may exist a moment later.
    let value = if is_hashed && !response.status().is_client_error() { IMMUTABLE } else { REVALIDATE };
    response.headers_mut().insert(header::CACHE_CONTROL, value);
    response
}
