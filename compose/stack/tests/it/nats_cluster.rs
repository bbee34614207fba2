//! Three nodes of NATS with the configuration of `compose/ha`: the leader of the stream is killed.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use stack::checkout;
use stack::launch::Program;
use stack::ports;
use stack::process::Process;
use tempfile::TempDir;
use testing::{Databases, Service, Until, eventually, tools};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

const NODES: usize = 3;

struct Cluster {
    _folder: TempDir,
    nodes: Vec<Node>,
}

struct Node {
    name: String,
    address: SocketAddr,
    monitoring: SocketAddr,
    /// Address for the other nodes.
    routes: SocketAddr,
    program: Program,
    process: Option<Process>,
}

impl Cluster {
    async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let addresses: Vec<_> = (0..NODES).map(|_| [(); 3].map(|()| ports::free().unwrap())).collect();
        let [one, cluster] = ["nats/nats.conf", "ha/nats.conf"]
            .map(|file| fs::read_to_string(checkout::root().join("compose").join(file)).unwrap());
        let others: Vec<_> =
            addresses.iter().map(|[.., routes]| format!("\"nats-route://node:test@{routes}\"")).collect();
        let routes_file =
            format!("authorization: {{ user: \"node\", password: \"test\" }}\nroutes: [{}]\n", others.join(", "));
        let mut nodes = Vec::new();
        for (number, [address, monitoring, routes]) in (1..).zip(&addresses) {
            let name = format!("nats-{number}");
            let own = folder.path().join(&name);
            fs::create_dir(&own).unwrap();
            let changes = [
                ("0.0.0.0:4222".to_owned(), address.to_string()),
                ("0.0.0.0:8222".to_owned(), monitoring.to_string()),
                ("0.0.0.0:6222".to_owned(), routes.to_string()),
                ("\"/data\"".to_owned(), format!("\"{}\"", own.join("data").display())),
            ];
            for (file, text) in [("nats_conf", &one), ("nats_ha_conf", &cluster)] {
                let text = changes.iter().fold(text.clone(), |text, (from, to)| text.replace(from, to));
                fs::write(own.join(file), text).unwrap();
            }
            let passwords =
                ["COMMAND_API", "PROJECTOR", "SUBSCRIBER"].map(|user| format!("{user}: \"test\"\n")).concat();
            fs::write(own.join("nats_passwords"), passwords).unwrap();
            fs::write(own.join("nats_routes"), &routes_file).unwrap();
            let program = Program {
                name: name.clone(),
                path: tools().nats_server.clone(),
                arguments: vec!["--config".into(), own.join("nats_ha_conf").into()],
                environment: vec![("NATS_NAME".to_owned(), name.clone())],
                account: None,
                log: own.join("log"),
                stop_signal: Signal::SIGTERM,
                stop_within: Duration::from_secs(10),
            };
            let process = Some(Process::start(program.clone()).unwrap());
            nodes.push(Node { name, address: *address, monitoring: *monitoring, routes: *routes, program, process });
        }
        let cluster = Self { _folder: folder, nodes };
        eventually("the nodes have found each other", async || cluster.healthy().await == NODES).await;
        cluster
    }

    async fn healthy(&self) -> usize {
        let mut healthy = 0;
        for node in &self.nodes {
            let answer = reqwest::get(format!("http://{}/healthz", node.monitoring)).await;
            healthy += usize::from(answer.is_ok_and(|answer| answer.status() == 200));
        }
        healthy
    }

    /// The number of nodes to which each running node is connected.
    async fn remotes(&self) -> Vec<Value> {
        let mut remotes = Vec::new();
        for node in &self.nodes {
            if let Ok(answer) = reqwest::get(format!("http://{}/varz", node.monitoring)).await {
                remotes.push(answer.json::<Value>().await.unwrap()["remotes"].clone());
            }
        }
        remotes
    }

    fn url(&self, user: &str, node: usize) -> String {
        format!("nats://{user}:test@{}", self.nodes[node].address)
    }

    /// The stream of events as its leader reports it; `None` without a leader.
    async fn stream(&self) -> Option<Value> {
        for node in &self.nodes {
            let url = format!("http://{}/jsz?streams=true&config=true", node.monitoring);
            let Ok(answer) = reqwest::get(url).await else { continue };
            let Ok(answer) = answer.json::<Value>().await else { continue };
            let streams = answer["account_details"][0]["stream_detail"].as_array().cloned().unwrap_or_default();
            let led = |stream: &Value| stream["name"] == "SALES_EVENTS" && stream["cluster"]["leader"] == *node.name;
            if let Some(stream) = streams.into_iter().find(led) {
                return Some(stream);
            }
        }
        None
    }
}

/// Connects as a node with this password. Returns the response.
async fn introduce_as_node(address: SocketAddr, password: &str) -> String {
    let mut connection = TcpStream::connect(address).await.unwrap();
    let options = json!({ "user": "node", "pass": password, "cluster": "sales", "name": "another" });
    connection.write_all(format!("CONNECT {options}\r\nPING\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    let mut lines = BufReader::new(connection).lines();
    let response = async {
        while let Ok(Some(line)) = lines.next_line().await {
            answer += &line;
            if line.starts_with("PONG") || line.starts_with("-ERR") {
                break;
            }
        }
    };
    timeout(Duration::from_secs(10), response).await.expect("the node responds");
    answer
}

async fn buy(command_api: &Service, purchases: usize) {
    for _ in 0..purchases {
        command_api.buy("pro").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_has_three_replicas_and_continues_when_its_leader_is_lost() {
    let mut cluster = Cluster::start().await;
    let refused = introduce_as_node(cluster.nodes[0].routes, "guessed").await;
    assert!(refused.contains("Authorization Violation"), "a node without the password was accepted: {refused}");
    let databases = Databases::create().await;
    let settings = [("NATS_URL", &*cluster.url("command-api", 0)), ("STREAM_REPLICAS", "3")];
    let command_api = databases.start("command-api", Until::Ready, &settings).await;
    let projector = databases.projector(&cluster.url("projector", 1)).await;

    buy(&command_api, 100).await;
    eventually("all is published", async || {
        cluster.stream().await.is_some_and(|stream| stream["state"]["last_seq"] == 100)
    })
    .await;
    let stream = cluster.stream().await.unwrap();
    assert_eq!(
        (&stream["config"]["num_replicas"], stream["cluster"]["replicas"].as_array().unwrap().len()),
        (&json!(3), 2)
    );

    let leader = cluster.nodes.iter().position(|node| stream["cluster"]["leader"] == *node.name).unwrap();
    assert_eq!(cluster.remotes().await, [2, 2, 2], "the metric of the alert NatsNodeGone");
    cluster.nodes[leader].process.take().unwrap().kill().unwrap();
    eventually("the other nodes detect the loss", async || cluster.remotes().await == [1, 1]).await;
    buy(&command_api, 100).await; // purchases do not need NATS
    eventually("another leader publishes the later purchases", async || {
        cluster.stream().await.is_some_and(|stream| stream["state"]["last_seq"] == 200)
    })
    .await;
    eventually("the purchases are counted", async || databases.checkpoint().await == 200).await;
    assert_eq!(databases.count_read_model().await, databases.count_log().await);

    let node = &mut cluster.nodes[leader];
    node.process = Some(Process::start(node.program.clone()).unwrap());
    eventually("the lost node is back", async || cluster.healthy().await == NODES).await;
    buy(&command_api, 10).await;
    eventually("the stream continues", async || {
        cluster.stream().await.is_some_and(|stream| stream["state"]["last_seq"] == 210)
    })
    .await;
    eventually("the projector is ready", async || projector.is(Until::Ready).await).await;
}
