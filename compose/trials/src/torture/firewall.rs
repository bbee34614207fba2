//! Packets that are lost on the way to or from a port of this machine: rules of the firewall. Needs root and iptables.

use anyhow::Result;
use stack::identity::ProcessId;
use stack::progress::report;
use stack::tool::Tool;

use crate::torture::proxy::Direction;

/// Marks the rules, together with the process to which they belong.
const COMMENT: &str = "cargo-stack-torture-";
/// Of the packets in each direction.
const LOST: &str = "0.25";

/// Rules that exist until this is dropped.
#[derive(Debug, Default)]
pub struct Rules(Vec<Vec<String>>);

impl Rules {
    /// Loses a part of the packets of all connections to a port.
    pub fn lose_some(port: u16) -> Result<Self> {
        let mut rules = Self::default();
        for direction in [Direction::ToServer, Direction::ToClient] {
            rules.add(port, direction, &["-m", "statistic", "--mode", "random", "--probability", LOST])?;
        }
        Ok(rules)
    }

    /// Loses all packets in one direction.
    pub fn lose_all(port: u16, direction: Direction) -> Result<Self> {
        let mut rules = Self::default();
        rules.add(port, direction, &[])?;
        Ok(rules)
    }

    fn add(&mut self, port: u16, direction: Direction, matches: &[&str]) -> Result<()> {
        let end = if direction == Direction::ToServer { "--dport" } else { "--sport" };
        let comment = format!("{COMMENT}{}", ProcessId::own()?);
        let packets = ["-i", "lo", "-p", "tcp", end, &port.to_string()].map(str::to_owned);
        let matches = matches.iter().copied().chain(["-m", "comment", "--comment", &comment, "-j", "DROP"]);
        let rule: Vec<String> = packets.into_iter().chain(matches.map(str::to_owned)).collect();
        iptables("-I", &rule)?;
        self.0.push(rule);
        Ok(())
    }
}

impl Drop for Rules {
    fn drop(&mut self) {
        for rule in &self.0 {
            if let Err(error) = iptables("-D", rule) {
                report(format_args!("{error:#}"));
            }
        }
    }
}

/// Removes the rules of processes that have ended.
pub fn remove_orphans() -> Result<()> {
    let listed = Tool::new("iptables").args(["-w", "-S", "INPUT"]).output()?;
    for line in listed.lines().filter(|line| is_orphan(line)) {
        let rule: Vec<String> = line.split_whitespace().skip(2).map(str::to_owned).collect();
        iptables("-D", &rule)?;
    }
    Ok(())
}

/// Whether a rule, as iptables lists it, belongs to a process that has ended.
fn is_orphan(rule: &str) -> bool {
    let owner = rule.split_whitespace().find_map(|word| word.strip_prefix(COMMENT));
    owner.is_some_and(|owner| owner.parse().is_ok_and(|owner: ProcessId| !owner.is_alive()))
}

/// Waits for other programs that use the firewall.
fn iptables(command: &str, rule: &[String]) -> Result<()> {
    Tool::new("iptables").args(["-w", command, "INPUT"]).args(rule).output().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_of_a_run_remain_while_it_runs() {
        let rule = |owner: &str| format!("-A INPUT -i lo -m comment --comment {COMMENT}{owner} -j DROP");
        let own = ProcessId::own().unwrap();
        assert!(!is_orphan(&rule(&own.to_string())));
        assert!(is_orphan(&rule(&format!("{}-1", own.pid))), "another process had this id");
        assert!(!is_orphan("-A INPUT -i lo -j DROP"));
    }
}
