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

use super::Access;
use crate::http::problem::Problem;
use contract::role::Role;

/// What the descriptions call the way in.
const SCHEME: &str = "token";

/// What everybody may read, who else may do what: that a process lives, what the interfaces are, and what the proxy says in our words.
pub const PUBLIC: [&str; 8] = [
    "/livez",
    "/startupz",
    "/readyz",
    "/problems/413",
    "/problems/429",
    "/docs/command-api.json",
    "/docs/events.json",
    "/docs/query-api.json",
];

/// What any endpoint may answer, beside what it says itself.
const ALWAYS: [(&str, &str); 3] = [
    ("401", "No token, or one that is not accepted"),
    ("403", "The token does not give the role that is needed"),
    ("503", "No answer within ten seconds, or none yet of the issuer whose token it is"),
];
/// And what any may that is sent a body.
const WITH_BODY: [(&str, &str); 3] = [
    ("400", "The body cannot be read"),
    ("408", "The body did not arrive within five seconds"),
    ("413", "Body over 16 KiB"),
];

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
    for ((method, _), operation) in operations(openapi) {
        let of_the_body = if method == Method::GET { &[][..] } else { &WITH_BODY };
        let answers = operation["responses"].as_object_mut().expect("an operation has answers");
        for (status, description) in ALWAYS.iter().chain(of_the_body) {
            let mut answer = json!({
                "description": description,
                "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
            });
            if *status == "503" {
                let seconds = json!({ "type": "integer", "format": "int32", "minimum": 0 });
                answer["headers"]["Retry-After"] = json!({ "description": "Seconds", "schema": seconds });
            }
            // Whoever describes it itself says more.
            answers.entry(*status).or_insert(answer);
        }
    }
}

/// Lets operators alone into the router, but for what is [`PUBLIC`]: a route that nobody has thought of is no way in.
pub fn for_operators(router: Router, access: Access) -> Router {
    router.route_layer(middleware::from_fn_with_state(access, let_operators_in))
}

async fn let_operators_in(State(access): State<Access>, request: Request, next: Next) -> Response {
    if !PUBLIC.contains(&path_of(&request))
        && let Err(problem) = access.admit(request.method(), request.headers(), Role::Operator).await
    {
        return problem.into_response();
    }
    next.run(request).await
}

/// As it stands in the router.
fn path_of(request: &Request) -> &str {
    request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str)
}

async fn let_in(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    let path = path_of(&request);
    let Some(rules) = guard.rules.get(path) else {
        error!(path, "An endpoint without a rule");
        return Problem::internal().into_response();
    };
    let method = if request.method() == Method::HEAD { &Method::GET } else { request.method() };
    // Methods that an endpoint does not have are refused behind here, to everybody.
    let needed = rules.get(method).copied().unwrap_or(Role::Customer);
    match guard.access.admit(request.method(), request.headers(), needed).await {
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
    use axum::{body::Body, routing::get};
    use hyper::service::Service;
    use hyper_util::service::TowerToHyperService;

    use super::*;
    use crate::access::tests::waiting_for_an_issuer;

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
    fn what_any_endpoint_may_answer_is_described_and_its_own_words_stay() {
        let own = json!({ "description": "Busy" });
        let mut openapi = json!({ "paths": { "/a": {
            "get": { "responses": { "200": {} } },
            "post": { "responses": { "201": {}, "503": own } },
        } } });
        describe(&mut openapi);
        let answers = |method: &str| openapi["paths"]["/a"][method]["responses"].as_object().unwrap();
        assert_eq!(answers("get").keys().collect::<Vec<_>>(), ["200", "401", "403", "503"]);
        assert_eq!(answers("get")["503"]["headers"]["Retry-After"]["description"], "Seconds");
        assert_eq!(answers("post").keys().collect::<Vec<_>>(), ["201", "400", "401", "403", "408", "413", "503"]);
        assert_eq!(answers("post")["503"], own);
    }

    #[tokio::test]
    async fn a_route_that_is_not_listed_is_for_operators() {
        let routes = Router::new().route("/livez", get(async || ())).route("/secrets", get(async || ()));
        let service = TowerToHyperService::new(for_operators(routes, waiting_for_an_issuer()));
        for (path, status) in [("/livez", 200), ("/secrets", 401), ("/missing", 404)] {
            let answer = service.call(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
            assert_eq!(answer.status(), status, "{path}");
        }
    }

    #[test]
    #[should_panic(expected = "GET /api/secrets does not say who may use it")]
    fn an_endpoint_without_a_rule_does_not_start() {
        rules(&json!({ "paths": { "/api/secrets": { "get": {} } } }));
    }
}
