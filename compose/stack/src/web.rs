//! The web server of the pages: static files, compressed when they were built.

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

/// Vite names these files after a hash of their content.
const HASHED: &str = "/assets/";
const FOREVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// Kept, but used only after asking whether it changed.
const ASK: HeaderValue = HeaderValue::from_static("no-cache");

/// Serves `root` until SIGTERM or Ctrl-C.
pub async fn serve(listen: SocketAddr, root: &Path) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stopped = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let listener = TcpListener::bind(listen).await?;
    axum::serve(listener, router(root)).with_graceful_shutdown(stopped).await
}

fn router(root: &Path) -> Router {
    let files = ServeDir::new(root).precompressed_br().precompressed_gzip();
    Router::new()
        .route("/livez", get(StatusCode::OK))
        .route("/readyz", get(StatusCode::OK))
        .route("/startupz", get(StatusCode::OK))
        .fallback_service(files)
        .layer(middleware::from_fn(say_how_long_to_keep))
}

async fn say_how_long_to_keep(request: Request, next: Next) -> Response {
    let is_hashed = request.uri().path().starts_with(HASHED);
    let mut response = next.run(request).await;
    // A file that is missing during an upgrade may be there a moment later.
    let keep = if is_hashed && !response.status().is_client_error() { FOREVER } else { ASK };
    response.headers_mut().insert(header::CACHE_CONTROL, keep);
    response
}
