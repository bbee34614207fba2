//! A killed rebuild is resumed by the next one, or discarded where its generation cannot be used.

use std::time::Duration;

use nix::sys::signal::Signal;
use projector::{chunk::add_up, read_model};
use sqlx::Connection;
use testing::{Databases, eventually};
use tokio::time::timeout;

use crate::support::{
    AT_START, AT_SWITCH, append_some, assert_projected, generations, hold_live, rebuilds_held, restore_log,
};

/// Kills a rebuild that has applied the whole log right before its switch. Returns its generation.
async fn interrupted(databases: &Databases) -> i64 {
    append_some(databases).await;
    let hold = hold_live(databases).await;
    let rebuild = databases.start_rebuild(&[]);
    eventually("it is about to switch", async || rebuilds_held(databases, AT_SWITCH).await == 1).await;
    rebuild.kill();
    hold.rollback().await.unwrap();
    let (_, left) = generations(databases).await;
    left.expect("its generation is kept")
}

/// Runs a rebuild to its end. Returns its log.
async fn completed(databases: &Databases, options: &[&str]) -> String {
    let ended = databases.start_rebuild(options).ended().await;
    assert!(ended.success, "{}", ended.log);
    assert_projected(databases).await;
    assert_eq!(generations(databases).await.1, None, "no other generation is left");
    ended.log
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_rebuild_is_resumed_at_its_position() {
    let databases = Databases::create().await;
    let left = interrupted(&databases).await;
    let position = databases.head().await;
    append_some(&databases).await;
    let log = completed(&databases, &[]).await;
    assert!(log.contains("Resuming an interrupted rebuild"), "{log}");
    assert!(log.contains(&format!("generation={left} position={position} ")), "{log}");
    assert_eq!(generations(&databases).await.0, left);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_stopped_during_its_switch_does_not_block_the_live_totals_forever() {
    let databases = Databases::create().await;
    append_some(&databases).await;
    let hold = hold_live(&databases).await;
    let rebuild = databases.start_rebuild(&[]);
    eventually("it is about to switch", async || rebuilds_held(&databases, AT_SWITCH).await == 1).await;
    rebuild.signal(Signal::SIGSTOP);
    hold.rollback().await.unwrap(); // so the stopped rebuild gets the lock
    let held_again = timeout(Duration::from_mins(1), hold_live(&databases)).await.expect("the lock is released");
    held_again.rollback().await.unwrap();
    rebuild.kill();
    completed(&databases, &[]).await;
}

/// Such a statement waits for a processor or for the network while the rebuild that sent it is killed.
#[tokio::test(flavor = "multi_thread")]
async fn a_statement_of_a_killed_rebuild_changes_nothing_once_the_next_has_resumed() {
    let databases = Databases::create().await;
    interrupted(&databases).await;
    append_some(&databases).await;
    let (event_store, read_model) = (databases.event_store(), databases.read_model());
    let killed = read_model::load_building(read_model).await.unwrap().unwrap();
    let until = killed.last.position.plus(databases.head().await - killed.last.position.get());
    let delta = add_up(event_store, &killed.totals, &killed.last, until).await.unwrap();

    read_model::lock_interrupted(&mut read_model.acquire().await.unwrap()).await.unwrap();
    let resumed = read_model::load_building(read_model).await.unwrap().unwrap();
    assert!(!read_model::advance(read_model, &killed, &delta).await.unwrap());
    assert_eq!(read_model::load_building(read_model).await.unwrap().as_ref(), Some(&resumed));
    let live = read_model::load_live(read_model).await.unwrap();
    let mut transaction = read_model.begin().await.unwrap();
    assert!(!read_model::switch(&mut transaction, &live, &killed).await.unwrap());
    transaction.rollback().await.unwrap();
    assert!(read_model::advance(read_model, &resumed, &delta).await.unwrap());
    completed(&databases, &[]).await;
}

/// Which of the two it is cannot be told.
#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_leaves_a_running_or_interrupted_rebuild_alone() {
    let databases = Databases::create().await;
    let left = interrupted(&databases).await;
    let before = read_model::load_building(databases.read_model()).await.unwrap();
    let refused = databases.start_rebuild(&["--dry-run"]).ended().await;
    assert!(!refused.success && refused.log.contains("another rebuild runs or was interrupted"), "{}", refused.log);
    assert_eq!(read_model::load_building(databases.read_model()).await.unwrap(), before);
    let compared = databases.start_rebuild(&["--dry-run", "--from-start"]).ended().await;
    assert!(compared.success && compared.log.contains("The dry run is complete"), "{}", compared.log);
    let (live, building) = generations(&databases).await;
    assert!(live != left && building.is_none());
}

/// Both find no interrupted rebuild, and each starts one.
#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_resumes_one_that_has_started_at_the_same_moment() {
    let databases = Databases::create().await;
    append_some(&databases).await;
    let mut other = databases.read_model().begin().await.unwrap();
    read_model::start_building(&mut other).await.unwrap();
    let rebuild = databases.start_rebuild(&[]);
    eventually("it starts one as well", async || rebuilds_held(&databases, "returning generation").await == 1).await;
    other.commit().await.unwrap();
    let ended = rebuild.ended().await;
    assert!(ended.success && ended.log.contains("Resuming an interrupted rebuild"), "{}", ended.log);
    assert_projected(&databases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_version_of_the_projection_starts_from_scratch() {
    let databases = Databases::create().await;
    let left = interrupted(&databases).await;
    databases
        .change_read_model("update projection set projection_version = projection_version + 1 where not live")
        .await;
    let log = completed(&databases, &[]).await;
    assert!(log.contains("another version of the projection"), "{log}");
    assert_ne!(generations(&databases).await.0, left);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_rebuild_can_be_discarded() {
    let databases = Databases::create().await;
    let left = interrupted(&databases).await;
    let log = completed(&databases, &["--from-start"]).await;
    assert!(log.contains("--from-start was given"), "{log}");
    assert_ne!(generations(&databases).await.0, left);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_restored_from_a_backup_is_applied_from_scratch() {
    let databases = Databases::create().await;
    for (grows_again, complaint) in [(false, "beyond the target position"), (true, "the last event")] {
        let left = interrupted(&databases).await;
        restore_log(&databases, databases.head().await - 1).await;
        if grows_again {
            append_some(&databases).await;
        }
        let log = completed(&databases, &[]).await;
        assert!(log.contains(complaint), "{log}");
        assert_ne!(generations(&databases).await.0, left);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_rebuilds_that_resume_the_same_generation_one_is_superseded() {
    let databases = Databases::create().await;
    let left = interrupted(&databases).await;
    append_some(&databases).await;
    let mut at_switch = hold_live(&databases).await;
    let mut at_start = at_switch.begin().await.unwrap();
    sqlx::query("select from projection where not live for update").execute(&mut *at_start).await.unwrap();
    let mut both = [databases.start_rebuild(&[]), databases.start_rebuild(&[])];
    eventually("both have started", async || rebuilds_held(&databases, AT_START).await == 2).await;
    at_start.rollback().await.unwrap();
    // The first has advanced it before the second resumes it, or not, so it is superseded by a chunk or at the switch.
    let settled = async || {
        let ended = both.iter_mut().filter_map(|rebuild| (!rebuild.is_running()).then_some(())).count();
        rebuilds_held(&databases, AT_SWITCH).await + ended == 2
    };
    eventually("each has ended or is about to switch", settled).await;
    at_switch.rollback().await.unwrap();
    let [first, second] = both;
    let (first, second) = tokio::join!(first.ended(), second.ended());
    let (winner, loser) = if first.success { (first, second) } else { (second, first) };
    assert!(winner.success && winner.log.contains("is live"), "{}", winner.log);
    assert!(!loser.success && loser.log.contains("superseded by another rebuild"), "{}", loser.log);
    assert_eq!(generations(&databases).await, (left, None));
    assert_projected(&databases).await;
}
