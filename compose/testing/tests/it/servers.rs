use stack::probe::Probe;
use testing::Nats;

#[test]
fn postgres_is_shared_and_ready() {
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
    let mut nats = Nats::start();
    let address = nats.address();
    nats.stop();
    nats.wipe();
    nats.start_again();
    assert_eq!(nats.address(), address);
}
