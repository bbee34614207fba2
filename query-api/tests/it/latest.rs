//! The newest purchases.

use serde_json::{Value, json};
use testing::{assert_problem, purchased, reset};

use crate::ReadSide;

#[tokio::test]
async fn the_newest_purchases_come_first_and_resets_do_not_remove_them() {
    let read_side = ReadSide::start().await;
    assert_eq!(read_side.json("/api/sales/latest").await, json!({ "purchases": [], "position": 0 }));
    for number in 1..=12 {
        read_side.databases.append(&[purchased("basic", number)]).await;
    }
    read_side.databases.append_at("9999-11-24 20:00:00.5+00", &[purchased("pro", 19_900), reset(), reset()]).await;
    read_side.settled().await;
    let latest = read_side.json("/api/sales/latest").await;
    assert_eq!(latest["position"], 15);
    let positions = |latest: &Value| -> Vec<i64> {
        latest["purchases"].as_array().unwrap().iter().map(|sale| sale["position"].as_i64().unwrap()).collect()
    };
    assert_eq!(positions(&latest), [13, 12, 11, 10, 9, 8, 7, 6, 5, 4]);
    // Without the purchase id, which only the buyer knows.
    assert_eq!(
        latest["purchases"][0],
        json!({
            "position": 13, "license": "pro", "price": { "amount_minor": 19_900, "currency": "EUR" },
            "purchased_at": "9999-11-24T20:00:00.500Z",
        })
    );
    assert_eq!(positions(&read_side.json("/api/sales/latest?limit=1").await), [13]);
    assert_eq!(positions(&read_side.json("/api/sales/latest?limit=100").await).len(), 13);
    for query in ["limit=0", "limit=101", "limit=-1", "limit=all", "after=1"] {
        assert_problem(read_side.get(&format!("/api/sales/latest?{query}")).await, 400, "invalid-query").await;
    }
}
