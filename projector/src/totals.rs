//! What the events add up to. Pure: the same events always give the same totals.

use shared::{
    catalogue::{self, License},
    event::Event,
    money::{Money, OutOfRange},
};

/// Number of sales and revenue of one licence since the last reset.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
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

    /// Adds what happened next.
    pub fn apply(&mut self, event: &Event) -> Result<(), OutOfRange> {
        match event {
            Event::LicensePurchased(purchase) => {
                let LicenseTotal { sales_count, revenue } = self.of(purchase.license);
                let revenue = revenue.checked_add(purchase.price)?;
                self.set(purchase.license, LicenseTotal { sales_count: sales_count + 1, revenue });
            }
            Event::SalesReset(_) => *self = Self::default(),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::event::{LicensePurchased, SalesReset};

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
    }

    #[test]
    fn only_what_follows_the_last_reset_counts() {
        let reset = || Event::SalesReset(SalesReset {});
        let before = [purchase(License::Pro, 100), reset(), purchase(License::Pro, 100), reset()];
        assert_eq!(fold(&before), Totals::default());
        let after = fold(&[&before[..], &[purchase(License::Basic, 7)]].concat());
        assert_eq!(after, fold(&[purchase(License::Basic, 7)]));
    }

    #[test]
    fn a_revenue_that_does_not_fit_is_an_error_and_changes_nothing() {
        let mut totals = fold(&[purchase(License::Pro, i64::MAX)]);
        let before = totals.clone();
        assert!(totals.apply(&purchase(License::Pro, 1)).is_err());
        assert_eq!(totals, before);
    }
}
