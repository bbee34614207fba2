//! Decisions of an operator on what is signed, as signed statements: that the log is signed although its checkpoints were lost, and that it
//! was restored. The running projector finds a statement in the read model, keeps it in its file and publishes it on NATS.

use anyhow::{Context, ensure};
use chrono::{SubsecRound, Utc};
use clap::Args;
use contract::{cloud_event::CloudEvent, position::Position};
use event_log::{
    output::print,
    scan::scan,
    transparency::{
        merkle::{Hash, Tree, record_hash},
        signed_checkpoint::VerifyingKey,
        statement::{Kind, Statement},
    },
};
use runtime::nats;
use sqlx::PgPool;
use tokio::time::{Duration, Instant, sleep};
use tracing::warn;

use super::{
    file,
    key::Settings,
    memory::{self, Memory},
    notes::{SignedNote, highest, statements},
    on_nats, store,
};
use crate::Databases;

/// How long the connection to NATS may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// What both decisions need.
#[derive(Args, Clone, Debug)]
pub struct DecisionConfig {
    #[command(flatten)]
    pub databases: Databases,
    #[command(flatten)]
    pub checkpoints: Settings,
    /// Reason of the decision, in one line; it is published.
    #[arg(long)]
    pub reason: String,
    /// Name of the operator; it is published.
    #[arg(long)]
    pub actor: String,
}

/// Settings of `projector sign`.
#[derive(Args, Clone, Debug)]
pub struct SignConfig {
    #[command(flatten)]
    pub decision: DecisionConfig,
    /// Position up to which the log is accepted as it is now; without it, the end of the log. Later events are signed as always.
    #[arg(long, value_name = "POSITION")]
    pub after: Option<i64>,
}

/// Settings of `projector restored`.
#[derive(Args, Clone, Debug)]
pub struct RestoredConfig {
    #[command(flatten)]
    pub decision: DecisionConfig,
    /// Position of the last event that the restore has kept. Checkpoints beyond it are given up.
    #[arg(long, value_name = "POSITION")]
    pub to: i64,
    /// Address of NATS. Without it, checkpoints that only NATS has are not given up.
    #[arg(long, env, hide_env_values = true)]
    pub nats_url: Option<String>,
}

/// States that the log is signed although earlier checkpoints cannot be compared with it.
pub async fn sign(config: &SignConfig) -> anyhow::Result<()> {
    let (event_store, read_model) = config.decision.databases.pools("projector sign")?;
    let position = match config.after {
        Some(position) => Position::try_from(position)?,
        None => event_log::head(&event_store).await?,
    };
    state(&config.decision, &event_store, &read_model, position, Kind::Accepted).await
}

/// States that the log was restored, and which checkpoints are given up.
pub async fn restored(config: &RestoredConfig) -> anyhow::Result<()> {
    let (event_store, read_model) = config.decision.databases.pools("projector restored")?;
    let to = Position::try_from(config.to)?;
    let (key, path) = config.decision.checkpoints.load()?.context("CHECKPOINT_KEY and CHECKPOINT_LOG are not set")?;
    let key = key.verifying_key();
    let on_nats = match &config.nats_url {
        Some(url) => on_nats(url, key).await?,
        None => Vec::new(),
    };
    let in_file = if path.exists() { file::read(&path, key)? } else { Vec::new() };
    let stored = store::notes(&read_model).await?;
    let stored = stored.iter().filter_map(|note| SignedNote::open(note, key).ok()).collect();
    let memories = [in_file, on_nats, stored].map(|notes| Memory { name: "", notes: Some(notes) });
    let earlier = statements(&memory::all_statements(&memories));
    let notes: Vec<_> = memories.into_iter().filter_map(|memory| memory.notes).flatten().collect();
    let lost = highest(&notes, &earlier).and_then(SignedNote::checkpoint);
    let lost = lost
        .filter(|lost| lost.position > to)
        .with_context(|| format!("no checkpoint beyond position {to} is known: there is nothing to give up"))?;
    let kind = Kind::Restored { given_up: lost.position, given_up_root: lost.root };
    state(&config.decision, &event_store, &read_model, to, kind).await
}

async fn on_nats(url: &str, key: &VerifyingKey) -> anyhow::Result<Vec<SignedNote>> {
    let client = nats::connect(url, "projector restored").await?;
    let until = Instant::now() + CONNECT_TIMEOUT;
    loop {
        if let Ok(notes) = on_nats::notes(&client, key).await {
            return Ok(notes);
        }
        ensure!(Instant::now() < until, "NATS does not return its checkpoints, some of which may have to be given up");
        sleep(POLL_INTERVAL).await;
    }
}

async fn state(
    config: &DecisionConfig,
    event_store: &PgPool,
    read_model: &PgPool,
    position: Position,
    kind: Kind,
) -> anyhow::Result<()> {
    let (key, _) = config.checkpoints.load()?.context("CHECKPOINT_KEY and CHECKPOINT_LOG are not set")?;
    let is_restore = matches!(kind, Kind::Restored { .. });
    let root = root_of(event_store, position).await?;
    let (time, actor, reason) = (Utc::now().trunc_subsecs(6), config.actor.clone(), config.reason.clone());
    let note = Statement { kind, position, root, time, actor, reason }.sign(&key)?;
    store::decide(read_model, &note, is_restore).await?;
    warn!(event.name = "transparency.decided", note, "The decision is stored; the running projector publishes it");
    print(&note)?;
    Ok(())
}

/// The root of the tree over the log up to a position.
async fn root_of(event_store: &PgPool, position: Position) -> anyhow::Result<Hash> {
    let head = event_log::head(event_store).await?;
    ensure!(position <= head, "the log ends at position {head}, before {position}");
    let mut tree = Tree::default();
    let mut events = scan(event_store, Position::START, position).await?;
    while let Some(event) = events.next().await? {
        tree.push(&record_hash(&CloudEvent::try_from(&event)?.to_json()), |_, _| ());
    }
    Ok(tree.root())
}
