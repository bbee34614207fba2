//! Access control: every endpoint with every kind of token, in a system that requires tokens.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine, engine::general_purpose::STANDARD, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use runtime::{access::guard::PUBLIC, log_events};
use serde_json::{Value, json};
use stack::{checkout, ports};
use testing::Issuer;

use crate::running::{Running, stack, succeed, text, until};

/// Every endpoint of both APIs, and the role that it requires. A test compares this table with the OpenAPI documents.
const ENDPOINTS: [(&str, &str, &str); 25] = [
    ("POST", "/api/buy_mpi", "customer"),
    ("DELETE", "/api/sales", "operator"),
    ("GET", "/api/get_current_money", "sales"),
    ("GET", "/api/sales/history", "sales"),
    ("GET", "/api/sales/stream", "sales"),
    ("GET", "/api/sales/latest", "sales"),
    ("GET", "/api/purchases/{purchase_id}", "customer"),
    ("GET", "/api/purchases/{purchase_id}/license_key", "customer"),
    ("GET", "/api/jwks.json", "customer"),
    ("GET", "/api/events", "auditor"),
    ("GET", "/api/events/{event}", "auditor"),
    ("GET", "/api/events/{event}/proof", "customer"),
    ("GET", "/api/events/checkpoint", "auditor"),
    ("GET", "/api/events/checkpoint/cosigned", "auditor"),
    ("GET", "/api/events/statements", "auditor"),
    ("GET", "/api/events/consistency", "auditor"),
    ("GET", "/api/log/checkpoint", "auditor"),
    ("GET", "/api/log/tile/{level}/{index}", "auditor"),
    ("GET", "/api/log/tile/entries/{index}", "auditor"),
    ("GET", "/api/log/key", "customer"),
    ("GET", "/api/session", "customer"),
    ("POST", "/api/session", "customer"),
    ("DELETE", "/api/session", "customer"),
    ("GET", "/api/session/start", "customer"),
    ("GET", "/api/session/callback", "customer"),
];
const ROLES: [&str; 4] = ["customer", "sales", "auditor", "operator"];

/// A system that requires tokens, with its own issuer.
struct Secured {
    system: Running,
    issuer: Issuer,
    /// One token of the token file per role.
    tokens: Vec<(&'static str, String)>,
    expired: String,
}

impl Secured {
    fn start() -> Self {
        let system = Running::prepare();
        let tokens_file = system.folder().join("access-tokens");
        let tokens = ROLES.map(|role| (role, new_token(&tokens_file, role, &[role]))).to_vec();
        let expired = new_token(&tokens_file, "late", &["operator"]);
        let text = std::fs::read_to_string(&tokens_file).unwrap();
        let (before, line) = text.trim_end().rsplit_once('\n').unwrap();
        std::fs::write(&tokens_file, format!("{before}\n{line}  2026-01-01T00:00:00Z\n")).unwrap();
        let issuer = Issuer::start(&system.url()).unwrap();
        let secret = system.folder().join("client-secret");
        issuer.write_secret(&secret).unwrap();
        let options = [
            "--secure".to_owned(),
            format!("--oidc-issuer={}", issuer.ready.issuer),
            format!("--oidc-client-id={}", issuer.ready.client_id),
            format!("--oidc-client-secret-file={}", secret.display()),
        ];
        system.up_again(&options.each_ref().map(String::as_str));
        Self { system, issuer, tokens, expired }
    }

    fn token(&self, role: &str) -> &str {
        &self.tokens.iter().find(|(known, _)| *known == role).unwrap().1
    }

    /// Through Traefik, with the headers of a same-origin page.
    fn request(&self, method: &str, path: &str, token: Option<&str>) -> RequestBuilder {
        let method: Method = method.parse().unwrap();
        with_token(self.system.request(method, path).header("Sec-Fetch-Site", "same-origin"), token)
    }

    async fn json(&self, path: &str, token: Option<&str>) -> Value {
        self.request("GET", path, token).send().await.unwrap().json().await.unwrap()
    }

    /// A JWT like those of the issuer, with some claims replaced.
    fn forged(&self, key: &Issuer, change: &Value) -> String {
        let mut claims = json!({
            "iss": self.issuer.ready.issuer, "aud": self.issuer.ready.audience, "sub": "forger", "roles": ROLES, "exp": now() + 600,
        });
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.issuer.ready.signing_key.kid.clone());
        let der = STANDARD.decode(&key.ready.signing_key.pkcs8).unwrap();
        encode(&header, &claims, &EncodingKey::from_ec_der(&der)).unwrap()
    }
}

/// Every kind of token.
struct Tokens {
    /// Descriptions and tokens that every endpoint rejects.
    wrong: Vec<(&'static str, String)>,
    /// Descriptions and tokens that are accepted, with the role that each grants.
    right: Vec<(String, Option<String>, &'static str)>,
}

impl Tokens {
    async fn of(secured: &Secured) -> Self {
        let foreign = Issuer::start(&secured.system.url()).unwrap();
        let own = &secured.issuer;
        let hmac = EncodingKey::from_secret(own.ready.signing_key.pkcs8.as_bytes());
        let claims = json!({ "iss": own.ready.issuer, "aud": "sales", "sub": "x", "roles": ROLES, "exp": now() + 600 });
        let unsigned = |header: &str| {
            format!("{}.{}.", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims.to_string()))
        };
        let genuine = own.token_of("sales").await.unwrap();
        let [head, _, signature] = genuine.split('.').collect::<Vec<_>>()[..] else { panic!("a JWT has three parts") };
        let wrong = vec![
            ("an unknown token", format!("sales_{}", "A".repeat(43))),
            ("a text that is no token", "nonsense".to_owned()),
            ("an expired token of the file", secured.expired.clone()),
            ("an expired JWT", secured.forged(own, &json!({ "exp": now() - 60 }))),
            ("a JWT that is not valid yet", secured.forged(own, &json!({ "nbf": now() + 600 }))),
            ("a JWT that names another issuer", secured.forged(own, &json!({ "iss": "https://elsewhere.example" }))),
            ("a JWT for another audience", secured.forged(own, &json!({ "aud": "others" }))),
            ("a JWT that does not expire", secured.forged(own, &json!({ "exp": null }))),
            ("a JWT whose subject has a NUL", secured.forged(own, &json!({ "sub": "x\0y" }))),
            ("a JWT whose subject has two lines", secured.forged(own, &json!({ "sub": "x\u{2028}y" }))),
            ("a JWT without a subject", secured.forged(own, &json!({ "sub": "" }))),
            ("a JWT signed with another key", secured.forged(&foreign, &json!({}))),
            ("a JWT of another issuer", foreign.token_of("operator").await.unwrap()),
            ("an unsigned JWT", unsigned(r#"{"alg":"none","typ":"JWT"}"#)),
            ("an unsigned JWT with its algorithm in capitals", unsigned(r#"{"alg":"NONE","typ":"JWT"}"#)),
            (
                "a JWT signed with a public key as the secret",
                encode(&Header::new(Algorithm::HS256), &claims, &hmac).unwrap(),
            ),
            (
                "a JWT whose claims were changed",
                format!("{head}.{}.{signature}", URL_SAFE_NO_PAD.encode(claims.to_string())),
            ),
        ];
        let mut right = vec![("no token".to_owned(), None, "customer")];
        for role in ROLES {
            right.push((format!("a token of the role {role}"), Some(secured.token(role).to_owned()), role));
            right.push((format!("a JWT of the role {role}"), Some(own.token_of(role).await.unwrap()), role));
        }
        right.push((
            "a JWT without roles".to_owned(),
            Some(secured.forged(own, &json!({ "roles": null }))),
            "customer",
        ));
        Self { wrong, right }
    }
}

fn with_token(request: RequestBuilder, token: Option<&str>) -> RequestBuilder {
    token.into_iter().fold(request, RequestBuilder::bearer_auth)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

pub fn new_token(file: &Path, subject: &str, roles: &[&str]) -> String {
    let mut command = Command::new(checkout::binary("command-api").unwrap());
    command.args(["token", "--subject", subject]).args(roles.iter().flat_map(|role| ["--role", role]));
    succeed(command.arg("--file").arg(file)).trim_end().to_owned()
}

async fn assert_problem(response: Response, status: u16, kind: &str, what: &str) {
    assert_eq!(response.status(), status, "{what}");
    assert_eq!(response.headers()["content-type"], "application/problem+json", "{what}");
    assert_eq!(response.headers().contains_key("www-authenticate"), status == 401, "{what}");
    let problem: Value = response.json().await.unwrap();
    assert_eq!(problem["type"], format!("urn:sales:problem:{kind}"), "{what}: {problem}");
}

#[tokio::test]
async fn every_endpoint_requires_its_role() {
    let secured = Secured::start();
    let mut documented = BTreeSet::new();
    for document in ["command-api", "query-api"] {
        let document = secured.json(&format!("/docs/{document}.json"), None).await;
        for (path, operations) in document["paths"].as_object().unwrap() {
            documented
                .extend(operations.as_object().unwrap().keys().map(|method| (method.to_uppercase(), path.clone())));
        }
    }
    let table = ENDPOINTS.map(|(method, path, _)| (method.to_owned(), path.to_owned()));
    assert_eq!(documented, table.into(), "the table and the documents list the same endpoints");

    let bought = secured.request("POST", "/api/buy_mpi", None).json(&json!({ "license": "pro" })).send().await.unwrap();
    let id = bought.json::<Value>().await.unwrap()["purchase_id"].as_str().unwrap().to_owned();
    until("the purchase is signed", async || {
        secured.request("GET", &format!("/api/events/{id}/proof"), None).send().await.unwrap().status() == 200
    })
    .await;

    let tokens = Tokens::of(&secured).await;
    for (method, path, needed) in ENDPOINTS {
        let address = match path {
            "/api/events/{event}" => "/api/events/1".to_owned(),
            "/api/events/consistency" => format!("{path}?from=1&to=1"),
            "/api/log/tile/{level}/{index}" => "/api/log/tile/0/000.p/1".to_owned(),
            "/api/log/tile/entries/{index}" => "/api/log/tile/entries/000.p/1".to_owned(),
            "/api/sales/history" => format!("{path}?interval=hour"),
            _ => path.replace("{purchase_id}", &id).replace("{event}", &id),
        };
        let send = |token: Option<&str>| {
            let request = secured.request(method, &address, token);
            match path {
                "/api/buy_mpi" => request.json(&json!({ "license": "basic" })),
                "/api/session" if method == "POST" => request.json(&json!({ "token": secured.token("sales") })),
                _ => request,
            }
        };
        for (name, token) in &tokens.wrong {
            let response = send(Some(token)).send().await.unwrap();
            assert_problem(response, 401, "unauthenticated", &format!("{method} {path} with {name}")).await;
        }
        for (name, token, role) in &tokens.right {
            let response = send(token.as_deref()).send().await.unwrap();
            let what = format!("{method} {path} with {name}");
            if needed == "customer" || needed == *role {
                let status = response.status();
                // The system has no witnesses.
                let is_missing = path == "/api/events/checkpoint/cosigned" && status == 404;
                assert!(status.is_success() || status.is_redirection() || is_missing, "{what}: {status}");
            } else if token.is_none() {
                assert_problem(response, 401, "unauthenticated", &what).await;
            } else {
                assert_problem(response, 403, "forbidden", &what).await;
            }
        }
    }

    assert_only_proofs_of_purchases_are_public(&secured, &id).await;
    let jwts = tokens.right.iter().filter_map(|(_, token, _)| token.as_deref());
    assert_no_secret_is_logged(&secured, &jwts.chain([tokens.wrong[3].1.as_str()]).collect::<Vec<_>>());
}

/// With `--public-log`, through the proxy.
#[tokio::test]
async fn of_a_public_log_everyone_reads_checkpoints_and_hashes_but_no_entries() {
    let system = Running::up(&["--secure", "--public-log"]);
    system.buy("basic").await;
    let get = async |path: &str| system.request(Method::GET, path).send().await.unwrap();
    until("the log is signed", async || get("/api/log/checkpoint").await.status() == 200).await;
    let hashes = get("/api/log/tile/0/000.p/1").await;
    assert_eq!(hashes.headers()["cache-control"], "public, max-age=31536000, immutable");
    assert_eq!(hashes.bytes().await.unwrap().len(), 32);
    assert_eq!(get("/api/events/consistency?from=1").await.status(), 200);
    for path in ["/api/log/tile/entries/000.p/1", "/api/events", "/api/events/1"] {
        assert_problem(get(path).await, 401, "unauthenticated", path).await;
    }
    // The key that the auditor verifies with.
    let key = get("/api/log/key").await.text().await.unwrap();
    assert_eq!(key, std::fs::read_to_string(system.folder().join("checkpoints/key.pub")).unwrap());
}

/// Proofs by position are for auditors, because positions can be guessed. Only the buyer knows the id of a purchase.
async fn assert_only_proofs_of_purchases_are_public(secured: &Secured, purchase: &str) {
    let proof = |name: &str, token| secured.request("GET", &format!("/api/events/{name}/proof"), token).send();
    let (sales, auditor) = (secured.token("sales"), secured.token("auditor"));
    assert_problem(proof("1", None).await.unwrap(), 401, "unauthenticated", "a proof by position").await;
    assert_problem(proof("1", Some(sales)).await.unwrap(), 403, "forbidden", "a proof by position").await;
    assert_eq!(proof("1", Some(auditor)).await.unwrap().status(), 200);
    // Digits that could be parsed as a position or as an id.
    let padded = format!("{:032}", 1);
    let hyphened = "00000000-0000-0000-0000-000000000001";
    for digits in [&padded, hyphened, "01", "%2B1", "+1", &format!("{{{hyphened}}}"), &format!("urn:uuid:{hyphened}")] {
        for token in [None, Some(sales), Some(auditor)] {
            assert_problem(proof(digits, token).await.unwrap(), 404, "unknown-event", digits).await;
        }
    }
    for written in [purchase.to_owned(), purchase.replace('-', ""), purchase.to_uppercase()] {
        let proved: Value = proof(&written, None).await.unwrap().json().await.unwrap();
        assert!(proved["event"].as_str().unwrap().contains(purchase), "{written}: {proved}");
    }
    let resets = secured.json("/api/events?type=SalesReset&limit=1", Some(auditor)).await;
    let reset = resets["events"][0]["id"].as_str().unwrap().to_owned();
    assert_problem(proof(&reset, None).await.unwrap(), 404, "unknown-event", "the proof of a reset").await;
    assert_problem(proof(&reset, Some(sales)).await.unwrap(), 404, "unknown-event", "the proof of a reset").await;
    assert_eq!(proof(&reset, Some(auditor)).await.unwrap().status(), 200);
}

/// Many people can read the logs, so no credential may appear in them.
fn assert_no_secret_is_logged(secured: &Secured, more: &[&str]) {
    let secrets: Value =
        serde_json::from_slice(&std::fs::read(secured.system.folder().join("secrets.json")).unwrap()).unwrap();
    let mut secret: Vec<&str> = secured.tokens.iter().map(|(_, token)| token.as_str()).collect();
    secret.extend(secrets.as_object().unwrap().values().filter_map(Value::as_str));
    secret.extend(secrets["access_tokens"].as_object().unwrap().values().filter_map(Value::as_str));
    secret.push(testing::CLIENT_SECRET);
    secret.extend(more);
    let mut read = 0;
    for log in std::fs::read_dir(secured.system.folder().join("logs")).unwrap() {
        let log = log.unwrap().path();
        let content = String::from_utf8_lossy(&std::fs::read(&log).unwrap()).into_owned();
        read += content.len();
        let found = secret.iter().filter(|secret| content.contains(**secret)).count();
        assert_eq!(found, 0, "secrets in {}", log.display());
    }
    assert!(read > 1000, "there are logs");
}

#[tokio::test]
async fn public_paths_require_no_token_and_metrics_the_operator_role() {
    let secured = Secured::start();
    let tokens = Tokens::of(&secured).await;
    let mut answered = BTreeSet::new();
    for process in secured.system.status().processes {
        if !["command-api", "projector", "query-api"].contains(&process.name.as_str()) {
            continue;
        }
        let get = |path: &str, token: Option<&str>| {
            with_token(secured.system.http.get(format!("http://{}{path}", process.address)), token).send()
        };
        for path in PUBLIC {
            let status = get(path, None).await.unwrap().status();
            if status != StatusCode::NOT_FOUND {
                assert_eq!(status, StatusCode::OK, "{} {path}", process.name);
                answered.insert(path);
            }
        }
        for (name, token) in &tokens.wrong {
            let response = get("/metrics", Some(token)).await.unwrap();
            assert_problem(response, 401, "unauthenticated", &format!("{} with {name}", process.name)).await;
        }
        for (name, token, role) in &tokens.right {
            let response = get("/metrics", token.as_deref()).await.unwrap();
            let what = format!("{} with {name}", process.name);
            match (*role, token) {
                ("operator", _) => {
                    assert_eq!(response.status(), 200, "{what}");
                    let metrics = response.text().await.unwrap();
                    assert!(secured.tokens.iter().all(|(_, token)| !metrics.contains(token)));
                }
                (_, None) => assert_problem(response, 401, "unauthenticated", &what).await,
                (_, Some(_)) => assert_problem(response, 403, "forbidden", &what).await,
            }
        }
    }
    assert_eq!(answered, PUBLIC.into(), "every public path is served");
}

#[tokio::test]
async fn tokens_are_added_and_removed_without_a_restart() {
    let secured = Secured::start();
    let file = secured.system.folder().join("access-tokens");
    let read = async |token: &str| {
        secured.request("GET", "/api/get_current_money", Some(token)).send().await.unwrap().status()
    };
    let before = std::fs::read_to_string(&file).unwrap();
    let token = new_token(&file, "newcomer", &["sales"]);
    until("the new token is accepted", async || read(&token).await == StatusCode::OK).await;
    // An unreadable file changes nothing.
    std::fs::write(&file, "nonsense\n").unwrap();
    let log = secured.system.folder().join("logs/query-api.log");
    until("the file is rejected", async || {
        std::fs::read_to_string(&log).unwrap().contains(log_events::TOKENS_NOT_RELOADED)
    })
    .await;
    assert_eq!(read(&token).await, StatusCode::OK);
    std::fs::write(&file, before).unwrap();
    until("the token is rejected", async || read(&token).await == StatusCode::UNAUTHORIZED).await;
    assert_eq!(read(secured.token("sales")).await, StatusCode::OK);
}

#[tokio::test]
async fn a_reset_records_its_actor_and_reason() {
    let secured = Secured::start();
    let reset = |reason: &str| {
        secured.request("DELETE", "/api/sales", Some(secured.token("operator"))).query(&[("reason", reason)]).send()
    };
    assert_eq!(reset("end of the year").await.unwrap().status(), 200);
    for reason in ["", " ", "two\nlines", "two\u{2028}lines", "two\u{85}lines", "nul\0", &"x".repeat(501)] {
        assert_problem(reset(reason).await.unwrap(), 400, "invalid-query", reason).await;
    }
    assert_eq!(reset(&"ü".repeat(500)).await.unwrap().status(), 200);
    let buy = secured.request("POST", "/api/buy_mpi", Some(secured.token("sales"))).json(&json!({ "license": "pro" }));
    assert_eq!(buy.send().await.unwrap().status(), 201);
    let buy = secured.request("POST", "/api/buy_mpi", None).json(&json!({ "license": "pro" }));
    assert_eq!(buy.send().await.unwrap().status(), 201);

    let page = secured.json("/api/events", Some(secured.token("auditor"))).await;
    assert!(page["events"].as_array().unwrap().iter().all(|event| event.get("actor").is_none()), "{page}");
    let metadata = page["metadata"].as_array().unwrap().iter();
    let metadata: Vec<Value> =
        metadata.map(|text| serde_json::from_str(text.as_str().unwrap_or("null")).unwrap()).collect();
    let recorded: Vec<[&Value; 3]> = page["events"]
        .as_array()
        .unwrap()
        .iter()
        .zip(&metadata)
        .map(|(event, metadata)| [&metadata["actor"], &metadata["actor_role"], &event["data"]["reason"]])
        .collect();
    let (long, null) = (json!("ü".repeat(500)), Value::Null);
    assert_eq!(
        recorded,
        [
            [&json!("operator"), &json!("operator"), &json!("end of the year")],
            [&json!("operator"), &json!("operator"), &long],
            [&json!("sales"), &json!("customer"), &null],
            [&null, &null, &null],
        ]
    );
}

#[tokio::test]
async fn a_session_cookie_works_only_for_our_own_pages() {
    let secured = Secured::start();
    let sign_in = |token: &str, site: &str| {
        let request = secured.system.request(Method::POST, "/api/session").header("Sec-Fetch-Site", site);
        request.json(&json!({ "token": token })).send()
    };
    assert_problem(sign_in("sales_x", "same-origin").await.unwrap(), 401, "unauthenticated", "a wrong token").await;
    let operator = secured.token("operator");
    assert_problem(sign_in(operator, "cross-site").await.unwrap(), 403, "cross-site", "a foreign page").await;
    let signed_in = sign_in(operator, "same-origin").await.unwrap();
    let cookie = signed_in.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(
        cookie.contains("; HttpOnly") && cookie.contains("; SameSite=Strict") && !cookie.contains("Secure"),
        "{cookie}"
    );
    assert_eq!(signed_in.headers()["cache-control"], "no-store");
    assert_eq!(signed_in.json::<Value>().await.unwrap()["subject"], "operator");
    let cookie = cookie.split(';').next().unwrap();

    let reset = |site: Option<(&'static str, String)>| {
        let request = secured.system.request(Method::DELETE, "/api/sales").header("Cookie", cookie);
        site.into_iter().fold(request, |request, (name, value)| request.header(name, value)).send()
    };
    let ours = format!("http://localhost:{}", secured.system.url().rsplit(':').next().unwrap());
    for foreign in [
        None,
        Some(("Sec-Fetch-Site", "cross-site".to_owned())),
        Some(("Sec-Fetch-Site", "same-site".to_owned())),
        Some(("Origin", "https://elsewhere.example".to_owned())),
        Some(("Origin", ours.clone() + "0")),
    ] {
        assert_problem(reset(foreign.clone()).await.unwrap(), 403, "cross-site", &format!("{foreign:?}")).await;
    }
    assert_eq!(reset(Some(("Sec-Fetch-Site", "same-origin".to_owned()))).await.unwrap().status(), 200);

    let expired = secured.system.request(Method::GET, "/api/session").header("Cookie", "session=sales_expired").send();
    let expired: Value = expired.await.unwrap().json().await.unwrap();
    assert_eq!(
        (&expired["subject"], &expired["roles"], &expired["access"]),
        (&Value::Null, &json!(["customer"]), &json!("closed"))
    );
    let buy = secured.system.request(Method::POST, "/api/buy_mpi").header("Cookie", "session=sales_expired");
    let buy = buy.header("Sec-Fetch-Site", "same-origin").json(&json!({ "license": "basic" }));
    assert_eq!(buy.send().await.unwrap().status(), 201, "an expired session does not prevent a purchase");

    let out = secured.request("DELETE", "/api/session", None).header("Cookie", cookie).send().await.unwrap();
    let removal = out.headers()["set-cookie"].to_str().unwrap();
    assert!(removal.starts_with("session=;") && removal.contains("Max-Age=0"), "{removal}");
}

#[tokio::test]
async fn a_session_requires_a_valid_token_of_our_issuer_for_the_pages() {
    let secured = Secured::start();
    let (own, foreign) = (&secured.issuer, Issuer::start(&secured.system.url()).unwrap());
    let pages = own.ready.client_id.as_str();
    let claims = json!({
        "iss": own.ready.issuer, "aud": pages, "sub": "forger", "roles": ROLES, "exp": now() + 600,
    });
    let unsigned = [r#"{"alg":"none","typ":"JWT"}"#, &claims.to_string()].map(|part| URL_SAFE_NO_PAD.encode(part));
    for (name, token, is_accepted) in [
        ("a token of the issuer for the pages", secured.forged(own, &json!({ "aud": pages })), true),
        ("a token for the API", secured.forged(own, &json!({})), false),
        ("an expired token", secured.forged(own, &json!({ "aud": pages, "exp": now() - 60 })), false),
        ("a token of another issuer", secured.forged(&foreign, &json!({ "aud": pages })), false),
        ("an unsigned token", format!("{}.{}.", unsigned[0], unsigned[1]), false),
    ] {
        let get = |path| secured.request("GET", path, None).header("Cookie", format!("session={token}")).send();
        let session: Value = get("/api/session").await.unwrap().json().await.unwrap();
        assert_eq!(session["subject"] == "forger", is_accepted, "{name}: {session}");
        let totals = get("/api/get_current_money").await.unwrap();
        assert_eq!(totals.status(), if is_accepted { 200 } else { 401 }, "{name}");
    }
}

/// A browser, as far as a sign-in at the issuer needs one.
#[derive(Default)]
struct Browser {
    cookies: BTreeMap<String, String>,
}

/// Begins the name of the cookie of a sign-in in progress.
const ATTEMPT: &str = "sign-in-";

impl Browser {
    fn attempts(&self) -> impl Iterator<Item = &String> {
        self.cookies.keys().filter(|name| name.starts_with(ATTEMPT))
    }

    async fn send(&mut self, request: RequestBuilder) -> Response {
        let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let response = request.header("Cookie", cookies.join("; ")).send().await.unwrap();
        for cookie in response.headers().get_all("set-cookie") {
            let (name, value) = cookie.to_str().unwrap().split(';').next().unwrap().split_once('=').unwrap();
            if value.is_empty() {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        response
    }

    /// Begins to sign in. Returns the address at the issuer.
    async fn start(&mut self, secured: &Secured) -> Url {
        let response = self.send(secured.request("GET", "/api/session/start", None)).await;
        response.headers()["location"].to_str().unwrap().parse().unwrap()
    }

    /// Signs in at the issuer. Returns the address to which the issuer redirects.
    async fn sign_in(&mut self, secured: &Secured, login: &str) -> Url {
        let at = self.start(secured).await;
        self.sign_in_at(at, secured, login).await
    }

    async fn sign_in_at(&mut self, mut at: Url, secured: &Secured, login: &str) -> Url {
        let http = &secured.system.http;
        while at.path() != "/api/session/callback" {
            let request = if at.path().starts_with("/login/") {
                http.post(at.clone()).form(&[("login", login)])
            } else {
                http.get(at.clone())
            };
            let response = self.send(request).await;
            assert_eq!(response.status(), StatusCode::SEE_OTHER, "{at}");
            at = at.join(response.headers()["location"].to_str().unwrap()).unwrap();
        }
        at
    }
}

#[tokio::test]
async fn a_sign_in_completes_only_in_the_browser_that_started_it() {
    let secured = Secured::start();
    for (changed, is_signed_in) in [("nothing", true), ("state", false), ("nonce", false), ("verifier", false)] {
        let mut browser = Browser::default();
        let back = browser.sign_in(&secured, "sam-sales").await;
        let name = browser.attempts().next().unwrap().clone();
        let attempt = browser.cookies.remove(&name).unwrap();
        let (prefix, state) = name.split_at(ATTEMPT.len());
        let [nonce, verifier] = attempt.split('.').collect::<Vec<_>>()[..] else { panic!("{attempt}") };
        let another =
            |name: &str, value: &str| if name == changed { value.replace(|_| true, "A") } else { value.to_owned() };
        let attempt = [another("nonce", nonce), another("verifier", verifier)].join(".");
        browser.cookies.insert(format!("{prefix}{}", another("state", state)), attempt);

        let address = format!("{}?{}", back.path(), back.query().unwrap());
        let answer = browser.send(secured.request("GET", &address, None)).await;

        let to = answer.headers()["location"].to_str().unwrap().to_owned();
        assert_eq!(
            to,
            if is_signed_in { "/sales.html" } else { "/sales.html?sign-in=failed" },
            "{changed} was changed"
        );
        assert_eq!(browser.cookies.contains_key("session"), is_signed_in, "{changed} was changed");
        let session: Value = browser.send(secured.request("GET", "/api/session", None)).await.json().await.unwrap();
        assert_eq!(session["subject"] == "sam-sales", is_signed_in, "{changed} was changed: {session}");
    }
    // A session that every request would refuse does not begin.
    let mut browser = Browser::default();
    let back = browser.sign_in(&secured, "anonymous").await;
    let address = format!("{}?{}", back.path(), back.query().unwrap());
    let answer = browser.send(secured.request("GET", &address, None)).await;
    assert_eq!(answer.headers()["location"], "/sales.html?sign-in=failed");
    assert!(!browser.cookies.contains_key("session"));
}

#[tokio::test]
async fn several_sign_ins_at_once_do_not_disturb_each_other() {
    let secured = Secured::start();
    let mut browser = Browser::default();
    // The issuer ends the grant of an earlier code when it issues another one, so the code is exchanged before that.
    for at in [browser.start(&secured).await, browser.start(&secured).await] {
        let back = browser.sign_in_at(at, &secured, "sam-sales").await;
        let address = format!("{}?{}", back.path(), back.query().unwrap());
        let answer = browser.send(secured.request("GET", &address, None)).await;
        assert_eq!(answer.headers()["location"], "/sales.html");
    }
    assert_eq!(browser.attempts().count(), 0);
    // Those that are never completed do not add up.
    for _ in 0..20 {
        browser.send(secured.request("GET", "/api/session/start", None)).await;
        assert!(browser.attempts().count() < 10, "{:?}", browser.cookies.keys());
    }
    // A link on another site starts none.
    for site in ["cross-site", "same-site"] {
        let request = secured.system.request(Method::GET, "/api/session/start").header("Sec-Fetch-Site", site);
        let answer = Browser::default().send(request).await;
        assert_eq!(
            (answer.status(), &answer.headers()["location"]),
            (StatusCode::SEE_OTHER, &"/sales.html".parse().unwrap())
        );
        assert!(!answer.headers().contains_key("set-cookie"));
    }
}

#[tokio::test]
async fn the_session_of_another_token_is_replaced_only_on_request() {
    let secured = Secured::start();
    let mut browser = Browser::default();
    let sign_in = |role: &str, more: Value| {
        let mut body = json!({ "token": secured.token(role) });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        secured.request("POST", "/api/session", None).json(&body)
    };
    assert_eq!(browser.send(sign_in("sales", json!({}))).await.status(), 200);
    assert_eq!(browser.send(sign_in("sales", json!({}))).await.status(), 200, "the same token");
    for keep in [json!({}), json!({ "replace": false })] {
        assert_problem(browser.send(sign_in("operator", keep)).await, 409, "session-exists", "another token").await;
    }
    let wrong = secured.request("POST", "/api/session", None).json(&json!({ "token": "sales_x", "replace": true }));
    assert_problem(browser.send(wrong).await, 401, "unauthenticated", "a wrong token").await;
    assert_eq!(browser.cookies["session"], secured.token("sales"));
    assert_eq!(browser.send(sign_in("operator", json!({ "replace": true }))).await.status(), 200);
    assert_eq!(browser.cookies["session"], secured.token("operator"));
    // An expired session needs no confirmation.
    browser.cookies.insert("session".to_owned(), secured.expired.clone());
    assert_eq!(browser.send(sign_in("auditor", json!({}))).await.status(), 200);
}

#[tokio::test]
async fn after_a_key_rotation_only_the_issuers_new_key_is_accepted() {
    let mut secured = Secured::start();
    let status = async |secured: &Secured, token: &str| {
        secured.request("GET", "/api/get_current_money", Some(token)).send().await.unwrap().status()
    };
    let old = secured.issuer.token_of("sales").await.unwrap();
    assert_eq!(status(&secured, &old).await, StatusCode::OK);

    let pages = secured.system.url();
    secured.issuer = secured.issuer.start_again(&pages, "RS256").unwrap();
    let new = secured.issuer.token_of("sales").await.unwrap();
    until("the new key is accepted", async || status(&secured, &new).await == StatusCode::OK).await;
    assert_eq!(status(&secured, &old).await, StatusCode::UNAUTHORIZED);
}

#[test]
fn up_prints_whether_access_is_open() {
    let system = Running::prepare();
    let up = |options: &[&str]| succeed(system.up_command().arg("--detach").args(options));
    let printed = up(&[]);
    assert!(
        printed.contains("Access is open") && printed.contains("--secure") && !printed.contains("#token="),
        "{printed}"
    );
    system.down();
    let printed = up(&["--secure"]);
    assert!(!printed.contains("Access is open"), "{printed}");
    let again = succeed(&mut stack("sign-in", system.folder()));
    system.down();
    let sales = format!("{}/sales.html#token=once_", system.url());
    let addresses = |printed: &str| -> Vec<String> {
        printed.lines().filter(|line| line.contains(&sales)).map(str::to_owned).collect()
    };
    let all: BTreeSet<String> = [&printed, &again].into_iter().flat_map(|printed| addresses(printed)).collect();
    assert_eq!(all.len(), 4, "{printed}{again}");
    assert_eq!(printed.matches("sales_").count(), 1, "only for the auditor's program: {printed}");
    assert!(printed.contains("Authorization: Bearer sales_"), "{printed}");
    // The tokens remain in the data folder.
    up(&[]);
    let refused = stack("sign-in", system.folder()).output().unwrap();
    assert!(!refused.status.success() && text(&refused.stderr).contains("access is open"), "{refused:?}");
}

/// A service that is started without the launcher.
fn serve(address: &str, environment: &[(&str, &str)]) -> Command {
    let address: SocketAddr = format!("{address}:{}", ports::free().unwrap().port()).parse().unwrap();
    let mut command = Command::new(checkout::binary("query-api").unwrap());
    let nowhere = "postgres://nobody@127.0.0.1:1/nothing";
    command.arg("serve").env("LISTEN_ADDRESS", address.to_string()).env("NO_COLOR", "1");
    command.env("EVENT_STORE_URL", nowhere).env("READ_MODEL_URL", nowhere);
    command.envs(environment.iter().copied());
    command
}

#[test]
fn open_access_on_a_reachable_address_requires_a_setting() {
    let refused = serve("0.0.0.0", &[]).output().unwrap();
    assert!(!refused.status.success());
    let log = text(&refused.stdout);
    assert!(["0.0.0.0", "ACCESS_TOKENS", "OIDC_ISSUER", "OPEN_ACCESS"].iter().all(|word| log.contains(word)), "{log}");

    let missing = serve("127.0.0.1", &[("ACCESS_TOKENS", "/nowhere/tokens")]).output().unwrap();
    assert!(!missing.status.success());
    assert!(text(&missing.stdout).contains("/nowhere/tokens"), "{}", text(&missing.stdout));

    let mut open = serve("0.0.0.0", &[("OPEN_ACCESS", "true")]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(open.stdout.take().unwrap()).lines().map(Result::unwrap);
    let starts = lines.any(|line| line.contains(log_events::LISTENING));
    open.kill().unwrap();
    open.wait().unwrap();
    assert!(starts);
}
