//! The totals as clients see them.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use contract::{
    catalogue::License,
    money::{Money, OutOfRange},
    position::Position,
    totals::{LicenseTotal, Totals},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Number of sales and revenue since the last reset.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
pub struct CurrentMoney {
    pub sales_count: i64,
    pub revenue: Money,
    pub by_license: BTreeMap<License, LicenseTotal>,
    /// Log position that these totals reflect: every event up to it is counted.
    pub position: Position,
    /// Time of the event at that position.
    pub as_of: DateTime<Utc>,
}

impl CurrentMoney {
    pub fn new(totals: &Totals, position: Position, as_of: DateTime<Utc>) -> Result<Self, OutOfRange> {
        let LicenseTotal { sales_count, revenue } = totals.sum()?;
        Ok(Self { sales_count, revenue, by_license: totals.by_license(), position, as_of })
    }
}
