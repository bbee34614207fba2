//! What stands in front of every endpoint. Who may use an endpoint is said in one place, its OpenAPI description, and that
//! is what is enforced: an endpoint that is not described, or whose description does not say who may use it, answers nobody.

use std::{collections::HashMap, sync::Arc};

use axum::{
    Router,
    extract::{MatchedPath, Request, State},
    http::Method,
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use tracing::error;

use super::{Access, role::Role};
use crate::problem::Problem;

/// What the descriptions call the way in.
const SCHEME: &str = "token";

/// Who may use which endpoint.
type Rules = HashMap<String, HashMap<Method, Role>>;

#[derive(Clone)]
struct Guard {
    access: Access,
    rules: Arc<Rules>,
}

/// Lets into the router only who may, as `openapi` says.
pub fn guarded(router: Router, openapi: &Value, access: Access) -> Router {
    let guard = Guard { access, rules: Arc::new(rules(openapi)) };
    router.layer(middleware::from_fn_with_state(guard, let_in))
}

/// Completes a document with what is the same for every endpoint: how to show a token, and what happens without.
pub fn describe(openapi: &mut Value) {
    openapi["components"]["securitySchemes"][SCHEME] = json!({
        "type": "http",
        "scheme": "bearer",
        "description": "An access token, or a JWT of the OpenID Connect issuer. The roles that an endpoint asks for are listed with it; \
                        everybody is a customer, without a token too. Where access is open, nothing is asked for.",
    });
    for (_, operation) in operations(openapi) {
        for (status, description) in [
            ("401", "No token, or one that is not accepted"),
            ("403", "The token does not give the role that is needed"),
        ] {
            operation["responses"][status] = json!({
                "description": description,
                "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
            });
        }
    }
}

async fn let_in(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let Some(rules) = guard.rules.get(path) else {
        error!(path, "An endpoint without a rule");
        return Problem::internal().into_response();
    };
    let method = if request.method() == Method::HEAD { &Method::GET } else { request.method() };
    // Methods that an endpoint does not have are refused behind here, to everybody.
    let needed = rules.get(method).copied().unwrap_or(Role::Customer);
    match guard
        .access
        .caller(request.method(), request.headers())
        .await
        .and_then(|caller| caller.require(needed).map(|()| caller))
    {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

fn rules(openapi: &Value) -> Rules {
    let mut rules = Rules::new();
    for ((method, path), operation) in operations(&mut openapi.clone()) {
        let role = role_of(operation).unwrap_or_else(|| panic!("{method} {path} does not say who may use it"));
        rules.entry(path).or_default().insert(method, role);
    }
    rules
}

/// The role that a description asks for: `{}` lets everybody in, as a customer.
fn role_of(operation: &Value) -> Option<Role> {
    match operation["security"].as_array()?.as_slice() {
        [anybody] if anybody.as_object()?.is_empty() => Some(Role::Customer),
        [requirement] => match requirement.get(SCHEME)?.as_array()?.as_slice() {
            [role] => role.as_str()?.parse().ok(),
            _ => None,
        },
        _ => None,
    }
}

fn operations(openapi: &mut Value) -> impl Iterator<Item = ((Method, String), &mut Value)> {
    let paths = openapi["paths"].as_object_mut().expect("an OpenAPI document has paths");
    paths.iter_mut().flat_map(|(path, item)| {
        let methods = item.as_object_mut().expect("a path has operations");
        methods.iter_mut().map(move |(name, operation)| {
            let method = name.to_uppercase().parse().expect("only methods are described");
            ((method, path.clone()), operation)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_says_who_may() {
        assert_eq!(role_of(&json!({ "security": [{}] })), Some(Role::Customer));
        assert_eq!(role_of(&json!({ "security": [{ "token": ["operator"] }] })), Some(Role::Operator));
    }

    #[test]
    fn a_description_that_does_not_say_who_may_is_none() {
        for security in [
            json!(null),
            json!([]),
            json!([{ "token": [] }]),
            json!([{ "key": ["sales"] }]),
            json!([{ "token": ["boss"] }]),
        ] {
            assert_eq!(role_of(&json!({ "security": security })), None, "{security}");
        }
    }

    #[test]
    #[should_panic(expected = "GET /api/secrets does not say who may use it")]
    fn an_endpoint_without_a_rule_does_not_start() {
        rules(&json!({ "paths": { "/api/secrets": { "get": {} } } }));
    }
}
