//! The services of a system, on the databases of a test.

use crate::{Command, Databases, Ended, Service, Until};

/// Nothing listens at this address: for tests without NATS.
pub const NO_NATS: &str = "nats://127.0.0.1:1";

impl Databases {
    /// Starts a service with its role on these databases. Further settings come after the addresses, and override them.
    pub async fn start(&self, service: &str, until: Until, more: &[(&str, &str)]) -> Service {
        let (event_store, read_model) = self.addresses(service);
        let addresses = [("EVENT_STORE_URL", &*event_store), ("READ_MODEL_URL", &read_model)];
        Service::start(service, until, &[&addresses, more].concat()).await
    }

    /// Starts a command of a service in the same way.
    pub fn command(&self, service: &str, arguments: &[&str], more: &[(&str, &str)]) -> Command {
        let (event_store, read_model) = self.addresses(service);
        let addresses = [("EVENT_STORE_URL", &*event_store), ("READ_MODEL_URL", &read_model)];
        Command::start(service, arguments, &[&addresses, more].concat())
    }

    pub async fn command_api(&self, nats_url: &str) -> Service {
        self.start("command-api", Until::Ready, &[("NATS_URL", nats_url)]).await
    }

    pub async fn projector(&self, nats_url: &str) -> Service {
        self.start("projector", Until::Ready, &[("NATS_URL", nats_url)]).await
    }

    pub async fn query_api(&self) -> Service {
        self.start("query-api", Until::Ready, &[]).await
    }

    /// Starts `projector rebuild` with these options.
    pub fn start_rebuild(&self, options: &[&str]) -> Command {
        self.command("projector", &[&["rebuild"], options].concat(), &[])
    }

    /// Rebuilds the read model from scratch, or resumes an interrupted rebuild.
    pub async fn rebuild(&self) {
        let ended = self.start_rebuild(&[]).ended().await;
        assert!(ended.success, "{}", ended.log);
    }

    /// Runs `command-api void`.
    pub async fn void(&self, position: i64, reason: &str, actor: &str) -> Ended {
        let options = [format!("--position={position}"), format!("--reason={reason}"), format!("--actor={actor}")];
        let [position, reason, actor] = options.each_ref().map(String::as_str);
        self.command("command-api", &["void", position, reason, actor], &[]).ended().await
    }

    fn addresses(&self, service: &str) -> (String, String) {
        let role = service.replace('-', "_");
        (self.event_store_url(&role), self.read_model_url(&role))
    }
}
