//! Faults of containers, and of the networks inside of them.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use stack::tool::Tool;
use tokio::task::{block_in_place, spawn_blocking};
use tokio::time::sleep;

use crate::high_availability::POSTGRES_NODES;
use crate::torture::containers::Container;
use crate::torture::deployed::Deployed;
use crate::torture::journal::Journal;
use crate::torture::kinds::Action;
use crate::torture::lasting::Lasting;
use crate::torture::plan::index;
use crate::torture::system::System;

const NATS_NODES: [&str; 3] = ["nats-1", "nats-2", "nats-3"];
const ETCD_NODES: [&str; 3] = ["etcd-1", "etcd-2", "etcd-3"];
const KILL: &str = "--signal=KILL";
/// Losses and partitions last so many times as long as other faults: failover takes half a minute.
const LONGER: u32 = 8;

/// Where faults happen.
pub struct Target<'a> {
    pub system: &'a System<'a>,
    pub deployed: &'a Deployed<'a>,
    pub journal: &'a Journal,
    /// Selects the container.
    pub pick: u64,
}

pub async fn act(target: &Target<'_>, action: Action, lasts: &Lasting<'_>) -> Result<()> {
    let deployment = &target.deployed.deployment;
    match action {
        Action::Kill(role) => run(deployment.engine.docker(["kill", KILL, &target.one(role).await?.id])).await?,
        // Waits for as long as the service may take.
        Action::Stop(role) => run(deployment.engine.docker(["stop", &target.one(role).await?.id])).await?,
        Action::KillAll(role) => {
            let containers = target.deployed.containers.of(&[role]).await?;
            let ids = containers.iter().map(|container| &*container.id);
            run(deployment.engine.docker(["kill", KILL].into_iter().chain(ids))).await?;
        }
        Action::Freeze(role) => {
            let id = target.one(role).await?.id;
            let undo = Undo::new([deployment.engine.docker(["unpause", &id])]);
            run(deployment.engine.docker(["pause", &id])).await?;
            lasts.pass().await;
            block_in_place(|| drop(undo));
        }
        Action::Partition(role, network) => {
            let subnet = network.map(|network| block_in_place(|| deployment.subnet(network))).transpose()?;
            partition(&target.one(role).await?, subnet.as_deref(), lasts.least * LONGER).await?;
        }
        Action::Lose(role) => {
            let Container { id, service, .. } = target.one(role).await?;
            // Another loss may have set it to zero.
            let replicas = block_in_place(|| deployment.replicas(&service))?.max(1);
            run(deployment.engine.docker(["kill", KILL, &id])).await?;
            let undo = Undo::new([deployment.scaling(&service, replicas)]);
            run(deployment.scaling(&service, 0)).await?;
            sleep(lasts.least * LONGER).await;
            block_in_place(|| drop(undo));
        }
        _ => bail!("no fault of a container"),
    }
    Ok(())
}

impl Target<'_> {
    /// A container of a service, or of a node of a cluster by what it is now.
    async fn one(&self, role: &str) -> Result<Container> {
        let primary = || block_in_place(|| self.deployed.deployment.primary());
        let services = match role {
            "postgres-primary" => vec![primary()?],
            "postgres-standby" => without(POSTGRES_NODES, primary()?),
            "nats-leader" => vec![leader(self.system).await?],
            "nats-follower" => without(NATS_NODES, leader(self.system).await?),
            "etcd" => ETCD_NODES.into(),
            service => vec![service],
        };
        let containers = self.deployed.containers.of(&services).await?;
        let found = containers.get(index(self.pick, containers.len()));
        let found = found.with_context(|| format!("no {role} is running"))?;
        self.journal.event(format!("{role} is {found}"))?;
        Ok(found.clone())
    }
}

fn without(nodes: [&'static str; 3], node: &str) -> Vec<&'static str> {
    nodes.into_iter().filter(|other| *other != node).collect()
}

/// The node that leads the stream.
async fn leader(system: &System<'_>) -> Result<&'static str> {
    let leader = system.stream().await?.get_info().await?.cluster.and_then(|cluster| cluster.leader);
    let is_leader = |node: &&str| leader.as_deref() == Some(*node);
    NATS_NODES.into_iter().find(is_leader).context("the stream has no leader")
}

async fn run(tool: Tool) -> Result<()> {
    spawn_blocking(move || tool.run_quietly()).await?
}

/// Drops all packets of a container on one network or on all, and none on its loopback. By rules in its own network, since the engine
/// cannot connect a task of a swarm to a network again.
async fn partition(container: &Container, subnet: Option<&str>, lasts: Duration) -> Result<()> {
    let rule = |change: &str, chain: &str| {
        let (interface, address) = match chain {
            "INPUT" => ("--in-interface", "--source"),
            _ => ("--out-interface", "--destination"),
        };
        let enter = format!("--net=/proc/{}/ns/net", container.pid);
        let tool = Tool::new("nsenter").args([&*enter, "iptables", "--wait", change, chain, "!", interface, "lo"]);
        let tool = subnet.into_iter().fold(tool, |tool, subnet| tool.args([address, subnet]));
        tool.args(["--jump", "DROP"])
    };
    let undo = Undo::new(["INPUT", "OUTPUT"].map(|chain| rule("--delete", chain)));
    for chain in ["INPUT", "OUTPUT"] {
        run(rule("--insert", chain)).await?;
    }
    sleep(lasts).await;
    block_in_place(|| drop(undo));
    Ok(())
}

/// Runs commands when it is dropped, also if the run is interrupted.
struct Undo(Vec<Tool>);

impl Undo {
    fn new(commands: impl Into<Vec<Tool>>) -> Self {
        Self(commands.into())
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        for command in self.0.drain(..) {
            // The container may have been replaced, and with it everything that had to be undone.
            let _ = command.run_quietly();
        }
    }
}
