//! Reads of the totals per second, compared with a handler that answers with constant bytes.

use anyhow::Result;

use crate::load::Traffic;
use crate::row::{Row, Target};
use crate::settings::READERS;
use crate::test_bed::{Subjects, TestBed};

const TO_CONSTANT: Target = Target::RatioAtLeast(0.9);

pub fn measure(bed: &mut TestBed) -> Result<Vec<Row>> {
    let Subjects { totals, constant, traefik_totals, traefik_constant, .. } = bed.subjects;
    let load = bed.load(Traffic::Reads, READERS);
    let direct = bed.compare([totals, constant], load)?;
    let [ours, constant] = bed.in_turns([traefik_totals, traefik_constant], load)?;
    let rows = vec![
        direct.ours.row().beside(direct.baseline.name, direct.baseline.rate()).target(TO_CONSTANT),
        direct.baseline.baseline_row(),
        ours.row().beside(constant.name, constant.rate()),
        constant.baseline_row(),
    ];
    bed.at_start.push(direct);
    Ok(rows)
}
