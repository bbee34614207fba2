//! What watches the system, and what backs it up, tried in the swarm as operators use it.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::images::Provided;
use crate::swarm::Stack;

/// Scraped everywhere.
const JOBS: [&str; 9] =
    ["alertmanager", "barman", "command-api", "node", "postgres", "projector", "prometheus", "query-api", "traefik"];
/// Besides, where all images can be pulled.
const OTHER_JOBS: [&str; 2] = ["container", "nats"];
const ALERTS: &str = include_str!("../../monitoring/rules/alerts.yml");

/// Restored data: as the guide says, it is given to Postgres, and recovers by itself. What Patroni has written into it are the paths
/// that the data had, and will have.
const RESTORED: &str = "/restore/now";
const GIVE: &str = "chown --recursive postgres:postgres /restore/now; chmod 700 /restore/now";
const RECOVER: &str = "export PGDATA=/restore/now
    paths=\"-c hba_file=$PGDATA/pg_hba.conf -c ident_file=$PGDATA/pg_ident.conf\"
    pg_ctl start --silent --wait --log=/tmp/log --options=\"$paths -c listen_addresses= -c max_connections=200 -c synchronous_standby_names=\" ||
        { cat /tmp/log >&2; exit 1; }
    until [ \"$(psql -Atc 'select pg_is_in_recovery()')\" = f ]; do sleep 1; done
    psql -Atd event_store -c 'select position from head'
    pg_ctl stop --silent";

/// What Prometheus answers to whoever is in its network.
fn prometheus(stack: &Stack, path: &str) -> Result<Value> {
    let seen = stack.seen_by_traefik(&[("GET", format!("http://prometheus:9090/api/v1/{path}"))])?;
    ensure!(seen[0].outcome == "200", "Prometheus says of {path}: {seen:?}");
    Ok(serde_json::from_str::<Value>(&seen[0].text)?["data"].take())
}

pub fn all_are_watched(stack: &Stack, provided: &Provided) -> Result<()> {
    let mut jobs: BTreeSet<&str> = JOBS.into();
    if matches!(provided, Provided::All) {
        jobs.extend(OTHER_JOBS);
    }
    stack.site.until("every job is scraped", || {
        let targets = prometheus(stack, "targets?state=active")?;
        let targets = targets["activeTargets"].as_array().context("Prometheus has targets")?;
        let is_up = |target: &&Value| target["health"] == "up";
        let up: BTreeSet<&str> =
            targets.iter().filter(is_up).filter_map(|target| target["labels"]["job"].as_str()).collect();
        let errors: Vec<_> = targets.iter().filter(|target| !is_up(target)).collect();
        let missing: Vec<_> = jobs.difference(&up).collect();
        ensure!(missing.is_empty(), "nothing is up of {missing:?}: {errors:?}");
        Ok(true)
    })
}

pub fn alerts_are_loaded(stack: &Stack) -> Result<()> {
    let expected = ALERTS.matches("- alert:").count();
    stack.site.until("all rules are evaluated", || {
        let groups = prometheus(stack, "rules")?["groups"].take();
        let rules: Vec<&Value> = groups
            .as_array()
            .context("Prometheus has rules")?
            .iter()
            .filter_map(|group| group["rules"].as_array())
            .flatten()
            .collect();
        let alerts = rules.iter().filter(|rule| rule["type"] == "alerting").count();
        ensure!(alerts == expected, "{alerts} alerts instead of {expected}");
        let failing: Vec<_> = rules.iter().filter(|rule| rule["health"] != "ok").collect();
        ensure!(failing.is_empty(), "{failing:?}");
        Ok(true)
    })?;
    stack.site.until("Alertmanager is told", || {
        let known = prometheus(stack, "alertmanagers")?;
        Ok(known["activeAlertmanagers"].as_array().is_some_and(|active| !active.is_empty()))
    })
}

pub fn barman_has_copies(stack: &Stack) -> Result<()> {
    barman_is_content(stack)?;
    stack.exec("barman", &["barman", "backup", "sales", "--wait"]).map(drop)
}

/// Also with being sent what is committed, which it looks after each minute.
fn barman_is_content(stack: &Stack) -> Result<()> {
    stack.site.until("Barman is content", || stack.exec("barman", &["barman", "check", "sales"]).map(|_| true))
}

pub fn copies_are_watched(stack: &Stack) -> Result<()> {
    stack.site.until("Prometheus knows of the copies", || {
        let known = prometheus(stack, "query?query=barman_check_good")?;
        Ok(known["result"][0]["value"][1] == "1")
    })
}

/// Restores what is sold until now, beside the data.
pub fn the_log_is_restored(stack: &Stack) -> Result<()> {
    let sold = stack.site.sells()?;
    barman_is_content(stack)?;
    stack.exec("barman", &["barman", "switch-wal", "--archive", "--force", "sales"])?;
    stack.exec(
        "barman",
        &["barman", "restore", "sales", "latest", RESTORED, "--partial-wal", "--target-tli", "latest"],
    )?;
    stack.run_on_volume("restore", "root", GIVE)?;
    let restored = stack.run_on_volume("restore", "postgres", RECOVER)?;
    ensure!(restored == sold.to_string(), "position {restored:?} was restored, {sold} was sold");
    Ok(())
}
