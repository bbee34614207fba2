use std::time::Instant;

use stack::probe::Probe;
use testing::{self, Nats};

#[test]
fn postgres_is_shared_by_the_tests_of_a_process_and_ready_at_once() {
    let postgres = testing::postgres();
    assert!(Probe::Postgres { address: postgres.address() }.passes());
    assert_eq!(postgres.address(), testing::postgres().address());
}

#[test]
fn an_own_postgres_stops_and_comes_back_on_the_same_port() {
    let mut postgres = testing::own_postgres();
    let probe = Probe::Postgres { address: postgres.address() };
    postgres.stop();
    assert!(!probe.passes());
    postgres.start();
    assert!(probe.passes());
}

#[test]
fn nats_comes_back_on_the_same_port() {
    let started = Instant::now();
    let mut nats = Nats::start();
    println!("{:?}", started.elapsed());
    let address = nats.address();
    nats.stop();
    nats.wipe();
    nats.start_again();
    assert_eq!(nats.address(), address);
}
