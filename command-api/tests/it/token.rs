//! The file of access tokens, written and read concurrently.

use std::{fs, path::Path, sync::Arc};

use contract::role::Role;
use runtime::access::token_file::{self, TokenFile};
use tempfile::TempDir;
use testing::eventually;
use tokio_util::sync::CancellationToken;

fn add(file: &Path, subject: &str) -> String {
    let token = token_file::generate();
    token_file::append(file, &token_file::line(&token, subject, &[Role::Sales], None).unwrap()).unwrap();
    token
}

#[test]
fn a_token_is_added_after_a_last_line_without_a_newline() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("tokens");
    let first = add(&path, "alice");
    fs::write(&path, fs::read_to_string(&path).unwrap().trim_end()).unwrap();
    let second = add(&path, "bob");
    let file = TokenFile::open(&path).unwrap();
    for (token, subject) in [(first, "alice"), (second, "bob")] {
        assert_eq!(file.find(&token).unwrap().subject.as_deref(), Some(subject));
    }
}

#[tokio::test]
async fn a_token_removed_before_the_first_reload_is_rejected() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("tokens");
    let token = add(&path, "alice");
    let file = Arc::new(TokenFile::open(&path).unwrap());
    assert!(file.find(&token).is_some());
    fs::write(&path, "# nobody\n").unwrap();

    let stop = CancellationToken::new();
    let following = tokio::spawn(Arc::clone(&file).follow(stop.clone()));
    eventually("it is refused", async || file.find(&token).is_none()).await;
    stop.cancel();
    following.await.unwrap().unwrap();
}
