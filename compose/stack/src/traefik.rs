//! Traefik in front of everything, on the two ports that people use.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::Signal;

use crate::launch::Program;
use crate::probe::Probe;
use crate::server::Server;

const STATIC: &str = include_str!("../traefik/static.yml");
const DYNAMIC: &str = include_str!("../traefik/dynamic.yml");

const HOSTS: &str = "Host(`localhost`) || Host(`127.0.0.1`) || Host(`sales.localhost`)";
/// Wrong methods on purchases are command-api's to refuse.
const COMMAND: &str = "Path(`/api/buy_mpi`) || Method(`POST`) || Method(`PUT`) || Method(`PATCH`) || Method(`DELETE`)";

const READY_WITHIN: Duration = Duration::from_mins(1);
/// Above the grace that the configuration gives to requests in flight.
const STOP_WITHIN: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
pub struct Traefik {
    pub binary: PathBuf,
    /// Holds the configuration.
    pub folder: PathBuf,
    pub log: PathBuf,
    pub web: SocketAddr,
    pub dashboard: SocketAddr,
    pub command_api: Vec<SocketAddr>,
    pub query_api: Vec<SocketAddr>,
    pub pages: Vec<SocketAddr>,
}

impl Traefik {
    /// Writes the configuration and says how to start Traefik with it.
    pub fn server(&self) -> Result<Server> {
        fs::create_dir_all(&self.folder)?;
        let static_file = self.folder.join("static.yml");
        let dynamic_file = self.folder.join("dynamic.yml");
        let static_text = STATIC
            .replace("@web@", &self.web.to_string())
            .replace("@dashboard@", &self.dashboard.to_string())
            .replace("@dynamic@", &dynamic_file.to_string_lossy());
        fs::write(&static_file, static_text)?;
        let dynamic_text = DYNAMIC
            .replace("@hosts@", HOSTS)
            .replace("@command@", COMMAND)
            .replace("@command-api@", &servers(&self.command_api))
            .replace("@query-api@", &servers(&self.query_api))
            .replace("@pages@", &servers(&self.pages));
        fs::write(&dynamic_file, dynamic_text)?;
        Ok(Server {
            program: Program {
                name: "traefik".to_owned(),
                path: self.binary.clone(),
                arguments: vec!["--configFile".into(), static_file.into()],
                environment: Vec::new(),
                account: None,
                log: self.log.clone(),
                stop_signal: Signal::SIGTERM,
                stop_within: STOP_WITHIN,
            },
            address: self.web,
            probe: Probe::Http { address: self.web, path: "/ping".to_owned() },
            ready_within: READY_WITHIN,
        })
    }
}

fn servers(addresses: &[SocketAddr]) -> String {
    let servers: Vec<String> = addresses.iter().map(|address| format!("{{ url: \"http://{address}\" }}")).collect();
    format!("[{}]", servers.join(", "))
}
