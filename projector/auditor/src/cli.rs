//! What can be asked of the auditor's tools.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use clap::{Args, Parser, Subcommand, ValueEnum};

use auditor::history::Interval;

/// Reads the whole event log without trusting anybody
///
/// Everything works on the event store itself, through the shop's HTTP interface, and, but for `checkpoint`, on an export file
/// without access to any server. Exit codes: 0 when all is well, 1 when something is wrong with the log, 2 when that could not
/// be found out.
#[derive(Parser, Debug)]
#[command(name = "auditor", version, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Find out whether the log is the one that was signed, and name the first event that is not
    ///
    /// Checks that positions follow each other without a hole and times never run backwards, that every event is written exactly
    /// as this system writes it, and that the Merkle tree over the events is the one of each checkpoint. Without checkpoints and
    /// a public key it can only tell that the log is well-formed, not that nobody rewrote it.
    Verify(Verify),
    /// Add up what was sold, up to the end or to any position or time, and compare it with the read model
    ///
    /// Everything is compared at the read model's own position, which is where it ends unless told otherwise: the totals, and the history if
    /// that is shown. Elsewhere, and in a file that ends before, the totals are compared at the last position of which the read
    /// model has kept them: every 10,000th.
    Replay(Replay),
    /// Write the log to a file that can be verified and replayed without access to any server
    ///
    /// A file that exists is continued, whether its export was interrupted or the log has grown since.
    Export(Export),
    /// Get the newest checkpoint, and make sure that it continues the older ones
    Checkpoint(Checkpoint),
    /// Verify the proof that comes with a receipt
    Proof(Proof),
}

#[derive(Args, Debug)]
pub struct Log {
    /// Event store (postgres://…), shop (https://…), or export file
    #[arg(env = "EVENT_STORE_URL", hide_env_values = true)]
    pub source: String,

    /// Read model, which also holds the transparency log (postgres://…)
    #[arg(long, value_name = "URL", env = "READ_MODEL_URL", hide_env_values = true)]
    pub read_model: Option<String>,

    /// Access token for the shop, with the role auditor
    #[arg(long, value_name = "TOKEN", env = "ACCESS_TOKEN", hide_env_values = true)]
    pub access_token: Option<String>,
}

#[derive(Args, Debug)]
pub struct Verify {
    #[command(flatten)]
    pub log: Log,

    /// Public key of the log, or a file that holds it
    #[arg(long, value_name = "KEY", env = "CHECKPOINT_PUBLIC_KEY")]
    pub public_key: Option<String>,

    /// File of checkpoints that the log must agree with, old ones above all; may be repeated
    ///
    /// Those beside an export file are taken as well, and so is the newest that the read model or the shop knows.
    #[arg(long, value_name = "FILE", requires = "public_key")]
    pub checkpoints: Vec<PathBuf>,

    /// Print the verdict as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Replay {
    #[command(flatten)]
    pub log: Log,

    /// Stop behind this position
    #[arg(long, value_name = "POSITION", conflicts_with = "at_time")]
    pub at_position: Option<i64>,

    /// Stop behind the last event of this time, such as 2026-12-31T23:59:59.999999Z
    #[arg(long, value_name = "TIME")]
    pub at_time: Option<DateTime<Utc>>,

    /// Show what was sold by minute, hour, day or month too
    #[arg(long, value_name = "INTERVAL")]
    pub history: Option<Interval>,

    /// Time zone of the history
    #[arg(long, value_name = "NAME", default_value = "Europe/Berlin")]
    pub time_zone: Tz,

    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Format {
    Text,
    Json,
    /// The history alone
    Csv,
}

#[derive(Args, Debug)]
pub struct Export {
    #[command(flatten)]
    pub log: Log,

    /// File to write or to continue; checkpoints go into another one, with .checkpoints behind its name
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,

    /// Last position to export, instead of that of the newest checkpoint
    #[arg(long, value_name = "POSITION")]
    pub until: Option<i64>,
}

#[derive(Args, Debug)]
pub struct Checkpoint {
    #[command(flatten)]
    pub log: Log,

    /// Public key of the log, or a file that holds it
    #[arg(long, value_name = "KEY", env = "CHECKPOINT_PUBLIC_KEY")]
    pub public_key: String,

    /// File of the auditor's checkpoints: the new one is compared with them and appended
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub struct Proof {
    /// What the receipt page gave, or GET /api/events/{purchase id}/proof
    pub file: PathBuf,

    /// Public key of the log, or a file that holds it
    #[arg(long, value_name = "KEY", env = "CHECKPOINT_PUBLIC_KEY")]
    pub public_key: String,
}
