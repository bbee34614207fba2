//! `auditor proof`: the proof of a receipt.

use anyhow::Context;
use auditor::{notes, outcome::Outcome, proof};
use event_log::output::{print, report};

use crate::cli;

pub fn proof(arguments: &cli::Proof) -> anyhow::Result<Outcome> {
    let key = notes::public_key(&arguments.public_key)?;
    let json = std::fs::read_to_string(&arguments.file)
        .with_context(|| format!("cannot read {}", arguments.file.display()))?;
    match proof::verify(&json, &key)? {
        Ok((event, checkpoint)) => {
            print(event)?;
            report(format_args!(
                "the log that {} signed up to position {} contains this event",
                checkpoint.origin, checkpoint.position
            ));
            Ok(Outcome::Right)
        }
        Err(wrong) => {
            report(format_args!("WRONG: {wrong}"));
            Ok(Outcome::Wrong)
        }
    }
}
