//! Three nodes of Postgres under Patroni, with the configuration of `compose/ha`: the primary is lost while people buy, one Postgres
//! becomes three, and nobody commands them who may not.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use stack::account::Account;
use stack::interrupt::Interrupt;
use stack::launch::Program;
use stack::ports;
use stack::postgres::{self, SHOP};
use stack::probe::Probe;
use stack::process::Process;
use stack::progress::Progress;
use stack::server::Server;
use stack::{checkout, provision};
use tempfile::TempDir;
use testing::{Nats, Service, Until, tools};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::sleep;
use uuid::Uuid;

use crate::running::until;

const NODES: usize = 3;
/// Who commands Patroni.
const OPERATOR: &str = "patroni";
/// Of every user. It protects nothing: the nodes are reached through loopback alone.
const PASSWORD: &str = "test";
const BUYERS: usize = 8;

/// Etcd, Patroni with its Postgres, and the proxy that leads to the primary.
struct Cluster {
    folder: TempDir,
    nodes: Vec<Node>,
    proxy: SocketAddr,
    _etcd: Process,
    _proxy: Process,
}

struct Node {
    /// Of Patroni.
    address: SocketAddr,
    data: PathBuf,
    program: Program,
    /// While it runs.
    patroni: Option<Process>,
}

fn program(name: &str, path: &str, folder: &Path, arguments: &[String]) -> Program {
    Program {
        name: name.to_owned(),
        path: path.into(),
        arguments: arguments.iter().map(Into::into).collect(),
        environment: Vec::new(),
        account: None,
        log: folder.join(format!("{name}.log")),
        stop_signal: Signal::SIGTERM,
        stop_within: Duration::from_secs(30),
    }
}

/// Options of `setpriv`, for a program of the account that enters every folder: Python and its packages may be below one that only root
/// may enter.
fn with_access_of_root(account: &Account) -> Vec<String> {
    let mut options = account.setpriv_options().to_vec();
    for option in options.iter_mut().filter(|option| option.contains("caps") || option.contains("bounding-set")) {
        option.push_str(",+dac_override");
    }
    // Postgres checks its programs with access(2), which ignores the capability unless this bit is set.
    options.extend(["--securebits=+no_setuid_fixup", "--pdeathsig=TERM", "--"].map(ToOwned::to_owned));
    options
}

async fn start(program: Program, address: SocketAddr, path: &str) -> Process {
    let probe = Probe::Http { address, path: path.to_owned() };
    let server = Server { program, address, probe, ready_within: Duration::from_mins(1) };
    let started = spawn_blocking(move || server.start_and_wait(&Interrupt::default())).await.unwrap();
    started.unwrap_or_else(|error| panic!("{error:#}"))
}

impl Cluster {
    async fn start() -> Self {
        let mut cluster = Self::prepare().await;
        for node in &mut cluster.nodes {
            node.start();
        }
        cluster.until_complete().await;
        cluster
    }

    /// All but the nodes themselves.
    async fn prepare() -> Self {
        let folder = TempDir::new().unwrap();
        // The nodes run as another account, each in a folder of its own.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o711)).unwrap();
        let port = || ports::free().unwrap();
        let (etcd_address, etcd_peers) = (port(), port());
        let arguments = [
            format!("--data-dir={}", folder.path().join("etcd").display()),
            format!("--listen-client-urls=http://{etcd_address}"),
            format!("--advertise-client-urls=http://{etcd_address}"),
            format!("--listen-peer-urls=http://{etcd_peers}"),
            format!("--initial-advertise-peer-urls=http://{etcd_peers}"),
            format!("--initial-cluster=default=http://{etcd_peers}"),
            "--auto-compaction-retention=1".to_owned(),
        ];
        let nodes: Vec<_> = (0..NODES).map(|_| (port(), port())).collect();
        let (proxy, proxy_health) = (port(), port());
        let etcd = start(program("etcd", "etcd", folder.path(), &arguments), etcd_address, "/health").await;

        let packages = spawn_blocking(|| provision::patroni(Progress::Silent)).await.unwrap().unwrap();
        let mut configuration = fs::read_to_string(checkout::root().join("compose/ha/haproxy.cfg")).unwrap();
        let mut cluster = Vec::new();
        for (number, (postgres, patroni)) in (1..).zip(nodes) {
            cluster.push(Node::prepare(folder.path(), number, postgres, patroni, etcd_address, &packages));
            let named = format!("postgres-{number}:5432");
            assert!(configuration.contains(&named), "{configuration}");
            configuration = configuration.replace(&named, &format!("{postgres} port {}", patroni.port()));
        }
        for (bind, address) in [("bind :5432", proxy), ("bind :8404", proxy_health)] {
            assert!(configuration.contains(bind), "{configuration}");
            configuration = configuration.replace(bind, &format!("bind {address}"));
        }
        let file = folder.path().join("haproxy.cfg");
        fs::write(&file, configuration).unwrap();
        let arguments = ["-f".to_owned(), file.display().to_string()];
        let haproxy = start(program("haproxy", "haproxy", folder.path(), &arguments), proxy_health, "/livez").await;
        Self { folder, nodes: cluster, proxy, _etcd: etcd, _proxy: haproxy }
    }

    /// One is the primary, and another one confirms what it commits.
    async fn until_complete(&self) {
        until(&format!("there are a primary and standbys; logs in {}", self.folder.path().display()), async || {
            self.with("/primary").await.len() == 1
                && self.with("/synchronous").await.len() == 1
                && self.with("/replica").await.len() == NODES - 1
        })
        .await;
    }

    /// The nodes of which Patroni says that they are that.
    async fn with(&self, role: &str) -> Vec<usize> {
        let mut found = Vec::new();
        for (number, node) in self.nodes.iter().enumerate() {
            let answer = reqwest::get(format!("http://{}{role}", node.address)).await;
            if answer.is_ok_and(|answer| answer.status() == 200) {
                found.push(number);
            }
        }
        found
    }

    /// Through the proxy.
    fn url(&self, role: &str, database: &str) -> String {
        format!("postgres://{role}:{PASSWORD}@{}/{database}", self.proxy)
    }
}

/// Makes the databases, where `url` leads to for a role and a database.
async fn migrate(url: impl Fn(&str, &str) -> String) {
    let passwords = ["COMMAND_API", "PROJECTOR", "QUERY_API", "AUDITOR"].map(|role| format!("{role}_DB_PASSWORD"));
    for (service, setting, database) in
        [("command-api", "EVENT_STORE_ADMIN_URL", "event_store"), ("projector", "READ_MODEL_ADMIN_URL", "read_model")]
    {
        let url = url(postgres::ADMIN, database);
        let mut environment = vec![(setting, url.as_str())];
        environment.extend(passwords.iter().map(|password| (password.as_str(), PASSWORD)));
        Service::run(service, "migrate", &environment).await;
    }
}

impl Node {
    /// Patroni starts with [`Node::start`].
    fn prepare(
        folder: &Path,
        number: usize,
        postgres: SocketAddr,
        address: SocketAddr,
        etcd: SocketAddr,
        packages: &Path,
    ) -> Self {
        let name = format!("postgres-{number}");
        let own = folder.join(&name);
        fs::create_dir(&own).unwrap();
        let account = Account::for_postgres(&own).unwrap();
        if let Some(account) = &account {
            chown(&own, Some(account.user_id), Some(account.group_id)).unwrap();
        }
        let configuration = own.join("patroni.yml");
        fs::copy(checkout::root().join("compose/ha/patroni.yml"), &configuration).unwrap();
        let configuration = configuration.display().to_string();
        let patroni = ["python3", "-m", "patroni", &configuration].map(ToOwned::to_owned);
        let program = match &account {
            Some(account) => program(&name, "setpriv", folder, &[&with_access_of_root(account)[..], &patroni].concat()),
            None => program(&name, &patroni[0], folder, &patroni[1..]),
        };
        let data = own.join("data");
        let text = |path: PathBuf| path.display().to_string();
        let environment = [
            ("PYTHONPATH", text(packages.to_owned())),
            ("PATRONI_NAME", name),
            ("PATRONI_RESTAPI_LISTEN", address.to_string()),
            ("PATRONI_RESTAPI_CONNECT_ADDRESS", address.to_string()),
            ("PATRONI_POSTGRESQL_LISTEN", postgres.to_string()),
            ("PATRONI_POSTGRESQL_CONNECT_ADDRESS", postgres.to_string()),
            ("PATRONI_POSTGRESQL_DATA_DIR", text(data.clone())),
            ("PATRONI_POSTGRESQL_BIN_DIR", text(tools().postgres.clone())),
            ("PATRONI_POSTGRESQL_PGPASS", text(own.join("pgpass"))),
            ("PATRONI_ETCD3_HOSTS", etcd.to_string()),
            ("PATRONI_RESTAPI_USERNAME", OPERATOR.to_owned()),
            ("PATRONI_RESTAPI_PASSWORD", PASSWORD.to_owned()),
            ("PATRONI_SUPERUSER_PASSWORD", PASSWORD.to_owned()),
            ("PATRONI_REPLICATION_PASSWORD", PASSWORD.to_owned()),
            ("PATRONI_REWIND_PASSWORD", PASSWORD.to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec();
        Self { address, data, program: Program { environment, ..program }, patroni: None }
    }

    /// As the loss of the machine does it.
    fn kill(&mut self) {
        let postmaster = fs::read_to_string(self.data.join("postmaster.pid")).unwrap();
        let postmaster = postmaster.lines().next().unwrap().trim().parse().unwrap();
        self.patroni.take().unwrap().kill().unwrap();
        kill(Pid::from_raw(postmaster), Signal::SIGKILL).unwrap();
    }

    fn start(&mut self) {
        self.patroni = Some(Process::start(self.program.clone()).unwrap());
    }
}

/// One of each, connected through the proxy.
struct Services {
    command_api: Service,
    projector: Service,
    query_api: Service,
}

impl Services {
    async fn start(cluster: &Cluster, nats: &Nats) -> Self {
        let start = async |name: &str, role: &str| {
            let (event_store, read_model) = (cluster.url(role, "event_store"), cluster.url(role, "read_model"));
            let user = if name == "query-api" { "subscriber" } else { name };
            let nats = nats.url(user);
            let environment =
                [("EVENT_STORE_URL", &*event_store), ("READ_MODEL_URL", &read_model), ("NATS_URL", &nats)];
            Service::start(name, Until::Ready, &environment).await
        };
        Self {
            command_api: start("command-api", "command_api").await,
            projector: start("projector", "projector").await,
            query_api: start("query-api", "query_api").await,
        }
    }
}

/// Buys again and again, each purchase until it is acknowledged. Returns the positions by key, and when each was acknowledged.
async fn buy_until(enough: Arc<AtomicBool>, service: String) -> Vec<(Uuid, i64, Instant)> {
    let client = Client::builder().timeout(Duration::from_secs(15)).build().unwrap();
    let mut bought = Vec::new();
    while !enough.load(Ordering::Relaxed) {
        let key = Uuid::new_v4();
        loop {
            let request = client.post(format!("{service}/api/buy_mpi")).header("Idempotency-Key", key.to_string());
            match request.json(&json!({ "license": "basic" })).send().await {
                Ok(reply) if reply.status() == 201 => {
                    let receipt: Value = reply.json().await.unwrap();
                    bought.push((key, receipt["position"].as_i64().unwrap(), Instant::now()));
                    break;
                }
                // Not known, or not now: the same purchase again.
                Ok(_) | Err(_) => sleep(Duration::from_millis(100)).await,
            }
        }
    }
    bought
}

#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledged_purchase_is_lost_with_the_primary_and_the_shop_is_back_in_half_a_minute() {
    let mut cluster = Cluster::start().await;
    migrate(|role, database| cluster.url(role, database)).await;
    let nats = spawn_blocking(Nats::start).await.unwrap();
    let services = Services::start(&cluster, &nats).await;
    let Services { command_api, projector, query_api } = &services;

    let enough = Arc::new(AtomicBool::new(false));
    let mut buyers = JoinSet::new();
    for _ in 0..BUYERS {
        buyers.spawn(buy_until(Arc::clone(&enough), command_api.url()));
    }
    let counted = async || command_api.metric("sales_commands_committed_total").await;
    until("people buy", async || counted().await > 200.0).await;

    let primary = cluster.with("/primary").await[0];
    cluster.nodes[primary].kill();
    let lost = Instant::now();
    // What was under way is answered or given up within the writer's patience.
    until("another node is the primary", async || cluster.with("/primary").await.iter().any(|node| *node != primary))
        .await;
    let promoted = lost.elapsed();
    let before = counted().await;
    until("people buy again", async || counted().await > before + 200.0).await;
    enough.store(true, Ordering::Relaxed);
    let bought: Vec<_> = buyers.join_all().await.into_iter().flatten().collect();

    let mut since: Vec<Duration> = bought.iter().filter_map(|(_, _, at)| at.checked_duration_since(lost)).collect();
    since.sort();
    let gaps = since.windows(2).map(|pair| pair[1].saturating_sub(pair[0]));
    let outage = gaps.chain(since.first().copied()).max().unwrap();
    eprintln!("promoted after {promoted:.1?}, nobody could buy for {outage:.1?}, {} purchases in all", bought.len());

    // Everything that was acknowledged is there, where it was acknowledged, and nothing else is.
    let mut log = PgConnection::connect(&cluster.url("postgres", "event_store")).await.unwrap();
    let stored: Vec<(Uuid, i64)> =
        sqlx::query_as("select event_id, position from event").fetch_all(&mut log).await.unwrap();
    let stored: BTreeMap<_, _> = stored.into_iter().collect();
    let acknowledged: BTreeMap<_, _> = bought.iter().map(|(key, position, _)| (*key, *position)).collect();
    assert_eq!(acknowledged.len(), bought.len());
    assert_eq!(stored, acknowledged);
    let end = bought.iter().map(|(_, position, _)| *position).max().unwrap();
    assert_eq!(usize::try_from(end).unwrap(), bought.len(), "without a hole");
    let totals = query_api.json(&format!("/api/get_current_money?min_position={end}")).await;
    assert_eq!(totals["sales_count"], end, "{totals}");
    until("all are ready again", async || {
        projector.is(Until::Ready).await && command_api.is(Until::Ready).await && query_api.is(Until::Ready).await
    })
    .await;

    // The lost one comes back as a standby: what it alone had, it takes back.
    cluster.nodes[primary].start();
    cluster.until_complete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn patroni_takes_commands_with_its_credentials_alone() {
    let cluster = Cluster::start().await;
    let send = async |method: &Method, path: &str, password: Option<&str>| {
        let url = format!("http://{}{path}", cluster.nodes[0].address);
        let request = Client::new().request(method.clone(), url).json(&json!({ "loop_wait": 5 }));
        let request = match password {
            Some(password) => request.basic_auth(OPERATOR, Some(password)),
            None => request,
        };
        request.send().await.unwrap().status().as_u16()
    };
    for (method, path) in [
        (Method::PATCH, "/config"),
        (Method::PUT, "/config"),
        (Method::POST, "/reload"),
        (Method::POST, "/restart"),
        (Method::POST, "/reinitialize"),
        (Method::POST, "/switchover"),
        (Method::POST, "/failover"),
        (Method::DELETE, "/switchover"),
    ] {
        for password in [None, Some("guessed")] {
            assert_eq!(send(&method, path, password).await, 401, "{method} {path} with {password:?}");
        }
    }
    assert_eq!(send(&Method::PATCH, "/config", Some(PASSWORD)).await, 200);
    // Who watches needs none.
    assert_eq!(send(&Method::GET, "/metrics", None).await, 200);
}

/// What the guide has an operator say to the one Postgres.
fn roles_of_patroni() -> String {
    let guide = fs::read_to_string(checkout::root().join("compose/OPERATIONS.md")).unwrap();
    let (_, sql) = guide.split_once("psql --username postgres <<END").expect("the guide makes roles");
    let (sql, _) = sql.split_once("END").unwrap();
    assert!(sql.contains("create role replicator"), "{sql}");
    sql.replace("$(cat compose/secrets/replication_password)", PASSWORD)
}

/// The proxy needs a second to find the primary.
async fn until_the_log_ends_at(position: i64, url: &str) {
    until(&format!("the log ends at {position}"), async || {
        let Ok(mut log) = PgConnection::connect(url).await else { return false };
        sqlx::query_scalar("select position from head").fetch_one(&mut log).await.is_ok_and(|end: i64| end == position)
    })
    .await;
}

async fn buy(event_store: &str, nats: &Nats) {
    let nats = nats.url("command-api");
    let environment = [("EVENT_STORE_URL", event_store), ("NATS_URL", &nats)];
    let service = Service::start("command-api", Until::Ready, &environment).await;
    service.buy("pro").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shop_that_ran_on_one_postgres_goes_on_with_three() {
    let mut cluster = Cluster::prepare().await;
    let nats = spawn_blocking(Nats::start).await.unwrap();
    let alone = postgres::Cluster {
        binaries: tools().postgres.clone(),
        data: cluster.nodes[0].data.clone(),
        log: cluster.folder.path().join("alone.log"),
        address: ports::free().unwrap(),
        admin_password: PASSWORD.to_owned(),
        tuning: SHOP,
    };
    let (url, server) = (alone.clone(), alone.server().unwrap());
    let url = |role: &str, database: &str| url.url(role, PASSWORD, database);
    let running = spawn_blocking(move || {
        alone.initialize(&Interrupt::default())?;
        server.start_and_wait(&Interrupt::default())
    });
    let mut running = running.await.unwrap().unwrap();
    migrate(url).await;
    let mut admin = PgConnection::connect(&url(postgres::ADMIN, "postgres")).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(roles_of_patroni())).execute(&mut admin).await.unwrap();
    drop(admin);
    buy(&url("command_api", "event_store"), &nats).await;
    spawn_blocking(move || running.stop()).await.unwrap().unwrap();

    // The one with the data first; the others are made from it.
    cluster.nodes[0].start();
    until("it is the primary", async || cluster.with("/primary").await == [0]).await;
    for node in &mut cluster.nodes[1..] {
        node.start();
    }
    cluster.until_complete().await;
    let event_store = cluster.url("postgres", "event_store");
    until_the_log_ends_at(1, &event_store).await;
    buy(&cluster.url("command_api", "event_store"), &nats).await;
    until_the_log_ends_at(2, &event_store).await;

    // And they are three: the next one takes over, and the first one comes back.
    cluster.nodes[0].kill();
    until("another node is the primary", async || cluster.with("/primary").await.iter().any(|node| *node != 0)).await;
    cluster.nodes[0].start();
    cluster.until_complete().await;
    until_the_log_ends_at(2, &event_store).await;
}
