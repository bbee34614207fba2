//! Access through Traefik, and the access of Traefik to the rest.

use anyhow::{Result, ensure};
use reqwest::{Method, StatusCode};

use crate::deployment::{DASHBOARD_USER, Deployment};

impl Deployment<'_> {
    pub fn redirects_to_https(&self) -> Result<()> {
        let answer = self.site.send(self.site.http.get(format!("http://localhost:{}/sales.html", self.http_port)))?;
        ensure!(
            answer.status.is_redirection() && answer.header("location").starts_with("https://localhost"),
            "HTTP redirects to HTTPS: {answer:?}"
        );
        Ok(())
    }

    pub fn requires_tokens_and_passwords(&self) -> Result<()> {
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

    /// Traefik can list services. It can change nothing, and reaches neither NATS nor Postgres.
    pub fn isolates_traefik(&self) -> Result<()> {
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
}
