//! The services' programs and the environment variables that configure them.

use std::env;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::Signal;

use crate::checkout;
use crate::data_folder::DataFolder;
use crate::launch::Program;
use crate::options::{Options, Service};
use crate::pages;
use crate::plan::{Plan, Replica};
use crate::probe::Probe;
use crate::secrets::Secrets;
use crate::server::Server;

pub const EVENT_STORE: &str = "event_store";
pub const READ_MODEL: &str = "read_model";

const READY_WITHIN: Duration = Duration::from_mins(1);
/// Longer than a service takes to drain.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// The configuration of the services.
#[derive(Debug)]
pub struct Wiring<'a> {
    pub plan: &'a Plan,
    pub secrets: &'a Secrets,
    pub folder: &'a DataFolder,
    pub options: &'a Options,
}

impl Wiring<'_> {
    /// Migrates the event store's schema and sets the services' passwords.
    pub fn migrate_event_store(&self) -> Result<Program> {
        let environment = vec![
            variable("EVENT_STORE_ADMIN_URL", self.plan.cluster.admin_url(EVENT_STORE)),
            variable("COMMAND_API_DB_PASSWORD", &self.secrets.command_api_db),
            variable("PROJECTOR_DB_PASSWORD", &self.secrets.projector_db),
            variable("QUERY_API_DB_PASSWORD", &self.secrets.query_api_db),
            variable("AUDITOR_DB_PASSWORD", &self.secrets.auditor_db),
        ];
        self.program("migrate-event-store", Service::CommandApi.name(), &["migrate"], environment)
    }

    pub fn migrate_read_model(&self) -> Result<Program> {
        let environment = vec![
            variable("READ_MODEL_ADMIN_URL", self.plan.cluster.admin_url(READ_MODEL)),
            variable("PROJECTOR_DB_PASSWORD", &self.secrets.projector_db),
            variable("QUERY_API_DB_PASSWORD", &self.secrets.query_api_db),
            variable("AUDITOR_DB_PASSWORD", &self.secrets.auditor_db),
        ];
        self.program("migrate-read-model", Service::Projector.name(), &["migrate"], environment)
    }

    /// Creates the key that signs checkpoints, once: auditors trust this key.
    pub fn create_checkpoint_key(&self) -> Result<Program> {
        let mut program = self.program("checkpoint-key", Service::Projector.name(), &["key"], Vec::new())?;
        program.arguments.extend(["--file".into(), self.folder.checkpoint_key().into()]);
        Ok(program)
    }

    /// Creates the key that signs licence keys, once: verifiers trust this key.
    pub fn create_license_key(&self) -> Result<Program> {
        let mut program = self.program("license-key", Service::QueryApi.name(), &["key"], Vec::new())?;
        program.arguments.extend(["--file".into(), self.folder.license_key().into()]);
        Ok(program)
    }

    pub fn service(&self, replica: &Replica) -> Result<Server> {
        let mut environment = match replica.service {
            Service::CommandApi => vec![
                self.database("EVENT_STORE_URL", EVENT_STORE, "command_api", &self.secrets.command_api_db),
                variable("NATS_URL", self.plan.nats.url("command-api")),
            ],
            Service::Projector => vec![
                self.database("EVENT_STORE_URL", EVENT_STORE, "projector", &self.secrets.projector_db),
                self.database("READ_MODEL_URL", READ_MODEL, "projector", &self.secrets.projector_db),
                variable("NATS_URL", self.plan.nats.url("projector")),
                variable("CHECKPOINT_KEY_FILE", self.folder.checkpoint_key().display().to_string()),
                variable("CHECKPOINT_LOG", self.folder.checkpoint_log(&replica.name).display().to_string()),
            ],
            Service::QueryApi => vec![
                self.database("EVENT_STORE_URL", EVENT_STORE, "query_api", &self.secrets.query_api_db),
                self.database("READ_MODEL_URL", READ_MODEL, "query_api", &self.secrets.query_api_db),
                variable("LICENSE_KEY_FILE", self.folder.license_key().display().to_string()),
                variable("LOG_PUBLIC_KEY_FILE", self.folder.checkpoint_public_key().display().to_string()),
                variable("PUBLIC_LOG", self.options.public_log.to_string()),
            ],
        };
        environment.extend(self.access(replica.service));
        environment.push(variable("LISTEN_ADDRESS", replica.address.to_string()));
        let program = self.program(&replica.name, replica.service.name(), &["serve"], environment)?;
        Ok(ready_at(program, replica.address))
    }

    /// The access tokens and the issuer that a service accepts.
    fn access(&self, service: Service) -> Vec<(String, String)> {
        let options = self.options;
        if !options.secure {
            return Vec::new();
        }
        let mut environment = vec![variable("ACCESS_TOKENS", self.folder.access_tokens().display().to_string())];
        if let (Some(issuer), Some(client), Some(secret)) =
            (&options.oidc_issuer, &options.oidc_client_id, &options.oidc_client_secret)
        {
            environment.push(variable("OIDC_ISSUER", issuer));
            environment.push(variable("OIDC_CLIENT_ID", client));
            if service == Service::QueryApi {
                environment.push(variable("OIDC_CLIENT_SECRET_FILE", secret.display().to_string()));
                environment.push(variable("PUBLIC_URL", options.origin("localhost")));
            }
        }
        environment
    }

    /// The server of the pages is a subcommand of the launcher.
    pub fn web(&self) -> Result<Server> {
        let mut program = self.program("web", "stack", &["web"], Vec::new())?;
        program.arguments.extend(["--listen".into(), self.plan.web.to_string().into()]);
        program.arguments.extend(["--root".into(), pages::folder().into()]);
        Ok(ready_at(program, self.plan.web))
    }

    fn database(&self, name: &str, database: &str, role: &str, password: &str) -> (String, String) {
        variable(name, self.plan.cluster.url(role, password, database))
    }

    fn program(
        &self,
        name: &str,
        binary: &str,
        arguments: &[&str],
        mut environment: Vec<(String, String)>,
    ) -> Result<Program> {
        // Readable logs, unless the launcher's environment says otherwise.
        for (name, default) in [("LOG_FORMAT", "text"), ("NO_COLOR", "1")] {
            if env::var_os(name).is_none() {
                environment.push(variable(name, default));
            }
        }
        Ok(Program {
            name: name.to_owned(),
            path: checkout::binary(binary)?,
            arguments: arguments.iter().map(Into::into).collect(),
            environment,
            account: None,
            log: self.folder.log(name),
            stop_signal: Signal::SIGTERM,
            stop_within: STOP_WITHIN,
        })
    }
}

fn ready_at(program: Program, address: SocketAddr) -> Server {
    let probe = Probe::Http { address, path: "/readyz".to_owned() };
    Server { program, address, probe, ready_within: READY_WITHIN }
}

fn variable(name: &str, value: impl Into<String>) -> (String, String) {
    (name.to_owned(), value.into())
}
