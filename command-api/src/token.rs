//! `command-api token`: makes the access tokens that all services accept.

use std::path::PathBuf;

use anyhow::Context;
use chrono::{Days, Utc};
use clap::Args;
use contract::role::Role;
use runtime::access::token_file;

/// Whom the token is for, and where it is noted.
#[derive(Args, Clone, Debug)]
pub struct TokenConfig {
    /// Name of whom the token is for, as the events will have it.
    #[arg(long, value_name = "NAME")]
    subject: String,
    /// What its owner may do: sales (read the totals), auditor (read events and proofs), operator (reset, metrics); may be repeated.
    #[arg(long = "role", value_name = "ROLE", required = true)]
    roles: Vec<Role>,
    /// After how many days the token ends; never, if it is left out.
    #[arg(long)]
    days: Option<u64>,
    /// File of the tokens, made when it is missing. Services that use it know the token within a second.
    #[arg(long, env = "ACCESS_TOKENS")]
    file: PathBuf,
}

/// Prints a new token, after its hash is in the file.
pub fn make(config: &TokenConfig) -> anyhow::Result<()> {
    let until = config
        .days
        .map(|days| Utc::now().checked_add_days(Days::new(days)).context("that is for ever; leave --days out"));
    let token = token_file::generate();
    let line = token_file::line(&token, &config.subject, &config.roles, until.transpose()?)?;
    token_file::append(&config.file, &line)
        .with_context(|| format!("the token cannot be added to {}", config.file.display()))?;
    println!("{token}");
    Ok(())
}
