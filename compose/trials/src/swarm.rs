//! A swarm of this node alone.

use anyhow::Result;

use crate::engine::Engine;
use stack::progress::report;

/// Node labels that the Compose files require.
const LABELS: [&str; 6] = ["sales.data", "sales.monitoring", "sales.backup", "sales.ha-1", "sales.ha-2", "sales.ha-3"];

/// The swarm of this node, created if there is none.
pub struct Swarm<'a> {
    engine: &'a Engine,
    is_created: bool,
    /// Labels added to the node.
    added: Vec<&'static str>,
}

impl<'a> Swarm<'a> {
    pub fn join(engine: &'a Engine) -> Result<Self> {
        let is_created = engine.output(["info", "--format", "{{.Swarm.LocalNodeState}}"])? == "inactive";
        if is_created {
            let init = ["swarm", "init", "--advertise-addr=127.0.0.1", "--listen-addr=127.0.0.1:2377"];
            engine.docker(init).run_quietly()?;
        }
        let known = engine.output(["node", "inspect", "self", "--format", "{{json .Spec.Labels}}"])?;
        let added = LABELS.into_iter().filter(|label| !known.contains(&format!("\"{label}\""))).collect();
        let swarm = Self { engine, is_created, added };
        for label in &swarm.added {
            swarm.label(label, true)?;
        }
        Ok(swarm)
    }

    fn label(&self, label: &str, added: bool) -> Result<()> {
        let change = if added { format!("--label-add={label}=true") } else { format!("--label-rm={label}") };
        let node = self.engine.output(["info", "--format", "{{.Swarm.NodeID}}"])?;
        self.engine.docker(["node", "update", &change, &node]).run_quietly()
    }
}

impl Drop for Swarm<'_> {
    fn drop(&mut self) {
        // Another stack may use the swarm.
        if !self.engine.output(["service", "ls", "--quiet"]).is_ok_and(|services| services.is_empty()) {
            return;
        }
        let left = if self.is_created {
            self.engine.docker(["swarm", "leave", "--force"]).run_quietly()
        } else {
            self.added.iter().try_for_each(|label| self.label(label, false))
        };
        if let Err(error) = left {
            report(format_args!("cannot leave the swarm: {error:#}"));
        }
    }
}
