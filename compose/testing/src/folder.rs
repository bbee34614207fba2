//! Folders for what test servers write, below the target folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use stack::checkout;
use stack::identity::ProcessId;
use stack::provision::remove_folder;

/// A new empty folder of this test process. It goes when a later test process finds this one dead: Postgres may still
/// write to it for a moment after we are gone.
pub fn new(name: &str) -> PathBuf {
    static OURS: LazyLock<PathBuf> = LazyLock::new(make_ours);
    static COUNT: AtomicUsize = AtomicUsize::new(1);
    let folder = OURS.join(format!("{name}-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
    fs::create_dir(&folder).expect("a test may write below the target folder");
    folder
}

fn make_ours() -> PathBuf {
    let binaries = checkout::binaries().expect("a test knows where it lies");
    let all = binaries.join("stack-tests");
    fs::create_dir_all(&all).expect("a test may write below the target folder");
    sweep(&all);
    let ours = ProcessId::own().expect("/proc is mounted");
    let folder = all.join(ours.to_string());
    fs::create_dir(&folder).expect("a test may write below the target folder");
    folder
}

fn sweep(all: &Path) {
    let folders = fs::read_dir(all).into_iter().flatten().flatten();
    for folder in folders {
        let owner: Option<ProcessId> = folder.file_name().to_str().and_then(|name| name.parse().ok());
        if owner.is_none_or(|owner| !owner.is_alive()) {
            // Another test process may be sweeping as well, and the next one sweeps again.
            let _ = remove_folder(&folder.path());
        }
    }
}
