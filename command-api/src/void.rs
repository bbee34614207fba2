//! `command-api void`: decides that an event does not count, if no version can count it. The decision is an event itself.

use anyhow::{Context, bail, ensure};
use clap::Args;
use contract::{
    event::{Event, EventId, EventVoided, Metadata},
    line::{MAX_REASON_CHARACTERS, is_line},
    position::Position,
    recorded_event::NewEvent,
    role::Role,
};
use event_log::{Decisions, database, output::print};
use sqlx::ConnectOptions;

use crate::store::{self, Appended};

const MAX_ACTOR_CHARACTERS: usize = 255;

/// Settings of a decision.
#[derive(Args, Clone, Debug)]
pub struct VoidConfig {
    /// Address of the event store, for the role `command_api`.
    #[arg(long, env, hide_env_values = true)]
    event_store_url: String,
    /// Position of the event.
    #[arg(long)]
    position: i64,
    /// Why it does not count, on one line; it stays in the log permanently.
    #[arg(long)]
    reason: String,
    /// Who decides; the name stays in the log permanently.
    #[arg(long, value_name = "NAME")]
    actor: String,
}

/// Appends the decision, unless the log has it already, and prints its position.
///
/// An event that a version can count is refused: the decision would have no effect.
pub async fn void(config: &VoidConfig) -> anyhow::Result<()> {
    let VoidConfig { reason, actor, .. } = config.clone();
    ensure!(
        is_line(&reason, MAX_REASON_CHARACTERS),
        "a reason has 1 to {MAX_REASON_CHARACTERS} characters on one line"
    );
    ensure!(is_line(&actor, MAX_ACTOR_CHARACTERS), "a name has 1 to {MAX_ACTOR_CHARACTERS} characters on one line");
    let position = Position::try_from(config.position)?;
    let options = database::options("EVENT_STORE_URL", &config.event_store_url, "command-api void")?;
    let mut event_store = options.connect().await.context("the event store is unreachable")?;
    let event = event_log::read_at(&mut event_store, position).await?;
    let event = event.with_context(|| format!("the log has no event at position {position}"))?;
    match event.decode() {
        Ok(_) => bail!("the event at position {position} counts, and nothing can change that"),
        Err(error) => ensure!(error.is_final(), "a newer version may count the event at position {position}: {error}"),
    }
    let decisions = Decisions::after(&mut event_store, position).await?;
    if decisions.meaning(&event).is_ok() {
        print(format_args!("The log already has the decision that the event at position {position} does not count"))?;
        return Ok(());
    }
    let metadata = Metadata { actor: Some(actor), actor_role: Some(Role::Operator), ..Metadata::default() };
    let decision = Event::EventVoided(EventVoided { position, reason });
    let new = NewEvent::new(EventId::generate(), decision, metadata);
    match store::append(&mut event_store, std::iter::once(&new)).await? {
        Appended::AllNew { first, .. } => {
            print(format_args!("By decision at position {first}, the event at position {position} does not count"))?;
            Ok(())
        }
        Appended::SomeKnown(_) => bail!("the new id {} is in the log already", new.event_id),
    }
}
