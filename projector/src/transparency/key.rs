//! The key that signs the checkpoints.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use event_log::transparency::signed_checkpoint::{SigningKey, generate_keys};
use runtime::key_file;

/// What signs the checkpoints, and where they are kept outside of the database.
#[derive(Args, Clone, Debug)]
pub struct Settings {
    /// Private key that signs the checkpoints of the transparency log, as `projector key` makes it. Without it, none are signed.
    #[arg(long, env, hide_env_values = true)]
    pub checkpoint_key: Option<String>,
    /// File to which every signed checkpoint is appended. Best on a disk that the databases' administrators cannot write to.
    #[arg(long, env)]
    pub checkpoint_log: Option<PathBuf>,
}

impl Settings {
    pub fn load(&self) -> anyhow::Result<Option<(SigningKey, PathBuf)>> {
        match (&self.checkpoint_key, &self.checkpoint_log) {
            (Some(key), Some(file)) => Ok(Some((SigningKey::parse(key).context("CHECKPOINT_KEY")?, file.clone()))),
            (None, None) => Ok(None),
            (Some(_), None) => bail!("CHECKPOINT_KEY needs CHECKPOINT_LOG, the file for what it signs"),
            (None, Some(_)) => bail!("CHECKPOINT_LOG needs CHECKPOINT_KEY, which `projector key` makes"),
        }
    }
}

/// Settings of the making of a key.
#[derive(Args, Clone, Debug)]
pub struct KeyConfig {
    /// Name of the log in its checkpoints: an address of yours, so that nobody else uses it.
    #[arg(long, default_value = "sales.localhost/log")]
    pub origin: String,
    /// File for the private key, to be kept secret. The public one is put beside it, as <FILE>.pub.
    #[arg(long)]
    pub file: PathBuf,
    /// Leave a key alone that is there already, instead of ending with an error.
    #[arg(long)]
    pub if_missing: bool,
}

/// Makes the keys with which checkpoints are signed and verified.
pub fn make(config: &KeyConfig) -> anyhow::Result<()> {
    if config.if_missing && config.file.exists() {
        return Ok(());
    }
    let (private, public) = generate_keys(&config.origin)?;
    let mut public_file = config.file.clone().into_os_string();
    public_file.push(".pub");
    key_file::create(&config.file, key_file::SECRET, &private)?;
    key_file::create(public_file.as_ref(), key_file::PUBLIC, &public)?;
    println!("{public}");
    Ok(())
}
