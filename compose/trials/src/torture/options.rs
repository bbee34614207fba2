//! The command line.

use std::fmt::Write;
use std::path::PathBuf;

use clap::{Parser, value_parser};
use stack::checkout;

use crate::torture::kinds::Kind;
use crate::torture::on::On;

/// An option of the launcher, which builds what is broken.
const BROKEN: &str = "--broken PATCH, as the first option, breaks a build that compose/trials/broken/PATCH.patch has made wrong, and fails \
                      unless that is found.";

/// Break a system in many ways while clients use it, and check that nothing is lost, doubled or wrong
///
/// Starts a system of its own, natively or in a swarm. Clients buy, read and remember every answer.
/// Meanwhile each round injects a fault, or three at once, and waits until the system has healed. A checker with its own SQL and
/// its own sums then compares the log with all answers, all replicas and the stream. It prints a table per kind of fault, and saves
/// it as JSON and Markdown together with a journal. The run fails if anything was lost, doubled or wrong, if an answer was not as
/// documented, or if the system did not heal. Run it on an otherwise idle machine.
#[derive(Clone, Debug, Parser)]
#[expect(clippy::struct_excessive_bools, reason = "they are flags")]
#[command(name = "cargo stack torture", bin_name = "cargo stack torture", after_help = BROKEN)]
pub struct Options {
    /// The system to break
    #[arg(long, value_name = "SYSTEM", value_enum, default_value_t = On::Native)]
    pub on: On,

    /// Determines kinds, order, targets, moments and keys [default: random]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// Inject only faults of these kinds
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = Kind::named)]
    pub only: Vec<Kind>,

    /// Include power losses and full file systems: keep the data of Postgres and NATS on file systems of their own. Needs root and
    /// loop devices
    #[arg(long)]
    pub power_loss: bool,

    /// Include lost packets. Needs root and iptables
    #[arg(long)]
    pub packet_loss: bool,

    /// Repeat the rounds of a journal, with its seed
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seed", "only"])]
    pub replay: Option<PathBuf>,

    /// Start no further round after this time
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = value_parser!(u64).range(1..=1440))]
    pub minutes: u64,

    /// Time in which the system has to heal after a fault, and in which a fault has to raise its alarm [default: 10 natively, 30 in a
    /// swarm, 60 with high availability]
    #[arg(long, value_name = "SECONDS", value_parser = value_parser!(u64).range(1..=600))]
    pub heals_within: Option<u64>,

    /// Start at most this many rounds
    #[arg(long, value_name = "N")]
    pub rounds: Option<usize>,

    /// Stop after the first round with a finding
    #[arg(long)]
    pub until_found: bool,

    /// If the run fails, repeat it with fewer and fewer faults, and save the shortest plan that still fails
    #[arg(long)]
    pub shrink: bool,

    /// List the kinds of faults, and exit
    #[arg(long)]
    pub list: bool,

    /// Folder for the results, and for the data while it runs
    #[arg(long, value_name = "FOLDER", default_value_os_t = checkout::stack_folder().join("torture"))]
    pub folder: PathBuf,
}

impl Options {
    /// The command that repeats the run.
    pub fn command(&self, seed: u64) -> String {
        let Self { on, only, replay, minutes, rounds, heals_within, power_loss, packet_loss, .. } = self;
        let mut command = "cargo stack torture".to_owned();
        if *on != On::Native {
            let _ = write!(command, " --on {}", on.name());
        }
        let _ = match replay {
            Some(journal) => write!(command, " --replay {}", journal.display()),
            None => write!(command, " --seed {seed}"),
        };
        let _ = write!(command, " --minutes {minutes}");
        if let Some(rounds) = rounds {
            let _ = write!(command, " --rounds {rounds}");
        }
        if let Some(heals_within) = heals_within {
            let _ = write!(command, " --heals-within {heals_within}");
        }
        if !only.is_empty() {
            let kinds: Vec<&str> = only.iter().map(|kind| kind.name.as_str()).collect();
            let _ = write!(command, " --only {}", kinds.join(","));
        }
        for (option, is_given) in [(" --power-loss", *power_loss), (" --packet-loss", *packet_loss)] {
            if is_given && replay.is_none() {
                command += option;
            }
        }
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_of_a_run_gives_the_same_options() {
        for arguments in [
            "--seed 17 --minutes 6",
            "--seed 17 --minutes 60 --heals-within 30",
            "--seed 17 --minutes 6 --only kill-postgres,lock-head --power-loss --packet-loss",
            "--on swarm --seed 17 --minutes 6 --rounds 40",
            "--on high-availability --replay journal.ndjson --minutes 20",
        ] {
            let options = Options::try_parse_from(["torture"].into_iter().chain(arguments.split(' '))).unwrap();
            let seed = options.seed.unwrap_or_default();
            assert_eq!(options.command(seed), format!("cargo stack torture {arguments}"));
        }
    }
}
