//! The changes that a batch of events makes to the read model: totals, their snapshots, history, newest purchases. Pure.

use std::collections::VecDeque;

use chrono::{DateTime, Utc};
use contract::{
    event::{DecodeError, Event, LicensePurchased},
    money::OutOfRange,
    position::Position,
    totals::{SNAPSHOT_INTERVAL, Totals},
};
use event_log::{
    LastEvent,
    read_model::{LATEST_PURCHASES, LatestPurchase},
};

use crate::history::History;

/// An event that cannot be applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("the event at position {position} cannot be decoded: {source}")]
    Decode { position: Position, source: DecodeError },
    #[error("the event at position {position} cannot be added: {source}")]
    Add { position: Position, source: OutOfRange },
}

/// The changes by the events of a batch.
#[derive(Clone, Debug)]
pub struct BatchDelta {
    pub totals: Totals,
    pub snapshots: Vec<Snapshot>,
    pub history: History,
    /// Number of purchases.
    pub purchase_count: i64,
    /// The newest purchases, at most [`LATEST_PURCHASES`], the newest first.
    pub latest: VecDeque<LatestPurchase>,
    /// The last event; `None` before the first.
    pub last: Option<LastEvent>,
}

/// The totals at a position that is a multiple of [`SNAPSHOT_INTERVAL`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Snapshot {
    pub position: Position,
    pub as_of: DateTime<Utc>,
    pub totals: Totals,
}

impl BatchDelta {
    /// Of an empty batch, on top of earlier totals.
    pub fn on(totals: &Totals) -> Self {
        Self {
            totals: totals.clone(),
            snapshots: Vec::new(),
            history: History::default(),
            purchase_count: 0,
            latest: VecDeque::new(),
            last: None,
        }
    }

    /// Applies one event. An error changes nothing.
    pub fn apply(&mut self, identity: LastEvent, event: Result<Event, DecodeError>) -> Result<(), ApplyError> {
        let LastEvent { position, recorded_at: time, .. } = identity;
        let event = event.map_err(|source| ApplyError::Decode { position, source })?;
        let out_of_range = |source| ApplyError::Add { position, source };
        let mut totals = self.totals.clone();
        totals.apply(&event).map_err(out_of_range)?;
        self.history.add(position, time, &event).map_err(out_of_range)?;
        self.totals = totals;
        if let Event::LicensePurchased(LicensePurchased { license, price }) = event {
            self.purchase_count += 1;
            if self.latest.len() == LATEST_PURCHASES {
                self.latest.pop_back();
            }
            self.latest.push_front(LatestPurchase { position, purchased_at: time, license, price });
        }
        if position.get() % SNAPSHOT_INTERVAL == 0 {
            self.snapshots.push(Snapshot { position, as_of: time, totals: self.totals.clone() });
        }
        self.last = Some(identity);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use contract::{catalogue::License, event::SalesReset, money::Money};

    use super::*;

    fn purchase(cents: i64) -> Event {
        Event::LicensePurchased(LicensePurchased { license: License::Pro, price: Money::eur(cents) })
    }

    fn reset() -> Event {
        Event::SalesReset(SalesReset { reason: None })
    }

    fn apply(delta: &mut BatchDelta, position: i64, event: Event) -> Result<(), ApplyError> {
        delta.apply(LastEvent { position: position.try_into().unwrap(), ..LastEvent::START }, Ok(event))
    }

    #[test]
    fn a_snapshot_is_taken_at_its_position_within_a_batch() {
        let mut delta = BatchDelta::on(&Totals::default());
        for position in SNAPSHOT_INTERVAL - 2..=2 * SNAPSHOT_INTERVAL {
            apply(&mut delta, position, purchase(1)).unwrap();
        }
        let counts: Vec<_> = delta
            .snapshots
            .iter()
            .map(|snapshot| (snapshot.position.get(), snapshot.totals.of(License::Pro).sales_count))
            .collect();
        assert_eq!(counts, [(SNAPSHOT_INTERVAL, 3), (2 * SNAPSHOT_INTERVAL, 3 + SNAPSHOT_INTERVAL)]);
    }

    #[test]
    fn a_batch_keeps_its_newest_purchases_and_counts_all_of_them() {
        let mut delta = BatchDelta::on(&Totals::default());
        for position in 1..=250 {
            let event = if position % 50 == 0 { reset() } else { purchase(position) };
            apply(&mut delta, position, event).unwrap();
        }
        assert_eq!(delta.purchase_count, 245);
        let amounts: Vec<_> = delta.latest.iter().map(|purchase| purchase.price.amount_minor()).collect();
        assert_eq!(amounts, (148..250).rev().filter(|position| position % 50 != 0).collect::<Vec<_>>());
    }

    #[test]
    fn a_sum_out_of_range_for_the_history_does_not_change_the_totals_either() {
        let mut delta = BatchDelta::on(&Totals::default());
        apply(&mut delta, 1, purchase(i64::MAX)).unwrap();
        apply(&mut delta, 2, reset()).unwrap();
        assert!(matches!(apply(&mut delta, 3, purchase(1)), Err(ApplyError::Add { .. })));
        assert_eq!(delta.totals, Totals::default());
        assert_eq!(delta.last.map(|last| last.position.get()), Some(2));
    }
}
