//! The servers of a stack, with their addresses.

use std::net::SocketAddr;

use anyhow::Result;

use crate::data_folder::DataFolder;
use crate::nats::{Nats, Passwords};
use crate::options::{Options, Service};
use crate::ports::{self, loopback};
use crate::postgres::{Cluster, SHOP};
use crate::provision::Tools;
use crate::secrets::Secrets;
use crate::traefik::Traefik;

#[derive(Debug)]
pub struct Plan {
    pub cluster: Cluster,
    pub nats: Nats,
    pub replicas: Vec<Replica>,
    pub web: SocketAddr,
    pub traefik: Traefik,
}

/// One process of a service.
#[derive(Debug)]
pub struct Replica {
    pub service: Service,
    pub name: String,
    pub address: SocketAddr,
}

impl Plan {
    pub fn new(options: &Options, tools: Tools, folder: &DataFolder, secrets: &Secrets) -> Result<Self> {
        let cluster = Cluster {
            binaries: tools.postgres,
            data: folder.postgres(),
            log: folder.log("postgres"),
            address: ports::free()?,
            admin_password: secrets.postgres.clone(),
            tuning: SHOP,
        };
        let nats = Nats {
            binary: tools.nats_server,
            folder: folder.nats(),
            log: folder.log("nats"),
            address: ports::free()?,
            monitoring: ports::free()?,
            passwords: Passwords {
                command_api: secrets.command_api_nats.clone(),
                projector: secrets.projector_nats.clone(),
                subscriber: secrets.subscriber_nats.clone(),
                admin: None,
            },
        };
        let mut replicas = Vec::new();
        for service in Service::ALL {
            for number in 1..=options.replicas_of(service) {
                replicas.push(Replica { service, name: replica_name(service, number), address: ports::free()? });
            }
        }
        let web = ports::free()?;
        let addresses_of = |service| -> Vec<SocketAddr> {
            replicas.iter().filter(|replica| replica.service == service).map(|replica| replica.address).collect()
        };
        let traefik = Traefik {
            binary: tools.traefik,
            folder: folder.traefik(),
            log: folder.log("traefik"),
            web: loopback(options.http_port),
            dashboard: loopback(options.dashboard_port),
            command_api: addresses_of(Service::CommandApi),
            query_api: addresses_of(Service::QueryApi),
            pages: vec![web],
            limit_per_address: options.limit_per_address,
            tls: options.tls(),
        };
        Ok(Self { cluster, nats, replicas, web, traefik })
    }
}

/// The first replica is named like its service.
fn replica_name(service: Service, number: usize) -> String {
    match number {
        1 => service.name().to_owned(),
        _ => format!("{}-{number}", service.name()),
    }
}
