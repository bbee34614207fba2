//! Three nodes of NATS, with the configuration of `compose/ha`: the one that leads the stream is lost.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use nix::sys::signal::Signal;
use reqwest::Client;
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
    /// Where the other nodes find it.
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

    /// How many others each node sees that runs.
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

    /// The stream of events as its leader describes it, where there is one.
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

/// Says that it is a node, as one that knows this password, and returns what is answered.
async fn introduce_as_node(address: SocketAddr, password: &str) -> String {
    let mut connection = TcpStream::connect(address).await.unwrap();
    let says = json!({ "user": "node", "pass": password, "cluster": "sales", "name": "another" });
    connection.write_all(format!("CONNECT {says}\r\nPING\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    let mut lines = BufReader::new(connection).lines();
    let ends = async {
        while let Ok(Some(line)) = lines.next_line().await {
            answer += &line;
            if line.starts_with("PONG") || line.starts_with("-ERR") {
                break;
            }
        }
    };
    timeout(Duration::from_secs(10), ends).await.expect("it answers");
    answer
}

async fn buy(client: &Client, service: &Service, purchases: usize) {
    for _ in 0..purchases {
        let request = client.post(format!("{}/api/buy_mpi", service.url())).json(&json!({ "license": "pro" }));
        assert_eq!(request.send().await.unwrap().status(), 201);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_is_on_three_nodes_and_goes_on_when_one_is_lost() {
    let mut cluster = Cluster::start().await;
    let refused = introduce_as_node(cluster.nodes[0].routes, "guessed").await;
    assert!(refused.contains("Authorization Violation"), "whoever is no node does not become one: {refused}");
    let databases = Databases::create().await;
    let (event_store, nats) = (databases.event_store_url("command_api"), cluster.url("command-api", 0));
    let environment = [("EVENT_STORE_URL", &*event_store), ("NATS_URL", &nats), ("STREAM_REPLICAS", "3")];
    let command_api = Service::start("command-api", Until::Ready, &environment).await;
    let (event_store, read_model) = (databases.event_store_url("projector"), databases.read_model_url("projector"));
    let nats = cluster.url("projector", 1);
    let environment = [("EVENT_STORE_URL", &*event_store), ("READ_MODEL_URL", &read_model), ("NATS_URL", &nats)];
    let projector = Service::start("projector", Until::Ready, &environment).await;

    let client = Client::new();
    buy(&client, &command_api, 100).await;
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
    assert_eq!(cluster.remotes().await, [2, 2, 2], "what the alert NatsNodeGone looks at");
    cluster.nodes[leader].process.take().unwrap().kill().unwrap();
    eventually("the others see that it is gone", async || cluster.remotes().await == [1, 1]).await;
    buy(&client, &command_api, 100).await; // NATS is no condition for a purchase
    eventually("what was bought since is published, by another leader", async || {
        cluster.stream().await.is_some_and(|stream| stream["state"]["last_seq"] == 200)
    })
    .await;
    eventually("and counted", async || databases.checkpoint().await == 200).await;
    assert_eq!(databases.count_read_model().await, databases.count_log().await);

    let node = &mut cluster.nodes[leader];
    node.process = Some(Process::start(node.program.clone()).unwrap());
    eventually("the lost node is back", async || cluster.healthy().await == NODES).await;
    buy(&client, &command_api, 10).await;
    eventually("all three go on", async || {
        cluster.stream().await.is_some_and(|stream| stream["state"]["last_seq"] == 210)
    })
    .await;
    eventually("the projector says that it is ready", async || projector.is(Until::Ready).await).await;
}
