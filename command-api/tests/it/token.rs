//! The file of access tokens, as people and services write and read it at the same time.

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
fn a_token_is_added_to_a_file_whose_last_line_was_left_open() {
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
async fn a_token_that_is_taken_out_before_the_file_is_followed_is_refused_all_the_same() {
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
    following.await.unwrap();
}
