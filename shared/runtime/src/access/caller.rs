//! Who asks.

use std::{convert::Infallible, sync::Arc};

use axum::{
    extract::FromRequestParts,
    http::{StatusCode, request::Parts},
};

use crate::http::problem::Problem;
use contract::role::{Role, Roles};

/// What the events call somebody without a name who may do everything. Nobody else is called so.
pub const ANONYMOUS: &str = "anonymous";

/// What an event says about who caused it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Actor {
    pub subject: String,
    pub role: Role,
}

/// Who asks, as far as that is known.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The name that goes with the token; nobody has one who shows none.
    pub subject: Option<Arc<str>>,
    pub roles: Roles,
}

impl Caller {
    /// Somebody without a token, as customers are.
    pub fn anonymous() -> Self {
        Self { subject: None, roles: [Role::Customer].into_iter().collect() }
    }

    /// Anybody, where everybody may do everything.
    pub fn of_open_access() -> Self {
        Self { subject: None, roles: Roles::all() }
    }

    /// Somebody whose token was accepted.
    pub fn named(subject: &str, roles: impl IntoIterator<Item = Role>) -> Self {
        Self { subject: Some(subject.into()), roles: roles.into_iter().chain([Role::Customer]).collect() }
    }

    /// Refuses everybody without the role, and says which it is.
    pub fn require(&self, role: Role) -> Result<(), Problem> {
        if self.roles.contains(role) {
            return Ok(());
        }
        Err(if self.subject.is_none() {
            unauthenticated(&format!("The role {role} is needed here."))
        } else {
            forbidden(role)
        })
    }

    /// Who the event names as the one who caused it; nobody when it is a customer without a name.
    pub fn as_customer(&self) -> Option<Actor> {
        let subject = self.subject.as_deref()?.to_owned();
        Some(Actor { subject, role: Role::Customer })
    }

    /// Who the event names, in any case.
    pub fn as_operator(&self) -> Actor {
        let subject = self.subject.as_deref().unwrap_or(ANONYMOUS).to_owned();
        Actor { subject, role: Role::Operator }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        // Nobody is more than a customer unless the guard in front of every endpoint says so.
        Ok(parts.extensions.get().cloned().unwrap_or_else(Self::anonymous))
    }
}

pub fn unauthenticated(detail: &str) -> Problem {
    let detail = format!("{detail} Send a token as `Authorization: Bearer …`, or sign in on the page.");
    Problem::new(StatusCode::UNAUTHORIZED, "unauthenticated", "Who you are is not known here", detail)
}

fn forbidden(role: Role) -> Problem {
    let detail = format!("The role {role} is needed here, which your token does not give.");
    Problem::new(StatusCode::FORBIDDEN, "forbidden", "This is not for your role", detail)
}
