//! The deploy file as a stack in a swarm of one node.

use std::fmt::Write;
use std::fs;
use std::process;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

use crate::engine::{Engine, explained};
use crate::images::{Images, SERVICES};
use crate::site::Site;
use crate::swarm::Swarm;
use stack::checkout;
use stack::interrupt::Interrupt;
use stack::ports;
use stack::progress::{Progress, report};
use stack::tool::Tool;

/// A network cannot be created while an old one of the same name exists.
const REMOVED_WITHIN: Duration = Duration::from_mins(1);
/// Services that run once and exit.
const ONE_SHOT: &str = "migrate-";
/// In the password file that `make-secrets` creates.
pub const DASHBOARD_USER: &str = "admin";
/// Has an HTTP client, and is present because the pages are built with it.
const NODE: &str = "node:20-slim";
const POSTGRES: &str = "postgres:18";
/// Sends a request for each method and address, and prints the outcomes as JSON.
const FETCH: &str = "(async () => {
    const seen = [];
    for (const [method, address] of JSON.parse(process.argv[1])) {
        try {
            const headers = { authorization: `Bearer ${process.env.TOKEN}` };
            const answer = await fetch(address, { method, headers, signal: AbortSignal.timeout(5000) });
            seen.push({ outcome: String(answer.status), text: await answer.text() });
        } catch (error) {
            seen.push({ outcome: error.cause?.code ?? error.name, text: String(error.cause) });
        }
    }
    console.log(JSON.stringify(seen));
})()";

/// The status of an answer, or the reason why there was none.
#[derive(Debug, Deserialize)]
pub struct Seen {
    pub outcome: String,
    pub text: String,
}

pub struct Deployment<'a> {
    pub engine: &'a Engine,
    /// The deploy file, and files that extend it.
    files: &'static [&'static str],
    pub name: String,
    pub secrets: TempDir,
    pub dashboard_password: String,
    pub http_port: u16,
    pub site: Site,
    _swarm: Swarm<'a>,
}

impl<'a> Deployment<'a> {
    /// Deploys the files, and waits until all addresses answer.
    pub fn deploy(
        engine: &'a Engine,
        files: &'static [&'static str],
        images: &Images,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let swarm = Swarm::join(engine)?;
        let secrets = TempDir::new()?;
        let make_secrets = || {
            Tool::new(checkout::root().join("compose/make-secrets"))
                .env("SALES_TAG", &images.tag)
                .env("SALES_SECRETS_FOLDER", secrets.path())
        };
        let output = make_secrets().output()?;
        let after = |start: &str| -> Result<String> {
            let line = output.lines().find(|line| line.starts_with(start));
            let word = line.and_then(|line| line.rsplit(' ').next());
            word.map(str::to_owned).with_context(|| format!("make-secrets prints no {start}"))
        };
        let (http_port, port) = (ports::free()?.port(), ports::free()?.port());
        // Added later, as an operator does it. The first tokens stay valid.
        let roles = ["operator", "sales", "auditor"].into_iter().flat_map(|role| ["--role", role]);
        let token = make_secrets().args(["token", "--subject", "admin"]).args(roles).output()?;
        let mut site = Site::new("https", port, Some(token.trim().to_owned()), interrupt)?;
        site.auditor = Some(after("access token of auditor")?);
        let stack = Self {
            engine,
            files,
            name: format!("sales-test-{}", process::id()),
            secrets,
            dashboard_password: after("dashboard")?,
            http_port,
            site,
            _swarm: swarm,
        };
        let sells = Progress::Shown.step("first start", || {
            stack.bring_up(&images.tag)?;
            stack.until_available()?;
            stack.encrypts_its_networks()
        });
        explained(sells, || stack.log())?;
        Ok(stack)
    }

    /// Deploys a version; the swarm changes only what differs.
    pub fn bring_up(&self, tag: &str) -> Result<()> {
        self.engine
            .docker(
                ["stack", "deploy", "--resolve-image=never"]
                    .into_iter()
                    .chain(self.files.iter().flat_map(|file| ["--compose-file", file]))
                    .chain([&*self.name]),
            )
            .env("SALES_TAG", tag)
            .env("SALES_PATRONI_TAG", tag)
            .env("SALES_STACK", &self.name)
            .env("SALES_SECRETS_FOLDER", self.secrets.path())
            .env("SALES_HOST", "localhost")
            .env("ACME_EMAIL", "nobody@localhost")
            // No server listens there: Traefik keeps its self-signed certificate.
            .env("ACME_SERVER", "https://localhost:1/directory")
            .env("HTTP_PORT", self.http_port.to_string())
            .env("HTTPS_PORT", self.site.port.to_string())
            .env("POSTGRES_SHARED_BUFFERS", "128MB")
            // All clients of the trials share one address.
            .env("SALES_RATE", "100000")
            .env("SALES_BURST", "100000")
            .run_quietly()
    }

    pub fn until_available(&self) -> Result<()> {
        self.site.until("all replicas run", || self.is_complete())?;
        self.site.until("every address answers", || self.site.has_all_addresses().map(|()| true))
    }

    /// Every network of the stack encrypts what its nodes send to each other.
    fn encrypts_its_networks(&self) -> Result<()> {
        let ids = self.engine.output(["network", "ls", "--quiet", "--filter", &self.filter()])?;
        let inspect = ["network", "inspect", "--format", "{{.Name}} {{.Driver}} {{json .Options}}"];
        let networks = self.engine.output(inspect.into_iter().chain(ids.lines()))?;
        for network in networks.lines() {
            ensure!(network.contains(" overlay {") && network.contains("\"encrypted\""), "not encrypted: {network}");
        }
        Ok(())
    }

    /// Whether each service has all its replicas.
    pub fn is_complete(&self) -> Result<bool> {
        let services = self.service_list("{{.Name}} {{.Replicas}}")?;
        let mut running = services.lines().filter(|line| !line.contains(ONE_SHOT));
        Ok(services.lines().count() > SERVICES.len()
            && running.all(|line| {
                let replicas = line.split(' ').nth(1).and_then(|replicas| replicas.split_once('/'));
                replicas.is_some_and(|(running, wanted)| running == wanted)
            }))
    }

    fn filter(&self) -> String {
        format!("label=com.docker.stack.namespace={}", self.name)
    }

    fn service_list(&self, format: &str) -> Result<String> {
        let filter = self.filter();
        self.engine.output(["service", "ls", "--filter", &filter, "--format", format])
    }

    /// Ids and services of the running containers.
    pub fn containers(&self) -> Result<Vec<(String, String)>> {
        let filter = self.filter();
        let format = "{{.ID}} {{.Label \"com.docker.swarm.service.name\"}}";
        let list = self.engine.output(["ps", "--filter", &filter, "--format", format])?;
        let prefix = format!("{}_", self.name);
        let parse = |line: &str| {
            let (id, service) = line.split_once(' ')?;
            Some((id.to_owned(), service.strip_prefix(&prefix)?.to_owned()))
        };
        Ok(list.lines().filter_map(parse).collect())
    }

    pub fn container(&self, service: &str) -> Result<String> {
        let found = self.containers()?.into_iter().find(|(_, of)| of == service);
        Ok(found.with_context(|| format!("{service} runs"))?.0)
    }

    /// Runs a command in the container of a service, and returns its output.
    pub fn exec(&self, service: &str, command: &[&str]) -> Result<String> {
        let container = self.container(service)?;
        self.engine.output(["exec", &container].iter().chain(command))
    }

    /// Runs a script on a volume in the image of Postgres, as an operator repairs data, and returns its output.
    pub fn run_on_volume(&self, volume: &str, user: &str, script: &str) -> Result<String> {
        let mount = format!("--volume={}_{volume}:/{volume}", self.name);
        let user = format!("--user={user}");
        self.engine.output(["run", "--rm", "--network=none", &mount, &user, POSTGRES, "sh", "-ec", script])
    }

    /// Sends requests from the network of Traefik, and returns the outcomes.
    pub fn seen_by_traefik(&self, requests: &[(&str, String)]) -> Result<Vec<Seen>> {
        let network = format!("--network=container:{}", self.container("traefik")?);
        let token = format!("--env=TOKEN={}", self.site.token.as_deref().unwrap_or_default());
        let output = self.engine.output([
            "run",
            "--rm",
            &network,
            &token,
            NODE,
            "node",
            "-e",
            FETCH,
            &serde_json::to_string(requests)?,
        ])?;
        Ok(serde_json::from_str(&output)?)
    }

    pub fn routers(&self) -> Result<Value> {
        let routers = self.site.http.get(self.site.url("traefik.localhost", "/api/http/routers"));
        self.site.send(routers.basic_auth(DASHBOARD_USER, Some(&self.dashboard_password)))?.json()
    }

    pub fn scale(&self, service: &str, replicas: usize) -> Result<()> {
        self.set_replicas(service, replicas)?;
        self.site.until("all replicas run", || self.is_complete())
    }

    pub fn set_replicas(&self, service: &str, replicas: usize) -> Result<()> {
        self.scaling(service, replicas).run_quietly()
    }

    /// The command that sets the replicas of a service.
    pub fn scaling(&self, service: &str, replicas: usize) -> Tool {
        let service = format!("{}_{service}={replicas}", self.name);
        self.engine.docker(["service", "scale", "--detach", &service])
    }

    /// How many replicas a service should have.
    pub fn replicas(&self, service: &str) -> Result<usize> {
        let service = format!("{}_{service}", self.name);
        let replicas =
            self.engine.output(["service", "inspect", "--format", "{{.Spec.Mode.Replicated.Replicas}}", &service])?;
        Ok(replicas.parse()?)
    }

    /// The addresses of a network.
    pub fn subnet(&self, network: &str) -> Result<String> {
        let network = format!("{}_{network}", self.name);
        self.engine.output(["network", "inspect", "--format", "{{range .IPAM.Config}}{{.Subnet}}{{end}}", &network])
    }

    pub fn stop_all(&self, service: &str) -> Result<()> {
        self.set_replicas(service, 0)?;
        self.site.until(&format!("no {service} runs"), || {
            Ok(self.is_complete()? && self.containers()?.iter().all(|(_, of)| of != service))
        })
    }

    /// Kills a container, and waits until another one has replaced it.
    pub fn kill(&self, id: &str, service: &str) -> Result<()> {
        let count = |containers: &[(String, String)]| containers.iter().filter(|(_, of)| of == service).count();
        let before = count(&self.containers()?);
        self.engine.docker(["kill", "--signal=KILL", id]).run_quietly()?;
        self.site.until("another container replaces it", || {
            let containers = self.containers()?;
            let is_gone = containers.iter().all(|(other, _)| other != id);
            Ok(is_gone && count(&containers) == before && self.is_healthy()? && self.is_complete()?)
        })
    }

    pub fn is_healthy(&self) -> Result<bool> {
        Ok(self.unhealthy()?.is_empty())
    }

    /// Containers that are not healthy, with their states.
    pub fn unhealthy(&self) -> Result<Vec<String>> {
        let filter = self.filter();
        let states = self.engine.output(["ps", "--filter", &filter, "--format", "{{.Names}}: {{.Status}}"])?;
        let is_unhealthy = |state: &&str| state.contains("(unhealthy)") || state.contains("starting)");
        Ok(states.lines().filter(is_unhealthy).map(str::to_owned).collect())
    }

    /// Whether a service runs once and ends.
    pub fn ends(service: &str) -> bool {
        service.starts_with(ONE_SHOT)
    }

    /// A file of the folder that `make-secrets` has created.
    pub fn secret(&self, name: &str) -> Result<String> {
        fs::read_to_string(self.secrets.path().join(name)).with_context(|| format!("the secret {name}"))
    }

    /// The last log lines of each service, and the tasks with their errors: a short log may lack the first cause.
    pub fn log(&self) -> String {
        let mut log = String::new();
        for name in self.service_list("{{.Name}}").unwrap_or_default().lines() {
            let lines = self.engine.docker(["service", "logs", "--raw", "--tail=10", name]).everything();
            let _ = writeln!(log, "\n== {name}\n{lines}");
        }
        let _ = writeln!(log, "\n== the engine\n{}\n\n== the tasks", self.engine.warnings());
        let format = "{{.Name}} {{.Image}}: should be {{.DesiredState}}, is {{.CurrentState}} {{.Error}}";
        log + &self.engine.docker(["stack", "ps", "--no-trunc", "--format", format, &self.name]).everything()
    }

    fn remove(&self) -> Result<()> {
        self.engine.docker(["stack", "rm", &self.name]).run_quietly()?;
        let filter = self.filter();
        let started = Instant::now();
        let left = |arguments: &[&str]| -> Result<String> {
            self.engine.output(arguments.iter().copied().chain(["--quiet", "--filter", &filter]))
        };
        while !left(&["ps", "--all"])?.is_empty() || !left(&["network", "ls"])?.is_empty() {
            ensure!(
                started.elapsed() < REMOVED_WITHIN,
                "the stack {} is not removed within {REMOVED_WITHIN:?}",
                self.name
            );
            std::thread::sleep(Duration::from_millis(200));
        }
        let volumes = left(&["volume", "ls"])?;
        self.engine.docker(["volume", "rm", "--force"].into_iter().chain(volumes.lines())).run_quietly()
    }
}

impl Drop for Deployment<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            report(format_args!("cannot remove the stack {}: {error:#}", self.name));
        }
    }
}
