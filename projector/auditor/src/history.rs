//! Sales per minute, hour, day or month.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike, SubsecRound, Timelike, Utc};
use clap::ValueEnum;
use contract::{
    catalogue::License,
    event::Event,
    money::{Money, OutOfRange},
    time_zone::Zone,
    totals::LicenseTotal,
};
use event_log::{read_model::license_and_money, row::decode_error};
use futures::TryStreamExt;
use serde::Serialize;
use sqlx::{PgConnection, Row};

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Interval {
    Minute,
    Hour,
    Day,
    Month,
}

/// Sales and resets within an interval. A reset does not reduce earlier sales.
#[derive(Debug, Default, Eq, PartialEq, Serialize)]
pub struct Bucket {
    pub by_license: BTreeMap<License, LicenseTotal>,
    pub resets: i64,
}

#[derive(Debug)]
pub struct History {
    interval: Interval,
    time_zone: Zone,
    pub buckets: BTreeMap<String, Bucket>,
}

impl History {
    pub fn new(interval: Interval, time_zone: Zone) -> Self {
        Self { interval, time_zone, buckets: BTreeMap::new() }
    }

    pub fn add(&mut self, time: DateTime<Utc>, event: &Event) -> Result<(), OutOfRange> {
        match event {
            Event::SalesReset(_) => self.bucket(time).resets += 1,
            Event::LicensePurchased(purchase) => self.add_sold(time, purchase.license, 1, purchase.price)?,
            Event::EventVoided(_) => (),
        }
        Ok(())
    }

    fn add_sold(
        &mut self,
        time: DateTime<Utc>,
        license: License,
        sales_count: i64,
        revenue: Money,
    ) -> Result<(), OutOfRange> {
        let zero = LicenseTotal { sales_count: 0, revenue: Money::zero(revenue.currency()) };
        let sold = self.bucket(time).by_license.entry(license).or_insert(zero);
        sold.revenue = sold.revenue.checked_add(revenue)?;
        sold.sales_count = sold.sales_count.saturating_add(sales_count);
        Ok(())
    }

    fn bucket(&mut self, time: DateTime<Utc>) -> &mut Bucket {
        self.buckets.entry(self.beginning(time)).or_default()
    }

    /// The history of a generation of the read model, in the same intervals.
    pub async fn of_read_model(&self, read_model: &mut PgConnection, generation: i64) -> sqlx::Result<Self> {
        let mut history = Self::new(self.interval, self.time_zone.clone());
        // Hours and longer intervals of every time zone are whole quarters of an hour.
        let minutes: i16 = if matches!(self.interval, Interval::Minute) { 1 } else { 15 };
        let mut rows = sqlx::query(
            "select begins_at, license, sales_count, revenue_minor, currency from history_bucket
             where generation = $1 and minutes = $2",
        )
        .bind(generation)
        .bind(minutes)
        .fetch(&mut *read_model);
        while let Some(row) = rows.try_next().await? {
            let Some((license, revenue)) = license_and_money(&row, "revenue_minor")? else { continue };
            let added = history.add_sold(row.try_get("begins_at")?, license, row.try_get("sales_count")?, revenue);
            added.map_err(decode_error)?;
        }
        drop(rows);
        let resets = sqlx::query_scalar("select reset_at from history_reset where generation = $1").bind(generation);
        for reset_at in resets.fetch_all(read_model).await? {
            history.bucket(reset_at).resets += 1;
        }
        Ok(history)
    }

    /// The beginning of the first interval that differs in another history.
    pub fn first_difference<'a>(&'a self, other: &'a Self) -> Option<&'a str> {
        let beginnings = self.buckets.keys().chain(other.buckets.keys());
        beginnings.filter(|at| self.buckets.get(*at) != other.buckets.get(*at)).min().map(String::as_str)
    }

    /// Includes the UTC offset, which separates the two ambiguous hours in autumn.
    fn beginning(&self, time: DateTime<Utc>) -> String {
        let local = self.time_zone.local(time).trunc_subsecs(0);
        let (date, hour) = (local.date_naive(), local.hour());
        match self.interval {
            Interval::Minute => format!("{date}T{hour:02}:{:02}{}", local.minute(), local.format("%:z")),
            Interval::Hour => format!("{date}T{hour:02}:00{}", local.format("%:z")),
            Interval::Day => date.to_string(),
            Interval::Month => format!("{:04}-{:02}", date.year(), date.month()),
        }
    }
}
