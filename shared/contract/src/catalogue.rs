//! The licences on sale. Their prices are in `catalogue.json` alone, which the pages read too.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::money::Money;

/// A licence that can be bought.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, ToSchema)]
#[serde(rename_all = "snake_case", try_from = "String")]
pub enum License {
    Basic,
    Pro,
    Enterprise,
}

impl License {
    pub const ALL: [Self; 3] = [Self::Basic, Self::Pro, Self::Enterprise];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Basic => "basic",
            Self::Pro => "pro",
            Self::Enterprise => "enterprise",
        }
    }

    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|license| license.name() == name)
    }
}

/// No licence has this name.
#[derive(Debug, thiserror::Error)]
#[error("unknown licence {0:?}; the licences are basic, pro and enterprise")]
pub struct UnknownLicense(String);

/// Through a string, so that the error distinguishes another JSON type from an unknown name.
impl TryFrom<String> for License {
    type Error = UnknownLicense;

    fn try_from(name: String) -> Result<Self, UnknownLicense> {
        Self::by_name(&name).ok_or(UnknownLicense(name))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    license: License,
    price: Money,
}

static PRICES: LazyLock<[Money; License::ALL.len()]> = LazyLock::new(|| {
    let entries: Vec<Entry> =
        serde_json::from_str(include_str!("../catalogue.json")).expect("catalogue.json is compiled in and tested");
    License::ALL.map(|license| {
        let mut prices = entries.iter().filter(|entry| entry.license == license).map(|entry| entry.price);
        match (prices.next(), prices.next()) {
            (Some(price), None) => price,
            _ => panic!("catalogue.json must price {} exactly once", license.name()),
        }
    })
});

/// The current price of a licence.
pub fn price(license: License) -> Money {
    PRICES[license as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_licence_has_one_price_above_zero() {
        for license in License::ALL {
            assert!(price(license).amount_minor() > 0, "{} is given away", license.name());
        }
    }

    #[test]
    fn names_are_those_on_the_wire() {
        for license in License::ALL {
            assert_eq!(serde_json::to_value(license).unwrap(), license.name());
            assert_eq!(License::by_name(license.name()), Some(license));
        }
        assert_eq!(License::by_name("free"), None);
    }
}
