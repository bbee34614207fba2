//! The command line.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::{Args, Parser, Subcommand, ValueEnum};

use auditor::{history::Interval, witnesses};

/// Verify, replay and export the event log independently of the services
///
/// Reads the event store, the shop's HTTP API or, except for `checkpoint`, an export file without any server. Exit codes: 0: no
/// fault found; 1: the log is wrong; 2: verification could not be completed, or something was not compared; 3: some events are
/// newer than this auditor; 4: the log was restored, and checkpoints of lost events are given up. If several apply, it is the first of
/// 1, 2, 4, 3.
#[derive(Parser, Debug)]
#[command(name = "auditor", version, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Verify the log against signed checkpoints, and name the first event that differs
    ///
    /// Checks that positions have no gap, that times never decrease, that every event is encoded exactly as this system encodes it,
    /// and that the Merkle tree over the events matches each checkpoint. Without checkpoints and a public key, nothing shows that the
    /// log was never rewritten: verify ends with exit code 2 then, unless --well-formed asks for no more.
    Verify(Verify),
    /// Compute the totals from the log, up to any position or time, and compare them with the read model
    ///
    /// By default, replay ends at the read model's position and compares the totals there, and the history if it is shown. At
    /// any other position, and for a file that ends earlier, it compares the totals at the last snapshot of the read model, one
    /// per 10,000 positions.
    Replay(Replay),
    /// Write the log to a file that can be verified and replayed without any server
    ///
    /// An existing file is compared with its own checkpoints and with the log, and then continued, whether its export was interrupted or
    /// the log has grown since. If the log was changed or cut off, export names the place and appends nothing.
    Export(Export),
    /// Fetch the newest checkpoint, and verify that it is consistent with the older ones
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

    /// File of checkpoints to verify the log against, above all old ones; may be repeated
    ///
    /// The checkpoints alongside an export file and the newest one of the read model or the shop are used as well.
    #[arg(long, value_name = "FILE", requires = "public_key")]
    pub checkpoints: Vec<PathBuf>,

    #[command(flatten)]
    pub witnesses: witnesses::Settings,

    /// Verify only the events after the newest checkpoint in this file
    ///
    /// The beginning of the log is not read: a proof from the stored tree shows that the newest signed checkpoint extends this one.
    #[arg(long, value_name = "FILE", requires = "public_key")]
    pub since: Option<PathBuf>,

    /// Verify only that the log is well-formed, without any checkpoint
    #[arg(long, conflicts_with_all = ["checkpoints", "since"])]
    pub well_formed: bool,

    /// Print the verdict as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Replay {
    #[command(flatten)]
    pub log: Log,

    /// Stop after this position
    #[arg(long, value_name = "POSITION", conflicts_with = "at_time")]
    pub at_position: Option<i64>,

    /// Stop after the last event of this time, such as 2026-12-31T23:59:59.999999Z
    #[arg(long, value_name = "TIME")]
    pub at_time: Option<DateTime<Utc>>,

    /// Show the sales per minute, hour, day or month as well
    #[arg(long, value_name = "INTERVAL")]
    pub history: Option<Interval>,

    /// Time zone of the history
    #[arg(long, value_name = "NAME", default_value = "Europe/Berlin")]
    pub time_zone: String,

    /// Folder with newer time zone data than the compiled-in data, such as /usr/share/zoneinfo
    #[arg(long, value_name = "FOLDER")]
    pub time_zone_folder: Option<PathBuf>,

    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Format {
    Text,
    Json,
    /// The history only
    Csv,
}

#[derive(Args, Debug)]
pub struct Export {
    #[command(flatten)]
    pub log: Log,

    /// File to write or continue; checkpoints go to a second file with the suffix .checkpoints
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,

    /// Last position to export; defaults to the position of the newest checkpoint
    #[arg(long, value_name = "POSITION")]
    pub until: Option<i64>,

    /// Public key of the log, or a file that holds it; without it, signatures are not verified
    #[arg(long, value_name = "KEY", env = "CHECKPOINT_PUBLIC_KEY")]
    pub public_key: Option<String>,
}

#[derive(Args, Debug)]
pub struct Checkpoint {
    #[command(flatten)]
    pub log: Log,

    /// Public key of the log, or a file that holds it
    #[arg(long, value_name = "KEY", env = "CHECKPOINT_PUBLIC_KEY")]
    pub public_key: String,

    /// File of the auditor's checkpoints: the new one is checked against them and appended
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,

    #[command(flatten)]
    pub witnesses: witnesses::Settings,
}

#[derive(Args, Debug)]
pub struct Proof {
    /// Proof from the receipt page, or from GET /api/events/{purchase id}/proof
    pub file: PathBuf,

    /// Public key of the log, or a file that holds it
    #[arg(long, value_name = "KEY", env = "CHECKPOINT_PUBLIC_KEY")]
    pub public_key: String,
}
