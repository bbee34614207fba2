//! First visits of the pages in Chromium, on the network and CPU of a mid-range phone.

use anyhow::{Context, Result};
use serde::Deserialize;
use stack::pages::{install_packages, sources};
use stack::prerequisites::{self, Need};
use stack::progress::Progress;
use stack::tool::Tool;

use crate::{Figure, Row, TestBed};

/// One visit of each page.
#[derive(Deserialize)]
struct Visits {
    shop: Visit,
    sales: Visit,
}

#[derive(Deserialize)]
struct Visit {
    largest_paint_ms: f64,
    blocked_ms: f64,
}

/// Fails with how to install the browser if there is none. Installs the npm packages.
pub fn provide_browser() -> Result<()> {
    prerequisites::check(&[Need::Browser]).context("the section `pages` cannot run; --only selects others")?;
    install_packages(Progress::Shown)
}

pub fn measure(bed: &TestBed) -> Result<Vec<Row>> {
    // The sales page shows the latest purchase.
    bed.block_on(bed.buy("pro"))?;
    bed.settle()?;
    let visit = || (0..bed.options.repetitions).map(|_| visit(bed)).collect::<Result<Vec<_>>>();
    let visits = Progress::Shown.step("visits of shop and sales page", visit)?;
    let row = |what, pick: fn(&Visits) -> f64| Row::new(what, Figure::new("ms", visits.iter().map(pick).collect()));
    Ok(vec![
        row("largest contentful paint of the shop", |visits| visits.shop.largest_paint_ms),
        row("largest contentful paint of the sales page", |visits| visits.sales.largest_paint_ms),
        row("blocked main thread of the shop", |visits| visits.shop.blocked_ms),
        row("blocked main thread of the sales page", |visits| visits.sales.blocked_ms),
    ])
}

fn visit(bed: &TestBed) -> Result<Visits> {
    bed.interrupt.check()?;
    let node = Tool::new("node").arg("tests/visit.mjs").arg(&bed.stack.urls().shop).in_folder(&sources());
    let chromium = prerequisites::chromium().context("Chromium was there at the start")?;
    Ok(serde_json::from_str(&node.env("CHROMIUM", chromium).output()?)?)
}
