//! Events that do not count, by decision of an operator.

use testing::{Counted, Databases, NO_NATS, Nats, Service, Until, eventually, purchased, reset, values};

use crate::support::readiness;

/// An event that no version can count.
fn broken() -> (&'static str, String) {
    purchased("pro", i64::MAX)
}

fn decision(position: i64) -> (&'static str, String) {
    ("EventVoided", format!(r#"{{"position":{position},"reason":"forged"}}"#))
}

async fn halted_at(projector: &Service, position: i64) {
    let reason = format!("position {position} cannot be decoded");
    eventually("it halts", async || readiness(projector).await.1.contains(&reason)).await;
}

/// Waits until the whole log is projected, and compares the totals.
async fn counted(databases: &Databases, expected: &[(&str, i64, i64)]) {
    let head = databases.head().await;
    eventually("the whole log is projected", async || databases.checkpoint().await == head).await;
    let expected: Counted =
        expected.iter().map(|(license, count, revenue)| ((*license).to_owned(), (*count, *revenue))).collect();
    assert_eq!(databases.count_read_model().await, expected);
}

async fn void(databases: &Databases, position: i64) {
    let ended = databases.void(position, "amount out of range", "Ada Example").await;
    assert!(ended.success, "{}", ended.log);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_halted_projection_resumes_when_an_operator_voids_the_event() {
    let (databases, nats) = (Databases::create().await, Nats::start());
    let command_api = databases.command_api(&nats.url("command-api")).await;
    let projector = databases.projector(&nats.url("projector")).await;
    command_api.buy("pro").await;
    let first = databases.append_unchecked(&[broken()]).await;
    halted_at(&projector, first).await;
    command_api.buy("basic").await;
    // Two more broken events. The second of them is a decision without a position.
    let second = databases.append_unchecked(&[("SalesReset", r#"{"by":1}"#.to_owned())]).await;
    let third = databases.append_unchecked(&[("EventVoided", "{}".to_owned())]).await;
    void(&databases, first).await;
    halted_at(&projector, second).await;
    assert_eq!(databases.checkpoint().await, second - 1);
    void(&databases, third).await;
    void(&databases, second).await;
    eventually("it runs again", async || readiness(&projector).await.0 == 200).await;
    counted(&databases, &[("pro", 1, 19_900), ("basic", 1, 4_900)]).await;
    assert!(projector.metric("sales_projection_halted").await < 0.5);
    let history = databases.history_of_read_model().await;
    assert!(!history.iter().any(|entry| entry.contains(&i64::MAX.to_string())), "{history:?}");
    assert_eq!(databases.latest_of_read_model().await.len(), 2);
    command_api.buy("pro").await;
    counted(&databases, &[("pro", 2, 39_800), ("basic", 1, 4_900)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rebuild_dry_run_and_reconciliation_leave_a_voided_event_out_and_so_do_snapshots() {
    let databases = Databases::create().await;
    databases.append(&vec![purchased("pro", 100); 9_990]).await;
    let position = databases.append_unchecked(&[broken()]).await;
    // The decision is behind the snapshot, and behind the end of a chunk of the reconciliation.
    databases.append(&vec![purchased("basic", 1); 15_000]).await;
    void(&databases, position).await;
    databases.append(&[reset(), purchased("pro", 100)]).await;
    let projector = databases.projector(NO_NATS).await;
    counted(&databases, &[("pro", 1, 100)]).await;
    let head = databases.head().await;
    let reconciled = async || projector.metric("sales_reconciliation_position").await;
    let end = f64::from(i32::try_from(head).unwrap());
    eventually("it is reconciled", async || (reconciled().await - end).abs() < 0.5).await;
    assert!(projector.metric("sales_reconciliation_difference").await < 0.5);
    let snapshot = "select concat_ws(' ', license, sales_count, revenue_minor) from totals_snapshot
                    where position = 10000 and sales_count > 0 order by 1";
    let before: Vec<String> = values(databases.read_model(), snapshot).await;
    assert_eq!(before, ["basic 9 9", "pro 9990 999000"]);
    let history = databases.history_of_read_model().await;
    let ended = databases.start_rebuild(&["--dry-run"]).ended().await;
    assert!(ended.success && ended.log.contains("compared_with_old=Same"), "{}", ended.log);
    let ended = databases.start_rebuild(&[]).ended().await;
    assert!(ended.success && ended.log.contains("compared_with_old=Same"), "{}", ended.log);
    counted(&databases, &[("pro", 1, 100)]).await;
    assert_eq!(values::<String>(databases.read_model(), snapshot).await, before);
    assert_eq!(databases.history_of_read_model().await, history);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_does_not_change_the_past() {
    let databases = Databases::create().await;
    let projector = databases.projector(NO_NATS).await;
    // Appended by a superuser: about an event that counts, about another decision, itself, and later positions.
    databases.append_unchecked(&[purchased("pro", 100), decision(1), decision(2), decision(4), decision(6)]).await;
    counted(&databases, &[("pro", 1, 100)]).await;
    let ended = databases.start_rebuild(&["--dry-run"]).ended().await;
    assert!(ended.success, "{}", ended.log);
    // Position 6 was decided about in front of it.
    databases.append_unchecked(&[broken(), purchased("pro", 100)]).await;
    halted_at(&projector, 6).await;
    assert!(!databases.start_rebuild(&[]).ended().await.success);
    void(&databases, 6).await;
    counted(&databases, &[("pro", 2, 200)]).await;
}

/// As an older version that does not know the type, the version or the licence of a newer one.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_version_halts_whatever_was_decided_about_an_event_of_a_newer_one() {
    for newer in [("LicenseRented", "{}".to_owned()), purchased("gold", 100)] {
        let databases = Databases::create().await;
        databases.append_unchecked(&[purchased("pro", 100), newer, decision(2)]).await;
        let projector = databases.start("projector", Until::Live, &[("NATS_URL", NO_NATS)]).await;
        halted_at(&projector, 2).await;
        assert!(projector.metric("sales_projection_halted").await > 0.5);
        assert_eq!(databases.checkpoint().await, 1);
    }
}
