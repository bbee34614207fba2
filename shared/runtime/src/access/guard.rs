//! The role check in front of every endpoint. Its OpenAPI description declares the required role, and the guard enforces
//! that declaration: an endpoint without one answers no caller.

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
use utoipa::PartialSchema;

use super::authenticator::Access;
use crate::http::problem::Problem;
use contract::role::Role;

/// The security scheme in the OpenAPI documents.
const SCHEME: &str = "token";

/// Open to every caller: health and the API documents.
pub const PUBLIC: [&str; 6] =
    ["/livez", "/startupz", "/readyz", "/docs/command-api.json", "/docs/events.json", "/docs/query-api.json"];

/// Responses that any endpoint may give, in addition to its own.
const ALWAYS: [(&str, &str); 3] = [
    ("401", "No token, or one that is not accepted"),
    ("403", "The token does not grant the required role"),
    ("503", "No answer within ten seconds, or the token's issuer has not answered yet"),
];
/// Further ones of endpoints that accept a body.
const WITH_BODY: [(&str, &str); 3] = [
    ("400", "The body cannot be read"),
    ("408", "The body did not arrive within five seconds"),
    ("413", "Body over 16 KiB"),
];

/// The required role per path and method.
type Rules = HashMap<String, HashMap<Method, Role>>;

#[derive(Clone)]
struct Guard {
    access: Access,
    rules: Arc<Rules>,
}

/// Requires for every endpoint the role that `openapi` declares.
pub fn require_role(router: Router, openapi: &Value, access: Access) -> Router {
    let guard = Guard { access, rules: Arc::new(rules(openapi)) };
    router.layer(middleware::from_fn_with_state(guard, authorize))
}

/// Adds to a document what all endpoints share: the security scheme, the common error responses, and the body of every error.
pub fn describe(openapi: &mut Value) {
    openapi["components"]["schemas"]["Problem"] = json!(Problem::schema());
    openapi["components"]["securitySchemes"][SCHEME] = json!({
        "type": "http",
        "scheme": "bearer",
        "description": "An access token, or a JWT of the OpenID Connect issuer. Each endpoint lists the roles that it requires; every \
                        caller is a customer, even without a token. While access is open, no token is required.",
    });
    for ((method, _), operation) in operations(openapi) {
        let of_the_body = if method == Method::GET { &[][..] } else { &WITH_BODY };
        let answers = operation["responses"].as_object_mut().expect("an operation has answers");
        for (status, description) in ALWAYS.iter().chain(of_the_body) {
            // An endpoint's own description says more.
            answers.entry(*status).or_insert_with(|| json!({ "description": description }));
        }
        for (status, answer) in answers.iter_mut().filter(|(status, _)| status.as_str() >= "400") {
            let schema = json!({ "$ref": "#/components/schemas/Problem" });
            answer["content"] = json!({ "application/problem+json": { "schema": schema } });
            if status == "503" {
                let seconds = json!({ "type": "integer", "format": "int32", "minimum": 0 });
                answer["headers"]["Retry-After"] = json!({ "description": "Seconds", "schema": seconds });
            }
        }
    }
}

/// Restricts the router to operators, except for [`PUBLIC`] paths: a forgotten route is closed by default.
pub fn for_operators(router: Router, access: Access) -> Router {
    router.route_layer(middleware::from_fn_with_state(access, require_operator))
}

async fn require_operator(State(access): State<Access>, request: Request, next: Next) -> Response {
    if !PUBLIC.contains(&path_of(&request))
        && let Err(problem) = access.authorize(request.method(), request.headers(), Role::Operator).await
    {
        return problem.into_response();
    }
    next.run(request).await
}

/// The matched route of the router.
fn path_of(request: &Request) -> &str {
    request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str)
}

/// The path under which the documents list a route.
pub fn documented(route: &str) -> String {
    route.replace("{*", "{")
}

async fn authorize(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    let path = path_of(&request);
    let Some(rules) = guard.rules.get(&documented(path)) else {
        error!(path, "Endpoint without a declared role");
        return Problem::internal().into_response();
    };
    let method = if request.method() == Method::HEAD { &Method::GET } else { request.method() };
    // The router refuses methods that the endpoint does not have.
    let needed = rules.get(method).copied().unwrap_or(Role::Customer);
    match guard.access.authorize(request.method(), request.headers(), needed).await {
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
        let role = role_of(operation).unwrap_or_else(|| panic!("{method} {path} does not declare its role"));
        rules.entry(path).or_default().insert(method, role);
    }
    rules
}

/// The role that a description requires: `{}` is open to every caller, as a customer.
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
    use axum::{body::Body, routing::get};
    use hyper::service::Service;
    use hyper_util::service::TowerToHyperService;

    use super::*;
    use crate::access::authenticator::tests::without_issuer_keys;

    #[test]
    fn a_description_declares_the_role() {
        assert_eq!(role_of(&json!({ "security": [{}] })), Some(Role::Customer));
        assert_eq!(role_of(&json!({ "security": [{ "token": ["operator"] }] })), Some(Role::Operator));
    }

    #[test]
    fn a_description_without_one_known_role_is_refused() {
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
    fn common_responses_are_added_and_an_endpoints_own_descriptions_stay() {
        let mut openapi = json!({ "paths": { "/a": {
            "get": { "responses": { "200": {}, "404": { "description": "Unknown" } } },
            "post": { "responses": { "201": {}, "503": { "description": "Busy" } } },
        } } });
        describe(&mut openapi);
        let answers = |method: &str| openapi["paths"]["/a"][method]["responses"].as_object().unwrap();
        assert_eq!(answers("get").keys().collect::<Vec<_>>(), ["200", "401", "403", "404", "503"]);
        assert_eq!(answers("post").keys().collect::<Vec<_>>(), ["201", "400", "401", "403", "408", "413", "503"]);
        assert_eq!(answers("get")["404"]["description"], "Unknown");
        assert_eq!(answers("post")["503"]["description"], "Busy");
        for (status, answer) in answers("get").iter().chain(answers("post")) {
            assert_eq!(answer["content"]["application/problem+json"].is_object(), status.as_str() >= "400", "{status}");
            assert_eq!(answer["headers"]["Retry-After"].is_object(), status == "503", "{status}");
        }
    }

    #[tokio::test]
    async fn a_route_that_is_not_listed_is_for_operators() {
        let routes = Router::new().route("/livez", get(async || ())).route("/secrets", get(async || ()));
        let service = TowerToHyperService::new(for_operators(routes, without_issuer_keys()));
        for (path, status) in [("/livez", 200), ("/secrets", 401), ("/missing", 404)] {
            let answer = service.call(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
            assert_eq!(answer.status(), status, "{path}");
        }
    }

    #[test]
    #[should_panic(expected = "GET /api/secrets does not declare its role")]
    fn an_endpoint_without_a_declared_role_prevents_the_start() {
        rules(&json!({ "paths": { "/api/secrets": { "get": {} } } }));
    }
}
