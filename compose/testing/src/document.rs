//! The OpenAPI documents that the pages are compiled against.

use std::{env, fs};

use serde_json::Value;

use stack::pages;

/// If it is set, the document is written instead of compared.
const RENEW: &str = "RENEW_API_DOCUMENTS";

/// The types of the pages are generated from the documents in `web/api/`. If a service serves another document, the pages have to be compiled
/// against that one.
pub fn assert_committed(service: &str, served: &Value) {
    let path = pages::sources().join(format!("api/{service}.json"));
    let served = serde_json::to_string_pretty(served).expect("a JSON value can be serialized") + "\n";
    if env::var_os(RENEW).is_some() {
        fs::write(&path, served).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
        return;
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == served,
        "{} is not what {service} serves; renew it, and see whether the pages still compile:\n  \
         {RENEW}=1 cargo stack test -- the_pages_are_compiled_against\n  \
         cd web && npm run check",
        path.display()
    );
}
