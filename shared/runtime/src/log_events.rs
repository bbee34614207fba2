//! Stable names of log events, in the field `event.name`. Tests and operators rely on them rather than on the wording.
//!
//! Below are those of every service, and `nats.{failed,recovered}` of a connection to NATS. Services add their own, named after their
//! part and what happened: `append.{failed,recovered}` and `relay.{failed,diverged,lag_unknown,no_subscriber,recovered}` (command-api),
//! `projection.{halted,waiting,recovered}`, `stream.{lost,recovered}`, `reconciliation.{difference,failed,waiting,recovered}` and
//! `transparency.{refused,waiting,recovered}` (projector), `totals.{waiting,recovered}` and `license_key.missing` (query-api).

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
