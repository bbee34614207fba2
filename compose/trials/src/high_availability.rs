//! The loss of a primary among three nodes of Postgres.

use anyhow::{Context, Result, ensure};

use crate::deployment::Deployment;

pub const POSTGRES_NODES: [&str; 3] = ["postgres-1", "postgres-2", "postgres-3"];

impl Deployment<'_> {
    /// Waits for a synchronous standby. Without one, Patroni promotes no node.
    pub fn until_a_standby_is_synchronous(&self) -> Result<()> {
        const QUERY: &str =
            "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8008/synchronous', timeout=2)";
        self.site.until("a synchronous standby", || {
            for node in POSTGRES_NODES {
                if self.exec(node, &["python3", "-c", QUERY]).is_ok() {
                    return Ok(true);
                }
            }
            Ok(false)
        })
    }

    /// `patronictl` works on any node with the credentials of the node. Patroni refuses commands without them.
    pub fn patronictl_works(&self) -> Result<()> {
        const COMMAND: &str =
            "from urllib.request import *; urlopen(Request('http://127.0.0.1:8008/reload', method='POST'))";
        let list = self.exec(POSTGRES_NODES[0], &["patronictl", "list"])?;
        ensure!(list.contains("Leader") && list.contains("Sync Standby"), "patronictl sees no cluster: {list}");
        let reloaded = self.exec(POSTGRES_NODES[0], &["patronictl", "reload", "--force", "sales"])?;
        ensure!(reloaded.contains("postgres-3") && !reloaded.contains("Failed"), "patronictl reload fails: {reloaded}");
        let refused = self.exec(POSTGRES_NODES[0], &["python3", "-c", COMMAND]).err().map(|error| error.to_string());
        ensure!(refused.is_some_and(|why| why.contains("401")), "Patroni accepts commands without credentials");
        Ok(())
    }

    /// The node of Postgres that is the primary. One that does not answer is not.
    pub fn primary(&self) -> Result<&'static str> {
        const QUERY: [&str; 5] =
            ["psql", "--username=postgres", "--no-align", "--tuples-only", "--command=select pg_is_in_recovery()"];
        let is_primary = |node: &&str| self.exec(node, &QUERY).is_ok_and(|answer| answer == "f");
        POSTGRES_NODES.into_iter().find(is_primary).context("no node of Postgres is the primary")
    }

    /// Kills the primary of Postgres and does not restart it. Returns its name.
    pub fn lose_the_primary(&self) -> Result<&'static str> {
        let node = self.primary()?;
        self.engine.docker(["kill", "--signal=KILL", &self.container(node)?]).run_quietly()?;
        self.set_replicas(node, 0)?;
        Ok(node)
    }

    /// Starts the lost node again, and waits until all nodes are healthy.
    pub fn restore_node(&self, node: &str) -> Result<()> {
        self.set_replicas(node, 1)?;
        self.site.until("all nodes are healthy", || Ok(self.is_complete()? && self.is_healthy()?))
    }
}
