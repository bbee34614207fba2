//! The metrics behind the alerts. Some faults have to raise one; a system that works has raised none.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use reqwest::Client;
use tokio::time::sleep;

use crate::torture::kinds::{Action, Kind};
use crate::torture::plan::{NOTICED_AFTER_MS, Round};
use crate::torture::system::System;

const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The opposite of `sales_ready`.
const NOT_READY: &str = "not ready";

/// As the rules of Prometheus aggregate the replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Any,
    All,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Alarm {
    service: &'static str,
    pub metric: &'static str,
    replicas: Of,
    /// It is raised above this value.
    most: f64,
}

const fn alarm(service: &'static str, metric: &'static str, replicas: Of, most: f64) -> Alarm {
    Alarm { service, metric, replicas, most }
}

/// None of them is raised once the system has healed. The limits are those of the alerts, or lower.
const QUIET: [Alarm; 13] = [
    alarm("command-api", "sales_append_clock_refused", Of::Any, 0.0),
    alarm("command-api", "sales_append_clock_ahead_seconds", Of::Any, 60.0),
    alarm("command-api", "sales_relay_diverged", Of::Any, 0.0),
    alarm("command-api", "sales_relay_lag_seconds", Of::All, 5.0),
    alarm("command-api", "sales_relay_missing_messages", Of::Any, 0.0),
    alarm("projector", "sales_projection_halted", Of::Any, 0.0),
    alarm("projector", "sales_projection_lag_seconds", Of::All, 5.0),
    alarm("projector", "sales_reconciliation_difference", Of::Any, 0.0),
    alarm("projector", "sales_checkpoint_refused", Of::Any, 0.0),
    alarm("projector", "sales_checkpoint_unconfirmed", Of::Any, 0.0),
    alarm("projector", "sales_checkpoint_delay_seconds", Of::All, 10.0),
    alarm("projector", "sales_watch_difference", Of::Any, 0.0),
    alarm("query-api", "sales_totals_age_seconds", Of::Any, 30.0),
];

/// The projector confirms the totals every second, also while nothing is sold.
const UNCONFIRMED: Alarm = alarm("query-api", "sales_totals_age_seconds", Of::Any, 3.0);

/// The alarm that the fault of a round has to raise, for which it lasts longer if necessary. In a storm, another fault may prevent it.
pub fn expected(round: &Round) -> Result<Option<Alarm>> {
    let [fault] = &round.faults[..] else { return Ok(None) };
    Ok(of(Kind::named(&fault.kind)?.action).filter(|_| fault.lasts_ms >= NOTICED_AFTER_MS))
}

/// The alarm of a fault that lasts.
fn of(action: Action) -> Option<Alarm> {
    match action {
        Action::Cut("projector", "postgres") => Some(alarm("projector", NOT_READY, Of::All, 0.0)),
        Action::Cut("command-api", "postgres") => Some(alarm("command-api", NOT_READY, Of::All, 0.0)),
        Action::Freeze("nats") | Action::Hold("command-api", "nats") => {
            Some(alarm("command-api", "sales_relay_lag_seconds", Of::All, 0.5))
        }
        Action::ClockAhead => Some(alarm("command-api", "sales_append_clock_refused", Of::Any, 0.0)),
        Action::ForeignStream => Some(alarm("command-api", "sales_relay_diverged", Of::Any, 0.0)),
        _ => None,
    }
}

/// Until an alarm is raised.
pub async fn wait_until_raised(alarm: Alarm, http: &Client, system: &System<'_>) {
    while !is_raised(alarm, http, system).await.unwrap_or(false) {
        sleep(POLL_INTERVAL).await;
    }
}

/// An alarm that is raised.
pub async fn raised(http: &Client, system: &System<'_>) -> Result<Option<&'static str>> {
    for alarm in QUIET {
        if is_raised(alarm, http, system).await? {
            return Ok(Some(alarm.metric));
        }
    }
    Ok(None)
}

/// Whether the totals are not confirmed.
pub async fn is_unconfirmed(http: &Client, system: &System<'_>) -> Result<bool> {
    is_raised(UNCONFIRMED, http, system).await
}

async fn is_raised(alarm: Alarm, http: &Client, system: &System<'_>) -> Result<bool> {
    let mut values = Vec::new();
    for replica in &system.replicas[alarm.service] {
        let text = http.get(format!("{replica}/metrics")).send().await?.text().await?;
        let metrics = parse(&text);
        let value = match alarm.metric {
            NOT_READY => metrics.get("sales_ready").map(|ready| 1.0 - ready),
            metric => metrics.get(metric).copied(),
        };
        values.push(value.with_context(|| format!("{replica} has no metric {}", alarm.metric))?);
    }
    let is_above = |value: &f64| *value > alarm.most;
    Ok(if alarm.replicas == Of::Any { values.iter().any(is_above) } else { values.iter().all(is_above) })
}

/// Metrics without labels.
fn parse(text: &str) -> BTreeMap<&str, f64> {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(name, value)| Some((name, value.parse().ok()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torture::on::On;
    use crate::torture::plan::Fault;

    #[test]
    fn a_long_fault_alone_has_to_raise_its_alarm() {
        let fault = |kind: &str, lasts_ms| Fault { kind: kind.to_owned(), at_ms: 0, lasts_ms, pick: 0 };
        let expected = |faults: &[Fault]| {
            expected(&Round { number: 1, faults: faults.to_vec() }).unwrap().map(|alarm| alarm.metric)
        };
        let (long, short) = (fault("freeze-nats", 3000), fault("freeze-nats", 1000));
        assert_eq!(expected(std::slice::from_ref(&long)), Some("sales_relay_lag_seconds"));
        assert_eq!(expected(&[fault("cut-projector-postgres", 3000)]), Some(NOT_READY));
        assert_eq!(expected(std::slice::from_ref(&short)), None);
        assert_eq!(expected(&[long, short]), None);
        assert_eq!(expected(&[fault("kill-web", 3000)]), None);
        for kind in On::ALL.into_iter().flat_map(Kind::all) {
            assert_eq!(of(kind.action).is_some(), kind.raises_alarm(), "{}", kind.name);
        }
    }

    #[test]
    fn metrics_without_labels_are_parsed() {
        let text = "# HELP lag Lag.\nlag 1.5\nsold{license=\"pro\"} 3\ndiverged 0\n# EOF\n";
        assert_eq!(parse(text).get("lag"), Some(&1.5));
        assert_eq!(parse(text).get("diverged"), Some(&0.0));
        assert_eq!(parse(text).get("sold"), None);
    }
}
