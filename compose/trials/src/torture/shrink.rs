//! Shortens a plan after which a run failed, by leaving faults out.

use anyhow::Result;

use crate::torture::plan::{Fault, Round};

/// The shortest plan found that still fails. Leaves out halves first, then quarters, and finally single faults.
pub fn shrink(rounds: &[Round], mut fails: impl FnMut(&[Round]) -> Result<bool>) -> Result<Vec<Round>> {
    let mut faults = faults_of(rounds);
    let mut count = faults.len();
    while count > 1 {
        count = count.div_ceil(2);
        let mut from = 0;
        while from < faults.len() && faults.len() > 1 {
            let mut fewer = faults.clone();
            fewer.drain(from..(from + count).min(faults.len()));
            if !fewer.is_empty() && fails(&rounds_of(&fewer))? {
                faults = fewer;
            } else {
                from += count;
            }
        }
    }
    Ok(rounds_of(&faults))
}

/// Each with the number of its round.
fn faults_of(rounds: &[Round]) -> Vec<(u32, Fault)> {
    rounds.iter().flat_map(|round| round.faults.iter().map(|fault| (round.number, fault.clone()))).collect()
}

fn rounds_of(faults: &[(u32, Fault)]) -> Vec<Round> {
    let rounds = faults.chunk_by(|one, next| one.0 == next.0);
    rounds
        .map(|round| Round { number: round[0].0, faults: round.iter().map(|(_, fault)| fault.clone()).collect() })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torture::{kinds::Kind, on::On, plan::Plan};

    #[test]
    fn only_the_faults_remain_that_a_failure_needs() {
        let rounds: Vec<Round> = Plan::new(17, &Kind::all(On::Native)).take(20).collect();
        let needed = [rounds[4].faults[0].clone(), rounds[11].faults[1].clone()];
        let mut tried = 0;
        let fails = |plan: &[Round]| {
            tried += 1;
            Ok(needed.iter().all(|fault| plan.iter().any(|round| round.faults.contains(fault))))
        };
        let shortest = shrink(&rounds, fails).unwrap();
        assert_eq!(faults_of(&shortest), [(5, needed[0].clone()), (12, needed[1].clone())]);
        assert!(tried < 30, "{tried}");
        assert_eq!(shrink(&rounds[..3], |_| Ok(false)).unwrap(), rounds[..3], "nothing can be left out");
        assert_eq!(shrink(&rounds, |_| Ok(true)).unwrap().len(), 1);
    }
}
