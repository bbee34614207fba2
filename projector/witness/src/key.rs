//! Makes the key of a witness.

use event_log::{
    output::print,
    transparency::{cosignature::CosigningKey, signed_checkpoint::generate_keys},
};
use runtime::key_file;

use crate::cli::Key;

pub fn generate(config: &Key) -> anyhow::Result<()> {
    if config.if_missing && config.file.exists() {
        return Ok(());
    }
    let (private, _) = generate_keys(&config.origin)?;
    let public = CosigningKey::parse(&private)?.witness_key().to_string();
    key_file::create_pair(&config.file, &private, &public)?;
    print(public)?;
    Ok(())
}
