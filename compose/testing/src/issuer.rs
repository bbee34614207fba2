//! A real OpenID Connect issuer, `web/tests/issuer.mjs`, which knows people by their login names and one machine for each role.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, Result};
use reqwest::Client;
use serde::Deserialize;
use serde_json::Value;

use stack::pages;
use stack::ports;
use stack::progress::Progress;

/// The secret of all its clients.
pub const CLIENT_SECRET: &str = "known-to-tests-alone";

/// Exits when it is dropped: its standard input is closed then.
#[derive(Debug)]
pub struct Issuer {
    process: Child,
    input: Option<ChildStdin>,
    pub ready: Ready,
}

/// What it prints once it is ready.
#[derive(Debug, Deserialize)]
pub struct Ready {
    pub issuer: String,
    /// The client of the pages.
    pub client_id: String,
    /// The audience of its access tokens.
    pub audience: String,
    pub signing_key: SigningKey,
    token_endpoint: String,
}

/// For tests that make tokens of their own.
#[derive(Debug, Deserialize)]
pub struct SigningKey {
    pub kid: String,
    /// In base64.
    pub pkcs8: String,
}

impl Issuer {
    /// For the pages at an address such as `http://localhost:8000`.
    pub fn start(pages: &str) -> Result<Self> {
        Self::start_at(ports::free()?, pages, "ES256")
    }

    /// Restarts it at the same address, with new keys for another algorithm.
    pub fn start_again(self, pages: &str, algorithm: &str) -> Result<Self> {
        let address = self.ready.issuer.strip_prefix("http://").context("it is on loopback")?.parse()?;
        drop(self);
        Self::start_at(address, pages, algorithm)
    }

    fn start_at(address: SocketAddr, pages: &str, algorithm: &str) -> Result<Self> {
        pages::install_packages(Progress::Silent)?;
        let mut process = Command::new("node")
            .arg(pages::sources().join("tests/issuer.mjs"))
            .args(["--client-secret", CLIENT_SECRET])
            .arg(format!("--redirect-uri={pages}/api/session/callback"))
            .arg(format!("--post-logout-uri={pages}/sales.html"))
            .arg(format!("--port={}", address.port()))
            .args(["--alg", algorithm])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run node")?;
        let input = process.stdin.take();
        let output = process.stdout.take().context("its output is piped")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let ready = serde_json::from_str(&line).with_context(|| format!("the issuer did not start: {line:?}"))?;
        Ok(Self { process, input, ready })
    }

    /// Writes the secret of the pages' client into a file.
    pub fn write_secret(&self, file: &Path) -> Result<()> {
        std::fs::write(file, CLIENT_SECRET).with_context(|| format!("cannot write {}", file.display()))
    }

    /// An access token of the machine client that has a role.
    pub async fn token_of(&self, role: &str) -> Result<String> {
        let form = [("grant_type", "client_credentials")];
        let request =
            Client::new().post(&self.ready.token_endpoint).basic_auth(format!("role-{role}"), Some(CLIENT_SECRET));
        let answer: Value = request.form(&form).send().await?.error_for_status()?.json().await?;
        Ok(answer["access_token"].as_str().context("an access token")?.to_owned())
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.process.wait();
    }
}
