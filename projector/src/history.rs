//! The history: purchases per minute, and resets. Pure, like the totals.

use chrono::{DateTime, Utc};
use contract::{event::Event, money::OutOfRange, position::Position, totals::Totals};

const MINUTE_S: i64 = 60;

/// The additions of a batch to the history. Resets do not remove purchases from it.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// In the order of the log. Each minute occurs once, as the times of the log do not decrease.
    pub minutes: Vec<Minute>,
    pub resets: Vec<Reset>,
}

/// The purchases within a minute.
#[derive(Clone, Debug)]
pub struct Minute {
    pub begins_at: DateTime<Utc>,
    pub sold: Totals,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reset {
    pub position: Position,
    pub reset_at: DateTime<Utc>,
    pub reason: Option<String>,
}

impl History {
    /// Adds the next event. An error changes nothing.
    pub fn add(&mut self, position: Position, time: DateTime<Utc>, event: &Event) -> Result<(), OutOfRange> {
        match event {
            Event::LicensePurchased(_) => self.minute_of(time).sold.apply(event),
            Event::SalesReset(reset) => {
                self.resets.push(Reset { position, reset_at: time, reason: reset.reason.clone() });
                Ok(())
            }
            Event::EventVoided(_) => Ok(()),
        }
    }

    fn minute_of(&mut self, time: DateTime<Utc>) -> &mut Minute {
        let seconds = time.timestamp();
        let begins_at = seconds - seconds.rem_euclid(MINUTE_S);
        if self.minutes.last().is_none_or(|last| last.begins_at.timestamp() != begins_at) {
            let begins_at = DateTime::from_timestamp_secs(begins_at).expect("less than a minute before a valid time");
            self.minutes.push(Minute { begins_at, sold: Totals::default() });
        }
        self.minutes.last_mut().expect("pushed above")
    }
}

#[cfg(test)]
mod tests {
    use contract::{
        catalogue::License,
        event::{LicensePurchased, SalesReset},
        money::Money,
        totals::LicenseTotal,
    };

    use super::*;

    fn at(time: &str) -> DateTime<Utc> {
        time.parse().unwrap()
    }

    fn purchase(cents: i64) -> Event {
        Event::LicensePurchased(LicensePurchased { license: License::Pro, price: Money::eur(cents) })
    }

    #[test]
    fn purchases_count_in_their_minute_and_a_reset_removes_none() {
        let mut history = History::default();
        let reset = Event::SalesReset(SalesReset { reason: Some("new year".to_owned()) });
        let events = [
            ("2026-10-25T00:59:00Z", purchase(1)),
            ("2026-10-25T00:59:30Z", reset),
            ("2026-10-25T00:59:59.999999Z", purchase(2)),
            ("2026-10-25T01:00:00Z", purchase(4)),
        ];
        for ((time, event), position) in events.iter().zip(1..) {
            history.add(position.try_into().unwrap(), at(time), event).unwrap();
        }
        let minutes: Vec<_> =
            history.minutes.iter().map(|minute| (minute.begins_at, minute.sold.of(License::Pro))).collect();
        let sold = |sales_count, cents| LicenseTotal { sales_count, revenue: Money::eur(cents) };
        assert_eq!(minutes, [(at("2026-10-25T00:59:00Z"), sold(2, 3)), (at("2026-10-25T01:00:00Z"), sold(1, 4))]);
        let mark = Reset {
            position: 2.try_into().unwrap(),
            reset_at: at("2026-10-25T00:59:30Z"),
            reason: Some("new year".to_owned()),
        };
        assert_eq!(history.resets, [mark]);
    }

    #[test]
    fn a_time_before_1970_has_a_minute() {
        let mut history = History::default();
        history.add(Position::START, at("1969-12-31T23:59:59.5Z"), &purchase(1)).unwrap();
        assert_eq!(history.minutes[0].begins_at, at("1969-12-31T23:59:00Z"));
    }
}
