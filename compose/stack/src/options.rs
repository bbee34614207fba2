//! Options of a stack.

use std::ffi::OsString;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::traefik::Tls;
use crate::{checkout, ports};

/// More would compete for the same cores.
const MAX_REPLICAS: usize = 16;

#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Port of the shop, the pages and the API, on 127.0.0.1
    #[arg(long, value_name = "PORT", default_value_t = 8000)]
    pub http_port: u16,

    /// Port of the Traefik dashboard, on 127.0.0.1
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    pub dashboard_port: u16,

    /// Require access tokens for everything but buying; creates tokens at the first start and prints sign-in URLs
    #[arg(long)]
    pub secure: bool,

    /// Let everyone read signed checkpoints, hashes of the log's tree and consistency proofs without a token, below /api/log; events stay
    /// for auditors
    #[arg(long)]
    pub public_log: bool,

    /// OpenID Connect issuer whose tokens are also accepted; requires --secure
    #[arg(long, value_name = "URL", requires_all = ["secure", "oidc_client_id", "oidc_client_secret"])]
    pub oidc_issuer: Option<String>,

    /// Client id of the pages at the issuer, with the redirect URI /api/session/callback
    #[arg(long, value_name = "ID", requires = "oidc_issuer")]
    pub oidc_client_id: Option<String>,

    /// File with the client secret of the pages
    #[arg(long = "oidc-client-secret-file", value_name = "FILE", requires = "oidc_issuer")]
    pub oidc_client_secret: Option<PathBuf>,

    /// Requests per second from one address, with bursts of twice as many; further requests are refused (429) [default:
    /// no limit]
    #[arg(long, value_name = "N")]
    pub limit_per_address: Option<NonZero<u32>>,

    /// File with a certificate chain (PEM), to serve pages and API over HTTPS
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_certificate: Option<PathBuf>,

    /// File with the key of the certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    pub tls_key: Option<PathBuf>,

    #[command(flatten)]
    pub data: Data,

    /// Number of processes of a service, such as query-api=3; services: command-api, projector, query-api; repeatable
    /// [default: 1 each]
    #[arg(long, value_name = "NAME=N")]
    pub replicas: Vec<Replicas>,
}

#[derive(Args, Clone, Debug)]
pub struct Data {
    /// Folder of the databases and logs, created if missing
    #[arg(long = "data-dir", value_name = "FOLDER", default_value_os_t = default_folder())]
    pub folder: PathBuf,
}

fn default_folder() -> PathBuf {
    checkout::stack_folder().join("data")
}

impl Options {
    /// For tests and benchmarks.
    pub fn on_free_ports(folder: &Path) -> Result<Self> {
        Ok(Self {
            http_port: ports::free()?.port(),
            dashboard_port: ports::free()?.port(),
            secure: false,
            public_log: false,
            oidc_issuer: None,
            oidc_client_id: None,
            oidc_client_secret: None,
            limit_per_address: None,
            tls_certificate: None,
            tls_key: None,
            data: Data { folder: folder.to_owned() },
            replicas: Vec::new(),
        })
    }

    /// Checks the two ports that are not chosen automatically.
    pub fn check_ports(&self) -> Result<()> {
        for (port, option) in [(self.http_port, "--http-port"), (self.dashboard_port, "--dashboard-port")] {
            let free = ports::is_free(port).with_context(|| format!("cannot listen on port {port} of 127.0.0.1"))?;
            ensure!(free, "port {port} of 127.0.0.1 is in use by another program; choose another one with {option}");
        }
        Ok(())
    }

    pub fn replicas_of(&self, service: Service) -> usize {
        self.replicas.iter().rev().find(|replicas| replicas.service == service).map_or(1, |replicas| replicas.count)
    }

    pub fn tls(&self) -> Option<Tls> {
        let (certificate, key) = self.tls_certificate.clone().zip(self.tls_key.clone())?;
        Some(Tls { certificate, key })
    }

    /// The origin of the system's URLs under one of its host names.
    pub fn origin(&self, host: &str) -> String {
        let scheme = if self.tls_certificate.is_some() { "https" } else { "http" };
        format!("{scheme}://{host}:{}", self.http_port)
    }

    /// The same options as command-line arguments.
    pub fn to_arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec![
            format!("--http-port={}", self.http_port).into(),
            format!("--dashboard-port={}", self.dashboard_port).into(),
            "--data-dir".into(),
            self.data.folder.clone().into(),
        ];
        if self.secure {
            arguments.push("--secure".into());
        }
        if self.public_log {
            arguments.push("--public-log".into());
        }
        let file = |file: &Option<PathBuf>| file.as_ref().map(|file| file.clone().into_os_string());
        for (name, value) in [
            ("--oidc-issuer", self.oidc_issuer.clone().map(Into::into)),
            ("--oidc-client-id", self.oidc_client_id.clone().map(Into::into)),
            ("--oidc-client-secret-file", file(&self.oidc_client_secret)),
            ("--limit-per-address", self.limit_per_address.map(|limit| limit.to_string().into())),
            ("--tls-certificate", file(&self.tls_certificate)),
            ("--tls-key", file(&self.tls_key)),
        ] {
            arguments.extend(value.into_iter().flat_map(|value| [name.into(), value]));
        }
        arguments.extend(
            self.replicas.iter().map(|given| format!("--replicas={}={}", given.service.name(), given.count).into()),
        );
        arguments
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    CommandApi,
    Projector,
    QueryApi,
}

impl Service {
    pub const ALL: [Self; 3] = [Self::CommandApi, Self::Projector, Self::QueryApi];

    /// The name of its package, its binary and its process.
    pub fn name(self) -> &'static str {
        match self {
            Self::CommandApi => "command-api",
            Self::Projector => "projector",
            Self::QueryApi => "query-api",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replicas {
    pub service: Service,
    pub count: usize,
}

impl FromStr for Replicas {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, count) = text.split_once('=').context("expected NAME=N, such as query-api=3")?;
        let Some(service) = Service::ALL.into_iter().find(|service| service.name() == name) else {
            bail!("{name} is not one of command-api, projector and query-api");
        };
        let count = count.parse().with_context(|| format!("{count} is not a number"))?;
        ensure!((1..=MAX_REPLICAS).contains(&count), "the number of processes must be from 1 to {MAX_REPLICAS}");
        Ok(Self { service, count })
    }
}

#[cfg(test)]
mod tests {
    use super::{Replicas, Service};

    #[test]
    fn replicas_are_a_service_and_a_bounded_number() {
        let three: Replicas = "query-api=3".parse().unwrap();
        assert_eq!(three, Replicas { service: Service::QueryApi, count: 3 });
        for wrong in ["query-api", "query-api=", "query-api=0", "query-api=17", "query-api=-1", "nats=2", "=2"] {
            assert!(wrong.parse::<Replicas>().is_err(), "{wrong}");
        }
    }
}
