//! What watches the system, tried on a running one: whatever an alert or a dashboard asks for is there.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use stack::data_folder::DataFolder;
use stack::interrupt::Interrupt;
use stack::launch::Program;
use stack::probe::Probe;
use stack::process::Process;
use stack::secrets::Secrets;
use stack::server::Server;
use stack::{checkout, ports};
use tempfile::TempDir;
use tokio::task::spawn_blocking;

use crate::running::{Running, succeed, until};

/// Alerts that say that something is not there, which these tests do without.
const ABOUT_OTHERS: &str = "PostgresDown|NatsDown|ProxyDown";

fn compose() -> PathBuf {
    checkout::root().join("compose")
}

fn read(path: &str) -> String {
    fs::read_to_string(compose().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn promtool(arguments: &[&str]) {
    // apt-get install prometheus
    let output = succeed(Command::new("promtool").args(arguments).current_dir(compose().join("monitoring")));
    assert!(!output.contains("FAILED"), "{output}");
}

/// What stands behind a key, such as `alert:`, of a rule file.
fn values<'a>(file: &'a str, key: &str) -> Vec<&'a str> {
    file.lines()
        .filter_map(|line| line.trim_start().trim_start_matches("- ").strip_prefix(key))
        .map(str::trim)
        .collect()
}

#[test]
fn each_alert_fires_when_it_should_and_only_then() {
    promtool(&["test", "rules", "tests/alerts.yml"]);
    let (rules, tests) = (read("monitoring/rules/alerts.yml"), read("monitoring/tests/alerts.yml"));
    for alert in values(&rules, "alert:") {
        assert!(tests.contains(&format!("alertname=\"{alert}\"")), "no scenario expects {alert}");
    }
}

#[test]
fn prometheus_reads_its_configuration_and_rules() {
    promtool(&["check", "config", "--syntax-only", "prometheus.yml"]);
    promtool(&["check", "rules", "rules/alerts.yml", "rules/services.yml"]);
}

#[test]
fn the_guide_says_what_to_do_for_each_alert_and_for_no_other() {
    let rules = read("monitoring/rules/alerts.yml");
    let alerts = values(&rules, "alert:");
    let runbooks = values(&rules, "runbook:");
    let anchors: Vec<_> = alerts.iter().map(|alert| format!("OPERATIONS.md#{}", alert.to_lowercase())).collect();
    assert_eq!(runbooks, anchors, "each alert names its section");
    let guide = read("OPERATIONS.md");
    let (_, behind) = guide.split_once("\n## Alerts\n").expect("a chapter on alerts");
    let sections: BTreeSet<_> = behind
        .lines()
        .take_while(|line| !line.starts_with("## "))
        .filter_map(|line| line.strip_prefix("### "))
        .collect();
    assert_eq!(sections, alerts.into_iter().collect());
}

/// A real Prometheus with the real rules, which asks every second.
struct Prometheus {
    address: SocketAddr,
    _process: Process,
}

impl Prometheus {
    async fn watch(system: &Running, folder: &Path) -> Self {
        let secrets = Secrets::load_or_create(&DataFolder::existing(system.folder()).unwrap().secrets()).unwrap();
        let token = folder.join("token");
        fs::write(&token, &secrets.access_tokens["operator"]).unwrap();
        let processes = system.status().processes;
        let jobs = ["command-api", "projector", "query-api"].map(|job| {
            let address = processes.iter().find(|process| process.name == job).unwrap().address;
            json!({
                "job_name": job,
                "authorization": { "credentials_file": token },
                "static_configs": [{ "targets": [address] }],
            })
        });
        let configuration = json!({
            "global": { "scrape_interval": "1s", "evaluation_interval": "1s" },
            "rule_files": [compose().join("monitoring/rules/*.yml")],
            "scrape_configs": jobs,
        });
        // JSON is YAML.
        let file = folder.join("prometheus.yml");
        fs::write(&file, configuration.to_string()).unwrap();
        let address = ports::free().unwrap();
        let program = Program {
            name: "prometheus".to_owned(),
            path: "prometheus".into(),
            arguments: vec![
                format!("--config.file={}", file.display()).into(),
                format!("--storage.tsdb.path={}", folder.join("data").display()).into(),
                format!("--web.listen-address={address}").into(),
            ],
            environment: Vec::new(),
            account: None,
            log: folder.join("prometheus.log"),
            stop_signal: Signal::SIGTERM,
            stop_within: Duration::from_secs(10),
        };
        let probe = Probe::Http { address, path: "/-/ready".to_owned() };
        let server = Server { program, address, probe, ready_within: Duration::from_secs(30) };
        let started = spawn_blocking(move || server.start_and_wait(&Interrupt::default())).await.unwrap();
        Self { address, _process: started.expect("Prometheus starts: apt-get install prometheus") }
    }

    async fn get(&self, path: &str, query: &[(&str, &str)]) -> Value {
        let request = Client::new().get(format!("http://{}/api/v1/{path}", self.address)).query(query);
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        assert_eq!(answer["status"], "success", "{query:?}: {answer}");
        answer["data"].clone()
    }

    async fn query(&self, expression: &str) -> Vec<Value> {
        self.get("query", &[("query", expression)]).await["result"].as_array().unwrap().clone()
    }

    async fn names(&self) -> BTreeSet<String> {
        serde_json::from_value(self.get("label/__name__/values", &[]).await).unwrap()
    }

    /// What all rules ask for.
    async fn rules(&self) -> Vec<String> {
        let groups = self.get("rules", &[]).await["groups"].clone();
        let rules = groups.as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap());
        rules.map(|rule| rule["query"].as_str().unwrap().to_owned()).collect()
    }
}

/// Everything that any panel of a dashboard asks for.
fn asked_by(dashboard: &str) -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&read(&format!("monitoring/grafana/dashboards/{dashboard}"))).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.filter_map(|panel| panel["targets"].as_array()).flatten();
    // Grafana's variable, for scrapes that are a second apart.
    targets.map(|target| target["expr"].as_str().unwrap().replace("$__rate_interval", "10s")).collect()
}

/// The names in an expression that are those of our metrics, or computed from them.
fn ours(expression: &str) -> BTreeSet<String> {
    let names = expression.split(|character: char| !(character.is_ascii_alphanumeric() || "_:".contains(character)));
    let ours = names.filter(|name| ["sales_", "process_", "service:"].iter().any(|prefix| name.starts_with(prefix)));
    ours.map(ToOwned::to_owned).collect()
}

#[tokio::test]
async fn whatever_an_alert_or_a_dashboard_asks_for_is_there() {
    let (system, folder) = (Running::up(&["--secure"]), TempDir::new().unwrap());
    let prometheus = Prometheus::watch(&system, folder.path()).await;
    let sales = {
        let secrets = Secrets::load_or_create(&DataFolder::existing(system.folder()).unwrap().secrets()).unwrap();
        secrets.access_tokens["sales-team"].clone()
    };
    let sell = async || {
        let position = system.buy("pro").await;
        let totals = format!("/api/get_current_money?min_position={position}");
        let reply = system.request(Method::GET, &totals).bearer_auth(&sales).send().await.unwrap();
        assert_eq!(reply.status(), 200);
    };
    until("all three let Prometheus in", async || {
        sell().await;
        prometheus.query("up == 1").await.len() == 3
    })
    .await;

    let mut asked = prometheus.rules().await;
    assert!(asked.len() > 30, "the rules are loaded");
    asked.extend(asked_by("sales.json"));
    asked.extend(asked_by("servers.json"));
    let needed: BTreeSet<String> = asked.iter().flat_map(|expression| ours(expression)).collect();
    assert!(needed.len() > 25, "{needed:?}");
    until(&format!("the services export all of {needed:?}"), async || needed.is_subset(&prometheus.names().await))
        .await;

    // Whole expressions, too: a label that is not there would leave a panel empty.
    for expression in asked_by("sales.json") {
        until(&format!("{expression} has a value"), async || {
            sell().await;
            !prometheus.query(&expression).await.is_empty()
        })
        .await;
    }
    let firing = format!("ALERTS{{alertstate=\"firing\", alertname!~\"{ABOUT_OTHERS}\"}}");
    assert_eq!(prometheus.query(&firing).await, Vec::<Value>::new(), "all is well");
    let sold = prometheus.query("sum(max by (license) (sales_sold))").await;
    assert_ne!(sold[0]["value"][1], "0");
}
