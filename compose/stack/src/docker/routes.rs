//! Who answers what: the labels of the Compose files, compared with Traefik's file of the native system by what Traefik itself makes of both.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use super::site::Site;
use crate::interrupt::Interrupt;
use crate::ports;
use crate::progress::Progress;
use crate::provision;
use crate::traefik::Traefik;

/// What Traefik says of a route or a middleware, and which is not its own.
const NOT_COMPARED: [&str; 8] = ["name", "provider", "status", "type", "usedBy", "using", "entryPoints", "tls"];

#[derive(Debug, PartialEq)]
pub struct Routes {
    routers: BTreeMap<String, Value>,
    middlewares: BTreeMap<String, Value>,
}

impl Routes {
    /// As the API behind Traefik's dashboard tells them.
    pub fn read(get: impl Fn(&str) -> Result<Value>) -> Result<Self> {
        Ok(Self { routers: named(&get("/api/http/routers")?)?, middlewares: named(&get("/api/http/middlewares")?)? })
    }

    /// Of the native system, whose services need not run for that.
    pub fn natively(site: &Site, interrupt: &Interrupt) -> Result<Self> {
        let folder = TempDir::new()?;
        let (web, dashboard, nobody) = (ports::free()?, ports::free()?, ports::free()?);
        let traefik = Traefik {
            binary: provision::tools(Progress::Silent)?.traefik,
            folder: folder.path().to_owned(),
            log: folder.path().join("traefik.log"),
            web,
            dashboard,
            command_api: vec![nobody],
            query_api: vec![nobody],
            pages: vec![nobody],
            limit_per_address: None,
            tls: None,
        };
        let _running = traefik.server()?.start_and_wait(interrupt)?;
        Self::read(|path| site.send(site.http.get(format!("http://{dashboard}{path}")))?.json())
    }

    /// Each route of the native system is there as well, and what stands in front of it is the same.
    pub fn are_those_of(&self, native: &Self) -> Result<()> {
        for (name, router) in &native.routers {
            ensure!(
                self.routers.get(name) == Some(router),
                "route {name} is {router}\nnatively, here {:?}",
                self.routers.get(name)
            );
            for middleware in router["middlewares"].as_array().into_iter().flatten() {
                let middleware = middleware.as_str().unwrap_or_default();
                let (ours, theirs) = (self.middlewares.get(middleware), native.middlewares.get(middleware));
                ensure!(
                    ours.is_some() && ours == theirs,
                    "middleware {middleware} is {theirs:?}\nnatively, here {ours:?}"
                );
            }
        }
        Ok(())
    }
}

/// By their names, without those that Traefik has by itself, and without where they come from.
fn named(list: &Value) -> Result<BTreeMap<String, Value>> {
    let mut named = BTreeMap::new();
    for entry in list.as_array().context("the API lists routes")? {
        let mut entry = entry.as_object().context("a route has fields")?.clone();
        let name = entry["name"].as_str().context("a route has a name")?.to_owned();
        let (name, provider) = name.split_once('@').context("a route has a provider")?;
        if provider == "internal"
            || entry.get("service").is_some_and(|service| service.as_str().is_some_and(|of| of.ends_with("@internal")))
        {
            continue;
        }
        // In front of every route, where there are any.
        if let Some(middlewares) = entry.get_mut("middlewares").and_then(Value::as_array_mut) {
            middlewares.retain(|middleware| !middleware.as_str().is_some_and(|name| name.starts_with("limits@")));
        }
        entry.retain(|field, _| !NOT_COMPARED.contains(&field.as_str()));
        let text = Value::Object(entry).to_string().replace(&format!("@{provider}"), "");
        // Addresses that only a system on loopback has.
        let text = text.replace(" || Host(`127.0.0.1`)", "");
        named.insert(name.to_owned(), serde_json::from_str(&text)?);
    }
    Ok(named)
}
