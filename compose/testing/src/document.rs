//! The descriptions of the APIs that the pages are compiled against.

use std::{env, fs};

use serde_json::Value;

use stack::pages;

/// Set, the document is written instead of compared.
const RENEW: &str = "RENEW_API_DOCUMENTS";

/// The types of the pages are made from documents in `web/api/`. When a service serves another one, the pages have to be
/// compiled against that.
pub fn assert_committed(service: &str, served: &Value) {
    let path = pages::sources().join(format!("api/{service}.json"));
    let served = serde_json::to_string_pretty(served).expect("what was JSON is JSON again") + "\n";
    if env::var_os(RENEW).is_some() {
        fs::write(&path, served).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
        return;
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == served,
        "{} is not what {service} serves; renew it, and see whether the pages still compile:\n  \
         {RENEW}=1 cargo test --release --workspace --test it the_pages_are_compiled_against\n  \
         cd web && npm run check",
        path.display()
    );
}
