//! Replicas, missing services, updates.

use anyhow::{Context, Result, ensure};
use reqwest::{Method, StatusCode};

use crate::deployment::Deployment;
use crate::images::SERVICES;

impl Deployment<'_> {
    /// Sends requests through Traefik until each replica has counted one.
    pub fn all_answer(&self, service: &str, path: &str) -> Result<()> {
        let mut addresses = Vec::new();
        for (id, _) in self.containers()?.iter().filter(|(_, of)| of == service) {
            let networks = self.engine.networks(id)?;
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

    /// A Traefik that has found no services yet answers 503, so that clients retry. A 404 would be final.
    pub fn answers_503_without_routes(&self) -> Result<()> {
        self.stop_all("docker-socket")?;
        self.kill(&self.container("traefik")?, "traefik")?;
        for (method, path) in
            [(Method::POST, "/api/buy_mpi"), (Method::GET, "/api/get_current_money"), (Method::GET, "/sales.html")]
        {
            let answer = self.site.send(self.site.http.request(method, self.site.url("localhost", path)))?;
            answer.is_unavailable()?;
        }
        self.scale("docker-socket", 1)?;
        self.site.until("every address answers", || self.site.has_all_addresses().map(|()| true))
    }

    /// Without any command-api, purchases get 503 and no refusal of another service. The totals are still available.
    pub fn answers_503_without_command_api(&self) -> Result<()> {
        self.stop_all("command-api")?;
        self.site.until("purchases get 503", || {
            let answer = self.site.send(self.site.http.post(self.site.url("localhost", "/api/buy_mpi")))?;
            answer.is_unavailable().map(|()| true)
        })?;
        let totals = self.site.get("localhost", "/api/get_current_money")?;
        ensure!(totals.status == StatusCode::OK, "/api/get_current_money: {totals:?}");
        self.scale("command-api", 2)?;
        self.until_available()
    }

    /// Likewise without any query-api, although the pages are there.
    pub fn answers_503_without_query_api(&self) -> Result<()> {
        self.stop_all("query-api")?;
        self.site.until("queries get 503", || {
            self.site.get("localhost", "/api/get_current_money")?.is_unavailable()?;
            self.site.get("sales.localhost", "/api/sales/latest")?.is_unavailable().map(|()| true)
        })?;
        self.scale("query-api", 2)?;
        self.until_available()
    }

    /// Updates all services to another version.
    pub fn upgrade(&self, tag: &str) -> Result<()> {
        self.bring_up(tag)?;
        for name in SERVICES {
            self.until_updated(name, tag, "completed")?;
        }
        self.until_available()
    }

    /// The swarm rolls back to the previous version if the new one does not become healthy.
    pub fn rolls_back(&self, name: &str, tag: &str, good: &str) -> Result<()> {
        let image = format!("sales/{name}:{tag}");
        let service = format!("{}_{name}", self.name);
        self.engine
            .docker(["service", "update", "--detach", "--no-resolve-image", "--image", &image, &service])
            .run_quietly()?;
        self.until_updated(name, good, "rollback_completed")
    }

    /// Waits until the update has ended, and fails unless it ended in `state`.
    fn until_updated(&self, name: &str, tag: &str, state: &str) -> Result<()> {
        const ENDED: [&str; 4] = ["completed ", "paused ", "rollback_completed ", "rollback_paused "];
        let service = format!("{}_{name}", self.name);
        let format =
            "{{with .UpdateStatus}}{{.State}} ({{.Message}}){{end}} {{.Spec.TaskTemplate.ContainerSpec.Image}}";
        let mut status = String::new();
        self.site.until(&format!("the update of {name} ends"), || {
            status = self.engine.output(["service", "inspect", "--format", format, &service])?;
            ensure!(ENDED.iter().any(|state| status.starts_with(state)), "it is {status}");
            Ok(true)
        })?;
        let as_expected = status.starts_with(&format!("{state} ")) && status.ends_with(&format!(":{tag}"));
        ensure!(as_expected, "the update of {name} to {tag} is {status} instead of {state}");
        Ok(())
    }
}
