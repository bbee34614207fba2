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
    let mut public_file = config.file.clone().into_os_string();
    public_file.push(".pub");
    key_file::create(&config.file, key_file::SECRET, &private)?;
    key_file::create(public_file.as_ref(), key_file::PUBLIC, &public)?;
    print(public)?;
    Ok(())
}
