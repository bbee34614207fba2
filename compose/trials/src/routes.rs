//! The routes of `compose/traefik/routes.yml` in a Traefik that finds its services through Docker.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Routers in labels: for programs that run only in containers.
const IN_LABELS: [&str; 3] = ["dashboard", "grafana", "pgadmin"];
/// The rule of every other container. It matches no request.
const NEVER: &str = "PathPrefix(`/`) && !PathPrefix(`/`)";

/// `routers`: the list from the API behind Traefik's dashboard.
pub fn are_those_of_the_file(routers: &Value) -> Result<()> {
    let routers = routers.as_array().context("the API lists routers")?;
    let mut of_the_file = 0;
    for router in routers {
        let (name, provider) =
            router["name"].as_str().and_then(|name| name.split_once('@')).context("a router has a name")?;
        // Traefik disables a router if its service or a middleware is missing.
        ensure!(router["status"] == "enabled", "route {name} is disabled: {router}");
        match provider {
            "file" => of_the_file += 1,
            "internal" => {}
            _ => ensure!(IN_LABELS.contains(&name) || router["rule"] == NEVER, "a label adds a route: {router}"),
        }
    }
    ensure!(of_the_file > 0, "Traefik has no routes of the file: {routers:?}");
    Ok(())
}
