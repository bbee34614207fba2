//! `query-api key`: creates the key that signs licence keys.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;
use ed25519_dalek::pkcs8::{EncodePrivateKey, KeypairBytes, spki::der::pem::LineEnding};
use event_log::output::print;
use rand_core::{OsRng, RngCore};
use runtime::key_file;

use super::signer::LicenseSigner;

/// Settings of `query-api key`.
#[derive(Args, Clone, Debug)]
pub struct KeyConfig {
    /// File to write the private key to. Keep it secret.
    #[arg(long)]
    pub file: PathBuf,
    /// Do nothing if the key file already exists.
    #[arg(long)]
    pub if_missing: bool,
}

/// Creates the key and prints its public key.
pub fn make(config: &KeyConfig) -> anyhow::Result<()> {
    if config.if_missing && config.file.exists() {
        return Ok(());
    }
    let mut secret_key = [0; 32];
    OsRng.fill_bytes(&mut secret_key);
    // Without the public key, which older parsers reject.
    let pem = KeypairBytes { secret_key, public_key: None }
        .to_pkcs8_pem(LineEnding::LF)
        .map_err(|error| anyhow!("the key cannot be encoded: {error}"))?;
    key_file::create(&config.file, key_file::SECRET, &pem)?;
    let signer = LicenseSigner::parse(&pem)?;
    print(serde_json::to_string(signer.current_public_key())?)?;
    Ok(())
}
