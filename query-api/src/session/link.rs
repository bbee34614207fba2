//! One-time codes for addresses that sign in, such as `/sales.html#token=once_…`: browsers keep addresses in their history.
//!
//! The database has the token, encrypted with the code, and only a hash of the code.

use anyhow::{Context, ensure};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use clap::Args;
use event_log::{database, output::print};
use rand_core::{OsRng, RngCore};
use runtime::{access::token_file, http::problem::Problem};
use sha2::{Digest, Sha256, Sha512};
use sqlx::PgPool;

use crate::problems;

const PREFIX: &str = "once_";
const RANDOM_BYTES: usize = 32;

/// Settings of `query-api link`.
#[derive(Args, Clone, Debug)]
pub struct LinkConfig {
    /// URL of the event store database, for the role `query_api`.
    #[arg(long, env, hide_env_values = true)]
    pub event_store_url: String,
    /// Access token of the session that the code starts, from the file of access tokens.
    #[arg(long, env, hide_env_values = true)]
    pub access_token: String,
}

/// Stores and prints a code for the next ten minutes.
pub async fn make(config: &LinkConfig) -> anyhow::Result<()> {
    let token = config.access_token.as_bytes();
    ensure!(
        config.access_token.starts_with(token_file::PREFIX) && token.len() <= Sha512::output_size(),
        "ACCESS_TOKEN is not a token from the file of access tokens"
    );
    let mut random = [0; RANDOM_BYTES];
    OsRng.fill_bytes(&mut random);
    let code = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random));
    let event_store = database::pool("EVENT_STORE_URL", &config.event_store_url, "query-api link", 1)?;
    sqlx::query(
        "with expired as (delete from sign_in_code where expires_at <= now())
         insert into sign_in_code (code_hash, encrypted_token, expires_at) values ($1, $2, now() + interval '10 minutes')",
    )
    .bind(hash(&code))
    .bind(encrypt(&code, token))
    .execute(&event_store)
    .await
    .context("the code cannot be stored")?;
    print(code)?;
    Ok(())
}

pub fn is_code(text: &str) -> bool {
    text.starts_with(PREFIX)
}

/// The token of a valid code.
pub async fn find(event_store: &PgPool, code: &str) -> Result<Option<String>, Problem> {
    let encrypted: Option<Vec<u8>> =
        sqlx::query_scalar("select encrypted_token from sign_in_code where code_hash = $1 and expires_at > now()")
            .bind(hash(code))
            .fetch_optional(event_store)
            .await
            .map_err(problems::event_store)?;
    Ok(encrypted.and_then(|encrypted| String::from_utf8(encrypt(code, &encrypted)).ok()))
}

/// Uses a code up; false if another request has.
pub async fn use_up(event_store: &PgPool, code: &str) -> Result<bool, Problem> {
    let deleted = sqlx::query("delete from sign_in_code where code_hash = $1").bind(hash(code)).execute(event_store);
    Ok(deleted.await.map_err(problems::event_store)?.rows_affected() == 1)
}

fn hash(code: &str) -> Vec<u8> {
    Sha256::digest(code).to_vec()
}

/// With a one-time pad: each code is random and encrypts one token. The same function decrypts.
fn encrypt(code: &str, text: &[u8]) -> Vec<u8> {
    text.iter().zip(Sha512::digest(code)).map(|(byte, pad)| byte ^ pad).collect()
}
