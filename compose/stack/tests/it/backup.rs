//! Backups with Barman and the configuration of `compose/backup`: a restore to a moment between two purchases.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::{Uid, User};
use reqwest::Method;
use serde_json::Value;
use sqlx::{Connection, PgConnection};
use stack::data_folder::DataFolder;
use stack::interrupt::Interrupt;
use stack::launch::Program;
use stack::postgres::{Cluster, SHOP};
use stack::process::Process;
use stack::progress::Progress;
use stack::secrets::Secrets;
use stack::{checkout, ports, provision};
use tempfile::TempDir;
use testing::tools;
use tokio::task::spawn_blocking;

use crate::running::{Running, stack, succeed, until};

const PASSWORD: &str = "test";

struct Barman {
    folder: TempDir,
    packages: PathBuf,
}

impl Barman {
    fn new(postgres: SocketAddr) -> Self {
        let barman = Self { folder: TempDir::new().unwrap(), packages: provision::patroni(Progress::Silent).unwrap() };
        barman.configure(postgres);
        barman
    }

    /// Postgres may have another address after a restart.
    fn configure(&self, postgres: SocketAddr) {
        let own = self.folder.path().display().to_string();
        let user = User::from_uid(Uid::current()).unwrap().unwrap().name;
        let mut configuration = fs::read_to_string(checkout::root().join("compose/backup/barman.conf")).unwrap();
        for (in_a_container, here) in [
            ("barman_user = barman", format!("barman_user = {user}")),
            ("/var/lib/barman", own.clone()),
            ("host=postgres", format!("host={} port={}", postgres.ip(), postgres.port())),
            ("/usr/lib/postgresql/18/bin", tools().postgres.display().to_string()),
        ] {
            assert!(configuration.contains(in_a_container), "{in_a_container} is not in\n{configuration}");
            configuration = configuration.replace(in_a_container, &here);
        }
        fs::write(self.folder.path().join("barman.conf"), configuration).unwrap();
    }

    fn environment(&self) -> [(&'static str, String); 2] {
        [("PYTHONPATH", self.packages.display().to_string()), ("PGPASSWORD", PASSWORD.to_owned())]
    }

    fn arguments(&self, command: &[&str]) -> Vec<String> {
        let configuration = self.folder.path().join("barman.conf").display().to_string();
        let program = ["-m", "barman.cli", "--config", &configuration];
        program.iter().chain(command).map(ToString::to_string).collect()
    }

    /// Runs a command of Barman and returns its output.
    fn run(&self, command: &[&str]) -> String {
        let mut barman = Command::new("python3");
        succeed(barman.args(self.arguments(command)).envs(self.environment()))
    }

    /// Receives the write-ahead log until dropped.
    fn receive(&self) -> Process {
        let program = Program {
            name: "barman".to_owned(),
            path: "python3".into(),
            arguments: self.arguments(&["receive-wal", "sales"]).iter().map(Into::into).collect(),
            environment: self.environment().map(|(name, value)| (name.to_owned(), value)).to_vec(),
            account: None,
            log: self.folder.path().join("receive-wal.log"),
            stop_signal: Signal::SIGTERM,
            stop_within: Duration::from_secs(10),
        };
        Process::start(program).unwrap()
    }
}

fn data_folder(system: &Running) -> DataFolder {
    DataFolder::existing(system.folder()).unwrap()
}

fn postgres_of(system: &Running) -> SocketAddr {
    system.status().processes.iter().find(|process| process.name == "postgres").unwrap().address
}

fn admin_url(system: &Running, address: SocketAddr) -> String {
    let secrets = Secrets::load_or_create(&data_folder(system).secrets()).unwrap();
    format!("postgres://postgres:{}@{address}/event_store", secrets.postgres)
}

async fn until_barman_receives(url: &str) {
    until("Barman receives the write-ahead log", async || {
        query(url, "select count(*)::text from pg_stat_replication where usename = 'barman'").await == "1"
    })
    .await;
}

async fn query(url: &str, query: &'static str) -> String {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap()
}

/// Keeps the newest checkpoint in a file once it covers a purchase.
async fn keep_checkpoint(system: &Running, position: i64, file: &str) {
    until("the purchase is signed", async || {
        let path = format!("/api/events/{position}/proof");
        system.request(Method::GET, &path).send().await.unwrap().status() == 200
    })
    .await;
    system.audit(&["checkpoint", "--file", file]);
}

/// Runs the restored cluster until it has replayed the files of Barman and accepts writes.
async fn recover(system: &Running) {
    let secrets = Secrets::load_or_create(&data_folder(system).secrets()).unwrap();
    let cluster = Cluster {
        binaries: tools().postgres.clone(),
        data: data_folder(system).postgres(),
        log: system.folder().join("recovery.log"),
        address: ports::free().unwrap(),
        admin_password: secrets.postgres,
        tuning: SHOP,
    };
    let url = cluster.admin_url("event_store");
    let _server =
        spawn_blocking(move || cluster.server().unwrap().start_and_wait(&Interrupt::default()).unwrap()).await.unwrap();
    until("the recovery is complete", async || query(&url, "select pg_is_in_recovery()::text").await == "false").await;
}

fn verdict(system: &Running, checkpoints: &str) -> (bool, Value) {
    let mut verify = stack("audit", system.folder());
    let output = verify.args(["verify", "--checkpoints", checkpoints, "--json"]).output().unwrap();
    (output.status.success(), serde_json::from_slice(&output.stdout).unwrap_or_default())
}

async fn checkpoint_refused(system: &Running) -> bool {
    let projector = system.status().processes.into_iter().find(|process| process.name == "projector").unwrap();
    let metrics = reqwest::get(format!("http://{}/metrics", projector.address)).await.unwrap().text().await.unwrap();
    metrics.lines().any(|line| line == "sales_checkpoint_refused 1")
}

fn give_to_the_owner_of(example: &Path, folder: &Path) {
    succeed(Command::new("chown").args(["--recursive", "--reference"]).arg(example).arg(folder));
}

#[tokio::test]
async fn the_log_is_restored_to_a_moment_between_two_purchases() {
    let system = Running::up(&[]);
    let postgres = postgres_of(&system);
    let url = admin_url(&system, postgres);
    let mut admin = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("alter role barman login password 'test'").execute(&mut admin).await.unwrap();
    drop(admin);

    let barman = Barman::new(postgres);
    let receiving = barman.receive();
    until_barman_receives(&url).await;
    barman.run(&["switch-wal", "--force", "--archive", "sales"]);
    barman.run(&["backup", "sales", "--wait"]);
    let (kept, later) = (system.folder().join("kept.txt"), system.folder().join("later.txt"));
    let (kept, later) = (kept.display().to_string(), later.display().to_string());
    let mut last = 0;
    for license in ["pro", "basic", "enterprise"] {
        last = system.buy(license).await;
    }
    keep_checkpoint(&system, last, &kept).await;
    let moment = query(&url, "select clock_timestamp()::text").await;
    let mistaken = system.buy("enterprise").await;
    keep_checkpoint(&system, mistaken, &later).await;
    system.down();
    drop(receiving);

    // The disk is lost before Barman has received the last file in full. NATS holds purchases that the restored log will not have.
    let (data, damaged) = (data_folder(&system).postgres(), system.folder().join("lost"));
    fs::rename(&data, &damaged).unwrap();
    let destination = data.display().to_string();
    let to_the_moment =
        ["--partial-wal", "--target-tli", "latest", "--target-time", &moment, "--target-action", "promote"];
    barman.run(&[&["restore", "sales", "latest", &destination], &to_the_moment[..]].concat());
    give_to_the_owner_of(&damaged, &data);
    recover(&system).await;
    fs::remove_dir_all(data_folder(&system).nats()).unwrap();
    system.up_again(&[]);

    let url = admin_url(&system, postgres_of(&system));
    assert_eq!(query(&url, "select position::text from head").await, last.to_string());
    let log = system.rebuild(&["--from-start"]);
    assert!(log.contains("compared_with_old=Same"), "{log}");
    assert_eq!(system.totals(last).await["sales_count"], last);
    let (passed, verdict_before) = verdict(&system, &kept);
    assert!(passed && verdict_before["confirmed"].as_array().unwrap().contains(&last.into()), "{verdict_before}");

    // The restored cluster is on a new timeline, of which Barman needs a base backup.
    barman.configure(postgres_of(&system));
    barman.run(&["receive-wal", "--reset", "sales"]);
    let receiving = barman.receive();
    until_barman_receives(&url).await;
    barman.run(&["backup", "sales", "--wait"]);
    let checked = barman.run(&["check", "sales"]);
    assert!(!checked.contains("FAILED"), "{checked}");
    drop(receiving);

    // The auditor detects the missing purchase with a newer checkpoint, and so does the projector.
    let (passed, verdict_later) = verdict(&system, &later);
    assert!(!passed, "{verdict_later}");
    until("the projector refuses to sign", async || checkpoint_refused(&system).await).await;

    // As the guide says: the restore is stated, and signing resumes.
    let restored = ["--to", &last.to_string(), "--actor", "test", "--reason", "the disk was lost"];
    succeed(stack("restored", system.folder()).args(restored));
    let next = system.buy("pro").await;
    assert_eq!(next, last + 1);
    keep_checkpoint(&system, next, &kept).await;
    assert!(verdict(&system, &kept).0);
}
