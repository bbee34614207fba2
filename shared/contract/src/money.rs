//! Amounts of money: integer minor units and a currency, never a float.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An amount in minor units (cents) of a currency.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Money {
    /// Amount in minor units of the currency: 19900 is EUR 199.00.
    #[schema(example = 19900)]
    amount_minor: i64,
    currency: Currency,
}

/// An ISO 4217 currency code.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
pub enum Currency {
    #[serde(rename = "EUR")]
    Eur,
}

/// The sum would not fit in 64 bits.
#[derive(Debug, thiserror::Error, Eq, PartialEq)]
#[error("the sum of {0} and {1} is out of range")]
pub struct OutOfRange(Money, Money);

impl Money {
    pub const fn eur(amount_minor: i64) -> Self {
        Self { amount_minor, currency: Currency::Eur }
    }

    pub const fn zero(currency: Currency) -> Self {
        Self { amount_minor: 0, currency }
    }

    /// Money from its database columns: minor units and a currency code.
    pub fn from_parts(amount_minor: i64, currency: &str) -> Option<Self> {
        (currency == Currency::Eur.code()).then_some(Self::eur(amount_minor))
    }

    pub const fn amount_minor(self) -> i64 {
        self.amount_minor
    }

    /// In the currency's major unit, such as 199.00.
    pub fn decimal(self) -> String {
        let sign = if self.amount_minor < 0 { "-" } else { "" };
        let minor = self.amount_minor.unsigned_abs();
        format!("{sign}{}.{:02}", minor / 100, minor % 100)
    }

    pub const fn currency(self) -> Currency {
        self.currency
    }

    pub fn checked_add(self, other: Self) -> Result<Self, OutOfRange> {
        // With one currency there is nothing to convert. A second one makes this pattern refutable, which the compiler
        // reports.
        let Currency::Eur = other.currency;
        let amount_minor = self.amount_minor.checked_add(other.amount_minor).ok_or(OutOfRange(self, other))?;
        Ok(Self { amount_minor, ..self })
    }
}

impl Currency {
    pub const fn code(self) -> &'static str {
        match self {
            Self::Eur => "EUR",
        }
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.currency.code(), self.decimal())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_minor_units_and_a_currency() {
        let json = serde_json::to_string(&Money::eur(19_900)).unwrap();
        assert_eq!(json, r#"{"amount_minor":19900,"currency":"EUR"}"#);
        assert_eq!(serde_json::from_str::<Money>(&json).unwrap(), Money::eur(19_900));
    }

    #[test]
    fn a_fraction_or_an_unknown_currency_is_not_money() {
        for bad in [
            r#"{"amount_minor":199.0,"currency":"EUR"}"#,
            r#"{"amount_minor":"199","currency":"EUR"}"#,
            r#"{"amount_minor":199,"currency":"XXX"}"#,
            r#"{"amount_minor":199}"#,
            r#"{"amount_minor":199,"currency":"EUR","tax":1}"#,
            r#"{"amount_minor":9223372036854775808,"currency":"EUR"}"#,
        ] {
            assert!(serde_json::from_str::<Money>(bad).is_err(), "{bad} was accepted");
        }
    }

    #[test]
    fn a_sum_that_does_not_fit_is_an_error() {
        assert_eq!(Money::eur(2).checked_add(Money::eur(3)), Ok(Money::eur(5)));
        assert!(Money::eur(i64::MAX).checked_add(Money::eur(1)).is_err());
    }

    #[test]
    fn money_is_displayed_with_its_currency() {
        assert_eq!(Money::eur(19_905).to_string(), "EUR 199.05");
        assert_eq!(Money::eur(-5).to_string(), "EUR -0.05");
        assert_eq!(Money::eur(i64::MIN).to_string(), "EUR -92233720368547758.08");
    }
}
