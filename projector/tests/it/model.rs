//! Random histories against a model in memory.

use std::collections::BTreeMap;

use proptest::{
    prelude::*,
    test_runner::{Config, FileFailurePersistence, TestRunner},
};
use testing::{Counted, Databases, Nats, Service, cases, purchased, reset};
use tokio::runtime::Runtime;

use crate::support::assert_projected;

#[derive(Clone, Debug)]
enum Step {
    Purchases(Vec<(&'static str, i64)>),
    Reset,
    Restart,
    Rebuild,
}

fn step() -> impl Strategy<Value = Step> {
    let purchase = (prop::sample::select(&["basic", "pro", "enterprise"][..]), 0..1_000_000_i64);
    prop_oneof![
        4 => prop::collection::vec(purchase, 1..50).prop_map(Step::Purchases),
        2 => Just(Step::Reset),
        1 => Just(Step::Restart),
        1 => Just(Step::Rebuild),
    ]
}

async fn run(steps: Vec<Step>) {
    let (databases, nats) = (Databases::create().await, Nats::start());
    let mut running: Option<Service> = None;
    let mut model: Counted = BTreeMap::new();
    let mut purchased_so_far = Vec::new();
    for step in steps {
        match step {
            Step::Purchases(purchases) => {
                for (license, cents) in &purchases {
                    let total = model.entry((*license).to_owned()).or_default();
                    *total = (total.0 + 1, total.1 + cents);
                    purchased_so_far.push(((*license).to_owned(), *cents));
                }
                let events: Vec<_> = purchases.into_iter().map(|(license, cents)| purchased(license, cents)).collect();
                databases.append(&events).await;
            }
            Step::Reset => {
                model.clear();
                databases.append(&[reset()]).await;
            }
            Step::Restart => {
                if let Some(projector) = running.take() {
                    projector.kill();
                }
                running = Some(databases.projector(&nats.url("projector")).await);
            }
            Step::Rebuild => databases.rebuild().await,
        }
    }
    let _last = match running {
        Some(projector) => projector,
        None => databases.projector(&nats.url("projector")).await,
    };
    assert_projected(&databases).await;
    assert_eq!(databases.count_read_model().await, model);
    let latest = databases.latest_of_read_model().await.into_iter().map(|(_, _, license, cents)| (license, cents));
    assert_eq!(latest.collect::<Vec<_>>(), purchased_so_far.into_iter().rev().take(100).collect::<Vec<_>>());
}

#[test]
fn totals_and_newest_purchases_are_those_of_a_model_in_memory() {
    let runtime = Runtime::new().unwrap();
    let counterexamples = FileFailurePersistence::Direct("tests/counterexamples.txt");
    // Each case starts real processes.
    let config = Config {
        cases: cases("TEST_RANDOM_HISTORIES", 4),
        max_shrink_iters: 20,
        ..Config::with_failure_persistence(counterexamples)
    };
    TestRunner::new(config)
        .run(&prop::collection::vec(step(), 1..12), |steps| {
            runtime.block_on(run(steps)); // panics where it differs
            Ok(())
        })
        .unwrap();
}
