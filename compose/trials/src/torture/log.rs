//! The log, read and added up independently of the project's crates, and what has to agree with it.

use std::collections::HashMap;

use anyhow::Result;
use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use crate::torture::memory::{Bought, Finding, Harm, Receipt, Seen, Totals};

/// One statement sees one state of the log. `head` is in every row.
const READ: &str =
    "select head.position as head, event.position, recorded_at, event_id, event_type, data ->> 'license' as license,
        (data -> 'price' ->> 'amount_minor')::bigint as amount_minor, data -> 'price' ->> 'currency' as currency,
        metadata ->> 'idempotency_key' as text_key
    from (select position from head) as head left join event on event.position > $1
    order by event.position";

type Row = (
    i64,
    Option<i64>,
    Option<DateTime<Utc>>,
    Option<Uuid>,
    Option<String>,
    Option<String>,
    Option<i64>,
    Option<String>,
    Option<String>,
);

#[derive(Clone, Debug)]
pub struct Event {
    pub position: i64,
    pub recorded_at: DateTime<Utc>,
    pub id: Uuid,
    pub name: String,
    /// Licence and price of a purchase.
    pub sale: Option<(String, i64)>,
    pub text_key: Option<String>,
}

/// Events 1, 2, 3 … with the totals after each of them.
#[derive(Clone, Debug, Default)]
pub struct Log {
    pub events: Vec<Event>,
    totals: Vec<Totals>,
    /// All sales, whatever was reset.
    sold: Vec<Totals>,
    by_id: HashMap<Uuid, usize>,
    by_text_key: HashMap<String, usize>,
}

impl Log {
    /// Reads the new events. Returns what is wrong with them.
    pub async fn read(&mut self, event_store: &PgPool) -> Result<Vec<Finding>> {
        let rows: Vec<Row> = sqlx::query_as(READ).bind(self.end()).fetch_all(event_store).await?;
        let mut findings = Vec::new();
        let head = rows.first().map_or(0, |row| row.0);
        for row in rows {
            let (_, position, recorded_at, event_id, name, license, amount_minor, currency, text_key) = row;
            let (Some(position), Some(recorded_at), Some(id), Some(name)) = (position, recorded_at, event_id, name)
            else {
                continue;
            };
            let sale = license.zip(amount_minor).filter(|_| currency.as_deref() == Some("EUR"));
            findings.extend(self.append(Event { position, recorded_at, id, name, sale, text_key }));
        }
        if head != self.end() {
            findings.push(wrong(format!("head is at {head}, but the log ends at {}", self.end())));
        }
        Ok(findings)
    }

    /// The position of the last event.
    pub fn end(&self) -> i64 {
        self.events.last().map_or(0, |event| event.position)
    }

    /// Adds the next event. Returns what is wrong with it.
    pub fn append(&mut self, event: Event) -> Vec<Finding> {
        let mut findings = Vec::new();
        let (index, position) = (self.events.len(), event.position);
        if position != self.end() + 1 {
            findings.push(wrong(format!("position {position} follows {}", self.end())));
        }
        if self.events.last().is_some_and(|last| last.recorded_at > event.recorded_at) {
            findings.push(wrong(format!("the time at {position} is earlier than the one before")));
        }
        let same_id = self.by_id.insert(event.id, index);
        let same_key = event.text_key.clone().and_then(|key| self.by_text_key.insert(key, index));
        if let Some(first) = same_id.or(same_key) {
            let first = self.events[first].position;
            let what = format!("the purchase at {position} is at {first} already");
            findings.push(Finding { harm: Harm::Doubled, what });
        }
        let mut totals = self.totals.last().copied().unwrap_or_default();
        let mut sold = self.sold.last().copied().unwrap_or_default();
        let is_known = match (event.name.as_str(), &event.sale) {
            ("LicensePurchased", Some((license, amount))) => totals.add(license, *amount) && sold.add(license, *amount),
            ("SalesReset", None) => {
                totals = Totals::default();
                true
            }
            _ => false,
        };
        if !is_known {
            findings.push(wrong(format!("the event at {position} is no purchase and no reset")));
        }
        self.events.push(event);
        self.totals.push(totals);
        self.sold.push(sold);
        findings
    }

    /// The event at a position.
    fn at(&self, position: i64) -> Option<&Event> {
        let index = usize::try_from(position.checked_sub(1)?).ok()?;
        self.events.get(index)
    }

    /// A sum up to and including a position.
    fn sum(sums: &[Totals], position: i64) -> Totals {
        let index = usize::try_from(position - 1).ok();
        index.and_then(|index| sums.get(index)).copied().unwrap_or_default()
    }

    /// What is wrong with the receipt of an acknowledged purchase.
    pub fn judge_purchase(&self, bought: &Bought) -> Option<Finding> {
        let Receipt { purchase_id, position, license, price, purchased_at } = &bought.receipt;
        let Some(event) = self.by_id.get(purchase_id).map(|index| &self.events[*index]) else {
            let what = format!("the purchase {purchase_id} was acknowledged at {position}");
            return Some(Finding { harm: Harm::Lost, what });
        };
        let is_same = event.position == *position
            && event.recorded_at == *purchased_at
            && event.sale.as_ref() == Some(&(license.clone(), price.amount_minor))
            && price.currency == "EUR"
            && bought.key.as_deref().is_none_or(|key| event.has_key(key));
        (!is_same).then(|| wrong(format!("{bought:?} is {event:?} in the log")))
    }

    /// What is wrong with an acknowledged reset.
    pub fn judge_reset(&self, position: i64, at: DateTime<Utc>) -> Option<Finding> {
        let found = self.at(position).filter(|event| event.name == "SalesReset" && event.recorded_at == at);
        let lost = || Finding { harm: Harm::Lost, what: format!("the reset at {position} was acknowledged") };
        found.is_none().then(lost)
    }

    /// The highest position that an answer speaks of.
    pub fn reach(seen: &Seen) -> i64 {
        match seen {
            Seen::Totals { position, .. }
            | Seen::Before { position, .. }
            | Seen::History { position, .. }
            | Seen::Latest { position, .. } => *position,
            Seen::Events { events, .. } => events.last().map_or(0, |event| event.0),
        }
    }

    /// What is wrong with an answer that speaks of positions in the log.
    pub fn judge(&self, seen: &Seen) -> Option<Finding> {
        let agrees = match seen {
            Seen::Totals { position, totals, as_of } => {
                let is_as_of = |as_of| self.at(*position).is_none_or(|event| event.recorded_at == as_of);
                Self::sum(&self.totals, *position) == *totals && as_of.is_none_or(is_as_of)
            }
            Seen::Before { time, position } => {
                let last = self.events.partition_point(|event| event.recorded_at <= *time);
                self.at(*position).map(|event| event.position)
                    == last.checked_sub(1).map(|last| self.events[last].position)
            }
            Seen::History { position, sold, resets } => {
                let before = self.events.iter().take_while(|event| event.position <= *position);
                let expected = before.filter(|event| event.name == "SalesReset").map(|event| event.position);
                Self::sum(&self.sold, *position) == *sold && expected.eq(resets.iter().copied())
            }
            Seen::Latest { position, limit, purchases } => {
                let count = usize::try_from(*position).unwrap_or_default().min(self.events.len());
                let newest = self.events[..count].iter().rev().filter_map(|event| {
                    let (license, amount) = event.sale.clone()?;
                    Some((event.position, license, amount, event.recorded_at))
                });
                newest.take(*limit).eq(purchases.iter().cloned())
            }
            Seen::Events { after, events } => events.iter().zip(*after + 1..).all(|(event, position)| {
                let expected = self.at(position).map(|event| (event.position, event.id, event.recorded_at));
                expected == Some(*event)
            }),
        };
        (!agrees).then(|| wrong(format!("the log up to {} contradicts {seen:?}", self.end())))
    }
}

impl Event {
    /// The key is the id if it is a UUID, and otherwise in the metadata.
    fn has_key(&self, key: &str) -> bool {
        Uuid::try_parse(key).map_or_else(|_| self.text_key.as_deref() == Some(key), |id| self.id == id)
    }
}

pub fn wrong(what: String) -> Finding {
    Finding { harm: Harm::Wrong, what }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::torture::memory::Money;

    /// A purchase of the licence pro, a second after the one before.
    fn event(position: i64) -> Event {
        Event {
            position,
            recorded_at: DateTime::UNIX_EPOCH + TimeDelta::seconds(position),
            id: Uuid::from_u64_pair(0, position.unsigned_abs()),
            name: "LicensePurchased".to_owned(),
            sale: Some(("pro".to_owned(), 100)),
            text_key: None,
        }
    }

    fn reset(position: i64) -> Event {
        Event { name: "SalesReset".to_owned(), sale: None, ..event(position) }
    }

    fn bought(position: i64) -> Bought {
        let Event { id, recorded_at, .. } = event(position);
        let price = Money { amount_minor: 100, currency: "EUR".to_owned() };
        let receipt =
            Receipt { purchase_id: id, position, license: "pro".to_owned(), price, purchased_at: recorded_at };
        Bought { key: Some(id.to_string()), receipt }
    }

    fn log(events: &[Event]) -> (Log, Vec<Harm>) {
        let mut log = Log::default();
        let findings = events.iter().flat_map(|event| log.append(event.clone())).collect::<Vec<_>>();
        (log, findings.into_iter().map(|finding| finding.harm).collect())
    }

    fn harm(finding: Option<Finding>) -> Option<Harm> {
        finding.map(|finding| finding.harm)
    }

    #[test]
    fn a_lost_a_doubled_and_a_wrong_purchase_are_found() {
        let (sound, findings) = log(&[event(1), event(2), reset(3), event(4)]);
        assert_eq!(findings, []);
        for position in [1, 2, 4] {
            assert_eq!(sound.judge_purchase(&bought(position)), None);
        }
        assert_eq!(harm(sound.judge_purchase(&bought(5))), Some(Harm::Lost));
        let (at, later) = (event(3).recorded_at, event(4).recorded_at);
        assert_eq!(sound.judge_reset(3, at), None);
        assert_eq!(harm(sound.judge_reset(3, later)), Some(Harm::Lost));
        assert_eq!(harm(sound.judge_reset(2, at)), Some(Harm::Lost));

        let again = Event { id: event(1).id, ..event(2) };
        assert_eq!(log(&[event(1), again]).1, [Harm::Doubled]);
        let keyed = |position| Event { text_key: Some("order 1".to_owned()), ..event(position) };
        assert_eq!(log(&[keyed(1), keyed(2)]).1, [Harm::Doubled]);

        let changes: [fn(&mut Bought); 5] = [
            |bought| bought.receipt.position = 2,
            |bought| bought.receipt.price.amount_minor = 99,
            |bought| "basic".clone_into(&mut bought.receipt.license),
            |bought| bought.receipt.purchased_at += TimeDelta::microseconds(1),
            |bought| bought.key = Some("order 1".to_owned()),
        ];
        for change in changes {
            let mut wrong = bought(1);
            change(&mut wrong);
            assert_eq!(harm(sound.judge_purchase(&wrong)), Some(Harm::Wrong), "{wrong:?}");
        }
    }

    #[test]
    fn gaps_and_times_that_decrease_are_found() {
        assert_eq!(log(&[event(1), event(3)]).1, [Harm::Wrong]);
        assert_eq!(log(&[event(2)]).1, [Harm::Wrong]);
        let early = Event { recorded_at: DateTime::UNIX_EPOCH, ..event(2) };
        assert_eq!(log(&[event(1), early]).1, [Harm::Wrong]);
        let unknown = Event { name: "Unknown".to_owned(), ..event(1) };
        assert_eq!(log(&[unknown]).1, [Harm::Wrong]);
    }

    #[test]
    fn answers_that_contradict_the_log_are_found() {
        let (log, _) = log(&[event(1), event(2), reset(3), event(4)]);
        let pro = |count| Totals([(0, 0), (count, 100 * count), (0, 0)]);
        let time = |position| event(position).recorded_at;
        let totals = |position, count| Seen::Totals { position, totals: pro(count), as_of: Some(time(position)) };
        let history = |position, count, resets: &[i64]| {
            let resets = resets.to_vec();
            Seen::History { position, sold: pro(count), resets }
        };
        let latest = |positions: &[i64]| {
            let sale = |position: &i64| (*position, "pro".to_owned(), 100, time(*position));
            Seen::Latest { position: 4, limit: 2, purchases: positions.iter().map(sale).collect() }
        };
        let events = |positions: &[i64]| {
            let line = |position: &i64| (*position, event(*position).id, time(*position));
            Seen::Events { after: 1, events: positions.iter().map(line).collect() }
        };
        let before = |position| Seen::Before { time: time(2), position };
        for right in [
            totals(0, 0),
            totals(2, 2),
            totals(3, 0),
            totals(4, 1),
            history(2, 2, &[]),
            history(4, 3, &[3]),
            latest(&[4, 2]),
            events(&[2, 3, 4]),
            events(&[]),
            before(2),
        ] {
            assert_eq!(log.judge(&right), None);
        }
        for wrong in [
            totals(2, 1),
            totals(3, 2),
            Seen::Totals { position: 4, totals: pro(1), as_of: Some(time(3)) },
            history(4, 2, &[3]),
            history(4, 3, &[]),
            latest(&[4]),
            latest(&[2, 1]),
            events(&[2, 4]),
            events(&[3]),
            before(1),
        ] {
            assert_eq!(harm(log.judge(&wrong)), Some(Harm::Wrong), "{wrong:?}");
        }
    }
}
