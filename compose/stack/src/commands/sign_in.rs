//! `cargo stack sign-in`

use anyhow::{Context, Result, ensure};

use super::running::Running;
use crate::checkout;
use crate::options::{Data, Service};
use crate::progress::print;
use crate::services::EVENT_STORE;
use crate::tool::Tool;

/// Prints new one-time addresses.
pub fn run(data: &Data) -> Result<()> {
    print(addresses(data)?);
    Ok(())
}

/// New one-time addresses for the subjects of `access`, and a token: for a terminal, not for a log.
pub fn addresses(data: &Data) -> Result<String> {
    let running = Running::find(data)?;
    ensure!(running.secure, "access is open: everyone can use everything without signing in");
    let tokens = &running.secrets.access_tokens;
    let token = |subject: &str| tokens.get(subject).with_context(|| format!("secrets.json has no token of {subject}"));
    let address = |subject: &str| -> Result<String> {
        let code = Tool::new(checkout::binary(Service::QueryApi.name())?)
            .arg("link")
            .env("EVENT_STORE_URL", running.url("query_api", &running.secrets.query_api_db, EVENT_STORE))
            .env("ACCESS_TOKEN", token(subject)?)
            .output()?;
        Ok(format!("{}#token={}", running.urls.sales, code.trim_end()))
    };
    Ok(format!(
        "Access is restricted: everything but buying requires a token\n  \
           sales      {}\n  \
           operator   {}\n  \
           auditor    curl -H 'Authorization: Bearer {}' {}api/events\n\
         An address signs in once, within ten minutes; `cargo stack sign-in` prints new ones.",
        address("sales-team")?,
        address("operator")?,
        token("auditor")?,
        running.urls.shop,
    ))
}
