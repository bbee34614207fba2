//! The four roles.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A permission. Roles do not include each other: an operator who watches the sales has both roles.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Buys, and reads receipts and their proofs by id. Every caller is a customer.
    Customer,
    /// Reads the totals.
    Sales,
    /// Reads the events and the proofs.
    Auditor,
    /// Resets the sales, and reads the metrics.
    Operator,
}

impl Role {
    pub const ALL: [Self; 4] = [Self::Customer, Self::Sales, Self::Auditor, Self::Operator];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Sales => "sales",
            Self::Auditor => "auditor",
            Self::Operator => "operator",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No role has this name.
#[derive(Debug, thiserror::Error)]
#[error("unknown role {0:?}; the roles are customer, sales, auditor and operator")]
pub struct UnknownRole(String);

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(name: &str) -> Result<Self, UnknownRole> {
        Self::ALL.into_iter().find(|role| role.name() == name).ok_or_else(|| UnknownRole(name.to_owned()))
    }
}
