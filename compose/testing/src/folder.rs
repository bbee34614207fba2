//! Folders for the files of test servers, below the target folder.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use stack::checkout;
use stack::identity::ProcessId;
use stack::provision::remove_folder;

/// A new empty folder of this test process. A later test process removes it: Postgres may write to it for a moment after this process has
/// ended.
pub fn new(name: &str) -> PathBuf {
    static OURS: LazyLock<PathBuf> = LazyLock::new(make_ours);
    static COUNT: AtomicUsize = AtomicUsize::new(1);
    let folder = OURS.join(format!("{name}-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
    fs::create_dir(&folder).expect("the target folder is writable");
    folder
}

fn make_ours() -> PathBuf {
    let binaries = checkout::binaries().expect("the path of a test is known");
    let all = binaries.join("stack-tests");
    fs::create_dir_all(&all).expect("the target folder is writable");
    remove_orphans(&all);
    let ours = ProcessId::own().expect("/proc is mounted");
    let folder = all.join(ours.to_string());
    // Private, like the data folder of a stack.
    DirBuilder::new().mode(0o700).create(&folder).expect("the target folder is writable");
    folder
}

fn remove_orphans(all: &Path) {
    let folders = fs::read_dir(all).into_iter().flatten().flatten();
    for folder in folders {
        let owner: Option<ProcessId> = folder.file_name().to_str().and_then(|name| name.parse().ok());
        if owner.is_none_or(|owner| !owner.is_alive()) {
            // Another test process may remove it at the same time. What remains is removed by the next one.
            let _ = remove_folder(&folder.path());
        }
    }
}
