//! Runs programs to their end: cargo, npm, pip. Like the servers, they cannot outlive this process.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;

use crate::launch::tied_to_parent;

#[derive(Debug)]
#[must_use]
pub struct Tool {
    command: Command,
    /// The command line, for messages.
    line: String,
}

impl Tool {
    pub fn new(program: impl AsRef<Path>) -> Self {
        let program = program.as_ref();
        let mut command = tied_to_parent(None, Signal::SIGTERM);
        command.arg(program);
        Self { command, line: program.file_name().unwrap_or_default().display().to_string() }
    }

    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        let argument = argument.as_ref();
        self.line = format!("{} {}", self.line, argument.display());
        self.command.arg(argument);
        self
    }

    pub fn args<A: AsRef<OsStr>>(self, arguments: impl IntoIterator<Item = A>) -> Self {
        arguments.into_iter().fold(self, Self::arg)
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn in_folder(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    pub fn line(&self) -> &str {
        &self.line
    }

    /// Returns its standard output.
    pub fn output(mut self) -> Result<String> {
        let output = self.command.output().with_context(|| format!("cannot run {}", self.line))?;
        ensure!(
            output.status.success(),
            "`{}` ended with {}:\n{}",
            self.line,
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Returns its standard output and standard error, or why it cannot run.
    pub fn everything(mut self) -> String {
        match self.command.output() {
            Ok(output) => {
                [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat()
            }
            Err(error) => error.to_string(),
        }
    }

    /// Returns its exit code. It inherits the output streams.
    pub fn code(mut self) -> Result<i32> {
        let status = self.command.status().with_context(|| format!("cannot run {}", self.line))?;
        status.code().with_context(|| format!("`{}` ended with {status}", self.line))
    }

    /// It inherits the output streams.
    pub fn run(mut self) -> Result<()> {
        let status = self.command.status().with_context(|| format!("cannot run {}", self.line))?;
        ensure!(status.success(), "`{}` ended with {status}", self.line);
        Ok(())
    }

    /// Its output is shown only if it fails.
    pub fn run_quietly(mut self) -> Result<()> {
        let output = self.command.output().with_context(|| format!("cannot run {}", self.line))?;
        if output.status.success() {
            return Ok(());
        }
        bail!(
            "`{}` ended with {}:\n{}{}",
            self.line,
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        )
    }
}
