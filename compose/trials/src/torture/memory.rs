//! What clients remember: receipts, answers of all kinds, how long nothing succeeded, and what they found wrong.

use std::collections::HashMap;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// The licences, in the order of [`Totals`].
pub const LICENSES: [&str; 3] = ["basic", "pro", "enterprise"];

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    pub purchase_id: Uuid,
    pub position: i64,
    pub license: String,
    pub price: Money,
    pub purchased_at: DateTime<Utc>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Money {
    pub amount_minor: i64,
    pub currency: String,
}

#[derive(Clone, Debug)]
pub struct Bought {
    /// Purchases without a key are never repeated.
    pub key: Option<String>,
    pub receipt: Receipt,
}

/// Number of sales and revenue of each licence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals(pub [(i64, i64); LICENSES.len()]);

impl Totals {
    pub fn add(&mut self, license: &str, amount_minor: i64) -> bool {
        let Some(index) = LICENSES.iter().position(|known| *known == license) else { return false };
        self.0[index].0 += 1;
        self.0[index].1 += amount_minor;
        true
    }

    pub fn set(&mut self, license: &str, count: i64, revenue: i64) -> bool {
        let Some(index) = LICENSES.iter().position(|known| *known == license) else { return false };
        self.0[index] = (count, revenue);
        true
    }

    pub fn plus(self, other: Self) -> Self {
        let mut sum = self;
        for (own, (count, revenue)) in sum.0.iter_mut().zip(other.0) {
            own.0 += count;
            own.1 += revenue;
        }
        sum
    }

    /// From a member `by_license`, and `sales_count` and `revenue` next to it, which have to be its sums.
    pub fn parse(answer: &Value) -> Option<Self> {
        let of = |value: &Value| {
            let revenue = &value["revenue"];
            let amount = revenue["amount_minor"].as_i64().filter(|_| revenue["currency"] == "EUR")?;
            Some((value["sales_count"].as_i64()?, amount))
        };
        let mut totals = Self::default();
        for (total, license) in totals.0.iter_mut().zip(LICENSES) {
            *total = of(&answer["by_license"][license])?;
        }
        let sum = totals.0.iter().fold((0, 0), |sum, total| (sum.0 + total.0, sum.1 + total.1));
        (of(answer)? == sum).then_some(totals)
    }
}

/// An answer that has to agree with the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// `as_of` is unknown in the read model's tables.
    Totals { position: i64, totals: Totals, as_of: Option<DateTime<Utc>> },
    /// Totals as of a time.
    Before { time: DateTime<Utc>, position: i64 },
    /// All sales since the beginning of the log, and the positions of the resets.
    History { position: i64, sold: Totals, resets: Vec<i64> },
    /// The newest first.
    Latest { position: i64, limit: usize, purchases: Vec<(i64, String, i64, DateTime<Utc>)> },
    /// Consecutive events.
    Events { after: i64, events: Vec<(i64, Uuid, DateTime<Utc>)> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Harm {
    /// An acknowledged purchase is not in the log.
    Lost,
    /// A purchase is in the log twice, or has two receipts.
    Doubled,
    /// An answer, a table or the stream differs from the log, or an answer went back.
    Wrong,
    /// An answer that is not documented.
    Improper,
    /// A fault did not raise its alarm.
    Silent,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub harm: Harm,
    pub what: String,
}

/// The longest time without a success.
#[derive(Clone, Copy, Debug)]
struct Gauge {
    last_success: Instant,
    longest: Duration,
}

impl Gauge {
    fn new() -> Self {
        Self { last_success: Instant::now(), longest: Duration::ZERO }
    }

    fn success(&mut self) {
        self.longest = self.longest.max(self.last_success.elapsed());
        self.last_success = Instant::now();
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    Buying,
    Totals,
}

/// What happened during a round.
#[derive(Clone, Debug)]
pub struct Period {
    pub findings: Vec<Finding>,
    /// Improper answers that are known.
    pub tolerated: usize,
    pub no_purchases: Duration,
    pub no_totals: Duration,
}

#[derive(Debug)]
pub struct Memory(Mutex<Content>);

#[derive(Debug)]
struct Content {
    bought: Vec<Bought>,
    by_key: HashMap<String, usize>,
    /// Positions of acknowledged resets.
    resets: Vec<(i64, DateTime<Utc>)>,
    seen: Vec<Seen>,
    findings: Vec<Finding>,
    /// Parts of improper answers that are tolerated.
    known_answers: Vec<&'static str>,
    /// No process of command-api ends but in order.
    accepted_must_be_answered: bool,
    tolerated: usize,
    buying: Gauge,
    totals: Gauge,
}

impl Memory {
    pub fn new() -> Self {
        Self(Mutex::new(Content {
            bought: Vec::new(),
            by_key: HashMap::new(),
            resets: Vec::new(),
            seen: Vec::new(),
            findings: Vec::new(),
            known_answers: Vec::new(),
            accepted_must_be_answered: false,
            tolerated: 0,
            buying: Gauge::new(),
            totals: Gauge::new(),
        }))
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The receipt of a key never changes.
    pub fn bought(&self, key: Option<&str>, receipt: Receipt) {
        let mut content = self.content();
        if let Some(known) = key.and_then(|key| content.by_key.get(key)).map(|known| content.bought[*known].clone()) {
            if known.receipt != receipt {
                let what = format!("{key:?} has the receipts {:?} and {receipt:?}", known.receipt);
                content.findings.push(Finding { harm: Harm::Doubled, what });
            }
            return;
        }
        let index = content.bought.len();
        content.by_key.extend(key.map(|key| (key.to_owned(), index)));
        content.bought.push(Bought { key: key.map(str::to_owned), receipt });
    }

    pub fn reset(&self, position: i64, at: DateTime<Utc>) {
        self.content().resets.push((position, at));
    }

    pub fn saw(&self, seen: Seen) {
        self.content().seen.push(seen);
    }

    pub fn found(&self, harm: Harm, what: impl Into<String>) {
        let (mut content, what) = (self.content(), what.into());
        if harm == Harm::Improper && content.known_answers.iter().any(|known| what.contains(known)) {
            content.tolerated += 1;
            return;
        }
        content.findings.push(Finding { harm, what });
    }

    pub fn found_all(&self, findings: Vec<Finding>) {
        self.content().findings.extend(findings);
    }

    pub fn succeeded(&self, usage: Use) {
        let mut content = self.content();
        match usage {
            Use::Buying => content.buying.success(),
            Use::Totals => content.totals.success(),
        }
    }

    /// Any purchase; `None` while there is none.
    pub fn any(&self, pick: usize) -> Option<Bought> {
        let content = self.content();
        let count = content.bought.len();
        (count > 0).then(|| content.bought[pick % count].clone())
    }

    /// Position of the purchase that was acknowledged last.
    pub fn newest_position(&self) -> i64 {
        self.content().bought.last().map_or(0, |bought| bought.receipt.position)
    }

    /// All purchases but the first ones.
    pub fn purchases_after(&self, count: usize) -> Vec<Bought> {
        self.content().bought[count..].to_vec()
    }

    pub fn resets_after(&self, count: usize) -> Vec<(i64, DateTime<Utc>)> {
        self.content().resets[count..].to_vec()
    }

    /// Answers since the last call.
    pub fn take_seen(&self) -> Vec<Seen> {
        mem::take(&mut self.content().seen)
    }

    /// Whether each request that command-api has accepted has to be answered.
    pub fn accepted_must_be_answered(&self) -> bool {
        self.content().accepted_must_be_answered
    }

    /// Begins a round, in which improper answers with these parts are tolerated.
    pub fn begin(&self, known_answers: Vec<&'static str>, accepted_must_be_answered: bool) {
        let mut content = self.content();
        content.known_answers = known_answers;
        content.accepted_must_be_answered = accepted_must_be_answered;
        (content.buying, content.totals) = (Gauge::new(), Gauge::new());
    }

    /// Ends a round, with all findings since the last one.
    pub fn end(&self) -> Period {
        let mut content = self.content();
        let longest = |gauge: Gauge| gauge.longest.max(gauge.last_success.elapsed());
        Period {
            no_purchases: longest(content.buying),
            no_totals: longest(content.totals),
            findings: mem::take(&mut content.findings),
            tolerated: mem::take(&mut content.tolerated),
        }
    }
}
