//! `cargo stack bench`

use anyhow::Result;

use super::up;
use crate::bench;
use crate::bench::settings::{Arguments, Settings};
use crate::build_services::build_baselines;
use crate::interrupt::Interrupt;
use crate::open_files;
use crate::prerequisites;
use crate::progress::Progress;

pub fn run(arguments: &Arguments) -> Result<()> {
    prerequisites::check_for_benches()?;
    up::prepare()?;
    Progress::Shown.step("baselines", build_baselines)?;
    open_files::allow(bench::OPEN_FILES)?;
    bench::run(&arguments.folder, Settings::from(arguments), &Interrupt::listen()?)
}
