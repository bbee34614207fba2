//! A Postgres cluster on loopback: its data folder, its server, its URLs.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use crate::account::Account;
use crate::interrupt::Interrupt;
use crate::launch::Program;
use crate::probe::Probe;
use crate::process::Process;
use crate::provision::remove_folder;
use crate::server::Server;

/// The superuser.
pub const ADMIN: &str = "postgres";

const INITDB_WITHIN: Duration = Duration::from_mins(1);
/// Recovery after a crash replays up to `max_wal_size` of log.
pub const READY_WITHIN: Duration = Duration::from_mins(2);
/// The fast shutdown writes a checkpoint: all of `shared_buffers` may be dirty.
const STOP_WITHIN: Duration = Duration::from_secs(30);

/// What differs between running the shop and running tests.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    pub initdb: &'static [&'static str],
    pub settings: &'static [(&'static str, &'static str)],
}

/// `fsync` and `synchronous_commit` are on by default, and stay on in both: they are what a receipt promises.
const SETTINGS: &[(&str, &str)] =
    &[("listen_addresses", "127.0.0.1"), ("unix_socket_directories", ""), ("timezone", "UTC"), ("log_timezone", "UTC")];

pub const SHOP: Tuning = Tuning {
    initdb: &[],
    settings: &[
        // Holds the index over the ids, which every purchase enters at a random place, up to some 20 million events.
        ("shared_buffers", "1GB"),
        ("max_connections", "200"),
        // After a checkpoint each page is written to the WAL as a whole once: seldom is cheaper. Recovery takes longer.
        ("checkpoint_timeout", "15min"),
        ("max_wal_size", "4GB"),
        // Compiling a statement takes longer than any of ours.
        ("jit", "off"),
        ("log_line_prefix", "%m [%p] %q%u@%d "),
    ],
};

pub const TESTS: Tuning = Tuning {
    // The folder is thrown away with the machine's crash, which is all that syncing it would guard against.
    initdb: &["--no-sync"],
    // Every test has its own database and pools.
    settings: &[("shared_buffers", "64MB"), ("max_connections", "400")],
};

#[derive(Clone, Debug)]
pub struct Cluster {
    /// The folder with `postgres` and `initdb`.
    pub binaries: PathBuf,
    pub data: PathBuf,
    pub log: PathBuf,
    pub address: SocketAddr,
    pub admin_password: String,
    pub tuning: Tuning,
}

impl Cluster {
    pub fn url(&self, user: &str, password: &str, database: &str) -> String {
        format!("postgres://{user}:{password}@{}/{database}", self.address)
    }

    pub fn admin_url(&self, database: &str) -> String {
        self.url(ADMIN, &self.admin_password, database)
    }

    pub fn is_initialized(&self) -> bool {
        self.data.is_dir()
    }

    /// Makes the data folder. It gets its name when it is complete.
    pub fn initialize(&self, interrupt: &Interrupt) -> Result<()> {
        let partial = self.data.with_extension("partial");
        let password_file = self.data.with_extension("password");
        remove_folder(&partial)?;
        DirBuilder::new().mode(0o700).create(&partial)?;
        if let Some(account) = Account::for_postgres()? {
            chown(&partial, Some(account.user_id), Some(account.group_id))?;
        }
        OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&password_file)?
            .write_all(self.admin_password.as_bytes())?;
        let made = self.initdb(&partial, &password_file, interrupt);
        fs::remove_file(&password_file)?;
        made.context("cannot make the Postgres data folder")?;
        fs::rename(&partial, &self.data)?;
        Ok(())
    }

    fn initdb(&self, data: &Path, password_file: &Path, interrupt: &Interrupt) -> Result<()> {
        let mut program = self.program("initdb", data)?;
        program.arguments.extend(
            // The builtin locale sorts the same on every machine, whatever its C library thinks.
            ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"].map(Into::into),
        );
        program.arguments.extend(["--auth=scram-sha-256", "--data-checksums", "--username", ADMIN].map(Into::into));
        program.arguments.extend(["--pwfile".into(), password_file.into()]);
        program.arguments.extend(self.tuning.initdb.iter().map(Into::into));
        Process::start(program)?.wait_success(INITDB_WITHIN, interrupt)
    }

    pub fn server(&self) -> Result<Server> {
        let mut program = self.program("postgres", &self.data)?;
        let mut set = |name: &str, value: &str| {
            program.arguments.extend(["-c".into(), format!("{name}={value}").into()]);
        };
        set("port", &self.address.port().to_string());
        for (name, value) in SETTINGS.iter().chain(self.tuning.settings) {
            set(name, value);
        }
        if self.has_statement_statistics() {
            set("shared_preload_libraries", "pg_stat_statements");
        }
        Ok(Server {
            program,
            address: self.address,
            probe: Probe::Postgres { address: self.address },
            ready_within: READY_WITHIN,
        })
    }

    fn program(&self, name: &str, data: &Path) -> Result<Program> {
        Ok(Program {
            name: name.to_owned(),
            path: self.binaries.join(name),
            arguments: vec!["-D".into(), data.into()],
            environment: Vec::new(),
            account: Account::for_postgres()?,
            log: self.log.clone(),
            // SIGINT is the fast shutdown; SIGTERM would wait for every client to hang up.
            stop_signal: Signal::SIGINT,
            stop_within: STOP_WITHIN,
        })
    }

    /// The library lies beside the binaries in one of the two layouts that packagers use.
    fn has_statement_statistics(&self) -> bool {
        ["../lib/postgresql", "../lib"]
            .iter()
            .any(|libraries| self.binaries.join(libraries).join("pg_stat_statements.so").is_file())
    }
}
