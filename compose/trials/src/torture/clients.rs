//! Clients with a memory: they buy, repeat, hang up, reset and read, through Traefik and directly.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::torture::answer::{Answer, BUY, TOTALS};
use crate::torture::buyers::{self, purchase};
use crate::torture::memory::{Harm, LICENSES, Memory, Use};
use crate::torture::shopper::Shopper;
use crate::torture::system::Entrances;
use crate::torture::{readers, slow_buyers};

const BUYERS: u64 = 6;
/// Longer than any service lets a request wait.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// So that a request that hangs is not the only one for long.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
const PROBE_INTERVAL: Duration = Duration::from_millis(50);

/// Clients that run until the token is cancelled.
pub fn start(
    entrances: &Entrances,
    memory: &Arc<Memory>,
    seed: u64,
    stopping: &CancellationToken,
) -> Result<JoinSet<()>> {
    let http = entrances.client(REQUEST_TIMEOUT)?;
    let mut clients = JoinSet::new();
    let mut number = 0;
    let mut shopper = || {
        number += 1;
        Shopper {
            entrances: entrances.clone(),
            http: http.clone(),
            memory: Arc::clone(memory),
            random: Xoshiro256PlusPlus::seed_from_u64(seed.wrapping_add(number)),
            stopping: stopping.clone(),
        }
    };
    for _ in 0..BUYERS {
        clients.spawn(buyers::buy_until_stopped(shopper()));
    }
    clients.spawn(buyers::reset_until_stopped(shopper()));
    clients.spawn(probe_purchases(shopper()));
    clients.spawn(probe_totals(shopper()));
    for entrance in &entrances.command_apis {
        clients.spawn(slow_buyers::buy_slowly_until_stopped(shopper(), entrance.clone()));
    }
    for entrance in entrances.readable() {
        clients.spawn(readers::read_until_stopped(shopper(), entrance.clone()));
        clients.spawn(readers::stream_until_stopped(shopper(), entrance));
    }
    Ok(clients)
}

/// Measures for how long no purchase succeeds through Traefik.
async fn probe_purchases(mut shopper: Shopper) {
    while !shopper.is_stopping() {
        let key = shopper.uuid().to_string();
        let mut acknowledged = false;
        while !acknowledged && !shopper.is_stopping() {
            let url = format!("{}{}", shopper.entrances.traefik, BUY.path);
            let request = shopper.http.post(url).timeout(PROBE_TIMEOUT).json(&json!({ "license": LICENSES[0] }));
            let request = request.header("idempotency-key", &key);
            acknowledged = purchase(request, Some(key.clone()), LICENSES[0], Arc::clone(&shopper.memory)).await;
            sleep(PROBE_INTERVAL).await;
        }
        if acknowledged {
            shopper.memory.succeeded(Use::Buying);
        }
    }
}

/// The same for totals.
async fn probe_totals(shopper: Shopper) {
    while !shopper.is_stopping() {
        let request = shopper.get(&shopper.entrances.traefik, TOTALS.path).timeout(PROBE_TIMEOUT);
        match TOTALS.send(request).await {
            Answer::Success(_) => shopper.memory.succeeded(Use::Totals),
            Answer::Unavailable => {}
            Answer::Improper(what) => shopper.memory.found(Harm::Improper, what),
        }
        sleep(PROBE_INTERVAL).await;
    }
}
