//! `cargo stack test`

use anyhow::{Result, bail};

use super::{torture, up};
use crate::build_services::{build_services, cargo};
use crate::cli::{self, Part};
use crate::pages;
use crate::prerequisites::Need;
use crate::progress::Progress;
use crate::provision;
use crate::tool::Tool;

mod install;
mod rust;
mod section;

use rust::Effort;
use section::Sections;

/// The same faults in each run. The machine may be slow.
const TORTURE: [&str; 6] = ["--seed", "17", "--minutes", "6", "--heals-within", "60"];

pub fn run(arguments: &cli::Test) -> Result<()> {
    let mut sections = Sections::start();
    if arguments.docker {
        images_and_compose_files(&mut sections);
        // Docker was asked for: a summary that nothing ran would look like a success.
        return if sections.all_ran() { sections.summary() } else { bail!("not run: see above") };
    }
    let effort = if arguments.all || arguments.only.is_some() { Effort::Thorough } else { Effort::Quick };
    let has = |part| arguments.all || arguments.only == Some(part);
    let mut needs = vec![Need::Build];
    for (part, more) in
        [(Part::System, &[Need::System, Need::Bench, Need::Browser][..]), (Part::Browser, &[Need::Browser])]
    {
        needs.extend(more.iter().filter(|_| has(part)));
    }
    if !sections.required("prerequisites", || install::provide(&needs)) {
        return sections.summary();
    }
    if !arguments.arguments.is_empty() {
        sections.run("Rust tests", || rust::selected(effort, &arguments.arguments));
        return sections.summary();
    }
    // The other parts build what they run.
    if (has(Part::System) || has(Part::Browser)) && !sections.required("build", || up::prepare(build_services)) {
        return sections.summary();
    }
    if effort == Effort::Quick || has(Part::Checks) {
        checks(&mut sections, effort);
    }
    if has(Part::System) {
        sections.run("system tests", rust::system_tests);
    }
    if has(Part::Browser) {
        sections.run("pages in a browser", || cargo().args(["run", "--quiet", "--bin", "browser"]).run());
    }
    let tortures = has(Part::Torture) && sections.required("build with fail points", torture::prepare);
    match (tortures, has(Part::Docker)) {
        // Both wait most of the time.
        (true, true) => {
            sections.run_alongside(images_and_compose_files, "torture", || torture::tool(&TORTURE)?.run_quietly());
        }
        (true, false) => sections.run("torture", || torture::tool(&TORTURE)?.run()),
        (false, true) => images_and_compose_files(&mut sections),
        (false, false) => {}
    }
    sections.summary()
}

fn checks(sections: &mut Sections, effort: Effort) {
    sections.run("formatting", || cargo().args(["fmt", "--check"]).run());
    sections.run("lints", || cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]).run());
    sections.run("dependencies", || {
        let deny = provision::checkers(Progress::Shown)?.join("bin/cargo-deny");
        // The build has downloaded what it needs on this machine, and the check reads what any machine needs.
        cargo().args(["fetch", "--locked"]).run()?;
        Tool::new(deny).args(["--offline", "check", "licenses", "bans", "sources"]).run()
    });
    sections.run("Rust tests", || rust::tests(effort));
    sections.run("pages", || {
        pages::install_packages(Progress::Shown)?;
        pages::npm(&["run", "check"]).run()?;
        pages::npm(&["run", "build"]).run()
    });
}

fn images_and_compose_files(sections: &mut Sections) {
    sections.run_where_possible("images, Compose files", || cargo().args(["run", "--quiet", "--bin", "trials"]).code());
}
