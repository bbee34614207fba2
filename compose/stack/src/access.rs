//! The access tokens of a stack with `--secure`.

use anyhow::{Context, Result};

use crate::checkout;
use crate::data_folder::DataFolder;
use crate::options::Service;
use crate::secrets::Secrets;
use crate::tool::Tool;

/// One token each. Operators also see the sales that they may reset.
const SUBJECTS: [(&str, &[&str]); 3] =
    [("sales-team", &["sales"]), ("auditor", &["auditor"]), ("operator", &["operator", "sales"])];

/// Creates the missing tokens, once: a token that was removed from the token file stays revoked.
pub fn create_tokens(secrets: &mut Secrets, folder: &DataFolder) -> Result<()> {
    for (name, roles) in SUBJECTS {
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
        secrets.save(&folder.secrets()).context("cannot save the access tokens")?;
    }
    Ok(())
}

pub const IS_OPEN: &str = "Access is open: every user of this machine has all roles; --secure requires access tokens";
