//! Real witnesses cosign checkpoints. Nothing waits for them, and they refuse every other history.

use std::collections::HashMap;

use event_log::transparency::{
    cosignature::WitnessKey,
    merkle::{TileId, Tree, record_hash},
    signed_checkpoint::{SigningKey, generate_keys},
};
use nix::sys::signal::Signal;
use tempfile::TempDir;
use testing::{Command, Databases, NO_NATS, Service, Until, eventually, purchased, values};

struct Witness {
    folder: TempDir,
    key: WitnessKey,
}

impl Witness {
    async fn create(name: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("key");
        let arguments = ["key", "--origin", name, "--file", file.to_str().unwrap()];
        let ended = Command::start("witness", &arguments, &[]).ended().await;
        assert!(ended.success, "{}", ended.log);
        Self { key: WitnessKey::parse(&ended.log).unwrap(), folder }
    }

    async fn start(&self, log: &str) -> Service {
        let key = self.folder.path().join("key");
        let settings = [("WITNESS_KEY_FILE", key.to_str().unwrap()), ("WITNESS_LOGS", log)];
        Service::start("witness", Until::Live, &settings).await
    }
}

/// A log that two witnesses cosign.
struct Witnessed {
    databases: Databases,
    private_key: String,
    key: SigningKey,
    folder: TempDir,
    witnesses: [Witness; 2],
    services: Vec<Service>,
}

impl Witnessed {
    async fn create() -> Self {
        let (private_key, public_key) = generate_keys("sales.example/test").unwrap();
        let key = SigningKey::parse(&private_key).unwrap();
        let witnesses = [Witness::create("one.example/w").await, Witness::create("two.example/w").await];
        let mut services = Vec::new();
        for witness in &witnesses {
            services.push(witness.start(&public_key).await);
        }
        let (databases, folder) = (Databases::create().await, TempDir::new().unwrap());
        Self { databases, private_key, key, folder, witnesses, services }
    }

    /// A projector that signs, or one that only has the read model's checkpoints cosigned.
    async fn projector(&self, signs: Option<&str>) -> Service {
        let lines = self.witnesses.iter().zip(&self.services);
        let lines: Vec<_> = lines.map(|(witness, service)| format!("{} {}", witness.key, service.url())).collect();
        let settings = [("NATS_URL", NO_NATS), ("WITNESSES", &lines.join("\n")), ("WITNESS_INTERVAL_MS", "50")];
        let file = self.folder.path().join(signs.unwrap_or_default());
        let signing = [("CHECKPOINT_KEY", &*self.private_key), ("CHECKPOINT_LOG", file.to_str().unwrap())];
        let signing = if signs.is_some() { &signing[..] } else { &[] };
        self.databases.start("projector", Until::Ready, &[&settings, signing].concat()).await
    }

    async fn buy(&self, purchases: usize) -> i64 {
        self.databases.append(&vec![purchased("pro", 19_900); purchases]).await
    }

    async fn cosigned(&self) -> Option<(i64, String)> {
        let cosigned = sqlx::query_as("select position, note from cosigned_checkpoint");
        cosigned.fetch_optional(self.databases.read_model()).await.unwrap()
    }

    async fn cosigned_up_to(&self, position: i64) {
        eventually("the checkpoint is cosigned", async || {
            self.cosigned().await.is_some_and(|(cosigned, _)| cosigned == position)
        })
        .await;
        let (_, note) = self.cosigned().await.unwrap();
        assert_eq!(self.key.verifying_key().open(&note).unwrap().position.get(), position);
        for witness in &self.witnesses {
            assert!(witness.key.cosignature(&note).is_some(), "{} is missing in {note}", witness.key);
        }
    }

    /// Signs another history, as the owner of the key and of the read model can.
    async fn forge(&self, size: u64) {
        let (mut tree, mut tiles) = (Tree::default(), HashMap::new());
        for number in 0..size {
            tree.push(&record_hash(format!("forged {number}").as_bytes()), |id, tile| drop(tiles.insert(id, tile)));
        }
        tiles.extend(tree.unfinished().map(|(id, tile)| (id, tile.to_vec())));
        let position = i64::try_from(size).unwrap();
        let note = self.key.sign(position.try_into().unwrap(), tree.root());
        self.databases.change_read_model("truncate tree_tile").await;
        for (TileId { level, index }, hashes) in tiles {
            let insert = sqlx::query("insert into tree_tile (level, index, hashes) values ($1, $2, $3)");
            insert.bind(level).bind(index).bind(hashes).execute(self.databases.read_model()).await.unwrap();
        }
        let update = sqlx::query("update tree_head set position = $1, checkpoint = $2");
        update.bind(position).bind(note).execute(self.databases.read_model()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_checkpoint_is_cosigned_by_all_witnesses_also_after_a_restart() {
    let witnessed = Witnessed::create().await;
    let projector = witnessed.projector(Some("one")).await;
    for _ in 0..3 {
        let head = witnessed.buy(200).await;
        witnessed.cosigned_up_to(head).await;
    }
    eventually("the metrics show it", async || projector.metric("sales_witnesses_cosigned").await >= 2.0).await;
    assert!(projector.metric("sales_witness_quorum").await >= 2.0);
    for witness in &witnessed.witnesses {
        let name = witness.key.name();
        assert!(projector.metric(&format!("sales_witness_position{{witness=\"{name}\"}}")).await >= 600.0);
        let time = projector.metric(&format!("sales_witness_cosigned_timestamp_seconds{{witness=\"{name}\"}}")).await;
        assert!(time > 1.7e9, "{time}");
    }
    assert!(projector.metric("sales_witnesses_contradicting").await <= 0.0);
    projector.kill();
    let _projector = witnessed.projector(Some("one")).await;
    let head = witnessed.buy(1).await;
    witnessed.cosigned_up_to(head).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_projectors_share_the_witnesses() {
    let witnessed = Witnessed::create().await;
    let projectors = [witnessed.projector(Some("one")).await, witnessed.projector(Some("two")).await];
    for _ in 0..10 {
        let head = witnessed.buy(30).await;
        witnessed.cosigned_up_to(head).await;
    }
    for projector in &projectors {
        assert!(!projector.log().contains("witnesses."), "{}", projector.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_waits_for_a_witness_that_is_stopped_and_the_metric_shows_it() {
    let witnessed = Witnessed::create().await;
    let projector = witnessed.projector(Some("one")).await;
    witnessed.cosigned_up_to(witnessed.buy(10).await).await;
    witnessed.services[1].signal(Signal::SIGSTOP);
    for _ in 0..5 {
        let head = witnessed.buy(100).await;
        let signed = async || values::<i64>(witnessed.databases.read_model(), "select position from tree_head").await;
        eventually("the log is signed", async || signed().await == [head]).await;
        eventually("the log is projected", async || witnessed.databases.checkpoint().await == head).await;
    }
    eventually("one is missing", async || (0.5..1.5).contains(&projector.metric("sales_witnesses_cosigned").await))
        .await;
    eventually("it is named", async || projector.log().contains("witness=\"two.example/w\"")).await;
    assert!(!projector.log().contains("witness=\"one.example/w\""), "{}", projector.log());
    let position = "sales_witness_position{witness=\"one.example/w\"}";
    eventually("the other one cosigns", async || projector.metric(position).await >= 510.0).await;
    let (position, _) = witnessed.cosigned().await.unwrap();
    assert!(position < 510, "a checkpoint counts as cosigned without the quorum");
    witnessed.services[1].signal(Signal::SIGCONT);
    witnessed.cosigned_up_to(510).await;
    eventually("its return is reported", async || projector.log().contains("witnesses.recovered")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_forged_with_the_stolen_key_is_refused_by_the_witnesses_and_raises_the_alarm() {
    for (size, reason) in [
        (300, "it has cosigned another root for position 300"),
        (310, "it refuses the proof that the log it cosigned at position 300 continues to 310"),
        (290, "it has cosigned position 300, and the log is signed up to 290"),
    ] {
        let witnessed = Witnessed::create().await;
        let projector = witnessed.projector(Some("one")).await;
        witnessed.cosigned_up_to(witnessed.buy(300).await).await;
        projector.kill();
        let (_, cosigned) = witnessed.cosigned().await.unwrap();
        witnessed.forge(size).await;
        let projector = witnessed.projector(None).await;
        let contradicting = async || projector.metric("sales_witnesses_contradicting").await;
        eventually("the alarm is raised", async || contradicting().await >= 2.0).await;
        let log = projector.log();
        assert_eq!(log.matches("witnesses.contradict").count(), 2, "{log}");
        assert!(log.contains(reason), "{reason}: {log}");
        assert_eq!(witnessed.cosigned().await.unwrap().1, cosigned, "no forged checkpoint counts as cosigned");
        assert!(projector.metric("sales_witnesses_cosigned").await <= 0.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_tree_is_not_taken_for_another_history() {
    let witnessed = Witnessed::create().await;
    let projector = witnessed.projector(Some("one")).await;
    witnessed.cosigned_up_to(witnessed.buy(300).await).await;
    projector.kill();
    let (_, note) = witnessed.cosigned().await.unwrap();
    witnessed.forge(310).await;
    // The genuine head on a tree that does not belong to it, after the witnesses were cosigned at a smaller size.
    let of_the_log = |line: &&str| !line.contains(".example/w ");
    let genuine = note.lines().filter(of_the_log).collect::<Vec<_>>().join("\n") + "\n";
    let update = sqlx::query("update tree_head set position = 300, checkpoint = $1");
    update.bind(genuine).execute(witnessed.databases.read_model()).await.unwrap();
    let projector = witnessed.projector(None).await;
    let reason = "the tree in the read model does not belong to the signed checkpoint";
    eventually("the damage is reported", async || projector.log().contains(reason)).await;
    assert!(projector.metric("sales_witnesses_contradicting").await <= 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_settings_are_named_at_the_start() {
    let databases = Databases::create().await;
    for (witnesses, quorum, reason) in [("one", "0", "WITNESSES"), ("a+b+c http://127.0.0.1:1", "0", "WITNESSES")] {
        let settings = [("NATS_URL", NO_NATS), ("WITNESSES", witnesses), ("WITNESS_QUORUM", quorum)];
        let ended = databases.command("projector", &["serve"], &settings).ended().await;
        assert!(!ended.success && ended.log.contains(reason), "{}", ended.log);
    }
}
