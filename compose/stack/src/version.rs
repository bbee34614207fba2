//! Major and minor versions, parsed from the output of programs.

use std::fmt;
use std::path::Path;
use std::process::Command;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    pub major: u32,
    pub minor: u32,
}

impl Version {
    pub const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }

    /// `None` if the program cannot be run or prints no version.
    pub fn of(program: &Path, argument: &str) -> Option<Self> {
        let output = Command::new(program).arg(argument).output().ok()?;
        Self::find_in(&String::from_utf8_lossy(&output.stdout))
    }

    /// The first word of the form `1.2…` or `v1.2…`.
    fn find_in(text: &str) -> Option<Self> {
        text.split_whitespace().find_map(|word| {
            let mut numbers = word.trim_start_matches('v').split('.').map(str::parse);
            match (numbers.next()?, numbers.next()?) {
                (Ok(major), Ok(minor)) => Some(Self { major, minor }),
                _ => None,
            }
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::Version;

    #[test]
    fn the_version_is_found_in_the_output_of_programs() {
        for (printed, version) in [
            ("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", Version::new(15, 18)),
            ("nats-server: v2.15.1", Version::new(2, 15)),
            ("Version:      3.7.15\nCodename:     langres", Version::new(3, 7)),
            ("v20.20.2", Version::new(20, 20)),
            ("pip 23.2.1 from somewhere (python 3.11)", Version::new(23, 2)),
        ] {
            assert_eq!(Version::find_in(printed), Some(version), "{printed}");
        }
        assert_eq!(Version::find_in("command not found"), None);
    }
}
