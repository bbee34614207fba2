//! Sales by hour, day or month.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike, SubsecRound, Timelike, Utc};
use chrono_tz::Tz;
use clap::ValueEnum;
use serde::Serialize;
use shared::{
    catalogue::License,
    event::Event,
    money::{Money, OutOfRange},
};

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Interval {
    Minute,
    Hour,
    Day,
    Month,
}

/// What was sold of a licence within an interval. A reset takes nothing back from what was sold before it.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Sold {
    pub sales_count: i64,
    pub revenue: Money,
}

/// An interval, by its beginning in local time.
#[derive(Debug, Default, Serialize)]
pub struct Bucket {
    pub by_license: BTreeMap<License, Sold>,
    pub resets: i64,
}

#[derive(Debug)]
pub struct History {
    interval: Interval,
    time_zone: Tz,
    pub buckets: BTreeMap<String, Bucket>,
}

impl History {
    pub fn new(interval: Interval, time_zone: Tz) -> Self {
        Self { interval, time_zone, buckets: BTreeMap::new() }
    }

    pub fn add(&mut self, time: DateTime<Utc>, event: &Event) -> Result<(), OutOfRange> {
        let bucket = self.buckets.entry(self.beginning(time)).or_default();
        match event {
            Event::SalesReset(_) => bucket.resets += 1,
            Event::LicensePurchased(purchase) => {
                let zero = Sold { sales_count: 0, revenue: Money::zero(purchase.price.currency()) };
                let sold = bucket.by_license.entry(purchase.license).or_insert(zero);
                sold.revenue = sold.revenue.checked_add(purchase.price)?;
                sold.sales_count += 1;
            }
        }
        Ok(())
    }

    /// With its offset, so that the hour that comes twice in autumn is two.
    fn beginning(&self, time: DateTime<Utc>) -> String {
        let local = time.with_timezone(&self.time_zone).trunc_subsecs(0);
        let (date, hour) = (local.date_naive(), local.hour());
        match self.interval {
            Interval::Minute => format!("{date}T{hour:02}:{:02}{}", local.minute(), local.format("%:z")),
            Interval::Hour => format!("{date}T{hour:02}:00{}", local.format("%:z")),
            Interval::Day => date.to_string(),
            Interval::Month => format!("{:04}-{:02}", date.year(), date.month()),
        }
    }
}
