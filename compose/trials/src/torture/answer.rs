//! Whether an answer is as documented: success, or a documented problem that tells the client to try again.

use std::sync::LazyLock;

use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{RequestBuilder, StatusCode};
use serde_json::Value;

/// The documents that the pages are compiled against.
static DOCUMENTS: LazyLock<[Value; 2]> = LazyLock::new(|| {
    [include_str!("../../../../web/api/command-api.json"), include_str!("../../../../web/api/query-api.json")]
        .map(|document| serde_json::from_str(document).expect("it is JSON, which a test generates"))
});

#[derive(Clone, Copy, Debug)]
pub struct Operation {
    pub method: &'static str,
    /// As in the document.
    pub path: &'static str,
}

pub const BUY: Operation = Operation { method: "post", path: "/api/buy_mpi" };
pub const RESET: Operation = Operation { method: "delete", path: "/api/sales" };
pub const TOTALS: Operation = Operation { method: "get", path: "/api/get_current_money" };
pub const STREAM: Operation = Operation { method: "get", path: "/api/sales/stream" };
pub const HISTORY: Operation = Operation { method: "get", path: "/api/sales/history" };
pub const LATEST: Operation = Operation { method: "get", path: "/api/sales/latest" };
pub const EVENTS: Operation = Operation { method: "get", path: "/api/events" };
pub const RECEIPT: Operation = Operation { method: "get", path: "/api/purchases/{purchase_id}" };

#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Success(Value),
    /// Try again: a documented problem, or no answer.
    Unavailable,
    Improper(String),
}

impl Operation {
    fn documents(self, status: u16) -> bool {
        let pointer = format!("/paths/{}/{}/responses/{status}", self.path.replace('/', "~1"), self.method);
        DOCUMENTS.iter().any(|document| document.pointer(&pointer).is_some())
    }

    /// Whether a client with a valid request has to try again. `None`: the answer is a success.
    pub fn refusal(self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Option<Answer> {
        let improper = |why: &str| {
            let text: String = String::from_utf8_lossy(body).chars().take(200).collect();
            Some(Answer::Improper(format!("{} {}: {status}, {why}: {text}", self.method, self.path)))
        };
        if status.is_success() {
            return if self.documents(status.as_u16()) { None } else { improper("not documented") };
        }
        let is_export = self.path == EVENTS.path;
        let tells_to_try_again = match status {
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::REQUEST_TIMEOUT => self.documents(status.as_u16()),
            StatusCode::TOO_MANY_REQUESTS => is_export,
            _ => false,
        };
        if !tells_to_try_again {
            return improper("not an answer to this request");
        }
        if headers.get(CONTENT_TYPE).is_none_or(|found| found != "application/problem+json") {
            return improper("no problem+json");
        }
        let problem: Option<Value> = serde_json::from_slice(body).ok();
        if problem.is_none_or(|problem| problem["status"] != status.as_u16()) {
            return improper("a problem with another status");
        }
        if status == StatusCode::SERVICE_UNAVAILABLE && !headers.contains_key(RETRY_AFTER) {
            return improper("no Retry-After");
        }
        Some(Answer::Unavailable)
    }

    /// Sends a request whose answer is JSON.
    pub async fn send(self, request: RequestBuilder) -> Answer {
        let Ok(response) = request.send().await else { return Answer::Unavailable };
        let (status, headers) = (response.status(), response.headers().clone());
        let Ok(body) = response.bytes().await else { return Answer::Unavailable };
        if let Some(refusal) = self.refusal(status, &headers, &body) {
            return refusal;
        }
        serde_json::from_slice(&body)
            .map_or_else(|_| Answer::Improper(format!("{} {}: no JSON", self.method, self.path)), Answer::Success)
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    const PROBLEM: &str = "application/problem+json";

    #[test]
    fn only_documented_answers_are_proper() {
        let problem = |status: u16| format!(r#"{{"status":{status}}}"#);
        let answer = |operation: Operation, status: u16, type_: &'static str, retry: bool, body: &str| {
            let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(type_))]);
            if retry {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            operation.refusal(StatusCode::from_u16(status).unwrap(), &headers, body.as_bytes())
        };
        assert_eq!(answer(BUY, 201, "application/json", false, "{}"), None);
        assert_eq!(answer(BUY, 503, PROBLEM, true, &problem(503)), Some(Answer::Unavailable));
        assert_eq!(answer(RECEIPT, 503, PROBLEM, true, &problem(503)), Some(Answer::Unavailable));
        for (operation, status, type_, retry, body) in [
            (BUY, 200, "application/json", false, problem(200)),
            (BUY, 503, "text/plain", true, problem(503)),
            (BUY, 503, PROBLEM, false, problem(503)),
            (BUY, 503, PROBLEM, true, problem(500)),
            (BUY, 500, PROBLEM, false, problem(500)),
            (BUY, 429, PROBLEM, true, problem(429)),
            (RECEIPT, 404, PROBLEM, false, problem(404)),
            (TOTALS, 502, "text/plain", false, String::new()),
        ] {
            let answered = answer(operation, status, type_, retry, &body);
            assert!(
                matches!(answered, Some(Answer::Improper(_))),
                "{operation:?} {status} {type_} {retry}: {answered:?}"
            );
        }
    }
}
