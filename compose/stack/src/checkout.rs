//! Where things are: the checkout that this program was built from, and what cargo built in it.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// The folder with the workspace's Cargo.toml.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .and_then(Path::parent)
        .expect("the crate lies two folders below the workspace")
}

/// Everything that `cargo stack` makes and git ignores.
pub fn stack_folder() -> PathBuf {
    root().join(".stack")
}

/// Waits until no other process does what `name` says, on this checkout, and keeps others from it as long as the file
/// lives.
pub fn lock(name: &str) -> Result<File> {
    let folder = stack_folder();
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let file = File::create(folder.join(format!("{name}.lock")))?;
    file.lock()?;
    Ok(file)
}

/// The folder of the binaries that were built together with this one, or with this test.
pub fn binaries() -> Result<PathBuf> {
    let executable = env::current_exe()?;
    let folder = executable.parent().context("an executable lies in a folder")?;
    // Tests and benches lie one folder deeper than the binaries.
    let folder = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
    Ok(folder.to_owned())
}

/// A binary of this workspace.
pub fn binary(name: &str) -> Result<PathBuf> {
    let path = binaries()?.join(name);
    ensure!(
        path.is_file(),
        "{} is not built yet; build it with: cargo build --release --package {name}",
        path.display()
    );
    Ok(path)
}

/// An example of this workspace: a program that is built like a binary but never shipped.
pub fn example(name: &str) -> Result<PathBuf> {
    let path = binaries()?.join("examples").join(name);
    ensure!(
        path.is_file(),
        "{} is not built yet; build it with: cargo build --release --workspace --example {name}",
        path.display()
    );
    Ok(path)
}
