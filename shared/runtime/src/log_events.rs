//! Stable names of log events, in the field `event.name`. Tests and operators rely on them rather than on the wording.
//!
//! Below are those of every service, and `nats.{failed,recovered}` of a connection to NATS. Services add their own, named after their
//! part and what happened: `append.{failed,recovered}` and `relay.{failed,diverged,refilled,not_compared,lag_unknown,no_subscriber,recovered}`
//! (command-api),
//! `projection.{halted,waiting,recovered}`, `stream.{lost,recovered}`, `reconciliation.{difference,failed,waiting,recovered}`,
//! `transparency.{refused,waiting,recovered,decided,statement,signed_again}`, `watch.{difference,waiting,recovered}` and
//! `witnesses.{contradict,missing,recovered}` (projector), `witness.{refused,failed}` (witness), `totals.{waiting,recovered}`, `proof.refused`, `license_key.missing` and
//! `time_zones.read` (query-api).

/// The service listens on its address.
pub const LISTENING: &str = "service.listening";
/// The service has become ready for the first time.
pub const READY: &str = "service.ready";
/// The shutdown signal has arrived.
pub const DRAINING: &str = "service.draining";
/// The service has stopped as asked.
pub const STOPPED: &str = "service.stopped";
/// The service ends because of an error.
pub const FAILED: &str = "service.failed";
/// A thread has panicked.
pub const PANICKED: &str = "service.panicked";
/// No token is required: every caller has every role.
pub const ACCESS_OPEN: &str = "access.open";
/// The file of access tokens has changed and was read.
pub const TOKENS_RELOADED: &str = "access.tokens_reloaded";
/// The file of access tokens has changed and cannot be read; the tokens before it stay valid.
pub const TOKENS_NOT_RELOADED: &str = "access.tokens_not_reloaded";
/// The keys of the issuer are known.
pub const ISSUER_AVAILABLE: &str = "access.issuer_available";
/// The issuer does not answer, or not with its keys.
pub const ISSUER_UNAVAILABLE: &str = "access.issuer_unavailable";

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    fn is_listed(name: &str) -> bool {
        let (part, what) = name.split_once('.').unwrap();
        include_str!("log_events.rs").split('`').any(|listed| {
            let names = listed.strip_prefix(part).and_then(|listed| listed.strip_prefix(".{")?.strip_suffix('}'));
            listed == name || names.is_some_and(|names| names.split(',').any(|listed| listed == what))
        })
    }

    fn assert_listed(folder: &Path) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                assert_listed(&path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                for event in fs::read_to_string(&path).unwrap().split("event.name = \u{22}").skip(1) {
                    let name = event.split('"').next().unwrap();
                    assert!(is_listed(name), "{}: {name}", path.display());
                }
            }
        }
    }

    #[test]
    fn every_event_of_the_services_is_listed() {
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
        for folder in [
            "command-api/src",
            "projector/src",
            "projector/witness/src",
            "query-api/src",
            "shared/log/src",
            "shared/runtime/src",
        ] {
            assert_listed(&checkout.join(folder));
        }
        assert!(!is_listed("relay.unknown"));
    }
}
