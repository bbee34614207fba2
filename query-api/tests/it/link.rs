//! Addresses that sign in, with `query-api link`.

use contract::role::Role;
use reqwest::{Method, Response};
use runtime::access::token_file;
use serde_json::json;
use tempfile::NamedTempFile;
use testing::{Databases, Ended, Service, Until, values};

struct Pages {
    databases: Databases,
    query_api: Service,
    /// Of alice and bob.
    tokens: [String; 2],
    _file: NamedTempFile,
}

impl Pages {
    async fn start() -> Self {
        let file = NamedTempFile::new().unwrap();
        let tokens = ["alice", "bob"].map(|subject| {
            let token = token_file::generate();
            let line = token_file::line(&token, subject, &[Role::Sales], None).unwrap();
            token_file::append(file.path(), &line).unwrap();
            token
        });
        let databases = Databases::create().await;
        let settings = [("ACCESS_TOKENS", file.path().to_str().unwrap())];
        let query_api = databases.start("query-api", Until::Live, &settings).await;
        Self { databases, query_api, tokens, _file: file }
    }

    async fn code(&self, token: &str) -> String {
        let link = self.databases.command("query-api", &["link"], &[("ACCESS_TOKEN", token)]);
        let Ended { success, log } = link.ended().await;
        assert!(success, "{log}");
        log.trim_end().to_owned()
    }

    /// From a browser with a session.
    async fn sign_in(&self, session: &str, code: &str, replace: bool) -> Response {
        let request = self.query_api.request(Method::POST, "/api/session").header("sec-fetch-site", "same-origin");
        let body = json!({ "token": code, "replace": replace });
        request.header("cookie", format!("session={session}")).json(&body).send().await.unwrap()
    }
}

#[tokio::test]
async fn an_address_signs_in_once() {
    let pages = Pages::start().await;
    let code = pages.code(&pages.tokens[0]).await;
    assert!(code.starts_with("once_") && !code.contains(&pages.tokens[0]), "{code}");
    let signed_in = pages.sign_in("", &code, false).await;
    assert_eq!(signed_in.status(), 200);
    let cookie = signed_in.headers()["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with(&format!("session={};", pages.tokens[0])), "{cookie}");
    assert_eq!(pages.sign_in("", &code, false).await.status(), 401);
}

#[tokio::test]
async fn a_question_does_not_use_an_address_up() {
    let pages = Pages::start().await;
    let [alice, bob] = &pages.tokens;
    let code = pages.code(bob).await;
    assert_eq!(pages.sign_in(alice, &code, false).await.status(), 409);
    assert_eq!(pages.sign_in(alice, &code, true).await.status(), 200);
    assert_eq!(pages.sign_in(alice, &code, true).await.status(), 401);
}

#[tokio::test]
async fn an_address_expires_and_the_database_does_not_reveal_its_token() {
    let pages = Pages::start().await;
    let token = pages.tokens[0].as_bytes();
    let code = pages.code(&pages.tokens[0]).await;
    let stored: Vec<Vec<u8>> = values(pages.databases.event_store(), "select encrypted_token from sign_in_code").await;
    assert!(stored.len() == 1 && stored[0].len() == token.len() && stored[0][..6] != token[..6], "{stored:?}");
    pages.databases.change_event_store("update sign_in_code set expires_at = now()").await;
    assert_eq!(pages.sign_in("", &code, false).await.status(), 401);
    // The next one removes it.
    pages.code(&pages.tokens[1]).await;
    let count: Vec<i64> = values(pages.databases.event_store(), "select count(*) from sign_in_code").await;
    assert_eq!(count, [1]);
}
