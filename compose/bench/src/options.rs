//! Sections, repetitions and durations.

use std::path::PathBuf;

use clap::{Parser, ValueEnum, value_parser};
use serde::Serialize;
use stack::checkout;

/// Connections of the loads that have targets.
pub const MOST_CONNECTIONS: u32 = 512;
/// Connections of the loads that read.
pub const READERS: u32 = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Section {
    /// Purchases per second and their latency
    Purchases,
    /// Purchases through Traefik
    Traefik,
    /// Reads of the totals per second, direct and through Traefik
    Reads,
    /// Time from a purchase to totals that include it
    Visible,
    /// Clients that stream the totals during purchases
    Streams,
    /// Rebuild of the read model and export of the log, compared with Postgres' COPY
    Rebuild,
    /// Speed of the watch over the log, and its cost for purchases
    Watch,
    /// Start-up time, memory and CPU time of each process
    Footprint,
    /// Largest contentful paint and blocked main thread of the pages on a phone, in Chromium
    Pages,
    /// Purchases, reads and disk space in a grown log
    Growth,
}

impl Section {
    /// Its line in the help.
    pub fn title(self) -> String {
        let value = self.to_possible_value().expect("no section is hidden");
        value.get_help().map(ToString::to_string).unwrap_or_default()
    }
}

/// Measure a system and its baselines, in about 20 minutes
///
/// Starts a system and its baselines on their own data and ports, and drives them with wrk in turns. The baselines are
/// HTTP handlers that store nothing, or one row per request. After each load it counts the log: the run fails unless
/// every acknowledged purchase is stored and projected. It also measures the time from a purchase to the totals,
/// rebuilds, start-up, memory, CPU time, pages and disk space, and repeats the loads in a log of 10 million events. It
/// prints a table with ratios and targets, and saves it as JSON and Markdown. Run it on an otherwise idle machine; it
/// needs about 10 GB of disk while it runs.
#[derive(Clone, Debug, Parser, Serialize)]
#[command(name = "cargo stack bench", bin_name = "cargo stack bench")]
pub struct Options {
    /// Smoke test: one repetition of two seconds, 100,000 events. The figures mean nothing
    #[arg(long, conflicts_with = "large")]
    pub quick: bool,

    /// Repeat the loads at 100 million events too: about one more hour, 30 GB of disk
    #[arg(long)]
    pub large: bool,

    /// Run only these sections
    #[arg(long = "only", value_enum, value_delimiter = ',', value_name = "SECTION")]
    #[arg(default_values_t = Section::value_variants().to_vec(), hide_default_value = true)]
    pub sections: Vec<Section>,

    /// Repetitions of each load; 1 with --quick
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=100))]
    #[arg(default_value = "3", default_value_if("quick", "true", "1"))]
    pub repetitions: u32,

    /// Duration of each load; 2 with --quick
    #[arg(long, value_name = "SECONDS", value_parser = value_parser!(u64).range(1..=3600))]
    #[arg(default_value = "8", default_value_if("quick", "true", "2"))]
    pub seconds: u64,

    /// Folder for the results, and for the data while it runs
    #[arg(long, value_name = "FOLDER", default_value_os_t = checkout::stack_folder().join("bench"))]
    #[serde(skip)]
    pub folder: PathBuf,

    // The hidden options below hold what --quick and --large change.
    /// Connections of the loads at the maximum rate, in this order.
    #[arg(long, hide = true, value_delimiter = ',')]
    #[arg(default_value = "512,256,64", default_value_if("quick", "true", "512,64"))]
    pub connections: Vec<u32>,

    /// Before the first repetition of each subject, not measured.
    #[arg(long, hide = true, default_value = "2", default_value_if("quick", "true", "0"))]
    pub warm_up_seconds: u64,

    /// Duration of the load after which the time to drain the projection is measured.
    #[arg(long, hide = true, default_value = "60", default_value_if("quick", "true", "2"))]
    pub long_load_seconds: u64,

    /// Purchases followed until they are visible, without other load.
    #[arg(long, hide = true, default_value = "300", default_value_if("quick", "true", "50"))]
    pub idle_probes: i64,

    #[arg(long, hide = true, default_value = "2000", default_value_if("quick", "true", "200"))]
    pub stream_clients: u32,

    /// The log is filled up to this length before it is rebuilt.
    #[arg(long, hide = true, default_value = "1000000", default_value_if("quick", "true", "50000"))]
    pub rebuilt_events: i64,

    /// Lengths of the log at which the loads are repeated.
    #[arg(long, hide = true, value_delimiter = ',', default_value = "10000000")]
    #[arg(default_value_ifs([("quick", "true", "100000"), ("large", "true", "10000000,100000000")]))]
    pub grown_to: Vec<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quick_and_large_change_what_is_not_given() {
        let parse = |arguments: &[&str]| Options::parse_from([&["bench"], arguments].concat());
        let usual = parse(&[]);
        assert_eq!((usual.repetitions, usual.seconds, &usual.connections[..]), (3, 8, &[512, 256, 64][..]));
        assert_eq!((&usual.sections[..], &usual.grown_to[..]), (Section::value_variants(), &[10_000_000][..]));
        let quick = parse(&["--quick", "--seconds=1", "--only=reads,purchases"]);
        assert_eq!((quick.repetitions, quick.seconds, &quick.connections[..]), (1, 1, &[512, 64][..]));
        assert_eq!(
            (&quick.sections[..], &quick.grown_to[..]),
            (&[Section::Reads, Section::Purchases][..], &[100_000][..])
        );
        assert_eq!(parse(&["--large"]).grown_to, [10_000_000, 100_000_000]);
    }
}
