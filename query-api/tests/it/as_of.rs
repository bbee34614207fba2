//! The totals as of earlier times and positions.

use rand::{RngExt, seq::IndexedRandom};
use serde_json::Value;
use testing::{assert_problem, purchased, reset, values};

use crate::{ReadSide, tag};

/// Random purchases and resets over several snapshots, in batches, each with its own time.
async fn a_long_log(read_side: &ReadSide) -> i64 {
    let mut random = rand::rng();
    for second in 0..50 {
        let batch: Vec<_> = (0..random.random_range(1..1400))
            .map(|_| match random.random_range(0..2000) {
                0 => reset(),
                _ => purchased(
                    ["basic", "pro", "enterprise"].choose(&mut random).unwrap(),
                    random.random_range(0..100_000),
                ),
            })
            .collect();
        read_side.databases.append_at(&format!("2026-11-01 12:00:{second:02}.5+00"), &batch).await;
    }
    read_side.settled().await
}

/// Number and cents at a position, counted by the database from the whole log.
async fn counted(read_side: &ReadSide, position: i64) -> (i64, i64) {
    sqlx::query_as(
        "select count(*), coalesce(sum((data -> 'price' ->> 'amount_minor')::bigint), 0)::bigint from event
         where event_type = 'LicensePurchased' and position <= $1
           and position > (select coalesce(max(position), 0) from event where event_type = 'SalesReset' and position <= $1)",
    )
    .bind(position)
    .fetch_one(read_side.databases.event_store())
    .await
    .unwrap()
}

fn sums(current: &Value) -> (i64, i64) {
    (current["sales_count"].as_i64().unwrap(), current["revenue"]["amount_minor"].as_i64().unwrap())
}

#[tokio::test]
async fn totals_as_of_any_position_or_time_equal_those_of_the_whole_log() {
    let read_side = ReadSide::start().await;
    let end = a_long_log(&read_side).await;
    let mut positions: Vec<i64> = (0..30).map(|_| rand::random_range(0..=end)).collect();
    positions.extend([0, 1, 9_999, 10_000, 10_001, end]);
    for position in positions.into_iter().filter(|position| *position <= end) {
        let current = read_side.json(&format!("/api/get_current_money?at_position={position}")).await;
        assert_eq!(sums(&current), counted(&read_side, position).await, "at position {position}");
        assert_eq!(current["position"], position);
        let select = format!(
            r#"select to_char(recorded_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') from event where position = {position}"#
        );
        let as_of: Vec<String> = values(read_side.databases.event_store(), &select).await;
        assert_eq!(current["as_of"], as_of.first().map_or("1970-01-01T00:00:00Z", String::as_str));
    }
    for _ in 0..10 {
        let (second, fraction) =
            (rand::random_range(0..50), ["", ".499999", ".5", ".500001"].choose(&mut rand::rng()).unwrap());
        let time = format!("2026-11-01T12:00:{second:02}{fraction}Z");
        let select = format!("select coalesce(max(position), 0) from event where recorded_at <= '{time}'");
        let [position] = values::<i64>(read_side.databases.event_store(), &select).await[..] else { panic!("one row") };
        let current = read_side.json(&format!("/api/get_current_money?at={time}")).await;
        assert_eq!(current["position"], position, "at {time}");
        assert_eq!(sums(&current), counted(&read_side, position).await, "at {time}");
    }
    let newest = read_side.json("/api/get_current_money").await;
    for query in [format!("at_position={end}"), "at=9999-12-31T23:59:59Z".to_owned()] {
        assert_eq!(read_side.json(&format!("/api/get_current_money?{query}")).await, newest);
    }
    assert_problem(
        read_side.get(&format!("/api/get_current_money?at_position={}", end + 1)).await,
        404,
        "unknown-position",
    )
    .await;
}

#[tokio::test]
async fn only_the_events_since_the_last_snapshot_are_read() {
    let read_side = ReadSide::start().await;
    let cents = |count: usize| vec![purchased("pro", 1); count];
    read_side.databases.append_at("2026-11-01 12:00:00+00", &cents(19_999)).await;
    read_side.databases.append_at("2026-11-01 12:00:01+00", &cents(2)).await;
    read_side.settled().await;
    read_side.databases.tamper("delete from event where position = 19999").await;
    for position in [20_000, 20_001] {
        let current = read_side.json(&format!("/api/get_current_money?at_position={position}")).await;
        assert_eq!(sums(&current), (position, position));
        assert_eq!(current["as_of"], "2026-11-01T12:00:01Z");
    }
    assert_problem(read_side.get("/api/get_current_money?at_position=19999").await, 500, "internal").await;
}

#[tokio::test]
async fn a_snapshot_of_a_log_that_was_truncated_and_extended_is_not_continued() {
    let read_side = ReadSide::start().await;
    let databases = &read_side.databases;
    databases.append_at("2026-11-01 12:00:00+00", &vec![purchased("pro", 1); 10_001]).await;
    read_side.settled().await;
    databases.tamper("delete from event where position > 9999; update head set position = 9999").await;
    databases.append(&vec![purchased("pro", 3); 5]).await;
    for position in [10_000, 10_004] {
        let current = read_side.get(&format!("/api/get_current_money?at_position={position}")).await;
        assert_problem(current, 500, "internal").await;
    }
    assert_eq!(sums(&read_side.json("/api/get_current_money?at_position=9999").await), (9999, 9999));
}

#[tokio::test]
async fn earlier_totals_have_their_own_etag() {
    let read_side = ReadSide::start().await;
    read_side.databases.append(&[purchased("pro", 1), purchased("pro", 1)]).await;
    read_side.settled().await;
    let [first, second] = [1, 2].map(|position| format!("/api/get_current_money?at_position={position}"));
    let tag = tag(&read_side.get(&first).await);
    assert_eq!(read_side.get_again(&first, &tag).await.status(), 304);
    assert_eq!(read_side.get_again(&second, &tag).await.status(), 200);
    // A rebuild may have corrected them.
    read_side.databases.rebuild().await;
    assert_eq!(read_side.get_again(&first, &tag).await.status(), 200);
}

#[tokio::test]
async fn totals_too_far_after_the_last_snapshot_are_answered_503() {
    let read_side = ReadSide::start().await;
    // Only the end of such a log is needed.
    read_side.databases.change_event_store("update head set position = 2000000").await;
    let response = read_side.get("/api/get_current_money?at_position=1000001").await;
    assert_eq!(response.headers()["retry-after"], "1");
    assert_problem(response, 503, "unavailable").await;
    // The longest tail that is read; its events are missing.
    assert_problem(read_side.get("/api/get_current_money?at_position=1000000").await, 500, "internal").await;
}

#[tokio::test]
async fn a_voided_event_counts_at_no_position_and_stays_in_the_log() {
    let read_side = ReadSide::start().await;
    let databases = &read_side.databases;
    databases.append(&[purchased("pro", 100)]).await;
    databases.append_unchecked(&[purchased("pro", i64::MAX), purchased("basic", 7)]).await;
    let at = |position: i64| format!("/api/get_current_money?at_position={position}");
    let ids =
        async || values::<String>(databases.event_store(), "select event_id::text from event order by position").await;
    let receipt = |id: &str| format!("/api/purchases/{id}");
    let (purchase, voided) = (receipt(&ids().await[0]), receipt(&ids().await[1]));
    for undecided in [&at(2), &at(3), &voided] {
        assert_problem(read_side.get(undecided).await, 500, "internal").await;
    }
    assert_eq!(sums(&read_side.json(&at(1)).await), (1, 100));

    let ended = databases.void(2, "amount out of range", "Ada Example").await;
    assert!(ended.success, "{}", ended.log);
    // Also between the event and the decision.
    for (position, expected) in [(1, (1, 100)), (2, (1, 100)), (3, (2, 107)), (4, (2, 107))] {
        assert_eq!(sums(&read_side.json(&at(position)).await), expected, "at position {position}");
    }
    assert_eq!(read_side.settled().await, 4);
    assert_eq!(sums(&read_side.json("/api/get_current_money").await), (2, 107));
    for none in [&voided, &receipt(&ids().await[3])] {
        assert_problem(read_side.get(none).await, 404, "unknown-purchase").await;
    }
    assert_eq!(read_side.json(&purchase).await["position"], 1);
    let events = read_side.json("/api/events?after=1").await;
    assert_eq!(events["events"][0]["data"]["price"]["amount_minor"], i64::MAX);
    let decisions = read_side.json("/api/events?type=EventVoided").await;
    assert_eq!(decisions["events"].as_array().unwrap().len(), 1);
    assert_eq!(decisions["events"][0]["data"], events["events"][2]["data"]);
    assert_eq!(decisions["events"][0]["data"]["position"], 2);

    // Metadata that cannot be read do not take the decision back.
    databases.tamper("update event set metadata = '[]' where event_type = 'EventVoided'").await;
    assert_eq!(sums(&read_side.json(&at(2)).await), (1, 100));
}
