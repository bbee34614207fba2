//! A client: its own random numbers, and the memory of all clients.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::Xoshiro256PlusPlus;
use reqwest::{Client, RequestBuilder};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use uuid::{Builder, Uuid};

use crate::torture::memory::Memory;
use crate::torture::system::Entrances;

pub struct Shopper {
    pub entrances: Entrances,
    pub http: Client,
    pub memory: Arc<Memory>,
    pub random: Xoshiro256PlusPlus,
    pub stopping: CancellationToken,
}

impl Shopper {
    pub fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// Ends early if the clients are stopped.
    pub async fn pause(&mut self, milliseconds: Range<u64>) {
        let pause = Duration::from_millis(self.random.random_range(milliseconds));
        let _ = self.stopping.run_until_cancelled(sleep(pause)).await;
    }

    pub fn get(&self, entrance: &str, path: &str) -> RequestBuilder {
        self.http.get(format!("{entrance}{path}"))
    }

    pub fn any_writable(&mut self) -> String {
        let mut entrances = self.entrances.writable();
        entrances.swap_remove(self.random.random_range(0..entrances.len()))
    }

    pub fn uuid(&mut self) -> Uuid {
        Builder::from_random_bytes(self.random.random()).into_uuid()
    }

    /// A UUID in any of its notations, or the text itself.
    pub fn spelled(&mut self, key: &str) -> String {
        let Ok(uuid) = Uuid::try_parse(key) else { return key.to_owned() };
        match self.random.random_range(0..6) {
            0 => uuid.simple().to_string(),
            1 => uuid.urn().to_string(),
            2 => uuid.braced().to_string(),
            3 => uuid.to_string().to_uppercase(),
            _ => uuid.to_string(),
        }
    }
}
