use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, pipe};
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::Method;
use serde_json::{Value, json};

use crate::running::{Frozen, Running, is_alive, stack, succeed, text, until};

const NAMES: [&str; 7] = ["postgres", "nats", "command-api", "projector", "query-api", "web", "traefik"];

#[tokio::test]
async fn sales_survive_down_and_up() {
    let system = Running::up(&[]);
    for license in ["basic", "pro", "enterprise"] {
        system.buy(license).await;
    }
    let reset = system.request(Method::DELETE, "/api/sales").send().await.unwrap();
    assert_eq!(reset.status(), 200);
    let last = system.buy("pro").await;
    let before = system.totals(last).await;
    assert_eq!(before["sales_count"], 1);
    assert_eq!(before["by_license"]["pro"]["sales_count"], 1);

    let pids = system.all_pids();
    system.down();
    assert_eq!(pids.into_iter().filter(|&pid| is_alive(pid)).count(), 0);
    system.up_again(&[]);

    let after = system.totals(last).await;
    for field in ["sales_count", "revenue", "by_license", "position"] {
        assert_eq!(after[field], before[field], "{field}");
    }
}

#[tokio::test]
async fn the_read_model_can_be_rebuilt_while_the_system_runs() {
    let system = Running::up(&[]);
    let last = system.buy("pro").await;
    let before = system.totals(last).await;

    let said = system.rebuild(&["--dry-run"]);
    assert!(said.contains("The dry run is complete"), "{said}");

    let said = system.rebuild(&["--from-start"]);

    assert!(said.contains("compared_with_old=Same"), "{said}");
    assert_eq!(system.totals(last).await, before);
    let last = system.buy("pro").await;
    assert_eq!(system.totals(last).await["sales_count"], 2);
}

#[tokio::test]
async fn the_log_can_be_audited_while_the_system_runs() {
    let system = Running::up(&[]);
    let kept = system.folder().join("kept.txt").display().to_string();
    let mut last = 0;
    for license in ["pro", "basic"] {
        last = system.buy(license).await;
        until("there is a checkpoint for the purchase", async || {
            let proof = system.request(Method::GET, &format!("/api/events/{last}/proof")).send().await.unwrap();
            proof.status() == 200
        })
        .await;
        system.audit(&["checkpoint", "--file", &kept]);
    }

    let verdict: Value = serde_json::from_str(&system.audit(&["verify", "--checkpoints", &kept, "--json"])).unwrap();
    assert_eq!((&verdict["events"], &verdict["fault"]), (&json!(2), &Value::Null));
    assert!([1, 2].iter().all(|position| verdict["confirmed"].as_array().unwrap().contains(&json!(position))));

    let void = ["--position=1", "--reason=r", "--actor=a"];
    let refused = stack("void", system.folder()).args(void).output().unwrap();
    let log = text(&refused.stdout);
    assert!(!refused.status.success() && log.contains("the event at position 1 counts"), "{log}");

    let replayed: Value = serde_json::from_str(&system.audit(&["replay", "--format=json"])).unwrap();
    let totals = system.totals(last).await;
    for field in ["by_license", "position"] {
        assert_eq!(replayed[field], totals[field], "{field}");
    }
}

#[tokio::test]
async fn status_lists_the_urls_and_all_processes() {
    let system = Running::up(&["--replicas=query-api=2"]);

    let status = system.status_json();
    let (reader, output) = pipe().unwrap();
    drop(reader);
    assert!(stack("status", system.folder()).stdout(output).status().unwrap().success(), "as before `head`");

    let fields = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(fields(&status), ["urls", "processes"].map(String::from).into());
    assert_eq!(fields(&status["urls"]), ["shop", "sales", "api", "docs", "dashboard"].map(String::from).into());
    let processes = status["processes"].as_array().unwrap();
    for process in processes {
        assert_eq!(fields(process), ["name", "pid", "address", "ready", "log"].map(String::from).into());
        assert_eq!(process["ready"], true, "{process}");
        assert!(process["address"].as_str().unwrap().starts_with("127.0.0.1:"), "{process}");
        assert!(is_alive(process["pid"].as_i64().unwrap().try_into().unwrap()), "{process}");
        assert!(std::fs::exists(process["log"].as_str().unwrap()).unwrap(), "{process}");
    }
    let names: BTreeSet<_> = processes.iter().map(|process| process["name"].as_str().unwrap()).collect();
    assert_eq!(names, NAMES.into_iter().chain(["query-api-2"]).collect());
}

#[tokio::test]
async fn a_second_up_on_the_same_data_folder_is_refused_with_advice() {
    let system = Running::up(&[]);
    let output = system.up_command().output().unwrap();
    assert!(!output.status.success());
    let error = text(&output.stderr);
    assert!(error.contains("already running") && error.contains("cargo stack down"), "{error}");
}

#[tokio::test]
async fn a_killed_server_is_reported_and_restarted_at_the_same_address() {
    let system = Running::up(&[]);
    let find = |name: &str| system.status().processes.into_iter().find(|process| process.name == name).expect("listed");
    for name in NAMES {
        let before = find(name);

        kill(Pid::from_raw(before.pid), Signal::SIGKILL).unwrap();

        until(&format!("{name} is ready again"), async || find(name).pid != before.pid && find(name).ready).await;
        assert_eq!(find(name).address, before.address);
        let log = std::fs::read_to_string(system.folder().join("logs/stack.log")).unwrap();
        assert!(log.contains(&format!("{name} exited with signal: 9")), "{log}");
    }
    until("all servers are ready", async || system.status().processes.iter().all(|process| process.ready)).await;
    until("Traefik has noticed", async || {
        let order = r#"{"license":"pro"}"#;
        let purchase = system.request(Method::POST, "/api/buy_mpi").header("Content-Type", "application/json");
        purchase.body(order).send().await.is_ok_and(|reply| reply.status() == 201)
    })
    .await;
}

#[tokio::test]
async fn no_process_outlives_a_killed_supervisor_and_no_sale_is_lost() {
    let system = Running::up(&[]);
    let last = system.buy("enterprise").await;
    let pids = system.all_pids();

    kill(Pid::from_raw(system.supervisor()), Signal::SIGKILL).unwrap();

    until("all processes are gone", async || !pids.iter().any(|&pid| is_alive(pid))).await;
    system.up_again(&[]);
    assert_eq!(system.totals(last).await["sales_count"], 1);

    let pids = system.all_pids();
    kill(Pid::from_raw(system.supervisor()), Signal::SIGKILL).unwrap();
    let stopped = succeed(&mut stack("down", system.folder()));
    assert!(stopped.contains("did not stop in order"), "{stopped}");
    assert!(!pids.iter().any(|&pid| is_alive(pid)));
}

/// A stuck process of Postgres, such as one that waits for a disk, does not notice that its first process is dead.
#[tokio::test]
async fn a_process_of_postgres_that_outlives_a_killed_supervisor_does_not_keep_the_system_down() {
    let system = Running::up(&[]);
    system.buy("enterprise").await;
    let (supervisor, postgres) = (Pid::from_raw(system.supervisor()), system.pid("postgres"));
    let children = fs::read_to_string(format!("/proc/{postgres}/task/{postgres}/children")).unwrap();
    let child: i32 = children.split_whitespace().next().unwrap().parse().unwrap();
    let stuck = Frozen::new(child);
    for pid in [supervisor, Pid::from_raw(postgres)] {
        kill(pid, Signal::SIGKILL).unwrap();
    }
    until("only the stuck process is left", async || !is_alive(postgres)).await;
    assert!(is_alive(child));
    let (reader, output) = pipe().unwrap();
    drop(reader);
    assert!(system.up_command().arg("--detach").stdout(output).status().unwrap().success());
    assert!(!is_alive(child));
    assert_eq!(system.totals(1).await["sales_count"], 1);
    drop(stuck);
}

/// As after a failed write: a damaged store makes it report the same.
#[tokio::test]
async fn a_nats_that_reports_a_failure_is_restarted() {
    let system = Running::up(&[]);
    let nats = system.pid("nats");
    let damage = system.folder().join("nats/jetstream/SALES/streams/DAMAGED");
    fs::create_dir_all(&damage).unwrap();
    until("it is restarted", async || system.pid("nats") != nats).await;
    fs::remove_dir(&damage).unwrap();
    until("all are ready", async || system.status().processes.iter().all(|process| process.ready)).await;
    system.buy("pro").await;
}

#[tokio::test]
async fn a_system_whose_output_is_closed_starts_runs_and_stops() {
    let system = Running::prepare();
    let mut up = system.up_command().arg("--secure").stdout(Stdio::piped()).spawn().unwrap();
    drop(up.stdout.take());
    let state = system.folder().join("state.json");
    until("everything is ready", async || {
        assert_eq!(up.try_wait().unwrap(), None, "it has ended");
        fs::read_to_string(&state).is_ok_and(|state| state.contains("\"is_complete\": true"))
    })
    .await;
    kill(Pid::from_raw(up.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    assert!(up.wait().unwrap().success());
    assert!(!state.exists(), "it has stopped in order");
}

#[tokio::test]
async fn ctrl_c_stops_everything_in_order() {
    let system = Running::prepare();
    let mut up = system.up_command().stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(up.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line == "Ready"));
    let pids = system.all_pids();

    kill(Pid::from_raw(up.id().try_into().unwrap()), Signal::SIGINT).unwrap();

    let said: Vec<String> = lines.collect();
    assert!(up.wait().unwrap().success());
    let stopped: Vec<_> = said.iter().skip_while(|line| *line != "Stopping").skip(1).collect();
    let order = ["traefik", "web", "command-api", "query-api", "projector", "nats", "postgres"];
    assert_eq!(stopped.iter().filter_map(|line| line.split_whitespace().next()).collect::<Vec<_>>(), order);
    assert!(!pids.iter().any(|&pid| is_alive(pid)));
}
