//! A witness that is killed cosigns one history.

use std::time::Duration;

use futures::future::join_all;
use rand::{RngExt, rng};
use testing::cases;
use tokio::time::sleep;

use crate::support::{Log, Witness, submit, try_to_submit};

/// In each round, two histories compete for the cosignature while the witness is killed at a random moment.
#[tokio::test(flavor = "multi_thread")]
async fn a_witness_that_is_killed_at_any_moment_never_cosigns_two_histories() {
    let mut log = Log::new();
    log.grow(10, "event");
    let witness = Witness::create(&log.public_key()).await;
    let service = witness.start().await;
    witness.cosignature(submit(&service, log.submission(0)).await, &log.note()).await;
    service.kill();
    for round in 0..cases("TEST_WITNESS_KILLS", 12) {
        let cosigned = log.size();
        let mut branches = [log.fork(), log.fork()];
        branches[0].grow(cosigned + 5, &format!("left {round}"));
        branches[1].grow(cosigned + 5, &format!("right {round}"));
        let submissions = branches.each_ref().map(|branch| branch.submission(cosigned));

        let service = witness.start().await;
        let [left, right] = submissions.each_ref().map(|body| try_to_submit(&service, body.clone()));
        let moment = Duration::from_micros(rng().random_range(0..8_000));
        let kill = async {
            sleep(moment).await;
            service.signal(nix::sys::signal::Signal::SIGKILL);
        };
        let (left, right, ()) = tokio::join!(left, right, kill);
        drop(service);
        let mut winners: Vec<usize> = Vec::new();
        for (index, response) in [left, right].into_iter().enumerate() {
            if response.is_ok_and(|response| response.status() == 200) {
                winners.push(index);
            }
        }

        // What it has not cosigned before, it cosigns now, but never both.
        let service = witness.start().await;
        for (index, branch) in branches.iter().enumerate() {
            let again = submit(&service, branch.submission(cosigned)).await.status();
            let renewed = submit(&service, format!("old {}\n\n{}", branch.size(), branch.note())).await.status();
            if again == 200 || renewed == 200 {
                winners.push(index);
            }
        }
        winners.sort_unstable();
        winners.dedup();
        assert_eq!(winners.len(), 1, "round {round}, killed after {moment:?}");
        let [left, right] = branches;
        log = if winners == [0] { left } else { right };
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_that_is_killed_right_after_its_answer_remembers_it() {
    let mut log = Log::new();
    let witness = Witness::create(&log.public_key()).await;
    for round in 1..=10 {
        let cosigned = log.size();
        let mut fork = log.fork();
        log.grow(round * 10, "event");
        fork.grow(round * 10 + 1, "forged");
        let service = witness.start().await;
        let response = submit(&service, log.submission(cosigned)).await;
        service.kill();
        assert_eq!(response.status(), 200);
        let service = witness.start().await;
        assert_eq!(submit(&service, fork.submission(cosigned)).await.status(), 409);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_submissions_at_once_one_history_is_cosigned() {
    let log = Log::new();
    let witness = Witness::create(&log.public_key()).await;
    let service = witness.start().await;
    let submissions = (1..=20).map(|number| {
        let mut fork = log.fork();
        fork.grow(number, &format!("fork {number}"));
        submit(&service, fork.submission(0))
    });
    let responses = join_all(submissions).await;
    let cosigned = responses.iter().filter(|response| response.status() == 200).count();
    assert_eq!(cosigned, 1);
}
