//! Keeps the logs of running processes from filling the disk.

use std::time::{Duration, Instant};

use crate::data_folder::DataFolder;

const INTERVAL: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub struct LogRotation {
    folder: DataFolder,
    next_at: Instant,
    failure: Option<String>,
}

impl LogRotation {
    pub fn new(folder: DataFolder) -> Self {
        Self { folder, next_at: Instant::now(), failure: None }
    }

    /// Rotates large logs if the interval is over. Returns a failure, unless it is that of the previous attempt.
    pub fn run(&mut self, now: Instant) -> Option<String> {
        if now < self.next_at {
            return None;
        }
        self.next_at = now + INTERVAL;
        let failure = self.folder.rotate_large_logs().err().map(|error| error.to_string());
        let changed = failure != self.failure;
        self.failure.clone_from(&failure);
        failure.filter(|_| changed)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn logs_are_rotated_at_intervals_and_a_lasting_failure_is_reported_once() {
        let folder = TempDir::new().unwrap();
        let mut rotation = LogRotation::new(DataFolder::open(folder.path()).unwrap());
        let start = Instant::now();
        let mut fails = |after: Duration| rotation.run(start + after).is_some();
        let logs = folder.path().join("logs");
        assert!(fails(Duration::ZERO), "there is no folder of logs");
        assert!(!fails(INTERVAL), "reported already");
        fs::create_dir(&logs).unwrap();
        assert!(!fails(2 * INTERVAL));
        fs::remove_dir(&logs).unwrap();
        assert!(!fails(2 * INTERVAL + INTERVAL / 2), "not due");
        assert!(fails(3 * INTERVAL), "it fails again");
    }
}
