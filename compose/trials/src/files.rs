//! What everybody who reads the Compose files says of them: both versions of Compose, and the swarm.

use std::process::Command;

use anyhow::Result;

use crate::engine::Engine;
use crate::{project, swarm};
use stack::checkout;
use stack::progress::Progress;
use stack::tool::Tool;

/// Read behind the deploy file.
const SIGN_IN: &str = "compose/docker-compose-oidc.yml";
/// In the order in which the guide names them.
const ALL: [&str; 5] = [swarm::FILE, SIGN_IN, swarm::MONITORING, swarm::HIGH_AVAILABILITY, swarm::BACKUP];

pub fn are_accepted(engine: &Engine) -> Result<()> {
    let has_old = Command::new("docker-compose").arg("version").output().is_ok();
    if !has_old {
        Progress::Shown.heading("  docker-compose 1.29 is not installed here, and was not asked");
    }
    for files in [
        &[project::FILE][..],
        &[swarm::FILE],
        &[swarm::FILE, SIGN_IN],
        &[swarm::FILE, swarm::MONITORING],
        &[swarm::FILE, swarm::HIGH_AVAILABILITY],
        &[swarm::FILE, swarm::BACKUP],
        &ALL,
    ] {
        let named: Vec<&str> = files.iter().flat_map(|file| ["--file", file]).collect();
        let config = || named.iter().copied().chain(["config", "--quiet"]);
        Progress::Shown.step(files[files.len() - 1], || {
            with_what_has_no_default(engine.docker(["compose"].into_iter().chain(config()))).run_quietly()?;
            if has_old {
                let old = Tool::new("docker-compose").args(config()).in_folder(checkout::root());
                with_what_has_no_default(old).run_quietly()?;
            }
            Ok(())
        })?;
    }
    // Older clients have no such command: they say the same when the stack is deployed.
    if engine.docker(["stack", "config", "--help"]).output().is_ok_and(|help| help.contains("docker stack config")) {
        let files = ALL.iter().flat_map(|file| ["--compose-file", file]);
        let config = engine.docker(["stack", "config"].into_iter().chain(files));
        Progress::Shown.step("all of them, for a swarm", || with_what_has_no_default(config).run_quietly())?;
    }
    Ok(())
}

fn with_what_has_no_default(tool: Tool) -> Tool {
    tool.env("SALES_HOST", "localhost")
        .env("SALES_TAG", "test")
        .env("SALES_PATRONI_TAG", "test")
        .env("ACME_EMAIL", "nobody@localhost")
        .env("OIDC_ISSUER", "https://issuer.localhost")
        .env("OIDC_CLIENT_ID", "sales")
}

#[cfg(test)]
mod tests {
    use stack::nats::User;

    #[test]
    fn nats_lets_the_same_users_do_the_same_as_natively() {
        let conf = include_str!("../../nats/nats.conf");
        for user in [User::command_api, User::projector, User::subscriber].map(|user| user(String::new())) {
            let (_, entry) = conf.split_once(&format!("user: \"{}\"", user.name)).expect(user.name);
            let entry = entry.split("user:").next().unwrap();
            assert_eq!(subjects(entry, "publish"), user.publish, "{}", user.name);
            assert_eq!(subjects(entry, "subscribe"), user.subscribe, "{}", user.name);
        }
        assert_eq!(conf.matches("user:").count(), 3);
    }

    /// The strings of a list.
    fn subjects<'a>(entry: &'a str, list: &str) -> Vec<&'a str> {
        let (_, rest) = entry.split_once(&format!("{list}: [")).unwrap();
        let (list, _) = rest.split_once(']').unwrap();
        list.split('"').skip(1).step_by(2).collect()
    }
}
