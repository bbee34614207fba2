use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;
use reqwest::redirect::Policy;
use reqwest::{Client, Response, header};
use serde_json::Value;
use stack::interrupt::Interrupt;
use stack::launch::Program;
use stack::probe::Probe;
use stack::process::Process;
use stack::server::Server;
use stack::{checkout, ports};
use tempfile::TempDir;

struct Web {
    address: SocketAddr,
    http: Client,
    _process: Process,
    _folder: TempDir,
}

/// The web server, with the files of a folder.
pub fn page_server(root: PathBuf, log: PathBuf) -> Server {
    let address = ports::free().unwrap();
    let program = Program {
        name: "web".to_owned(),
        path: env!("CARGO_BIN_EXE_stack").into(),
        arguments: ["web".into(), "--listen".into(), address.to_string().into(), "--root".into(), root.into()].into(),
        environment: Vec::new(),
        account: None,
        log,
        stop_signal: Signal::SIGTERM,
        stop_within: Duration::from_secs(10),
    };
    let probe = Probe::Http { address, path: "/readyz".to_owned() };
    Server { program, address, probe, ready_within: Duration::from_secs(30) }
}

/// The documents for Traefik, as they are in the built pages.
pub fn problem_documents() -> PathBuf {
    checkout::root().join("web/public")
}

impl Web {
    /// The web server, with one file of each kind.
    async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let root = folder.path().join("dist");
        for (path, content) in [
            ("index.html", "the shop"),
            ("sales.html", "the sales"),
            ("docs/index.html", "the docs"),
            ("assets/shop-4f2a.js", "the script"),
            ("assets/shop-4f2a.js.br", "the script, compressed"),
            ("../secrets.json", "the secrets"),
        ] {
            let file = root.join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, content).unwrap();
        }
        let log = folder.path().join("web.log");
        Self::serve(root, log, folder).await
    }

    async fn serve(root: PathBuf, log: PathBuf, folder: TempDir) -> Self {
        let server = page_server(root, log);
        let address = server.address;
        let process = tokio::task::spawn_blocking(move || server.start_and_wait(&Interrupt::default()).unwrap());
        let http = Client::builder().redirect(Policy::none()).build().unwrap();
        Self { address, http, _process: process.await.unwrap(), _folder: folder }
    }

    async fn get(&self, path: &str) -> Response {
        let url = format!("http://{}{path}", self.address);
        self.http.get(url).header(header::ACCEPT_ENCODING, "gzip, br").send().await.unwrap()
    }
}

#[tokio::test]
async fn pages_are_revalidated_and_hashed_assets_are_immutable() {
    let web = Web::start().await;
    for (path, content) in [("/", "the shop"), ("/sales.html", "the sales"), ("/docs/", "the docs")] {
        let page = web.get(path).await;
        assert_eq!(page.status(), 200, "{path}");
        assert_eq!(page.headers()[header::CACHE_CONTROL], "no-cache", "{path}");
        assert_eq!(page.headers()[header::CONTENT_TYPE], "text/html", "{path}");
        assert_eq!(page.text().await.unwrap(), content);
    }
    let script = web.get("/assets/shop-4f2a.js").await;
    assert_eq!(script.status(), 200);
    assert_eq!(script.headers()[header::CACHE_CONTROL], "public, max-age=31536000, immutable");
    assert_eq!(script.headers()[header::CONTENT_TYPE], "text/javascript");
    assert_eq!(script.headers()[header::CONTENT_ENCODING], "br");
    assert_eq!(script.text().await.unwrap(), "the script, compressed");
}

#[tokio::test]
async fn the_docs_redirect_to_their_trailing_slash() {
    let web = Web::start().await;
    let redirect = web.get("/docs").await;
    assert!(redirect.status().is_redirection());
    assert_eq!(redirect.headers()[header::LOCATION], "/docs/");
}

#[tokio::test]
async fn a_missing_file_is_a_404_that_is_not_cached() {
    let web = Web::start().await;
    for path in ["/missing", "/assets/missing.js", "/docs/missing.json", "/%2e%2e/secrets.json", "/..%2fsecrets.json"] {
        let reply = web.get(path).await;
        assert_eq!(reply.status(), 404, "{path}");
        assert_eq!(reply.headers()[header::CACHE_CONTROL], "no-cache", "{path}");
    }
}

/// Of a retried response without a length, Traefik may send the headers before it retries.
#[tokio::test]
async fn a_missing_file_has_a_length_for_every_method() {
    let web = Web::start().await;
    for path in ["/missing", "/assets/missing.js"] {
        let head = web.http.head(format!("http://{}{path}", web.address)).send().await.unwrap();
        for (method, reply) in [("GET", web.get(path).await), ("HEAD", head)] {
            assert_eq!(reply.status(), 404, "{method} {path}");
            assert_eq!(reply.headers()[header::CONTENT_LENGTH], "0", "{method} {path}");
        }
    }
}

#[tokio::test]
async fn the_documents_for_the_proxy_are_problems() {
    let folder = TempDir::new().unwrap();
    let web = Web::serve(problem_documents(), folder.path().join("web.log"), folder).await;
    for (status, retry_after) in [(400, None), (413, None), (429, Some("1")), (500, None), (503, Some("1"))] {
        let document = web.get(&format!("/problems/{status}.json")).await;
        assert_eq!(document.status(), 200, "{status}");
        let headers = document.headers().clone();
        assert_eq!(headers[header::CONTENT_TYPE], "application/problem+json", "{status}");
        assert_eq!(headers[header::CACHE_CONTROL], "no-store", "{status}");
        assert_eq!(headers.get(header::RETRY_AFTER).map(|value| value.to_str().unwrap()), retry_after, "{status}");
        let problem: Value = document.json().await.unwrap();
        assert_eq!(problem["status"], status);
        assert!(problem["type"].as_str().unwrap().starts_with("urn:sales:problem:"), "{problem}");
        assert!(problem["title"].is_string() && problem["detail"].is_string(), "{problem}");
    }
}
