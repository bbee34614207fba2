//! The logs of command-api. Its writers take turns: whatever the fault, none of their appends violates a constraint of the log. Without the
//! lock of the head, the primary key would prevent a wrong log, and this is all that remains of the mistake.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::torture::log::wrong;
use crate::torture::memory::Finding;

const SERVICES: [&str; 2] = ["command-api", "command-api-2"];

#[derive(Debug, Default)]
pub struct ServiceLogs {
    /// How many bytes of each have been read.
    read: [u64; SERVICES.len()],
}

impl ServiceLogs {
    /// Reads the new lines. `path` is that of a service's log.
    pub fn read(&mut self, path: impl Fn(&str) -> PathBuf) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        for (service, read) in SERVICES.into_iter().zip(&mut self.read) {
            let new = read_from(&path(service), read)?;
            let refused = new.lines().find(|line| line.contains("append.failed") && line.contains("violates"));
            findings.extend(refused.map(|line| wrong(format!("an append collided: {line}"))));
        }
        Ok(findings)
    }
}

/// The complete lines after an offset, which moves. A log that was rotated begins again.
fn read_from(path: &Path, offset: &mut u64) -> Result<String> {
    let mut file = File::open(path)?;
    if file.metadata()?.len() < *offset {
        *offset = 0;
    }
    file.seek(SeekFrom::Start(*offset))?;
    let mut new = Vec::new();
    file.read_to_end(&mut new)?;
    new.truncate(new.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1));
    *offset += new.len() as u64;
    Ok(String::from_utf8_lossy(&new).into_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn appends_that_collided_are_found_once() {
        const COLLIDED: &str =
            "WARN append.failed duplicate key value violates unique constraint \"event_position_key\"\n";
        let folder = TempDir::new().unwrap();
        let path = |service: &str| folder.path().join(service);
        for service in SERVICES {
            fs::write(path(service), "WARN append.failed: the connection was closed\n").unwrap();
        }
        let mut logs = ServiceLogs::default();
        let mut found = || logs.read(path).unwrap().len();
        assert_eq!(found(), 0);
        let append = |text: &str| {
            let log = fs::read_to_string(path(SERVICES[1])).unwrap();
            fs::write(path(SERVICES[1]), log + text).unwrap();
        };
        append(&COLLIDED[..COLLIDED.len() - 1]);
        assert_eq!(found(), 0, "the line is not complete");
        append("\n");
        assert_eq!(found(), 1);
        assert_eq!(found(), 0);
        // Rotated.
        fs::write(path(SERVICES[1]), COLLIDED).unwrap();
        assert_eq!(found(), 1);
    }
}
