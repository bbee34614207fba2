//! The checker: compares the log with what clients remember, with every replica, the read model and the stream.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::torture::alarms::{self, Alarm};
use crate::torture::answer::{Answer, BUY, HISTORY, LATEST, Operation, TOTALS};
use crate::torture::log::{Log, wrong};
use crate::torture::memory::{Finding, Harm, Memory, Seen, Totals};
use crate::torture::service_logs::ServiceLogs;
use crate::torture::system::{Platform, System};
use crate::torture::{readers, stream};

/// Longer than a client has to wait for anything.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// After this time the system will not heal, unless it may take longer.
const GIVE_UP_AFTER: Duration = Duration::from_mins(1);
/// How long nothing is sold before the end.
const IDLE: Duration = Duration::from_secs(4);
const CHECK_ATTEMPTS: usize = 5;
const CHECK_RETRY_DELAY: Duration = Duration::from_secs(1);

const READ_MODEL_TOTALS: &str = "select position, license, sales_count, revenue_minor
    from projection left join license_total using (generation) where live";
const READ_MODEL_HISTORY: &str = "select position, begins_at, license, sales_count, revenue_minor
    from projection left join history_bucket using (generation) where live and (minutes = 1 or minutes is null)";

/// Sales per minute and licence.
type Minutes = BTreeMap<(DateTime<Utc>, String), (i64, i64)>;

pub struct Checker {
    http: Client,
    pub heals_within: Duration,
    log: Log,
    service_logs: ServiceLogs,
    /// Answers that speak of positions after the known end of the log.
    later: Vec<Seen>,
    judged_purchases: usize,
    judged_resets: usize,
    /// Up to this position the stream has been compared with the log.
    compared: i64,
}

impl Checker {
    pub fn new(system: &System<'_>, heals_within: Duration) -> Result<Self> {
        let http = system.entrances.client(REQUEST_TIMEOUT)?;
        Ok(Self {
            http,
            heals_within,
            log: Log::default(),
            service_logs: ServiceLogs::default(),
            later: Vec::new(),
            judged_purchases: 0,
            judged_resets: 0,
            compared: 0,
        })
    }

    pub fn events(&self) -> i64 {
        self.log.end()
    }

    /// Until an alarm is raised.
    pub async fn wait_until_raised(&self, alarm: Alarm, system: &System<'_>) {
        alarms::wait_until_raised(alarm, &self.http, system).await;
    }

    /// Waits until every entrance sells and has counted what it sold, and log, stream and tree have the same end. Returns how long it
    /// took, or what is still missing.
    pub async fn wait_until_healed(&self, system: &System<'_>) -> Result<Duration, String> {
        let started = Instant::now();
        loop {
            let missing = match self.missing(system).await {
                Ok(None) => return Ok(started.elapsed()),
                Ok(Some(missing)) => missing,
                Err(error) => format!("{error:#}"),
            };
            if started.elapsed() > GIVE_UP_AFTER.max(self.heals_within * 3) {
                return Err(missing);
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    async fn missing(&self, system: &System<'_>) -> Result<Option<String>> {
        let unready = system.unready().await?;
        if !unready.is_empty() {
            return Ok(Some(format!("{unready:?} are not ready")));
        }
        let mut position = 0;
        for entrance in system.entrances.writable() {
            let url = format!("{entrance}{}", BUY.path);
            let request = self.http.post(url).json(&json!({ "license": "basic" }));
            let Answer::Success(receipt) = BUY.send(request).await else {
                return Ok(Some(format!("{entrance} does not sell")));
            };
            position = position.max(receipt["position"].as_i64().context("a receipt has a position")?);
        }
        for entrance in system.entrances.readable() {
            let url = format!("{entrance}{}?min_position={position}", TOTALS.path);
            if !matches!(TOTALS.send(self.http.get(url)).await, Answer::Success(_)) {
                return Ok(Some(format!("{entrance} has no totals of position {position}")));
            }
        }
        if let Some(metric) = alarms::raised(&self.http, system).await? {
            return Ok(Some(format!("the alarm {metric} is raised")));
        }
        let signed: i64 = sqlx::query_scalar("select position from tree_head").fetch_one(&system.read_model).await?;
        let state = system.stream().await?.get_info().await?.state;
        // The relay notices it within a second.
        let lost = state.deleted_count.unwrap_or_default() + state.first_sequence.saturating_sub(1);
        let published = state.last_sequence;
        Ok(if signed < position {
            Some(format!("the tree ends at {signed}, not yet {position}"))
        } else if published < position.unsigned_abs() {
            Some(format!("the stream ends at {published}, not yet {position}"))
        } else if lost > 0 {
            Some(format!("the stream lacks {lost} messages"))
        } else {
            None
        })
    }

    /// Compares everything with the log, while clients continue. Findings go to the memory.
    pub async fn check(&mut self, system: &System<'_>, memory: &Memory) {
        let mut attempts = 1;
        while let Err(error) = self.try_check(system, memory).await {
            // A healed system may still be recovering in part, or restart once more.
            if attempts == CHECK_ATTEMPTS {
                return memory.found(Harm::Wrong, format!("the system cannot be checked: {error:#}"));
            }
            attempts += 1;
            sleep(CHECK_RETRY_DELAY).await;
        }
    }

    /// At the end of the run, without clients: reads the whole log again, and runs the auditor.
    pub async fn check_all(&mut self, system: &System<'_>, memory: &Memory) -> Result<()> {
        (self.log, self.compared, self.judged_purchases, self.judged_resets) = (Log::default(), 0, 0, 0);
        self.check(system, memory).await;
        for seen in self.later.drain(..) {
            memory.found(Harm::Wrong, format!("the log ends at {}, but an answer was {seen:?}", self.log.end()));
        }
        if let Some(fault) = system.audit().await? {
            memory.found(Harm::Wrong, fault);
        }
        // Long enough for unconfirmed totals to be old.
        sleep(IDLE).await;
        let started = Instant::now();
        while alarms::is_unconfirmed(&self.http, system).await? {
            if started.elapsed() > self.heals_within {
                memory.found(Harm::Wrong, "the totals are not confirmed while nothing is sold");
                break;
            }
            sleep(POLL_INTERVAL).await;
        }
        Ok(())
    }

    async fn try_check(&mut self, system: &System<'_>, memory: &Memory) -> Result<()> {
        self.ask_replicas(system, memory).await?;
        read_tables(system, memory).await?;
        // Before the log is read: what has been acknowledged until now is in it.
        let purchases = memory.purchases_after(self.judged_purchases);
        let resets = memory.resets_after(self.judged_resets);
        self.later.extend(memory.take_seen());
        let mut findings = self.log.read(&system.event_store).await?;
        findings.extend(purchases.iter().filter_map(|bought| self.log.judge_purchase(bought)));
        findings.extend(resets.iter().filter_map(|(position, at)| self.log.judge_reset(*position, *at)));
        self.judged_purchases += purchases.len();
        self.judged_resets += resets.len();
        let end = self.log.end();
        let known = self.later.extract_if(.., |seen| Log::reach(seen) <= end);
        findings.extend(known.filter_map(|seen| self.log.judge(&seen)));
        // Before anything else can fail.
        memory.found_all(findings);
        if let Platform::Native(native) = &system.platform {
            memory.found_all(self.service_logs.read(|name| native.folder.log(name))?);
        }
        memory.found_all(self.compare_history(system).await?);
        self.compare_stream(system, memory).await
    }

    /// What each query-api says of the same position.
    async fn ask_replicas(&self, system: &System<'_>, memory: &Memory) -> Result<()> {
        let position: i64 = sqlx::query_scalar("select position from head").fetch_one(&system.event_store).await?;
        let to = (Utc::now() + TimeDelta::hours(2)).to_rfc3339_opts(SecondsFormat::Secs, true);
        for replica in &system.entrances.query_apis {
            let ask = async |operation: Operation, query: String, parse: &dyn Fn(&Value) -> Option<Seen>| {
                let url = format!("{replica}{}?{query}", operation.path);
                match operation.send(self.http.get(url)).await {
                    Answer::Success(answer) => match parse(&answer) {
                        Some(seen) => memory.saw(seen),
                        None => memory.found(Harm::Wrong, format!("{replica} {query}: {answer}")),
                    },
                    Answer::Unavailable => anyhow::bail!("{replica} does not answer {} {query}", operation.path),
                    Answer::Improper(what) => memory.found(Harm::Improper, what),
                }
                Ok(())
            };
            ask(TOTALS, format!("min_position={position}"), &readers::totals).await?;
            ask(TOTALS, format!("at_position={position}"), &readers::totals).await?;
            ask(LATEST, "limit=100".to_owned(), &|answer: &Value| readers::latest(answer, 100)).await?;
            ask(HISTORY, format!("interval=hour&time_zone=UTC&to={to}"), &readers::history).await?;
        }
        Ok(())
    }

    /// The minutes of the read model.
    async fn compare_history(&self, system: &System<'_>) -> Result<Vec<Finding>> {
        type Row = (i64, Option<DateTime<Utc>>, Option<String>, Option<i64>, Option<i64>);
        let rows: Vec<Row> = sqlx::query_as(READ_MODEL_HISTORY).fetch_all(&system.read_model).await?;
        let position = rows.first().map_or(0, |row| row.0);
        let found: Minutes = rows
            .into_iter()
            .filter_map(|(_, begins_at, license, count, revenue)| Some(((begins_at?, license?), (count?, revenue?))))
            .collect();
        if position > self.log.end() {
            // The log was read before. The next check compares it.
            return Ok(Vec::new());
        }
        let mut expected = Minutes::new();
        for event in self.log.events.iter().take_while(|event| event.position <= position) {
            let Some((license, amount)) = &event.sale else { continue };
            let second = event.recorded_at.timestamp();
            let minute = DateTime::from_timestamp(second - second.rem_euclid(60), 0).context("a time")?;
            let total = expected.entry((minute, license.clone())).or_default();
            *total = (total.0 + 1, total.1 + amount);
        }
        let differs = found != expected;
        Ok(differs.then(|| wrong(format!("the minutes of the read model at {position} differ"))).into_iter().collect())
    }

    /// The stream has a message for each event, and that message is the event.
    async fn compare_stream(&mut self, system: &System<'_>, memory: &Memory) -> Result<()> {
        let stream = system.stream().await?;
        let end = i64::try_from(stream.get_info().await?.state.last_sequence)?.min(self.log.end());
        if end <= self.compared {
            return Ok(());
        }
        let messages = stream::read(&stream, self.compared.unsigned_abs() + 1, end.unsigned_abs()).await?;
        let compared = self.log.events.iter().skip(usize::try_from(self.compared)?);
        for event in compared.take_while(|event| event.position <= end) {
            let position = event.position;
            match messages.get(&position.unsigned_abs()) {
                Some(Some(found)) if *found == (position, event.id, event.recorded_at) => {}
                Some(found) => memory.found(Harm::Wrong, format!("message {position} of the stream is {found:?}")),
                None => memory.found(Harm::Wrong, format!("message {position} is missing from the stream")),
            }
        }
        self.compared = end;
        Ok(())
    }
}

async fn read_tables(system: &System<'_>, memory: &Memory) -> Result<()> {
    type Row = (i64, Option<String>, Option<i64>, Option<i64>);
    let rows: Vec<Row> = sqlx::query_as(READ_MODEL_TOTALS).fetch_all(&system.read_model).await?;
    let position = rows.first().context("a generation is live")?.0;
    let mut totals = Totals::default();
    for (_, license, count, revenue) in rows {
        if let (Some(license), Some(count), Some(revenue)) = (license, count, revenue) {
            totals.set(&license, count, revenue);
        }
    }
    memory.saw(Seen::Totals { position, totals, as_of: None });
    Ok(())
}
