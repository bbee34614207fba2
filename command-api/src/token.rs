//! `command-api token`: creates access tokens, which all services accept.

use std::path::PathBuf;

use anyhow::Context;
use chrono::{Days, Utc};
use clap::Args;
use contract::role::Role;
use event_log::output::print;
use runtime::access::token_file;

/// Settings of a new token.
#[derive(Args, Clone, Debug)]
pub struct TokenConfig {
    /// Subject of the token; events record it as their actor.
    #[arg(long, value_name = "NAME")]
    subject: String,
    /// Role of the token: sales (read the totals), auditor (read events and proofs) or operator (reset, metrics). May be repeated.
    #[arg(long = "role", value_name = "ROLE", required = true)]
    roles: Vec<Role>,
    /// Days until the token expires. Without it, the token does not expire.
    #[arg(long)]
    days: Option<u64>,
    /// File of tokens; created if missing. Services that use it accept the token within a second.
    #[arg(long, env = "ACCESS_TOKENS")]
    file: PathBuf,
}

/// Prints a new token once its hash is in the file.
pub fn make(config: &TokenConfig) -> anyhow::Result<()> {
    let until = config.days.map(|days| {
        Utc::now()
            .checked_add_days(Days::new(days))
            .context("--days is out of range; omit it for a token that does not expire")
    });
    let token = token_file::generate();
    let line = token_file::line(&token, &config.subject, &config.roles, until.transpose()?)?;
    token_file::append(&config.file, &line)
        .with_context(|| format!("cannot add the token to {}", config.file.display()))?;
    print(token)?;
    Ok(())
}
