//! What is measured, how often and for how long.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use serde::Serialize;

use stack::checkout;

/// The connections that the targets are about.
pub const MOST_CONNECTIONS: u32 = 512;
/// Connections of the loads that read.
pub const READERS: u32 = 64;
/// Clients of the stream of totals.
const STREAM_CLIENTS: usize = 2000;

/// A part of the bench that can be run alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Section {
    /// Purchases per second and their latency
    Purchases,
    /// The same through Traefik
    Traefik,
    /// Reads of the totals per second, direct and through Traefik
    Reads,
    /// Time from a purchase to the totals that show it
    Visible,
    /// Clients that are sent the totals as they change, while licences are bought
    Streams,
    /// Rebuilding the read model, beside Postgres' own copy of the log
    Rebuild,
    /// Time to start, memory and CPU time of each process
    Footprint,
    /// Purchases, reads and disk space once the log has grown
    Growth,
}

impl Section {
    pub fn name(self) -> &'static str {
        match self {
            Self::Purchases => "Purchases",
            Self::Traefik => "Purchases through Traefik",
            Self::Reads => "Reads",
            Self::Visible => "From a purchase to the totals",
            Self::Streams => "Streams of totals",
            Self::Rebuild => "Rebuild and replay",
            Self::Footprint => "Footprint",
            Self::Growth => "Growth",
        }
    }
}

/// Measure everything on a stack and baselines of its own, in about 20 minutes
///
/// Drives purchases and reads with wrk, beside handlers on the same HTTP stack that store nothing or one row per
/// request, and counts the log after every load: what was acknowledged is stored and projected, or the run fails.
/// Measures the time from a purchase to the totals, the rebuild, the start, memory, CPU time and disk space as well,
/// and the same in a log of 10 million events. Shows a table with ratios and targets, and saves it as JSON and
/// Markdown. It needs the machine for itself, and about 10 GB of disk meanwhile.
#[derive(Clone, Debug, Parser)]
#[command(name = "cargo stack bench", bin_name = "cargo stack bench")]
pub struct Arguments {
    /// A smoke test: one repetition of two seconds, and a log of 100,000 events. Its figures mean nothing
    #[arg(long, conflicts_with = "large")]
    pub quick: bool,

    /// Let the log grow to 100 million events too, which takes about an hour and 30 GB
    #[arg(long)]
    pub large: bool,

    /// Measure only these sections
    #[arg(long, value_enum, value_delimiter = ',', value_name = "SECTION")]
    pub only: Vec<Section>,

    /// How often each load is repeated, in turns with what it is compared with (3 times unless said otherwise)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub repetitions: Option<u32>,

    /// How long each load lasts (8 seconds unless said otherwise)
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub seconds: Option<u64>,

    /// Folder of the results, and of the data meanwhile
    #[arg(long, value_name = "FOLDER", default_value_os_t = checkout::stack_folder().join("bench"))]
    pub folder: PathBuf,
}

#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    pub sections: Vec<Section>,
    pub repetitions: u32,
    pub seconds: u64,
    /// Of the loads that go as fast as the answers come. The first ones meet the emptiest log.
    pub connections: Vec<u32>,
    /// Before the first repetition of each subject; measured by nobody.
    pub warm_up_seconds: u64,
    /// Of the one load after which the projection is timed until it has drained.
    pub long_load_seconds: u64,
    /// Purchases that are followed until they are visible, while the system is idle.
    pub idle_probes: u32,
    /// Clients that are sent the totals as they change.
    pub stream_clients: usize,
    /// At least this long a log is rebuilt.
    pub rebuilt_events: i64,
    /// Lengths of the log at which the loads are repeated.
    pub grown_to: Vec<i64>,
}

impl From<&Arguments> for Settings {
    fn from(arguments: &Arguments) -> Self {
        let Arguments { quick, large, .. } = *arguments;
        let seconds = arguments.seconds.unwrap_or(if quick { 2 } else { 8 });
        Self {
            sections: match &arguments.only[..] {
                [] => Section::value_variants().to_vec(),
                only => Section::value_variants().iter().copied().filter(|section| only.contains(section)).collect(),
            },
            repetitions: arguments.repetitions.unwrap_or(if quick { 1 } else { 3 }),
            seconds,
            connections: if quick { vec![MOST_CONNECTIONS, 64] } else { vec![MOST_CONNECTIONS, 256, 64] },
            warm_up_seconds: if quick { 0 } else { 2 },
            long_load_seconds: if quick { seconds } else { 60 },
            idle_probes: if quick { 50 } else { 300 },
            stream_clients: if quick { STREAM_CLIENTS / 10 } else { STREAM_CLIENTS },
            rebuilt_events: if quick { 50_000 } else { 1_000_000 },
            grown_to: match (quick, large) {
                (true, _) => vec![100_000],
                (false, false) => vec![10_000_000],
                (false, true) => vec![10_000_000, 100_000_000],
            },
        }
    }
}

impl Settings {
    pub fn load_time(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}
