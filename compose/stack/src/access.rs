//! The access tokens of a stack that asks for them: made once, one for each of those who work with it.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use crate::checkout;
use crate::data_folder::DataFolder;
use crate::options::{Options, Service};
use crate::secrets::Secrets;
use crate::tool::Tool;

/// Who works with it, and in which roles. Operators watch what they reset.
const PEOPLE: [(&str, &[&str]); 3] =
    [("sales-team", &["sales"]), ("auditor", &["auditor"]), ("operator", &["operator", "sales"])];

/// Makes the tokens that are missing. Those that somebody took out of the file stay out.
pub fn make_tokens(secrets: &mut Secrets, folder: &DataFolder) -> Result<()> {
    for (name, roles) in PEOPLE {
        if secrets.access_tokens.contains_key(name) {
            continue;
        }
        let token = Tool::new(checkout::binary(Service::CommandApi.name())?)
            .args(["token", "--subject", name])
            .args(roles.iter().flat_map(|role| ["--role", role]))
            .arg("--file")
            .arg(folder.access_tokens())
            .output()?;
        secrets.access_tokens.insert(name.to_owned(), token.trim_end().to_owned());
        secrets.save(&folder.secrets()).context("cannot keep the access tokens")?;
    }
    Ok(())
}

/// For whoever starts it without asking for tokens.
pub const IS_OPEN: &str = "Access is open: everybody on this machine may do everything; --secure asks for tokens";

/// What to paste where; for the terminal alone.
pub fn how_to_sign_in(options: &Options, tokens: &BTreeMap<String, String>) -> String {
    let url = options.origin("localhost");
    let of = |name: &str| tokens.get(name).map_or("", String::as_str);
    format!(
        "Access is closed: customers need no token, everybody else does\n  \
           sales      {url}/sales.html#token={}\n  \
           operator   {url}/sales.html#token={}\n  \
           auditor    curl -H 'Authorization: Bearer {}' {url}/api/events\n",
        of("sales-team"),
        of("operator"),
        of("auditor"),
    )
}
