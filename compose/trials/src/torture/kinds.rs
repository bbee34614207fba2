//! The table of faults: each kind is an action on a process, a container, a database, the stream or a connection.

use anyhow::{Context, Result};
use stack::services::{EVENT_STORE, READ_MODEL};

use crate::torture::on::On;

/// Services, of which two processes run each.
pub const SERVICES: [&str; 3] = ["command-api", "projector", "query-api"];
pub const SERVERS: [&str; 4] = ["postgres", "nats", "traefik", "web"];
/// The servers that a service connects to, each connection through a proxy.
pub const LINKS: [(&str, &str); 5] = [
    ("command-api", "postgres"),
    ("command-api", "nats"),
    ("projector", "postgres"),
    ("projector", "nats"),
    ("query-api", "postgres"),
];

/// Before and after each step of a purchase: see `runtime::fail_points`.
const FAIL_POINTS: [(&str, &str); 8] = [
    ("command-api", "append"),
    ("command-api", "appended"),
    ("command-api", "publish"),
    ("command-api", "published"),
    ("projector", "advance"),
    ("projector", "advanced"),
    ("projector", "note"),
    ("projector", "noted"),
];

/// Services of a deployment.
const SWARM: [&str; 8] =
    ["command-api", "projector", "query-api", "web", "traefik", "docker-socket", "postgres", "nats"];
/// Those of one with high availability. The nodes of a cluster are named after what they are when the fault begins.
const HIGH_AVAILABILITY: [&str; 12] = [
    "command-api",
    "projector",
    "query-api",
    "web",
    "traefik",
    "docker-socket",
    "postgres-proxy",
    "postgres-primary",
    "postgres-standby",
    "nats-leader",
    "nats-follower",
    "etcd",
];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind {
    pub name: String,
    pub action: Action,
}

/// What a fault does. Those that last are undone at their end. In a deployment, a process is a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// SIGKILL to one process of a role.
    Kill(&'static str),
    /// SIGKILL to all processes of a role.
    KillAll(&'static str),
    /// A process of a role aborts when it comes to this point.
    FailPoint(&'static str, &'static str),
    /// The graceful stop of one process.
    Stop(&'static str),
    /// SIGKILL to everything at once.
    KillEverything,
    /// Its stop signal to everything at once, as from the kernel when the supervisor dies.
    StopEverything,
    /// SIGSTOP to one process and its children, and SIGCONT at the end.
    Freeze(&'static str),
    /// One process can open no further file or connection.
    NoFiles(&'static str),
    /// No file of a process can grow beyond this size, as on a full disk.
    FullDisk(&'static str, u64),
    /// All processes of a role are restarted with a log on a full disk, and again with their own at the end.
    FullLog(&'static str),
    /// SIGKILL to a process of Postgres that serves a client; Postgres then recovers as after a crash.
    KillBackend,
    /// `pg_terminate_backend` for all connections of a database role.
    Disconnect(&'static str),
    /// A transaction that holds a lock in a database.
    Lock {
        database: &'static str,
        statement: &'static str,
    },
    /// `append_events` reads a clock that is an hour ahead.
    ClockAhead,
    DeleteMessage,
    PurgeStream,
    DeleteStream,
    /// Another log is on the stream, until it is deleted.
    ForeignStream,
    DeleteConsumers,
    /// Some bytes in the files of the stream are changed while NATS is down.
    DamageStream,
    /// The connections between a service and a server break after some bytes in one direction, and each later one at once.
    Cut(&'static str, &'static str),
    /// The same, but the connections stay open and transmit nothing in that direction.
    Hold(&'static str, &'static str),
    /// Some packets between a service and a server are lost, in both directions.
    LosePackets(&'static str, &'static str),
    /// All packets between them in one direction are lost.
    LoseDirection(&'static str, &'static str),
    /// The file systems of some servers lose what was not synced, their processes die, and they start again.
    PowerLoss(&'static [&'static str]),
    /// The file system of a server has no space.
    FullFileSystem(&'static str),
    /// One container of a role neither receives nor sends packets, on one network or on all.
    Partition(&'static str, Option<&'static str>),
    /// SIGKILL to one container, whose service is not started again before the end.
    Lose(&'static str),
}

impl Kind {
    /// Whether it happens to a file system of its own, which only root can mount.
    pub fn needs_disks(&self) -> bool {
        matches!(self.action, Action::PowerLoss(_) | Action::FullFileSystem(_))
    }

    /// Whether it changes the firewall, as only root can.
    pub fn needs_firewall(&self) -> bool {
        matches!(self.action, Action::LosePackets(..) | Action::LoseDirection(..))
    }

    /// Whether it has to raise an alarm if it lasts.
    pub fn raises_alarm(&self) -> bool {
        matches!(
            self.action,
            Action::Freeze("nats")
                | Action::ClockAhead
                | Action::ForeignStream
                | Action::Hold("command-api", "nats")
                | Action::Cut("command-api" | "projector", "postgres")
        )
    }

    /// Parts of improper answers that are known to follow from this fault.
    pub fn known_answers(&self) -> impl Iterator<Item = &'static str> {
        // Traefik's answer to everything until it has read its configuration.
        let starting = self.ends("traefik").then_some("404 page not found");
        // Traefik takes the documents of its own problems from the server of the pages.
        let has_no_documents = self.ends("web") || self.action == Action::NoFiles("traefik");
        let without_document = has_no_documents.then_some("503 Service Unavailable, no problem+json: Bad Gateway");
        starting.into_iter().chain(without_document)
    }

    fn ends(&self, role: &str) -> bool {
        match self.action {
            Action::Kill(ended)
            | Action::KillAll(ended)
            | Action::Stop(ended)
            | Action::NoFiles(ended)
            | Action::Lose(ended) => ended == role,
            Action::KillEverything | Action::StopEverything => true,
            _ => false,
        }
    }

    /// Whether command-api ends in order, and answers what it has accepted.
    pub fn drains_command_api(&self) -> bool {
        self.action == Action::Stop("command-api")
    }

    pub fn named(name: &str) -> Result<Self> {
        let found = On::ALL.into_iter().flat_map(Self::all).find(|kind| kind.name == name);
        found.with_context(|| format!("unknown kind {name}; --list lists them"))
    }

    /// All kinds of faults of a system, in a fixed order: the plan of a seed depends on it.
    pub fn all(on: On) -> Vec<Self> {
        match on {
            On::Native => Self::native(),
            On::Swarm => Self::deployed(&SWARM),
            On::HighAvailability => Self::deployed(&HIGH_AVAILABILITY),
        }
    }

    /// Faults of containers, and those that need no access to processes and files.
    fn deployed(roles: &[&'static str]) -> Vec<Self> {
        let mut kinds = Vec::new();
        let mut add = |name: String, action| kinds.push(Self { name, action });
        for &role in roles {
            add(format!("kill-{role}"), Action::Kill(role));
            add(format!("stop-{role}"), Action::Stop(role));
            add(format!("freeze-{role}"), Action::Freeze(role));
            add(format!("partition-{role}"), Action::Partition(role, None));
            add(format!("lose-{role}"), Action::Lose(role));
        }
        for role in SERVICES {
            add(format!("kill-all-{role}"), Action::KillAll(role));
            add(format!("partition-{role}-data"), Action::Partition(role, Some("data")));
        }
        kinds.extend(Self::native().into_iter().filter(|kind| kind.action.is_remote()));
        kinds
    }

    fn native() -> Vec<Self> {
        let mut kinds = Vec::new();
        let mut add = |name: String, action| kinds.push(Self { name, action });
        for role in SERVICES.into_iter().chain(SERVERS) {
            add(format!("kill-{role}"), Action::Kill(role));
            add(format!("stop-{role}"), Action::Stop(role));
            add(format!("freeze-{role}"), Action::Freeze(role));
        }
        for role in SERVICES {
            add(format!("kill-all-{role}"), Action::KillAll(role));
            add(format!("full-log-{role}"), Action::FullLog(role));
        }
        add("kill-everything".to_owned(), Action::KillEverything);
        add("stop-everything".to_owned(), Action::StopEverything);
        for role in SERVICES.into_iter().chain(["postgres", "nats", "traefik"]) {
            add(format!("no-files-{role}"), Action::NoFiles(role));
        }
        // The WAL has files of 16 MiB.
        add("full-disk-postgres".to_owned(), Action::FullDisk("postgres", 1 << 20));
        add("full-disk-nats".to_owned(), Action::FullDisk("nats", 4096));
        add("kill-backend".to_owned(), Action::KillBackend);
        for role in ["command_api", "projector", "query_api"] {
            add(format!("disconnect-{}", role.replace('_', "-")), Action::Disconnect(role));
        }
        for (role, point) in FAIL_POINTS {
            add(format!("die-at-{point}"), Action::FailPoint(role, point));
        }
        for (name, database, statement) in [
            ("lock-head", EVENT_STORE, "select from head for update"),
            ("lock-events", EVENT_STORE, "lock table event in share row exclusive mode"),
            ("lock-event-store", EVENT_STORE, "lock table event, head in access exclusive mode"),
            ("lock-projection", READ_MODEL, "select from projection for update"),
            ("lock-read-model", READ_MODEL, "lock table projection, license_total in access exclusive mode"),
            ("lock-tree", READ_MODEL, "select from tree_head for update"),
        ] {
            add(name.to_owned(), Action::Lock { database, statement });
        }
        add("clock-ahead".to_owned(), Action::ClockAhead);
        add("delete-message".to_owned(), Action::DeleteMessage);
        add("purge-stream".to_owned(), Action::PurgeStream);
        add("delete-stream".to_owned(), Action::DeleteStream);
        add("foreign-stream".to_owned(), Action::ForeignStream);
        add("damage-stream".to_owned(), Action::DamageStream);
        add("delete-consumers".to_owned(), Action::DeleteConsumers);
        for (service, server) in LINKS {
            add(format!("cut-{service}-{server}"), Action::Cut(service, server));
            add(format!("hold-{service}-{server}"), Action::Hold(service, server));
            add(format!("lose-packets-{service}-{server}"), Action::LosePackets(service, server));
            add(format!("lose-direction-{service}-{server}"), Action::LoseDirection(service, server));
        }
        add("power-loss-postgres".to_owned(), Action::PowerLoss(&["postgres"]));
        add("power-loss-nats".to_owned(), Action::PowerLoss(&["nats"]));
        add("power-loss".to_owned(), Action::PowerLoss(&["postgres", "nats"]));
        add("full-file-system-postgres".to_owned(), Action::FullFileSystem("postgres"));
        add("full-file-system-nats".to_owned(), Action::FullFileSystem("nats"));
        kinds
    }
}

impl Action {
    /// Whether it happens through a connection, wherever the system runs.
    pub const fn is_remote(self) -> bool {
        matches!(
            self,
            Self::Disconnect(_)
                | Self::Lock { .. }
                | Self::ClockAhead
                | Self::DeleteMessage
                | Self::PurgeStream
                | Self::DeleteStream
                | Self::ForeignStream
                | Self::DeleteConsumers
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_same_fault_on_every_system() {
        for on in On::ALL {
            for kind in Kind::all(on) {
                assert_eq!(Kind::named(&kind.name).unwrap(), kind, "{on:?}");
            }
        }
    }

    #[test]
    fn only_faults_of_traefik_and_of_the_pages_have_known_answers() {
        let known = |name: &str| Kind::named(name).unwrap().known_answers().collect::<Vec<_>>();
        let (starting, without_document) =
            ("404 page not found", "503 Service Unavailable, no problem+json: Bad Gateway");
        assert_eq!(known("kill-traefik"), [starting]);
        assert_eq!(known("stop-web"), [without_document]);
        assert_eq!(known("no-files-traefik"), [starting, without_document]);
        assert_eq!(known("kill-everything"), [starting, without_document]);
        for other in ["kill-all-command-api", "kill-postgres", "freeze-traefik", "cut-command-api-postgres"] {
            assert!(known(other).is_empty(), "{other}");
        }
    }
}
