//! The development file, started like `docker compose up`, with other names and ports.

use std::net::SocketAddr;
use std::process;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use reqwest::StatusCode;
use serde_json::Value;

use crate::engine::Engine;
use crate::files::DEVELOPMENT;
use crate::images::Images;
use crate::pages;
use crate::site::Site;
use stack::interrupt::Interrupt;
use stack::ports;
use stack::probe::Probe;
use stack::progress::{Progress, report, seconds};
use stack::tool::Tool;

/// The resolution of the start-up time.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

pub struct Project<'a> {
    engine: &'a Engine,
    tag: String,
    name: String,
    dashboard_port: u16,
    pub site: Site,
}

impl<'a> Project<'a> {
    /// Starts it, and waits until all addresses answer.
    pub fn up(engine: &'a Engine, images: &Images, interrupt: &Interrupt) -> Result<Self> {
        let site = Site::new("http", ports::free()?.port(), None, interrupt)?;
        let dashboard_port = ports::free()?.port();
        let name = format!("sales-test-{}", process::id());
        let project = Self { engine, tag: images.tag.clone(), name, dashboard_port, site };
        Progress::Shown.step("first start", || project.start())?;
        Ok(project)
    }

    fn compose(&self, arguments: &[&str]) -> Tool {
        self.engine
            .docker(
                ["compose", "--file", DEVELOPMENT, "--project-name", &self.name]
                    .into_iter()
                    .chain(arguments.iter().copied()),
            )
            .env("SALES_TAG", &self.tag)
            .env("HTTP_PORT", self.site.port.to_string())
            .env("DASHBOARD_PORT", self.dashboard_port.to_string())
    }

    fn start(&self) -> Result<()> {
        self.compose(&["up", "--detach", "--no-build"]).run_quietly()?;
        self.site.until("every address answers", || self.site.has_all_addresses().map(|()| true))
    }

    /// After `down` and `up` the totals are the same.
    pub fn keeps_its_volumes(&self, position: i64) -> Result<()> {
        let before = self.site.totals(position)?;
        self.compose(&["down"]).run_quietly()?;
        self.start()?;
        let after = self.site.totals(position)?;
        for field in ["sales_count", "revenue", "position"] {
            ensure!(before[field] == after[field], "{field} was {}, and is {}", before[field], after[field]);
        }
        Ok(())
    }

    pub fn has_a_dashboard(&self) -> Result<()> {
        let url = format!("http://localhost:{}", self.dashboard_port);
        let dashboard = self.site.send(self.site.http.get(format!("{url}/dashboard/")))?;
        ensure!(dashboard.status == StatusCode::OK, "the dashboard: {}", dashboard.status);
        let root = self.site.send(self.site.http.get(&url))?;
        ensure!(root.status.is_redirection(), "the root redirects to the dashboard: {}", root.status);
        Ok(())
    }

    pub fn routers(&self) -> Result<Value> {
        let url = format!("http://localhost:{}/api/http/routers", self.dashboard_port);
        self.site.send(self.site.http.get(url))?.json()
    }

    /// pgAdmin shows the databases without a login.
    pub fn has_pgadmin_connected(&self) -> Result<()> {
        let site = &self.site;
        site.until("pgAdmin answers", || Ok(site.get("pgadmin.localhost", "/misc/ping")?.status == StatusCode::OK))?;
        let page = site.get("pgadmin.localhost", "/browser/")?;
        ensure!(page.status == StatusCode::OK, "pgAdmin: {} {}", page.status, page.text);
        let cookies =
            page.headers.get_all("set-cookie").iter().filter_map(|cookie| cookie.to_str().ok()?.split(';').next());
        let cookies = cookies.collect::<Vec<_>>().join("; ");
        let script = site.http.get(site.url("pgadmin.localhost", "/browser/js/utils.js")).header("Cookie", &cookies);
        let script = site.send(script)?.text;
        let token = script.split_once("pgAdmin['csrf_token'] = '").and_then(|(_, rest)| rest.split_once('\''));
        let (token, _) = token.context("pgAdmin's script has a token")?;
        let connect = site
            .http
            .post(site.url("pgadmin.localhost", "/browser/server/connect/1/1"))
            .header("Cookie", cookies)
            .header("X-pgA-CSRFToken", token);
        let connected = site.send(connect)?;
        ensure!(connected.json()?["success"] == 1, "pgAdmin is not connected: {}", connected.text);
        Ok(())
    }

    /// The auditor's image verifies the log against the signed checkpoints.
    pub fn is_audited(&self) -> Result<()> {
        self.site.until("there is a checkpoint", || {
            Ok(self.site.get("localhost", "/api/events/checkpoint")?.status == StatusCode::OK)
        })?;
        let verdict = self.compose(&["run", "--rm", "auditor", "verify", "--json"]).output()?;
        let verdict: Value = serde_json::from_str(&verdict).with_context(|| verdict.clone())?;
        let confirmed = verdict["confirmed"].as_array().is_some_and(|positions| !positions.is_empty());
        ensure!(verdict["fault"].is_null() && confirmed, "the verdict of the auditor: {verdict}");
        Ok(())
    }

    /// Only Traefik publishes ports, and only on the loopback interface.
    pub fn publishes_only_traefik(&self) -> Result<()> {
        let list = self.compose(&["ps", "--all", "--format", "{{.Service}} {{.Ports}}"]).output()?;
        ensure!(list.lines().count() >= 10, "too few containers: {list}");
        for line in list.lines() {
            let (service, ports) = line.split_once(' ').unwrap_or((line, ""));
            for port in ports.split(", ").filter(|port| port.contains("->")) {
                ensure!(service == "traefik" && port.starts_with("127.0.0.1:"), "{service} publishes {port}");
            }
        }
        Ok(())
    }

    pub fn serves_pages_as_natively(&self, interrupt: &Interrupt) -> Result<()> {
        let container = self.container("web")?;
        pages::are_served_as_natively(self.engine, &self.site, (&container, self.address(&container)?), interrupt)
    }

    fn container(&self, service: &str) -> Result<String> {
        Ok(self.compose(&["ps", "--all", "--quiet", service]).output()?.trim().to_owned())
    }

    fn address(&self, container: &str) -> Result<SocketAddr> {
        let networks = self.engine.networks(container)?;
        let address = networks.as_object().and_then(|networks| networks.values().next()?["IPAddress"].as_str());
        Ok(format!("{}:8080", address.context("a container has an address")?).parse()?)
    }

    /// Time from the start of a container until its service is ready.
    pub fn start_to_ready(&self, service: &str) -> Result<String> {
        let container = self.container(service)?;
        self.engine.docker(["stop", &container]).run_quietly()?;
        let started = Instant::now();
        self.engine.docker(["start", &container]).run_quietly()?;
        let probe = Probe::Http { address: self.address(&container)?, path: "/readyz".to_owned() };
        while !probe.passes() {
            ensure!(started.elapsed() < Duration::from_mins(1), "{service} is not ready within a minute");
            std::thread::sleep(POLL_INTERVAL);
        }
        Ok(seconds(started.elapsed()))
    }

    pub fn log(&self) -> String {
        self.compose(&["logs", "--no-color", "--tail=40"]).output().unwrap_or_else(|error| error.to_string())
    }
}

impl Drop for Project<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.compose(&["down", "--volumes", "--timeout=5"]).run_quietly() {
            report(format_args!("cannot remove the containers of {}: {error:#}", self.name));
        }
    }
}
