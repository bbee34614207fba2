//! A Postgres server on loopback: its data folder, its settings, its URLs.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use crate::account::{Account, WORKING_FOLDER};
use crate::interrupt::Interrupt;
use crate::launch::Program;
use crate::probe::Probe;
use crate::process::Process;
use crate::provision::remove_folder;
use crate::server::Server;
use crate::{ports, secrets};

/// Superuser.
pub const ADMIN: &str = "postgres";

/// The file with the password of the superuser, which `initdb` reads.
const PASSWORD: &str = "password";
const INITDB_WITHIN: Duration = Duration::from_mins(1);
/// Crash recovery replays up to `max_wal_size` of WAL.
pub const READY_WITHIN: Duration = Duration::from_mins(2);
/// The fast shutdown writes a checkpoint: all of `shared_buffers` may be dirty.
const STOP_WITHIN: Duration = Duration::from_secs(30);

/// Settings that differ between a stack and tests.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    pub initdb: &'static [&'static str],
    pub settings: &'static [(&'static str, &'static str)],
}

/// `fsync` and `synchronous_commit` stay on, as by default: receipts promise durability.
const SETTINGS: &[(&str, &str)] = &[
    ("listen_addresses", "127.0.0.1"),
    ("unix_socket_directories", ""),
    ("timezone", "UTC"),
    ("log_timezone", "UTC"),
    // A client whose host or network is gone loses its locks. The system's own limits are hours. As in the containers.
    ("tcp_keepalives_idle", "10"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "15s"),
];

pub const SHOP: Tuning = Tuning {
    initdb: &[],
    settings: &[
        // Holds the index of event ids, into which purchases insert at random places, up to some 20 million events.
        ("shared_buffers", "1GB"),
        ("max_connections", "200"),
        // After a checkpoint each changed page is once written to the WAL as a whole: fewer checkpoints write less.
        // Recovery takes longer.
        ("checkpoint_timeout", "15min"),
        ("max_wal_size", "4GB"),
        // Compiling a statement takes longer than running any of the services' statements.
        ("jit", "off"),
        ("log_line_prefix", "%m [%p] %q%u@%d "),
    ],
};

pub const TESTS: Tuning = Tuning {
    // Syncing protects against a crash of the machine, after which tests do not reuse the folder.
    initdb: &["--no-sync"],
    // Each test has its own database and connection pools.
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
    /// A new empty cluster for tests, on a free port.
    pub fn for_tests(binaries: PathBuf, folder: &Path) -> Result<Self> {
        let cluster = Self {
            binaries,
            data: folder.join("data"),
            log: folder.join("postgres.log"),
            address: ports::free()?,
            admin_password: secrets::password(),
            tuning: TESTS,
        };
        cluster.initialize(&Interrupt::default())?;
        Ok(cluster)
    }

    pub fn url(&self, user: &str, password: &str, database: &str) -> String {
        format!("postgres://{user}:{password}@{}/{database}", self.address)
    }

    pub fn admin_url(&self, database: &str) -> String {
        self.url(ADMIN, &self.admin_password, database)
    }

    pub fn is_initialized(&self) -> bool {
        self.data.is_dir()
    }

    /// Creates the data folder. It is moved to its place when it is complete.
    pub fn initialize(&self, interrupt: &Interrupt) -> Result<()> {
        let partial = self.data.with_extension("partial");
        let (data, password) = (partial.join("data"), partial.join(PASSWORD));
        remove_folder(&partial)?;
        DirBuilder::new().recursive(true).mode(0o700).create(&data)?;
        let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&password)?;
        file.write_all(self.admin_password.as_bytes())?;
        if let Some(account) = Account::for_postgres(&data)? {
            for path in [&partial, &data, &password] {
                chown(path, Some(account.user_id), Some(account.group_id))?;
            }
        }
        self.initdb(&data, interrupt).context("cannot create the Postgres data folder")?;
        fs::rename(data, &self.data)?;
        Ok(remove_folder(&partial)?)
    }

    fn initdb(&self, data: &Path, interrupt: &Interrupt) -> Result<()> {
        let (mut program, data) = self.program("initdb", data)?;
        let password = data.join("..").join(PASSWORD);
        program.arguments = vec!["-D".into(), data.into(), "--pwfile".into(), password.into()];
        program.arguments.extend(
            // The builtin locale sorts the same on every machine, independent of its C library.
            ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"].map(Into::into),
        );
        program.arguments.extend(["--auth=scram-sha-256", "--data-checksums", "--username", ADMIN].map(Into::into));
        program.arguments.extend(self.tuning.initdb.iter().map(Into::into));
        Process::start(program)?.wait_success(INITDB_WITHIN, interrupt)
    }

    pub fn server(&self) -> Result<Server> {
        let (mut program, data) = self.program("postgres", &self.data)?;
        program.arguments = vec!["-D".into(), data.into()];
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

    /// A program that works in a folder, and the path under which it finds this folder.
    fn program(&self, name: &str, folder: &Path) -> Result<(Program, PathBuf)> {
        let account = Account::for_postgres(folder)?;
        let folder = if account.is_some() { WORKING_FOLDER.into() } else { folder.to_owned() };
        let program = Program {
            name: name.to_owned(),
            path: self.binaries.join(name),
            arguments: Vec::new(),
            environment: Vec::new(),
            account,
            log: self.log.clone(),
            // SIGINT is the fast shutdown; SIGTERM would wait for all clients to disconnect.
            stop_signal: Signal::SIGINT,
            stop_within: STOP_WITHIN,
        };
        Ok((program, folder))
    }

    /// In one of the two layouts that packagers use.
    fn has_statement_statistics(&self) -> bool {
        ["../lib/postgresql", "../lib"]
            .iter()
            .any(|libraries| self.binaries.join(libraries).join("pg_stat_statements.so").is_file())
    }
}
