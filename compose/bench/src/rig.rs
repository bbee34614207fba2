//! What is measured: a stack of its own, and beside it what it is compared with.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use stack::checkout;
use stack::data_folder::DataFolder;
use stack::interrupt::Interrupt;
use stack::launch::Program;
use stack::options::Options;
use stack::ports;
use stack::postgres::ADMIN;
use stack::probe::Probe;
use stack::process::Process;
use stack::progress::Progress;
use stack::provision;
use stack::secrets::Secrets;
use stack::server::Server;
use stack::stack::Stack;
use stack::traefik::Traefik;

/// The database of the shop that stores one row per request.
pub const ONE_ROW: &str = "one_row";
/// Of that shop's pool. From 16 to 32 it did best, on two cores; with 96 it lost a fifth.
pub const ONE_ROW_CONNECTIONS: u32 = 32;

/// Who listens where.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    pub command_api: SocketAddr,
    pub query_api: SocketAddr,
    pub traefik: SocketAddr,
    pub nothing: SocketAddr,
    pub nothing_traefik: SocketAddr,
    pub one_row: SocketAddr,
}

#[derive(Debug)]
pub struct Rig {
    /// Stopped before the stack, whose Postgres one of them uses.
    baselines_running: Vec<Process>,
    pub stack: Stack,
    pub folder: DataFolder,
    pub addresses: Addresses,
}

impl Rig {
    /// Starts everything on an empty folder. Whatever is needed has to be built before.
    pub fn start(folder: DataFolder, progress: Progress, interrupt: &Interrupt) -> Result<Self> {
        let stack = Stack::start(&Options::on_free_ports(folder.path())?, progress, interrupt)?;
        let address = |name: &str| Ok::<_, anyhow::Error>(server(&stack, name)?.address);
        let addresses = Addresses {
            command_api: address("command-api")?,
            query_api: address("query-api")?,
            traefik: address("traefik")?,
            nothing: ports::free()?,
            nothing_traefik: ports::free()?,
            one_row: ports::free()?,
        };
        let dashboard = ports::free()?;
        // From here on the ports are for those that they were chosen for.
        let mut rig = Self { baselines_running: Vec::new(), stack, folder, addresses };
        for server in rig.baselines(dashboard)? {
            let name = format!("baseline {}", server.program.name);
            rig.baselines_running.push(progress.step(&name, || server.start_and_wait(interrupt))?);
        }
        Ok(rig)
    }

    /// How a process of the stack was started.
    pub fn server(&self, name: &str) -> Result<&Server> {
        server(&self.stack, name)
    }

    /// The URL of a database for the superuser.
    pub fn database_url(&self, database: &str) -> Result<String> {
        let password = Secrets::load_or_create(&self.folder.secrets())?.postgres;
        Ok(format!("postgres://{ADMIN}:{password}@{}/{database}", self.server("postgres")?.address))
    }

    fn baselines(&self, dashboard: SocketAddr) -> Result<[Server; 3]> {
        let one_row = vec![
            ("DATABASE_URL".to_owned(), self.database_url(ONE_ROW)?),
            ("CONNECTIONS".to_owned(), ONE_ROW_CONNECTIONS.to_string()),
        ];
        Ok([
            self.baseline("nothing", self.addresses.nothing, Vec::new())?,
            self.baseline("one-row", self.addresses.one_row, one_row)?,
            self.traefik_before_nothing(dashboard)?,
        ])
    }

    /// The same configuration as the stack's own Traefik.
    fn traefik_before_nothing(&self, dashboard: SocketAddr) -> Result<Server> {
        let nothing = self.addresses.nothing;
        let mut server = Traefik {
            binary: provision::tools(Progress::Silent)?.traefik,
            folder: self.folder.path().join("traefik-before-nothing"),
            log: self.folder.log("traefik-before-nothing"),
            web: self.addresses.nothing_traefik,
            dashboard,
            command_api: vec![nothing],
            query_api: vec![nothing],
            pages: vec![nothing],
            limit_per_address: None,
            tls: None,
        }
        .server()?;
        "traefik-before-nothing".clone_into(&mut server.program.name);
        Ok(server)
    }

    fn baseline(&self, name: &str, address: SocketAddr, mut environment: Vec<(String, String)>) -> Result<Server> {
        // With everything else as the services have it.
        let model = self.server("command-api")?;
        environment.push(("LISTEN_ADDRESS".to_owned(), address.to_string()));
        environment.push(("LOG_FORMAT".to_owned(), "text".to_owned()));
        let program = Program {
            name: name.to_owned(),
            path: checkout::example("baselines")?,
            arguments: vec![name.into()],
            environment,
            account: None,
            log: self.folder.log(name),
            stop_signal: Signal::SIGTERM,
            stop_within: model.program.stop_within,
        };
        let probe = Probe::Http { address, path: "/readyz".to_owned() };
        Ok(Server { program, address, probe, ready_within: model.ready_within })
    }
}

fn server<'a>(stack: &'a Stack, name: &str) -> Result<&'a Server> {
    stack.server(name).with_context(|| format!("the stack has no {name}"))
}
