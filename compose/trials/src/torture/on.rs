//! The systems that can be broken.

use std::time::Duration;

use clap::ValueEnum;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum On {
    /// Processes on this machine, with two of each service
    Native,
    /// Containers of the deploy file, in a swarm of this machine alone. Needs root
    Swarm,
    /// The same with high availability: three nodes each of Postgres, NATS and etcd
    HighAvailability,
}

impl On {
    pub const ALL: [Self; 3] = [Self::Native, Self::Swarm, Self::HighAvailability];

    /// As on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Swarm => "swarm",
            Self::HighAvailability => "high-availability",
        }
    }

    /// A system that needs longer after the end of a fault has not healed in time.
    pub const fn heals_within(self) -> Duration {
        match self {
            Self::Native => Duration::from_secs(10),
            // A swarm restarts a container after a second, and uses it once its health check has passed. Traefik then has to find it.
            Self::Swarm => Duration::from_secs(30),
            // Patroni fails over 15 to 20 seconds after the death of the primary, and the lost node has to follow again.
            Self::HighAvailability => Duration::from_mins(1),
        }
    }
}
