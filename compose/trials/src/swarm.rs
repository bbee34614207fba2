//! The deploy file as a stack of a swarm of one node, which is made for it and ended afterwards.

use std::fmt::Write;
use std::process;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

use crate::engine::Engine;
use crate::explained;
use crate::images::{Images, OURS};
use crate::site::Site;
use stack::checkout;
use stack::interrupt::Interrupt;
use stack::ports;
use stack::progress::Progress;
use stack::tool::Tool;

pub const FILE: &str = "compose/docker-compose-deploy.yml";
/// On top of it.
pub const MONITORING: &str = "compose/docker-compose-monitoring.yml";
pub const HIGH_AVAILABILITY: &str = "compose/docker-compose-ha.yml";
pub const BACKUP: &str = "compose/docker-compose-backup.yml";
/// On top of monitoring, where images cannot be pulled: without what nobody packages.
pub const PACKAGED: &str = "compose/trials/stand-ins/monitoring.yml";
const POSTGRES_NODES: [&str; 3] = ["postgres-1", "postgres-2", "postgres-3"];
/// Before a stack's networks are gone, none of the same name can be made.
const GONE_WITHIN: Duration = Duration::from_mins(1);
/// What runs once and ends.
const STEPS: &str = "migrate-";
/// Of the password file that `make-secrets` makes.
const DASHBOARD_USER: &str = "admin";
/// Has a client for HTTP, and is there already, as the pages are built with it.
const NODE: &str = "node:20-slim";
const POSTGRES: &str = "postgres:18";
/// Asks for each method and address in turn, and prints what comes of it.
const ASK: &str = "(async () => {
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

/// An answer's status, or why there was none.
#[derive(Debug, Deserialize)]
pub struct Seen {
    pub outcome: String,
    pub text: String,
}

pub struct Stack<'a> {
    engine: &'a Engine,
    /// The deploy file, and what is put on top of it.
    files: &'static [&'static str],
    name: String,
    secrets: TempDir,
    dashboard_password: String,
    http_port: u16,
    pub site: Site,
    _swarm: Swarm<'a>,
}

impl<'a> Stack<'a> {
    /// Deploys it, and waits until it sells.
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
        let said = make_secrets().output()?;
        let after = |start: &str| -> Result<String> {
            let line = said.lines().find(|line| line.starts_with(start));
            let word = line.and_then(|line| line.rsplit(' ').next());
            word.map(str::to_owned).with_context(|| format!("make-secrets says nothing of {start}"))
        };
        let (http_port, port) = (ports::free()?.port(), ports::free()?.port());
        // A token that was added later, beside those that were made first.
        let operator =
            make_secrets().args(["token", "--subject", "admin", "--role", "operator", "--role", "sales"]).output()?;
        let mut site = Site::new("https", port, Some(operator.trim().to_owned()), interrupt)?;
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
        let sells = Progress::Shown.step("the stack from nothing", || {
            stack.bring_up(&images.tag)?;
            stack.until_it_sells()
        });
        explained(sells, || stack.log())?;
        Ok(stack)
    }

    /// Deploys a version; the swarm makes of it what is different.
    fn bring_up(&self, tag: &str) -> Result<()> {
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
            // Nobody answers there, so that Traefik goes on with a certificate of its own.
            .env("ACME_SERVER", "https://localhost:1/directory")
            .env("HTTP_PORT", self.http_port.to_string())
            .env("HTTPS_PORT", self.site.port.to_string())
            .env("POSTGRES_SHARED_BUFFERS", "128MB")
            // All customers of the tests come from one address.
            .env("SALES_RATE", "100000")
            .env("SALES_BURST", "100000")
            .run_quietly()
    }

    fn until_it_sells(&self) -> Result<()> {
        self.site.until("all replicas run", || self.is_complete())?;
        self.site.until("every address answers", || self.site.has_all_addresses().map(|()| true))
    }

    /// Whether as many tasks run as should.
    fn is_complete(&self) -> Result<bool> {
        let services = self.service_list("{{.Name}} {{.Replicas}}")?;
        let mut running = services.lines().filter(|line| !line.contains(STEPS));
        Ok(services.lines().count() > OURS.len()
            && running.all(|line| {
                let replicas = line.split(' ').nth(1).and_then(|replicas| replicas.split_once('/'));
                replicas.is_some_and(|(running, wanted)| running == wanted)
            }))
    }

    fn service_list(&self, format: &str) -> Result<String> {
        let filter = format!("label=com.docker.stack.namespace={}", self.name);
        self.engine.says(["service", "ls", "--filter", &filter, "--format", format])
    }

    /// Ids and services of the containers that run.
    pub fn containers(&self) -> Result<Vec<(String, String)>> {
        let filter = format!("label=com.docker.stack.namespace={}", self.name);
        let format = "{{.ID}} {{.Label \"com.docker.swarm.service.name\"}}";
        let list = self.engine.says(["ps", "--filter", &filter, "--format", format])?;
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

    /// What a command prints that runs in the container of a service.
    pub fn exec(&self, service: &str, command: &[&str]) -> Result<String> {
        let container = self.container(service)?;
        self.engine.says(["exec", &container].iter().chain(command))
    }

    /// What a command prints that runs in Postgres' image, as an operator repairs what is in a volume.
    pub fn run_on_volume(&self, volume: &str, user: &str, script: &str) -> Result<String> {
        let mount = format!("--volume={}_{volume}:/{volume}", self.name);
        let user = format!("--user={user}");
        self.engine.says(["run", "--rm", "--network=none", &mount, &user, POSTGRES, "sh", "-ec", script])
    }

    /// What is answered in Traefik's place: from its network, by its names.
    pub fn seen_by_traefik(&self, requests: &[(&str, String)]) -> Result<Vec<Seen>> {
        let network = format!("--network=container:{}", self.container("traefik")?);
        let token = format!("--env=TOKEN={}", self.site.token.as_deref().unwrap_or_default());
        let said = self.engine.says([
            "run",
            "--rm",
            &network,
            &token,
            NODE,
            "node",
            "-e",
            ASK,
            &serde_json::to_string(requests)?,
        ])?;
        Ok(serde_json::from_str(&said)?)
    }

    pub fn leads_to_https(&self) -> Result<()> {
        let answer = self.site.send(self.site.http.get(format!("http://localhost:{}/sales.html", self.http_port)))?;
        ensure!(
            answer.status.is_redirection() && answer.header("location").starts_with("https://localhost"),
            "http leads to https: {answer:?}"
        );
        Ok(())
    }

    pub fn routers(&self) -> Result<Value> {
        let routers = self.site.http.get(self.site.url("traefik.localhost", "/api/http/routers"));
        self.site.send(routers.basic_auth(DASHBOARD_USER, Some(&self.dashboard_password)))?.json()
    }

    pub fn asks_for_tokens_and_passwords(&self) -> Result<()> {
        let site = &self.site;
        for (method, path) in
            [(Method::GET, "/api/get_current_money"), (Method::GET, "/api/events"), (Method::DELETE, "/api/sales")]
        {
            let answer = site.send(site.http.request(method, site.url("localhost", path)))?;
            ensure!(answer.status == StatusCode::UNAUTHORIZED, "{path} without a token: {}", answer.status);
        }
        let dashboard = || site.http.get(site.url("traefik.localhost", "/dashboard/"));
        let closed = site.send(dashboard())?;
        ensure!(closed.status == StatusCode::UNAUTHORIZED, "the dashboard without a password: {}", closed.status);
        let open = site.send(dashboard().basic_auth(DASHBOARD_USER, Some(&self.dashboard_password)))?;
        ensure!(open.status == StatusCode::OK, "the dashboard with its password: {}", open.status);
        Ok(())
    }

    /// Traefik sees what runs; it cannot change it, nor find a database.
    pub fn keeps_traefik_from_the_rest(&self) -> Result<()> {
        let socket = |method, path: &str| (method, format!("http://docker-socket:2375{path}"));
        let seen = self.seen_by_traefik(&[socket("GET", "/services")])?;
        ensure!(seen[0].outcome == "200" && seen[0].text.contains(&self.name), "Traefik sees no services: {seen:?}");
        let forbidden = [
            socket("GET", "/secrets"),
            socket("GET", "/swarm"),
            socket("GET", "/images/json"),
            socket("GET", "/containers/x/archive"),
            socket("POST", "/services"),
            socket("POST", "/containers/create"),
        ];
        for (seen, asked) in self.seen_by_traefik(&forbidden)?.iter().zip(&forbidden) {
            ensure!(seen.outcome == "403", "{asked:?}: {seen:?}");
        }
        let data = ["nats:8222/healthz", "postgres:5432"].map(|address| ("GET", format!("http://{address}")));
        for (seen, asked) in self.seen_by_traefik(&data)?.iter().zip(&data) {
            ensure!(seen.outcome == "ENOTFOUND", "{asked:?}: {seen:?}");
        }
        Ok(())
    }

    pub fn scale(&self, service: &str, replicas: usize) -> Result<()> {
        self.set_replicas(service, replicas)?;
        self.site.until("all replicas run", || self.is_complete())
    }

    fn set_replicas(&self, service: &str, replicas: usize) -> Result<()> {
        let service = format!("{}_{service}={replicas}", self.name);
        self.engine.docker(["service", "scale", "--detach", &service]).run_quietly()
    }

    fn stop_all(&self, service: &str) -> Result<()> {
        self.set_replicas(service, 0)?;
        self.site.until(&format!("no {service} runs"), || {
            Ok(self.is_complete()? && self.containers()?.iter().all(|(_, of)| of != service))
        })
    }

    /// Asks through Traefik until each replica has counted a request.
    pub fn all_answer(&self, service: &str, path: &str) -> Result<()> {
        let replicas: Vec<String> =
            self.containers()?.into_iter().filter(|(_, of)| of == service).map(|(id, _)| id).collect();
        let mut addresses = Vec::new();
        for id in &replicas {
            let networks = self.engine.says(["inspect", "--format", "{{json .NetworkSettings.Networks}}", id])?;
            let networks: Value = serde_json::from_str(&networks)?;
            let address = networks[format!("{}_proxy", self.name)]["IPAddress"].as_str().map(str::to_owned);
            addresses.push(address.with_context(|| format!("{service} is in Traefik's network"))?);
        }
        ensure!(addresses.len() == 3, "{} replicas run", addresses.len());
        let metrics: Vec<_> =
            addresses.iter().map(|address| ("GET", format!("http://{address}:8080/metrics"))).collect();
        let route = format!("route=\"{path}\"");
        self.site.until(&format!("all of {service} answer"), || {
            for _ in &addresses {
                ensure!(self.site.get("localhost", path)?.status == StatusCode::OK, "{path} fails");
            }
            let counts = |line: &str| line.contains("http_request_duration_seconds_count") && line.contains(&route);
            Ok(self.seen_by_traefik(&metrics)?.iter().all(|replica| replica.text.lines().any(counts)))
        })
    }

    /// A Traefik that has just started and knows nobody yet tells customers to come again, and not that there is no shop.
    pub fn says_come_again(&self) -> Result<()> {
        self.stop_all("docker-socket")?;
        self.kill(&self.container("traefik")?, "traefik")?;
        for (method, path) in
            [(Method::POST, "/api/buy_mpi"), (Method::GET, "/api/get_current_money"), (Method::GET, "/sales.html")]
        {
            let answer = self.site.send(self.site.http.request(method, self.site.url("localhost", path)))?;
            ensure!(answer.status == StatusCode::SERVICE_UNAVAILABLE, "{path}: {answer:?}");
        }
        self.scale("docker-socket", 1)?;
        self.site.until("every address answers", || self.site.has_all_addresses().map(|()| true))
    }

    /// Without any command-api, purchases are for later, and nobody else's to refuse; what was sold is still told.
    pub fn sells_later(&self) -> Result<()> {
        self.stop_all("command-api")?;
        self.site.until("purchases are for later", || {
            let answer = self.site.send(self.site.http.post(self.site.url("localhost", "/api/buy_mpi")))?;
            ensure!(answer.status == StatusCode::SERVICE_UNAVAILABLE, "/api/buy_mpi: {answer:?}");
            Ok(true)
        })?;
        let totals = self.site.get("localhost", "/api/get_current_money")?;
        ensure!(totals.status == StatusCode::OK, "/api/get_current_money: {totals:?}");
        self.scale("command-api", 2)?;
        self.until_it_sells()
    }

    /// The next version of all services, as an operator brings it.
    pub fn upgrade(&self, tag: &str) -> Result<()> {
        self.bring_up(tag)?;
        for ours in OURS {
            self.until_updated(ours, tag, "completed")?;
        }
        self.until_it_sells()
    }

    /// A version that never gets healthy: the swarm goes back to the one before.
    pub fn refuses(&self, ours: &str, tag: &str, good: &str) -> Result<()> {
        let image = format!("sales/{ours}:{tag}");
        let service = format!("{}_{ours}", self.name);
        self.engine
            .docker(["service", "update", "--detach", "--no-resolve-image", "--image", &image, &service])
            .run_quietly()?;
        self.until_updated(ours, good, "rollback_completed")
    }

    /// Waits until the update is over, and says how it ended if that is another way.
    fn until_updated(&self, ours: &str, tag: &str, state: &str) -> Result<()> {
        const ENDED: [&str; 4] = ["completed ", "paused ", "rollback_completed ", "rollback_paused "];
        let service = format!("{}_{ours}", self.name);
        let format =
            "{{with .UpdateStatus}}{{.State}} ({{.Message}}){{end}} {{.Spec.TaskTemplate.ContainerSpec.Image}}";
        let mut says = String::new();
        self.site.until(&format!("the update of {ours} ends"), || {
            says = self.engine.says(["service", "inspect", "--format", format, &service])?;
            ensure!(ENDED.iter().any(|state| says.starts_with(state)), "it is {says}");
            Ok(true)
        })?;
        let as_expected = says.starts_with(&format!("{state} ")) && says.ends_with(&format!(":{tag}"));
        ensure!(as_expected, "the update of {ours} to {tag} is not {state}, but {says}");
        Ok(())
    }

    /// Kills a container, as a crash does it, and waits until another one is there in its place.
    pub fn kill(&self, id: &str, service: &str) -> Result<()> {
        let count = |containers: &[(String, String)]| containers.iter().filter(|(_, of)| of == service).count();
        let before = count(&self.containers()?);
        self.engine.docker(["kill", "--signal=KILL", id]).run_quietly()?;
        self.site.until("another one takes its place", || {
            let containers = self.containers()?;
            let is_gone = containers.iter().all(|(other, _)| other != id);
            Ok(is_gone && count(&containers) == before && self.is_healthy()? && self.is_complete()?)
        })
    }

    /// Waits until a node of Postgres is known to hold all that is acknowledged: before, Patroni lets none take over.
    pub fn until_a_node_can_take_over(&self) -> Result<()> {
        const ASK: &str =
            "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8008/synchronous', timeout=2)";
        self.site.until("a synchronous standby", || {
            for node in POSTGRES_NODES {
                if self.exec(node, &["python3", "-c", ASK]).is_ok() {
                    return Ok(true);
                }
            }
            Ok(false)
        })
    }

    /// What operators ask Patroni for on any node, and tell it with the credentials that the node has. It listens to nobody else.
    pub fn has_patronictl(&self) -> Result<()> {
        const COMMAND: &str =
            "from urllib.request import *; urlopen(Request('http://127.0.0.1:8008/reload', method='POST'))";
        let list = self.exec(POSTGRES_NODES[0], &["patronictl", "list"])?;
        ensure!(list.contains("Leader") && list.contains("Sync Standby"), "patronictl sees no cluster: {list}");
        let told = self.exec(POSTGRES_NODES[0], &["patronictl", "reload", "--force", "sales"])?;
        ensure!(told.contains("postgres-3") && !told.contains("Failed"), "patronictl may not command: {told}");
        let refused = self.exec(POSTGRES_NODES[0], &["python3", "-c", COMMAND]).err().map(|error| error.to_string());
        ensure!(refused.is_some_and(|why| why.contains("401")), "others command Patroni, too");
        Ok(())
    }

    /// Kills the node of Postgres that is the primary, and keeps it from coming back. Returns which one it was.
    pub fn lose_the_primary(&self) -> Result<&'static str> {
        let asks =
            ["psql", "--username=postgres", "--no-align", "--tuples-only", "--command=select pg_is_in_recovery()"];
        for node in POSTGRES_NODES {
            let id = self.container(node)?;
            if self.engine.says(["exec", &id].into_iter().chain(asks))? == "f" {
                self.engine.docker(["kill", "--signal=KILL", &id]).run_quietly()?;
                self.set_replicas(node, 0)?;
                return Ok(node);
            }
        }
        bail!("no node of Postgres is the primary")
    }

    /// A lost node is there again, and follows the others.
    pub fn give_back(&self, node: &str) -> Result<()> {
        self.set_replicas(node, 1)?;
        self.site.until("all nodes are there again", || Ok(self.is_complete()? && self.is_healthy()?))
    }

    fn is_healthy(&self) -> Result<bool> {
        let filter = format!("label=com.docker.stack.namespace={}", self.name);
        let states = self.engine.says(["ps", "--filter", &filter, "--format", "{{.Status}}"])?;
        Ok(!states.contains("unhealthy") && !states.contains("starting"))
    }

    /// What everybody said last, for who has to find out what went wrong. Where a log is cut off at its beginning, what the swarm
    /// says of its tasks is left.
    pub fn log(&self) -> String {
        let mut log = String::new();
        for name in self.service_list("{{.Name}}").unwrap_or_default().lines() {
            let said = self.engine.docker(["service", "logs", "--raw", "--tail=10", name]).everything();
            let _ = writeln!(log, "\n== {name}\n{said}");
        }
        let _ = writeln!(log, "\n== the engine\n{}\n\n== the tasks", self.engine.complaints());
        let format = "{{.Name}} {{.Image}}: should be {{.DesiredState}}, is {{.CurrentState}} {{.Error}}";
        log + &self.engine.docker(["stack", "ps", "--no-trunc", "--format", format, &self.name]).everything()
    }

    fn remove(&self) -> Result<()> {
        self.engine.docker(["stack", "rm", &self.name]).run_quietly()?;
        let filter = format!("label=com.docker.stack.namespace={}", self.name);
        let started = Instant::now();
        let left = |arguments: &[&str]| -> Result<String> {
            self.engine.says(arguments.iter().copied().chain(["--quiet", "--filter", &filter]))
        };
        while !left(&["ps", "--all"])?.is_empty() || !left(&["network", "ls"])?.is_empty() {
            ensure!(started.elapsed() < GONE_WITHIN, "the stack {} is not gone within {GONE_WITHIN:?}", self.name);
            std::thread::sleep(Duration::from_millis(200));
        }
        let volumes = left(&["volume", "ls"])?;
        self.engine.docker(["volume", "rm", "--force"].into_iter().chain(volumes.lines())).run_quietly()
    }
}

impl Drop for Stack<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            eprintln!("cannot remove the stack {}: {error:#}", self.name);
        }
    }
}

/// What the node of the tests is there for.
const LABELS: [&str; 6] = ["sales.data", "sales.monitoring", "sales.backup", "sales.ha-1", "sales.ha-2", "sales.ha-3"];

/// The swarm that this node is in, or one that is made for us.
struct Swarm<'a> {
    engine: &'a Engine,
    is_ours: bool,
    /// Labels that the node did not have.
    ours: Vec<&'static str>,
}

impl<'a> Swarm<'a> {
    fn join(engine: &'a Engine) -> Result<Self> {
        let is_ours = engine.says(["info", "--format", "{{.Swarm.LocalNodeState}}"])? == "inactive";
        if is_ours {
            let init = ["swarm", "init", "--advertise-addr=127.0.0.1", "--listen-addr=127.0.0.1:2377"];
            engine.docker(init).run_quietly()?;
        }
        let known = engine.says(["node", "inspect", "self", "--format", "{{json .Spec.Labels}}"])?;
        let ours = LABELS.into_iter().filter(|label| !known.contains(&format!("\"{label}\""))).collect();
        let swarm = Self { engine, is_ours, ours };
        for label in &swarm.ours {
            swarm.label(label, true)?;
        }
        Ok(swarm)
    }

    /// Gives the node a label, or takes it away.
    fn label(&self, label: &str, given: bool) -> Result<()> {
        let change = if given { format!("--label-add={label}=true") } else { format!("--label-rm={label}") };
        let node = self.engine.says(["info", "--format", "{{.Swarm.NodeID}}"])?;
        self.engine.docker(["node", "update", &change, &node]).run_quietly()
    }
}

impl Drop for Swarm<'_> {
    fn drop(&mut self) {
        // Unless somebody else has come to use it meanwhile.
        if !self.engine.says(["service", "ls", "--quiet"]).is_ok_and(|services| services.is_empty()) {
            return;
        }
        let left = if self.is_ours {
            self.engine.docker(["swarm", "leave", "--force"]).run_quietly()
        } else {
            self.ours.iter().try_for_each(|label| self.label(label, false))
        };
        if let Err(error) = left {
            eprintln!("cannot leave the swarm: {error:#}");
        }
    }
}
