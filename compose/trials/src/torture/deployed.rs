//! A deployment in a swarm of this machine. Proxies lead past Traefik to each replica, to the databases and to the stream.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use stack::interrupt::Interrupt;
use tokio::runtime::Runtime;

use crate::deployment::Deployment;
use crate::files;
use crate::images::Images;
use crate::torture::addresses::{Addresses, Checkpoints, Stores};
use crate::torture::containers::{Containers, Port};
use crate::torture::kinds::SERVICES;
use crate::torture::on::On;
use crate::torture::proxy::{Proxy, Upstream};

/// Services with two replicas.
const TWO: [&str; 2] = ["command-api", "query-api"];
const HTTP: u16 = 8080;
const POSTGRES: u16 = 5432;
const NATS: u16 = 4222;

pub struct Deployed<'a> {
    pub deployment: Deployment<'a>,
    pub containers: Arc<Containers>,
    /// How many containers each service has.
    expected: BTreeMap<String, usize>,
    _proxies: Vec<Proxy>,
}

/// Deploys the files. To be called outside of a runtime.
pub fn start<'a>(
    on: On,
    images: &Images<'a>,
    interrupt: &Interrupt,
    runtime: &Runtime,
) -> Result<(Deployed<'a>, Addresses)> {
    let files: &'static [&'static str] = match on {
        On::HighAvailability => &[files::DEPLOY, files::HIGH_AVAILABILITY],
        On::Native | On::Swarm => &[files::DEPLOY],
    };
    let deployment = Deployment::deploy(images.engine, files, images, interrupt)?;
    if on == On::HighAvailability {
        deployment.until_a_standby_is_synchronous()?;
    }
    let containers = Arc::new(Containers::new(&deployment.name));
    let mut proxies = Vec::new();
    let mut proxy = |ports: &[(&'static str, usize, u16)]| {
        let port = |&(service, slot, number)| Port { containers: Arc::clone(&containers), service, slot, number };
        let upstream = Upstream::Containers(ports.iter().map(port).collect());
        let proxy = runtime.block_on(Proxy::start(upstream))?;
        let address = proxy.address;
        proxies.push(proxy);
        Ok::<_, anyhow::Error>(address)
    };
    let (postgres, nats) = match on {
        On::HighAvailability => (
            proxy(&[("postgres-proxy", 1, POSTGRES), ("postgres-proxy", 2, POSTGRES)])?,
            proxy(&[("nats-1", 1, NATS), ("nats-2", 1, NATS), ("nats-3", 1, NATS)])?,
        ),
        On::Native | On::Swarm => (proxy(&[("postgres", 1, POSTGRES)])?, proxy(&[("nats", 1, NATS)])?),
    };
    let mut replicas = BTreeMap::new();
    for service in SERVICES {
        let count = if TWO.contains(&service) { 2 } else { 1 };
        for slot in 1..=count {
            let address = proxy(&[(service, slot, HTTP)])?;
            replicas.entry(service).or_insert_with(Vec::new).push(format!("http://{address}"));
        }
    }
    let stores = Stores {
        postgres,
        nats,
        admin_password: deployment.secret("postgres_password")?,
        auditor_password: deployment.secret("auditor_db_password")?,
        nats_password: nats_password(&deployment.secret("nats_passwords")?)?,
    };
    // As an address: its name may not resolve on this machine.
    let traefik = format!("https://127.0.0.1:{}", deployment.site.port);
    let token = deployment.site.token.clone();
    let expected = count(&deployment)?;
    let deployed = Deployed { deployment, containers, expected, _proxies: proxies };
    Ok((deployed, Addresses { traefik, token, replicas, stores }))
}

impl Deployed<'_> {
    /// Services without all their containers, and containers that are not healthy.
    pub fn unready(&self) -> Result<Vec<String>> {
        let running = count(&self.deployment)?;
        let is_incomplete = |(service, count): &(&String, &usize)| running.get(*service) < Some(*count);
        let mut unready: Vec<String> =
            self.expected.iter().filter(is_incomplete).map(|(service, _)| service.clone()).collect();
        unready.extend(self.deployment.unhealthy()?);
        Ok(unready)
    }

    /// A copy of the projector's.
    pub fn checkpoints(&self) -> Result<Checkpoints> {
        let secrets = self.deployment.secrets.path();
        let copy = secrets.join("checkpoints.txt");
        let log = format!("{}:/checkpoints/1.txt", self.deployment.container("projector")?);
        self.deployment.engine.docker(["cp", &log, &copy.display().to_string()]).run_quietly()?;
        Ok(Checkpoints { public_key: secrets.join("checkpoint_key.pub"), logs: vec![copy] })
    }
}

/// Running containers of each service, except those that run once.
fn count(deployment: &Deployment) -> Result<BTreeMap<String, usize>> {
    let mut count = BTreeMap::new();
    for (_, service) in deployment.containers()? {
        if !Deployment::ends(&service) {
            *count.entry(service).or_default() += 1;
        }
    }
    Ok(count)
}

fn nats_password(passwords: &str) -> Result<String> {
    let line = passwords.lines().find_map(|line| line.strip_prefix("COMMAND_API: "));
    line.map(|password| password.trim_matches('"').to_owned()).context("command-api has no password for NATS")
}
