//! The sums of the events. Pure: the same events always give the same totals.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    catalogue::{self, License},
    event::Event,
    money::{Money, OutOfRange},
};

/// Positions between snapshots of the totals. Summing the events of one interval takes some milliseconds, at three rows per
/// snapshot.
pub const SNAPSHOT_INTERVAL: i64 = 10_000;

/// Number of sales and revenue.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
pub struct LicenseTotal {
    pub sales_count: i64,
    pub revenue: Money,
}

/// Number of sales and revenue since the last reset, for every licence.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Totals([LicenseTotal; License::ALL.len()]);

impl Default for Totals {
    fn default() -> Self {
        Self(
            License::ALL.map(|license| LicenseTotal {
                sales_count: 0,
                revenue: Money::zero(catalogue::price(license).currency()),
            }),
        )
    }
}

impl Totals {
    pub fn of(&self, license: License) -> LicenseTotal {
        self.0[license as usize]
    }

    pub fn set(&mut self, license: License, total: LicenseTotal) {
        self.0[license as usize] = total;
    }

    pub fn by_license(&self) -> BTreeMap<License, LicenseTotal> {
        License::ALL.map(|license| (license, self.of(license))).into()
    }

    /// Of all licences together.
    pub fn sum(&self) -> Result<LicenseTotal, OutOfRange> {
        let [first, rest @ ..] = &self.0;
        rest.iter().try_fold(*first, |sum, total| {
            let revenue = sum.revenue.checked_add(total.revenue)?;
            Ok(LicenseTotal { sales_count: sum.sales_count + total.sales_count, revenue })
        })
    }

    /// The licences whose totals differ, each with this total and the other one.
    pub fn differences(&self, other: &Self) -> impl Iterator<Item = (License, LicenseTotal, LicenseTotal)> {
        License::ALL
            .into_iter()
            .map(|license| (license, self.of(license), other.of(license)))
            .filter(|(_, ours, theirs)| ours != theirs)
    }

    /// Adds the next event.
    pub fn apply(&mut self, event: &Event) -> Result<(), OutOfRange> {
        match event {
            Event::LicensePurchased(purchase) => {
                let LicenseTotal { sales_count, revenue } = self.of(purchase.license);
                let revenue = revenue.checked_add(purchase.price)?;
                self.set(purchase.license, LicenseTotal { sales_count: sales_count + 1, revenue });
            }
            Event::SalesReset(_) => *self = Self::default(),
            Event::EventVoided(_) => (),
        }
        Ok(())
    }
}

impl fmt::Display for LicenseTotal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} sold for {}", self.sales_count, self.revenue)
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, license) in License::ALL.into_iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{}: {}", license.name(), self.of(license))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{LicensePurchased, SalesReset};

    fn fold(events: &[Event]) -> Totals {
        events.iter().fold(Totals::default(), |mut totals, event| {
            totals.apply(event).unwrap();
            totals
        })
    }

    fn purchase(license: License, cents: i64) -> Event {
        Event::LicensePurchased(LicensePurchased { license, price: Money::eur(cents) })
    }

    #[test]
    fn purchases_add_up_per_licence_at_the_price_that_was_paid() {
        let totals = fold(&[purchase(License::Pro, 100), purchase(License::Basic, 7), purchase(License::Pro, 50)]);
        assert_eq!(totals.of(License::Pro), LicenseTotal { sales_count: 2, revenue: Money::eur(150) });
        assert_eq!(totals.of(License::Basic), LicenseTotal { sales_count: 1, revenue: Money::eur(7) });
        assert_eq!(totals.of(License::Enterprise), LicenseTotal { sales_count: 0, revenue: Money::eur(0) });
        assert_eq!(totals.sum(), Ok(LicenseTotal { sales_count: 3, revenue: Money::eur(157) }));
        assert_eq!(totals.by_license().len(), License::ALL.len());
    }

    #[test]
    fn only_events_after_the_last_reset_count() {
        let reset = || Event::SalesReset(SalesReset { reason: None });
        let before = [purchase(License::Pro, 100), reset(), purchase(License::Pro, 100), reset()];
        assert_eq!(fold(&before), Totals::default());
        let after = fold(&[&before[..], &[purchase(License::Basic, 7)]].concat());
        assert_eq!(after, fold(&[purchase(License::Basic, 7)]));
    }

    #[test]
    fn differences_name_the_licences_that_differ() {
        let (ours, theirs) = (fold(&[purchase(License::Pro, 100)]), fold(&[purchase(License::Pro, 90)]));
        assert_eq!(ours.differences(&ours).count(), 0);
        let told: Vec<_> = ours.differences(&theirs).map(|(name, a, b)| format!("{name:?}: {a}; {b}")).collect();
        assert_eq!(told, ["Pro: 1 sold for EUR 1.00; 1 sold for EUR 0.90"]);
        assert!(ours.to_string().contains("pro: 1 sold for EUR 1.00"), "{ours}");
    }

    #[test]
    fn a_revenue_that_does_not_fit_is_an_error_and_changes_nothing() {
        let mut totals = fold(&[purchase(License::Pro, i64::MAX)]);
        let before = totals.clone();
        assert!(totals.apply(&purchase(License::Pro, 1)).is_err());
        assert_eq!(totals, before);
    }
}
