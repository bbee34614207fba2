//! Random passwords of the stack's processes, created once and stored in the data folder.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use rand::distr::{Alphanumeric, SampleString};
use serde::{Deserialize, Serialize};

/// 190 bits.
const PASSWORD_LENGTH: usize = 32;

#[derive(Debug, Serialize, Deserialize)]
pub struct Secrets {
    pub postgres: String,
    pub command_api_db: String,
    pub projector_db: String,
    pub query_api_db: String,
    pub auditor_db: String,
    pub command_api_nats: String,
    pub projector_nats: String,
    /// For other systems that consume the events.
    #[serde(default = "password")]
    pub subscriber_nats: String,
    /// Access tokens by subject.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub access_tokens: BTreeMap<String, String>,
}

impl Secrets {
    pub fn load_or_create(file: &Path) -> Result<Self> {
        match fs::read(file) {
            Ok(bytes) => {
                let secrets: Self =
                    serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", file.display()))?;
                if serde_json::to_vec_pretty(&secrets)? != bytes {
                    secrets.save(file).with_context(|| format!("cannot write {}", file.display()))?;
                }
                Ok(secrets)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let secrets = Self::random();
                secrets.save(file).with_context(|| format!("cannot write {}", file.display()))?;
                Ok(secrets)
            }
            Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
        }
    }

    fn random() -> Self {
        Self {
            postgres: password(),
            command_api_db: password(),
            projector_db: password(),
            query_api_db: password(),
            auditor_db: password(),
            command_api_nats: password(),
            projector_nats: password(),
            subscriber_nats: password(),
            access_tokens: BTreeMap::new(),
        }
    }

    /// Synced and atomic: the data is inaccessible without it.
    pub fn save(&self, file: &Path) -> Result<()> {
        let partial = file.with_extension("partial");
        let mut writer = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&partial)?;
        writer.write_all(&serde_json::to_vec_pretty(self)?)?;
        writer.sync_all()?;
        fs::rename(&partial, file)?;
        Ok(())
    }
}

/// Letters and digits, which need no quoting in URLs and configuration files.
pub fn password() -> String {
    Alphanumeric.sample_string(&mut rand::rng(), PASSWORD_LENGTH)
}
