//! The sender of a request.

use std::{collections::BTreeSet, convert::Infallible, sync::Arc};

use axum::{
    extract::FromRequestParts,
    http::{StatusCode, request::Parts},
};

use crate::http::problem::Problem;
use contract::{line::is_line, role::Role};

/// The subject in events of callers without a name while access is open. No token may have it.
pub const ANONYMOUS: &str = "anonymous";
/// OpenID Connect Core 1.0, section 2, allows no more.
const MAX_SUBJECT_CHARACTERS: usize = 255;

/// No token may have this subject.
#[derive(Debug, thiserror::Error)]
pub enum InvalidSubject {
    #[error("the subject {ANONYMOUS} is reserved for callers without a name")]
    Reserved,
    #[error("a subject is one line of 1 to {MAX_SUBJECT_CHARACTERS} characters")]
    NotALine,
}

/// The sender of a request, as far as it is known.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The subject of the token; none without a token.
    pub subject: Option<Arc<str>>,
    pub roles: BTreeSet<Role>,
}

impl Caller {
    /// A customer without a token.
    pub fn anonymous() -> Self {
        Self { subject: None, roles: [Role::Customer].into() }
    }

    /// Any caller while access is open.
    pub fn of_open_access() -> Self {
        Self { subject: None, roles: Role::ALL.into() }
    }

    /// The owner of a token. Events contain its subject permanently, so a token with a subject that must not enter the log has no caller.
    pub fn named(subject: &str, roles: impl IntoIterator<Item = Role>) -> Result<Self, InvalidSubject> {
        if subject == ANONYMOUS {
            return Err(InvalidSubject::Reserved);
        }
        if !is_line(subject, MAX_SUBJECT_CHARACTERS) {
            return Err(InvalidSubject::NotALine);
        }
        Ok(Self { subject: Some(subject.into()), roles: roles.into_iter().chain([Role::Customer]).collect() })
    }

    /// Refuses callers without the role.
    pub fn require(&self, role: Role) -> Result<(), Problem> {
        if self.roles.contains(&role) {
            return Ok(());
        }
        Err(if self.subject.is_none() {
            unauthenticated(&format!("This needs the role {role}."))
        } else {
            forbidden(role)
        })
    }

    /// Subject and role in the event of a purchase; none for a customer without a name.
    pub fn as_customer(&self) -> Option<(String, Role)> {
        Some((self.subject.as_deref()?.to_owned(), Role::Customer))
    }

    /// Subject and role in the event of an operator's command.
    pub fn as_operator(&self) -> (String, Role) {
        (self.subject.as_deref().unwrap_or(ANONYMOUS).to_owned(), Role::Operator)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        // Only the guard in front of the endpoints grants more than a customer's role.
        Ok(parts.extensions.get().cloned().unwrap_or_else(Self::anonymous))
    }
}

pub fn unauthenticated(detail: &str) -> Problem {
    let detail = format!("{detail} Send a token as `Authorization: Bearer …`, or sign in on the page.");
    Problem::new(StatusCode::UNAUTHORIZED, "unauthenticated", "Authentication required", detail)
}

fn forbidden(role: Role) -> Problem {
    let detail = format!("This needs the role {role}, which your token does not grant.");
    Problem::new(StatusCode::FORBIDDEN, "forbidden", "Insufficient role", detail)
}
