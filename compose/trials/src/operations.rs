//! Monitoring and backups in the swarm, used as operators use them.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::deployment::Deployment;
use crate::images::Provided;

/// Scraped in every installation.
const JOBS: [&str; 9] =
    ["alertmanager", "barman", "command-api", "node", "postgres", "projector", "prometheus", "query-api", "traefik"];
/// Also scraped where all images can be pulled.
const OTHER_JOBS: [&str; 2] = ["container", "nats"];
const ALERTS: &str = include_str!("../../monitoring/rules/alerts.yml");

/// As in the guide: Postgres gets the restored data and recovers from it. The configuration that Patroni wrote into the data
/// contains the paths of the original, so the files are named again.
const RESTORED: &str = "/restore/now";
const GIVE: &str = "chown --recursive postgres:postgres /restore/now; chmod 700 /restore/now";
const RECOVER: &str = "export PGDATA=/restore/now
    paths=\"-c hba_file=$PGDATA/pg_hba.conf -c ident_file=$PGDATA/pg_ident.conf\"
    pg_ctl start --silent --wait --log=/tmp/log --options=\"$paths -c listen_addresses= -c max_connections=200 -c synchronous_standby_names=\" ||
        { cat /tmp/log >&2; exit 1; }
    until [ \"$(psql -Atc 'select pg_is_in_recovery()')\" = f ]; do sleep 1; done
    psql -Atd event_store -c 'select position from head'
    pg_ctl stop --silent";

/// A query of the Prometheus API.
fn prometheus(stack: &Deployment, path: &str) -> Result<Value> {
    let seen = stack.seen_by_traefik(&[("GET", format!("http://prometheus:9090/api/v1/{path}"))])?;
    ensure!(seen[0].outcome == "200", "Prometheus, {path}: {seen:?}");
    Ok(serde_json::from_str::<Value>(&seen[0].text)?["data"].take())
}

pub fn every_job_is_scraped(stack: &Deployment, provided: &Provided) -> Result<()> {
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
        ensure!(missing.is_empty(), "jobs without a healthy target: {missing:?}: {errors:?}");
        Ok(true)
    })
}

pub fn alerts_are_loaded(stack: &Deployment) -> Result<()> {
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
    stack.site.until("Prometheus is connected to Alertmanager", || {
        let known = prometheus(stack, "alertmanagers")?;
        Ok(known["activeAlertmanagers"].as_array().is_some_and(|active| !active.is_empty()))
    })
}

pub fn barman_backs_up(stack: &Deployment) -> Result<()> {
    barman_check_passes(stack)?;
    stack.exec("barman", &["barman", "backup", "sales", "--wait"]).map(drop)
}

/// Including WAL streaming, which Barman starts within a minute.
fn barman_check_passes(stack: &Deployment) -> Result<()> {
    stack.site.until("`barman check` passes", || stack.exec("barman", &["barman", "check", "sales"]).map(|_| true))
}

pub fn backups_are_monitored(stack: &Deployment) -> Result<()> {
    stack.site.until("Prometheus has the backup metrics", || {
        let known = prometheus(stack, "query?query=barman_check_good")?;
        Ok(known["result"][0]["value"][1] == "1")
    })
}

/// Restores the latest state next to the live data.
pub fn the_log_is_restored(stack: &Deployment) -> Result<()> {
    let sold = stack.site.sells()?;
    barman_check_passes(stack)?;
    stack.exec("barman", &["barman", "switch-wal", "--archive", "--force", "sales"])?;
    stack.exec(
        "barman",
        &["barman", "restore", "sales", "latest", RESTORED, "--partial-wal", "--target-tli", "latest"],
    )?;
    stack.run_on_volume("restore", "root", GIVE)?;
    let restored = stack.run_on_volume("restore", "postgres", RECOVER)?;
    ensure!(restored == sold.to_string(), "position {restored:?} was restored instead of {sold}");
    Ok(())
}
