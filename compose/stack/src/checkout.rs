//! Paths: the checkout that this program was built from, and the programs that cargo built in it.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::fresh::{self, Kind};

/// The folder with the workspace's Cargo.toml.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .and_then(Path::parent)
        .expect("the crate lies two folders below the workspace")
}

/// All files that `cargo stack` creates. Git ignores it.
pub fn stack_folder() -> PathBuf {
    root().join(".stack")
}

/// Takes an exclusive lock of the checkout; dropping the file releases it.
pub fn lock(name: &str) -> Result<File> {
    let folder = stack_folder();
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let file = File::create(folder.join(format!("{name}.lock")))?;
    file.lock()?;
    Ok(file)
}

/// The folder of the binaries that were built with this program or test.
pub fn binaries() -> Result<PathBuf> {
    let executable = env::current_exe()?;
    let folder = executable.parent().context("an executable lies in a folder")?;
    // Tests lie one folder deeper than the binaries.
    let folder = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
    Ok(folder.to_owned())
}

/// A binary of this workspace. A test gets one that is not older than its sources.
pub fn binary(name: &str) -> Result<PathBuf> {
    program(Kind::Binary, name, &binaries()?.join(name))
}

/// An example of this workspace.
pub fn example(name: &str) -> Result<PathBuf> {
    program(Kind::Example, name, &binaries()?.join("examples").join(name))
}

fn program(kind: Kind, name: &str, path: &Path) -> Result<PathBuf> {
    if fresh::is_test() {
        return Ok(fresh::program(root(), kind, name)?);
    }
    ensure!(
        path.is_file(),
        "{} is not built; build it with: cargo build --workspace --profile {}",
        path.display(),
        profile()?
    );
    Ok(path.to_owned())
}

/// The profile that this program was built in, for cargo.
pub fn profile() -> Result<String> {
    let folder = binaries()?;
    let name = folder.file_name().context("the folder of a profile has a name")?.to_string_lossy().into_owned();
    Ok(if name == "debug" { "dev".to_owned() } else { name })
}
