//! Traefik, the entry point of all requests.

use std::fs;
use std::net::SocketAddr;
use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::launch::Program;
use crate::probe::Probe;
use crate::server::Server;

const STATIC: &str = include_str!("../traefik/static.yml");
const SERVICES: &str = include_str!("../traefik/services.yml");
/// The same file as in the containers.
const ROUTES: &str = include_str!("../../traefik/routes.yml");

/// A page loads some ten files at once, and users behind one address load several pages.
const BURST_SECONDS: u64 = 2;
const READY_WITHIN: Duration = Duration::from_mins(1);
/// Longer than the grace period for requests in flight in its configuration.
const STOP_WITHIN: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
pub struct Traefik {
    pub binary: PathBuf,
    /// Contains the configuration.
    pub folder: PathBuf,
    pub log: PathBuf,
    pub web: SocketAddr,
    pub dashboard: SocketAddr,
    pub command_api: Vec<SocketAddr>,
    pub query_api: Vec<SocketAddr>,
    pub pages: Vec<SocketAddr>,
    /// Requests per second from one address.
    pub limit_per_address: Option<NonZero<u32>>,
    pub tls: Option<Tls>,
}

/// Files with a certificate chain and its key, both PEM.
#[derive(Clone, Debug)]
pub struct Tls {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Traefik {
    /// Writes the configuration.
    pub fn server(&self) -> Result<Server> {
        let static_file = self.folder.join("static.yml");
        // Traefik reads all files in it.
        let dynamic = self.folder.join("dynamic");
        fs::create_dir_all(&dynamic)?;
        let static_text = STATIC
            .replace("@web@", &self.web.to_string())
            .replace("@dashboard@", &self.dashboard.to_string())
            .replace("@limits@", self.limit_per_address.map_or("[]", |_| "[limits@file]"))
            .replace("@tls@", self.tls.as_ref().map_or("", |_| "tls: {}"))
            // The last one: its name may look like another placeholder.
            .replace("@dynamic@", &dynamic.to_string_lossy());
        fs::write(&static_file, static_text)?;
        let services = SERVICES
            .replace("@command-api@", &servers(&self.command_api))
            .replace("@query-api@", &servers(&self.query_api))
            .replace("@pages@", &servers(&self.pages))
            .replace("@certificates@", &certificates(self.tls.as_ref()));
        fs::write(dynamic.join("services.yml"), services)?;
        fs::write(dynamic.join("routes.yml"), ROUTES)?;
        Ok(Server {
            program: Program {
                name: "traefik".to_owned(),
                path: self.binary.clone(),
                arguments: vec!["--configFile".into(), static_file.into()],
                environment: self.environment(),
                account: None,
                log: self.log.clone(),
                stop_signal: Signal::SIGTERM,
                stop_within: STOP_WITHIN,
            },
            address: self.web,
            // Exists once Traefik has read the routes.
            probe: Probe::Http { address: self.dashboard, path: "/api/http/routers/pages@file".to_owned() },
            ready_within: READY_WITHIN,
        })
    }

    /// The variables in `ROUTES`.
    fn environment(&self) -> Vec<(String, String)> {
        let rate = self.limit_per_address.map_or(0, NonZero::get);
        let burst = BURST_SECONDS * u64::from(rate);
        vec![
            ("SALES_HOST".to_owned(), "localhost".to_owned()),
            ("SALES_PROVIDER".to_owned(), "file".to_owned()),
            ("SALES_WEB".to_owned(), self.pages.first().map_or_else(String::new, |pages| format!("http://{pages}"))),
            ("SALES_RATE".to_owned(), rate.to_string()),
            ("SALES_BURST".to_owned(), burst.to_string()),
        ]
    }
}

fn servers(addresses: &[SocketAddr]) -> String {
    let servers: Vec<String> = addresses.iter().map(|address| format!("{{ url: \"http://{address}\" }}")).collect();
    format!("[{}]", servers.join(", "))
}

fn certificates(tls: Option<&Tls>) -> String {
    // JSON, which is YAML: it quotes all file names.
    let files = |tls: &Tls| json!({ "certFile": tls.certificate, "keyFile": tls.key });
    Value::from_iter(tls.map(files)).to_string()
}
