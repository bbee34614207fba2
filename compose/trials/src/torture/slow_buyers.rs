//! Clients that send a purchase in two parts. Once the service has asked for the second part, it has accepted the request: if it is then
//! stopped in order, it still answers.

use std::io::{Error, ErrorKind};
use std::ops::Range;
use std::time::Duration;

use anyhow::{Result, ensure};
use rand::RngExt;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::torture::answer::BUY;
use crate::torture::memory::{Harm, LICENSES, Memory, Receipt};
use crate::torture::shopper::Shopper;

/// Shorter than a service waits for a body. Most of the time a request is under way.
const BODY_AFTER_MS: Range<u64> = 200..500;
const PAUSE_MS: Range<u64> = 10..30;
/// Longer than any service lets a request wait.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
const MAX_HEAD_BYTES: usize = 4096;

/// Not over TLS.
pub async fn buy_slowly_until_stopped(mut shopper: Shopper, entrance: String) {
    let Some(entrance) = entrance.strip_prefix("http://") else { return };
    while !shopper.is_stopping() {
        let license = LICENSES[shopper.random.random_range(0..LICENSES.len())];
        let key = shopper.uuid().to_string();
        let body = json!({ "license": license }).to_string();
        let must_answer = shopper.memory.accepted_must_be_answered();
        // Otherwise it is not accepted.
        if let Ok(mut connection) = begin(entrance, &key, body.len()).await {
            shopper.pause(BODY_AFTER_MS).await;
            match finish(&mut connection, &body).await {
                Ok(answer) => remember(&shopper.memory, &key, &answer),
                Err(error) if must_answer && shopper.memory.accepted_must_be_answered() => {
                    let what = format!("{entrance} did not answer a purchase that it had accepted: {error}");
                    shopper.memory.found(Harm::Improper, what);
                }
                Err(_) => {}
            }
        }
        shopper.pause(PAUSE_MS).await;
    }
}

/// Sends the head of a request, and returns once the service has asked for its body.
async fn begin(entrance: &str, key: &str, length: usize) -> Result<TcpStream> {
    let mut connection = TcpStream::connect(entrance).await?;
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: {entrance}\r\ncontent-type: application/json\r\nidempotency-key: {key}\r\n\
         content-length: {length}\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n",
        BUY.path
    );
    connection.write_all(head.as_bytes()).await?;
    let mut asked = Vec::new();
    while !asked.ends_with(b"\r\n\r\n") {
        let byte = timeout(ANSWER_TIMEOUT, connection.read_u8()).await??;
        asked.push(byte);
        ensure!(asked.len() < MAX_HEAD_BYTES, "a head that does not end");
    }
    ensure!(asked.starts_with(b"HTTP/1.1 100"), "an answer before the body");
    Ok(connection)
}

/// Sends the body, and returns the answer with its head.
async fn finish(connection: &mut TcpStream, body: &str) -> Result<String, Error> {
    connection.write_all(body.as_bytes()).await?;
    let mut answer = Vec::new();
    timeout(ANSWER_TIMEOUT, connection.read_to_end(&mut answer)).await??;
    let answer = String::from_utf8_lossy(&answer);
    if answer.starts_with("HTTP/1.1 ") { Ok(answer.into_owned()) } else { Err(ErrorKind::UnexpectedEof.into()) }
}

fn remember(memory: &Memory, key: &str, answer: &str) {
    if !answer.starts_with("HTTP/1.1 201") {
        return;
    }
    let receipt = || serde_json::from_str::<Receipt>(answer.split_once("\r\n\r\n")?.1).ok();
    match receipt() {
        Some(receipt) => memory.bought(Some(key), receipt),
        None => memory.found(Harm::Wrong, format!("{key} has the receipt {answer}")),
    }
}

#[cfg(test)]
mod tests {
    use stack::ports::loopback;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_request_is_accepted_once_its_body_is_asked_for() {
        for (asks, answers) in [(true, true), (true, false), (false, true)] {
            let listener = TcpListener::bind(loopback(0)).await.unwrap();
            let address = listener.local_addr().unwrap();
            let service = tokio::spawn(async move {
                let mut connection = listener.accept().await.unwrap().0;
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(connection.read_u8().await.unwrap());
                }
                let asked = if asks { "HTTP/1.1 100 Continue\r\n\r\n" } else { "HTTP/1.1 503 No\r\n\r\n" };
                connection.write_all(asked.as_bytes()).await.unwrap();
                let mut body = [0; 4];
                if asks && connection.read_exact(&mut body).await.is_ok() && answers {
                    connection.write_all(b"HTTP/1.1 201 Created\r\n\r\nbody").await.unwrap();
                }
            });
            let begun = begin(&address.to_string(), "key", 4).await;
            assert_eq!(begun.is_ok(), asks);
            if let Ok(mut connection) = begun {
                let answer = finish(&mut connection, "body").await.ok();
                assert_eq!(answer.as_deref(), answers.then_some("HTTP/1.1 201 Created\r\n\r\nbody"));
            }
            service.await.unwrap();
        }
    }
}
