//! Sections, repetitions and durations.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use serde::Serialize;

use stack::checkout;

/// Connections of the loads that have targets.
pub const MOST_CONNECTIONS: u32 = 512;
/// Connections of the loads that read.
pub const READERS: u32 = 64;
const STREAM_CLIENTS: usize = 2000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Section {
    /// Purchases per second and their latency
    Purchases,
    /// The same through Traefik
    Traefik,
    /// Reads of the totals per second, direct and through Traefik
    Reads,
    /// Time from a purchase to totals that include it
    Visible,
    /// Clients that stream the totals during purchases
    Streams,
    /// Rebuild of the read model and export of the log, compared with Postgres' COPY
    Rebuild,
    /// Start-up time, memory and CPU time of each process
    Footprint,
    /// Purchases, reads and disk space in a grown log
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

/// Measure a system and its baselines, in about 20 minutes
///
/// Starts a system and its baselines on their own data and ports, and drives them with wrk in turns. The baselines are
/// HTTP handlers that store nothing, or one row per request. After each load it counts the log: the run fails unless
/// every acknowledged purchase is stored and projected. It also measures the time from a purchase to the totals,
/// rebuilds, start-up, memory, CPU time and disk space, and repeats the loads in a log of 10 million events. It prints
/// a table with ratios and targets, and saves it as JSON and Markdown. Run it on an otherwise idle machine; it needs
/// about 10 GB of disk while it runs.
#[derive(Clone, Debug, Parser)]
#[command(name = "cargo stack bench", bin_name = "cargo stack bench")]
pub struct Arguments {
    /// Smoke test: one repetition of two seconds, 100,000 events. The figures mean nothing
    #[arg(long, conflicts_with = "large")]
    pub quick: bool,

    /// Repeat the loads at 100 million events too: about one more hour, 30 GB of disk
    #[arg(long)]
    pub large: bool,

    /// Run only these sections
    #[arg(long, value_enum, value_delimiter = ',', value_name = "SECTION")]
    pub only: Vec<Section>,

    /// Repetitions of each load [default: 3, with --quick 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub repetitions: Option<u32>,

    /// Duration of each load [default: 8, with --quick 2]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub seconds: Option<u64>,

    /// Folder for the results, and for the data while it runs
    #[arg(long, value_name = "FOLDER", default_value_os_t = checkout::stack_folder().join("bench"))]
    pub folder: PathBuf,
}

#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    pub sections: Vec<Section>,
    pub repetitions: u32,
    pub seconds: u64,
    /// Of the loads at the maximum rate, in this order.
    pub connections: Vec<u32>,
    /// Before the first repetition of each subject, not measured.
    pub warm_up_seconds: u64,
    /// Duration of the load after which the time to drain the projection is measured.
    pub long_load_seconds: u64,
    /// Purchases followed until they are visible, without other load.
    pub idle_probes: u32,
    pub stream_clients: usize,
    /// The log is filled up to this length before it is rebuilt.
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
