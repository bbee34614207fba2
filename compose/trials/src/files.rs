//! The Compose files, checked by both versions of Compose and by the swarm.

use std::process::Command;

use anyhow::Result;

use crate::engine::Engine;
use stack::checkout;
use stack::progress::Progress;
use stack::tool::Tool;

pub const DEVELOPMENT: &str = "compose/docker-compose.yml";
pub const DEPLOY: &str = "compose/docker-compose-deploy.yml";
// Each of these extends the deploy file.
const SIGN_IN: &str = "compose/docker-compose-oidc.yml";
pub const MONITORING: &str = "compose/docker-compose-monitoring.yml";
pub const HIGH_AVAILABILITY: &str = "compose/docker-compose-ha.yml";
pub const BACKUP: &str = "compose/docker-compose-backup.yml";
/// Extends the monitoring file on machines that cannot pull images: without images that have no package.
pub const PACKAGED: &str = "compose/trials/stand-ins/monitoring.yml";
/// In the order of the guide.
const ALL: [&str; 5] = [DEPLOY, SIGN_IN, MONITORING, HIGH_AVAILABILITY, BACKUP];

pub fn are_accepted(engine: &Engine) -> Result<()> {
    let has_old = Command::new("docker-compose").arg("version").output().is_ok();
    if !has_old {
        Progress::Shown.heading("  docker-compose 1.29 is not installed: not tried");
    }
    for files in [
        &[DEVELOPMENT][..],
        &[DEPLOY],
        &[DEPLOY, SIGN_IN],
        &[DEPLOY, MONITORING],
        &[DEPLOY, HIGH_AVAILABILITY],
        &[DEPLOY, BACKUP],
        &ALL,
    ] {
        let named: Vec<&str> = files.iter().flat_map(|file| ["--file", file]).collect();
        let config = || named.iter().copied().chain(["config", "--quiet"]);
        Progress::Shown.step(files[files.len() - 1], || {
            with_required_variables(engine.docker(["compose"].into_iter().chain(config()))).run_quietly()?;
            if has_old {
                let old = Tool::new("docker-compose").args(config()).in_folder(checkout::root());
                with_required_variables(old).run_quietly()?;
            }
            Ok(())
        })?;
    }
    // Older clients lack this command. They report the same errors on deployment.
    if engine.docker(["stack", "config", "--help"]).output().is_ok_and(|help| help.contains("docker stack config")) {
        let files = ALL.iter().flat_map(|file| ["--compose-file", file]);
        let config = engine.docker(["stack", "config"].into_iter().chain(files));
        Progress::Shown.step("all of them, for a swarm", || with_required_variables(config).run_quietly())?;
    }
    Ok(())
}

fn with_required_variables(tool: Tool) -> Tool {
    tool.env("SALES_HOST", "localhost")
        .env("SALES_TAG", "test")
        .env("SALES_PATRONI_TAG", "test")
        .env("ACME_EMAIL", "nobody@localhost")
        .env("OIDC_ISSUER", "https://issuer.localhost")
        .env("OIDC_CLIENT_ID", "sales")
}
