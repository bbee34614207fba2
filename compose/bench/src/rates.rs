//! Purchases and reads per second, direct and through Traefik.

use anyhow::Result;

use crate::{MOST_CONNECTIONS, READERS, Row, Runs, Subject, Target, TestBed, Traffic, number};

const TO_NOTHING: Target = Target::RatioAtLeast(0.5);
const TO_ONE_ROW: Target = Target::RatioAtLeast(6.0);
/// Both through Traefik.
const TO_NOTHING_BEHIND_TRAEFIK: Target = Target::RatioAtLeast(0.8);
const TO_CONSTANT: Target = Target::RatioAtLeast(0.9);

pub fn purchases(bed: &mut TestBed) -> Result<Vec<Row>> {
    measure(bed, bed.purchases, &[TO_NOTHING, TO_ONE_ROW])
}

pub fn purchases_through_traefik(bed: &mut TestBed) -> Result<Vec<Row>> {
    measure(bed, bed.traefik_purchases, &[TO_NOTHING_BEHIND_TRAEFIK])
}

/// At the maximum rate with each number of connections, and at half of the maximum rate. Only the load with the most
/// connections has targets.
fn measure<const N: usize>(bed: &mut TestBed, subjects: [Subject; N], targets: &[Target]) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for connections in bed.options.connections.clone() {
        let runs = bed.in_turns(subjects, bed.load(Traffic::Purchases, connections))?;
        let (ours, baselines) = (&runs[0], &runs[1..]);
        rows.extend(baselines.iter().zip(targets).map(|(baseline, &target)| {
            compared(ours, baseline).target((connections == MOST_CONNECTIONS).then_some(target))
        }));
        rows.extend(baselines.iter().map(baseline_row));
        bed.at_start.push([ours.clone(), baselines[0].clone()]);
    }
    let half = bed.most_purchases(subjects[0])? / 2.0;
    let [runs] = bed.in_turns([subjects[0]], bed.load_at_rate(half))?;
    rows.push(runs.row(format!("{}, arriving at {}/s whatever the answers do", runs.name, number(half))));
    Ok(rows)
}

/// Compared with a handler that answers with constant bytes.
pub fn reads(bed: &mut TestBed) -> Result<Vec<Row>> {
    let load = bed.load(Traffic::Reads, READERS);
    let [ours, constant] = bed.in_turns(bed.totals, load)?;
    let [through_traefik, traefik_constant] = bed.in_turns(bed.traefik_totals, load)?;
    let rows = vec![
        compared(&ours, &constant).target(TO_CONSTANT),
        baseline_row(&constant),
        compared(&through_traefik, &traefik_constant),
        baseline_row(&traefik_constant),
    ];
    bed.at_start.push([ours, constant]);
    Ok(rows)
}

fn compared(ours: &Runs, baseline: &Runs) -> Row {
    ours.row(format!("{}, {} connections", ours.name, ours.connections)).relative_to(baseline.name, &baseline.rate)
}

fn baseline_row(baseline: &Runs) -> Row {
    baseline.row(format!("({}), {} connections", baseline.name, baseline.connections))
}
