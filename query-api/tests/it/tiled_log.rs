//! The log in the layout of C2SP tlog-tiles, and who may read it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use contract::role::Role;
use event_log::transparency::signed_checkpoint::{VerifyingKey, generate_keys};
use reqwest::{Method, RequestBuilder, Response};
use runtime::access::token_file;
use serde_json::Value;
use stack::{progress::Progress, provision};
use tempfile::TempDir;
use testing::{Databases, NO_NATS, Service, Until, assert_problem, eventually, purchased, reset, values};
use tokio::{process::Command, task::spawn_blocking};

/// A log that a projector signs, and a query API that requires tokens.
struct TiledLog {
    databases: Databases,
    query_api: Service,
    public_key: VerifyingKey,
    /// By role.
    tokens: Vec<(Role, String)>,
    folder: TempDir,
    _projector: Service,
}

impl TiledLog {
    async fn start(settings: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().unwrap();
        let (private, public) = generate_keys("sales.example/test").unwrap();
        let databases = Databases::create().await;
        let checkpoints = folder.path().join("checkpoints.txt");
        let projector =
            [("NATS_URL", NO_NATS), ("CHECKPOINT_KEY", &*private), ("CHECKPOINT_LOG", checkpoints.to_str().unwrap())];
        let projector = databases.start("projector", Until::Ready, &projector).await;
        let file = folder.path().join("tokens");
        let tokens = Role::ALL.map(|role| (role, add_token(&file, role))).to_vec();
        let settings = [&[("ACCESS_TOKENS", file.to_str().unwrap())], settings].concat();
        let query_api = databases.start("query-api", Until::Ready, &settings).await;
        let public_key = VerifyingKey::parse(&public).unwrap();
        Self { databases, query_api, public_key, tokens, folder, _projector: projector }
    }

    /// Appends purchases and resets up to this position, and waits until they are signed.
    async fn grow_to(&self, position: i64) {
        let missing = usize::try_from(position - self.databases.head().await).unwrap();
        let event = |number| if number % 50 == 49 { reset() } else { purchased("pro", 19_900) };
        self.databases.append(&(0..missing).map(event).collect::<Vec<_>>()).await;
        let signed = async || values::<i64>(self.databases.read_model(), "select position from tree_head").await;
        eventually("the log is signed", async || signed().await == [position]).await;
    }

    async fn get(&self, path: &str, role: Option<Role>) -> Response {
        let token = role.map(|role| &self.tokens.iter().find(|(known, _)| *known == role).unwrap().1);
        let request = self.query_api.request(Method::GET, path);
        token.into_iter().fold(request, RequestBuilder::bearer_auth).send().await.unwrap()
    }

    async fn bytes(&self, path: &str) -> Vec<u8> {
        let response = self.get(path, Some(Role::Auditor)).await;
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(response.headers()["content-type"], "application/octet-stream", "{path}");
        assert_eq!(response.headers()["cache-control"], "private, max-age=31536000, immutable", "{path}");
        response.bytes().await.unwrap().to_vec()
    }

    /// As the projector does after a submission to witnesses.
    async fn cosign(&self) {
        let cosign = "insert into cosigned_checkpoint select position, checkpoint, now() from tree_head";
        self.databases.change_read_model(cosign).await;
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }
}

fn add_token(file: &Path, role: Role) -> String {
    let token = token_file::generate();
    let line = token_file::line(&token, &role.to_string(), &[role], None).unwrap();
    token_file::append(file, &line).unwrap();
    token
}

/// Paths that a setting opens, and a tile of each kind.
const HASHES: [&str; 8] = [
    "/api/log/checkpoint",
    "/api/log/tile/0/000",
    "/api/log/tile/0/001.p/44",
    "/api/log/tile/1/000.p/1",
    "/api/events/checkpoint",
    "/api/events/checkpoint/cosigned",
    "/api/events/statements",
    "/api/events/consistency?from=7",
];
/// Paths that are never public: they lead to licence keys, and show free text.
const LINES: [&str; 4] =
    ["/api/log/tile/entries/000", "/api/log/tile/entries/001.p/44", "/api/events", "/api/events/1/proof"];

#[tokio::test]
async fn the_log_is_for_auditors() {
    let log = TiledLog::start(&[]).await;
    log.grow_to(300).await;
    log.cosign().await;
    for path in HASHES.iter().chain(&LINES) {
        assert_problem(log.get(path, None).await, 401, "unauthenticated").await;
        for role in Role::ALL {
            let response = log.get(path, Some(role)).await;
            if role == Role::Auditor {
                assert_eq!(response.status(), 200, "{path}");
                let cached = response.headers()["cache-control"].to_str().unwrap();
                assert!(!cached.contains("public"), "{path}: {cached}");
            } else {
                assert_problem(response, 403, "forbidden").await;
            }
        }
    }
}

#[tokio::test]
async fn of_a_public_log_every_caller_reads_the_hashes_and_auditors_alone_the_lines() {
    let log = TiledLog::start(&[("PUBLIC_LOG", "true")]).await;
    log.grow_to(300).await;
    log.cosign().await;
    for path in HASHES {
        for role in [None, Some(Role::Sales), Some(Role::Auditor)] {
            assert_eq!(log.get(path, role).await.status(), 200, "{path}");
        }
    }
    let response = log.get(HASHES[1], None).await;
    assert_eq!(response.headers()["cache-control"], "public, max-age=31536000, immutable");
    for path in LINES {
        assert_problem(log.get(path, None).await, 401, "unauthenticated").await;
        assert_problem(log.get(path, Some(Role::Sales)).await, 403, "forbidden").await;
    }
    // A wrong token is refused even where none is needed.
    let request = log.query_api.request(Method::GET, HASHES[0]).bearer_auth("sales_x");
    assert_problem(request.send().await.unwrap(), 401, "unauthenticated").await;
    // The document shows what this system requires.
    let document = log.query_api.json("/docs/query-api.json").await;
    let security = |path: &str| document["paths"][path]["get"]["security"][0].clone();
    assert_eq!(security("/api/log/tile/{level}/{index}"), serde_json::json!({}));
    assert_eq!(security("/api/log/tile/entries/{index}"), serde_json::json!({ "token": ["auditor"] }));
}

/// At sizes around full tiles, each tile has the hashes of the leaves below it, and each bundle the lines of an export.
#[tokio::test]
async fn tiles_and_entries_are_cut_at_any_width_and_never_beyond_the_signed_log() {
    let log = TiledLog::start(&[]).await;
    let checkpoint = log.get("/api/log/checkpoint", Some(Role::Auditor)).await;
    assert_problem(checkpoint, 503, "unavailable").await;
    for size in [1, 255, 256, 300] {
        log.grow_to(size).await;
        let export = log.query_api.request(Method::GET, "/api/events").bearer_auth(&log.tokens[2].1);
        let export = export.header("accept", "application/x-ndjson").send().await.unwrap().text().await.unwrap();
        let lines: Vec<&[u8]> = export.lines().map(str::as_bytes).collect();
        let leaves: Vec<u8> =
            lines.iter().flat_map(|line| event_log::transparency::merkle::record_hash(line).0).collect();
        let entries = |lines: &[&[u8]]| {
            let entry = |line: &&[u8]| [&u16::try_from(line.len()).unwrap().to_be_bytes(), *line].concat();
            lines.iter().flat_map(entry).collect::<Vec<_>>()
        };
        let size = usize::try_from(size).unwrap();
        for first in [0, 256] {
            for width in [1, 2, 43, 44, 45, 254, 255, 256] {
                let partial = if width == 256 { String::new() } else { format!(".p/{width}") };
                let name = format!("{:03}{partial}", first / 256);
                let paths = [format!("/api/log/tile/0/{name}"), format!("/api/log/tile/entries/{name}")];
                let end = first + width;
                if end <= size {
                    assert!(log.bytes(&paths[0]).await == leaves[first * 32..end * 32], "{size} {name}");
                    assert!(log.bytes(&paths[1]).await == entries(&lines[first..end]), "{size} {name}");
                } else {
                    for path in paths {
                        assert_problem(log.get(&path, Some(Role::Auditor)).await, 404, "unknown-tile").await;
                    }
                }
            }
        }
        let above = log.get("/api/log/tile/1/000.p/1", Some(Role::Auditor)).await;
        assert_eq!(above.status(), if size < 256 { 404 } else { 200 });
    }
    for path in
        ["0/0", "0/000.p/0", "0/000.p/00", "0/000.p/256", "64/000", "255/000", "data/000", "0/x000/000", "0/%ff"]
    {
        let response = log.get(&format!("/api/log/tile/{path}"), Some(Role::Auditor)).await;
        assert_problem(response, 404, "unknown-tile").await;
    }
    for path in ["0", "000.p/0", "x009/x223/x372/x036/x854/x775/807", "x001/x000/x000/x000/x000/x000/000"] {
        let response = log.get(&format!("/api/log/tile/entries/{path}"), Some(Role::Auditor)).await;
        assert_problem(response, 404, "unknown-tile").await;
    }
}

/// aics-tlog, which its own authors wrote from C2SP tlog-tiles.
struct Client<'a> {
    log: &'a TiledLog,
    packages: PathBuf,
}

impl<'a> Client<'a> {
    async fn of(log: &'a TiledLog) -> Self {
        let packages = spawn_blocking(|| provision::python_packages(Progress::Silent)).await.unwrap().unwrap();
        Self { log, packages }
    }

    async fn run(&self, tiles: &str, arguments: &[&str]) -> Output {
        let key = self.log.public_key.to_string();
        let mut command = Command::new("python3");
        command.args(["-m", "aics_tlog"]).args(arguments).args(["--tiles", tiles, "--log-key", &key]);
        command.env("PYTHONPATH", &self.packages).env("no_proxy", "*").output().await.unwrap()
    }

    /// The report of a command that ends with success.
    async fn accepts(&self, arguments: &[&str]) -> Value {
        let output = self.run(&format!("{}/api/log", self.log.query_api.url()), arguments).await;
        let report = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{arguments:?}: {report}{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_str(&report).unwrap()
    }

    /// The error of a command that ends with a fault.
    async fn refuses(&self, arguments: &[&str]) -> String {
        let output = self.run(&format!("{}/api/log", self.log.query_api.url()), arguments).await;
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        report["error"].as_str().unwrap().to_owned()
    }
}

/// Of a public log, with nothing but its address and its public key. 65,800 events reach the third level of the tree.
#[tokio::test]
async fn a_client_of_other_authors_verifies_the_public_log() {
    let log = TiledLog::start(&[("PUBLIC_LOG", "true")]).await;
    let client = Client::of(&log).await;
    let (old, new) = (log.file("old.txt"), log.file("new.txt"));
    log.grow_to(300).await;
    let verified = client.accepts(&["verify-checkpoint", "--save-checkpoint", &old]).await;
    assert_eq!((&verified["size"], &verified["tiles_ok"]), (&300.into(), &true.into()), "{verified}");
    for size in [20_000, 40_000, 60_000, 65_800] {
        log.grow_to(size).await;
    }
    let consistent = client.accepts(&["verify-consistency", "--old-checkpoint", &old, "--save-checkpoint", &new]).await;
    assert_eq!(consistent["new_size"], 65_800, "{consistent}");
    let lines = |positions: [i64; 4]| positions.map(|position| (position, format!("/api/events/{position}")));
    for (position, path) in lines([1, 257, 65_536, 65_800]) {
        let line = log.get(&path, Some(Role::Auditor)).await.bytes().await.unwrap();
        let (file, index) = (log.file("line"), (position - 1).to_string());
        fs::write(&file, &line).unwrap();
        client.accepts(&["verify-inclusion", "--leaf", &file, "--index", &index]).await;
        fs::write(&file, [&line[..], b" "].concat()).unwrap();
        let refused = client.refuses(&["verify-inclusion", "--leaf", &file, "--index", &index]).await;
        assert!(refused.contains("not included"), "{refused}");
    }
    // Entries are not public.
    let refused = client.refuses(&["verify-inclusion", "--index", "0"]).await;
    assert!(refused.contains("HTTP 401"), "{refused}");
    // A hash that was changed in a full tile far from the end of the log, and in one at its end.
    for tile in ["level = 0 and index = 3", "level = 2 and index = 0"] {
        let change =
            format!("update tree_tile set hashes = set_byte(hashes, 5, 255 - get_byte(hashes, 5)) where {tile}");
        log.databases.change_read_model(&change).await;
        let refused =
            client.refuses(&["verify-inclusion", "--leaf", &old, "--index", "1000", "--checkpoint", &new]).await;
        assert!(refused.contains("does not match") || refused.contains("do not match"), "{refused}");
        log.databases.change_read_model(&change).await;
    }
}

/// A buyer gets it without a retry, also directly after the first purchase of all.
#[tokio::test]
async fn the_proof_of_the_first_purchase_waits_for_the_first_checkpoint() {
    let log = TiledLog::start(&[]).await;
    log.databases.append(&[purchased("pro", 19_900)]).await;
    let ids: Vec<String> = values(log.databases.event_store(), "select event_id::text from event").await;
    let proof = log.get(&format!("/api/events/{}/proof", ids[0]), None).await;
    assert_eq!(proof.status(), 200);
    assert_eq!(proof.json::<Value>().await.unwrap()["tree_size"], 1);
}

/// Of the notes that are signed in one minute, the last is kept.
#[tokio::test]
async fn a_past_checkpoint_is_found_by_its_size_and_otherwise_the_nearest_are_named() {
    let log = TiledLog::start(&[]).await;
    let of_size = async |size: i64| log.get(&format!("/api/events/checkpoint?size={size}"), Some(Role::Auditor)).await;
    let missing = async |size: i64| {
        let response = of_size(size).await;
        assert_eq!(response.status(), 404, "{size}");
        let problem: Value = response.json().await.unwrap();
        assert_eq!(problem["type"], "urn:sales:problem:unknown-checkpoint");
        problem["detail"].as_str().unwrap().to_owned()
    };
    assert!(missing(1).await.contains("none at all"));
    log.grow_to(10).await;
    let first = log.get("/api/events/checkpoint", Some(Role::Auditor)).await.text().await.unwrap();
    // As if a minute had passed.
    log.databases.change_read_model("update past_checkpoint set stored_at = stored_at - interval '1 minute'").await;
    // Unless a minute ends in between, the second of these replaces the first.
    for size in [20, 30, 40] {
        log.grow_to(size).await;
    }
    let kept: Vec<i64> = values(log.databases.read_model(), "select position from past_checkpoint order by 1").await;
    assert!(kept.first() == Some(&10) && kept.last() == Some(&40) && kept.len() < 4, "{kept:?}");
    assert_eq!(of_size(10).await.text().await.unwrap(), first);
    let newest = log.get("/api/log/checkpoint", Some(Role::Auditor)).await.text().await.unwrap();
    assert_eq!(of_size(40).await.text().await.unwrap(), newest);
    for size in &kept {
        let note = of_size(*size).await.text().await.unwrap();
        assert_eq!(log.public_key.open(&note).unwrap().position.get(), *size);
    }
    assert!(missing(9).await.contains("sizes: 10."));
    assert!(missing(11).await.contains(&format!("sizes: 10 and {}.", kept[1])));
    assert!(missing(41).await.contains("sizes: 40."));
    for wrong in ["0x10", "-1", "", "1.5", "10&size=20"] {
        let response = log.get(&format!("/api/events/checkpoint?size={wrong}"), Some(Role::Auditor)).await;
        assert_problem(response, 400, "invalid-query").await;
    }
}

#[tokio::test]
async fn every_caller_gets_the_public_key() {
    let (_, public) = generate_keys("sales.example/test").unwrap();
    let log = TiledLog::start(&[("LOG_PUBLIC_KEY", &public)]).await;
    let response = log.get("/api/log/key", None).await;
    assert_eq!(response.headers()["cache-control"], "public, max-age=300");
    assert_eq!(response.text().await.unwrap(), public);
    let without = log.databases.query_api().await;
    assert_problem(without.get("/api/log/key").await, 503, "unavailable").await;
    // The private key, or none at all, would be a mistake in the configuration.
    for wrong in [generate_keys("sales.example/test").unwrap().0, "nonsense".to_owned()] {
        let refused = log.databases.command("query-api", &["serve"], &[("LOG_PUBLIC_KEY", &wrong)]).ended().await;
        assert!(!refused.success && refused.log.contains("LOG_PUBLIC_KEY"), "{}", refused.log);
        assert!(!refused.log.contains(&wrong), "the private key is in the log");
    }
}

/// An open system needs no token, so that the client can read the entries as well.
#[tokio::test]
async fn a_client_of_other_authors_reads_the_entries() {
    let log = TiledLog::start(&[]).await;
    log.grow_to(600).await;
    let open = log.databases.query_api().await;
    let client = Client::of(&log).await;
    let file = log.file("entry");
    for position in [1, 256, 257, 600] {
        let index = (position - 1).to_string();
        let arguments = ["verify-inclusion", "--index", &index, "--entry-out", &file];
        let output = client.run(&format!("{}/api/log", open.url()), &arguments).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        let line = open.text(&format!("/api/events/{position}")).await;
        assert_eq!(fs::read_to_string(&file).unwrap(), line);
    }
    // A log whose first event was changed after it was signed.
    log.databases.tamper("update event set recorded_at = recorded_at - interval '1 second' where position = 1").await;
    let output = client.run(&format!("{}/api/log", open.url()), &["verify-inclusion", "--index", "1"]).await;
    let report = String::from_utf8(output.stdout).unwrap();
    assert!(!output.status.success() && report.contains("does not match its level 0 tile"), "{report}");
}
