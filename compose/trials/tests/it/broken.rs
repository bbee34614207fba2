//! The broken builds, which `cargo stack torture --broken` has to find.

use std::fs;
use std::path::PathBuf;

use stack::checkout;
use stack::tool::Tool;

fn patches() -> Vec<PathBuf> {
    let entries = fs::read_dir(checkout::root().join("compose/trials/broken")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn each_patch_applies_to_the_checkout() {
    let patches = patches();
    assert!(patches.len() >= 10, "{patches:?}");
    for patch in patches {
        let applied = Tool::new("git").args(["apply", "--check"]).arg(&patch).in_folder(checkout::root());
        applied.run_quietly().unwrap();
    }
}

#[test]
fn each_patch_has_a_result() {
    let results = fs::read_to_string(checkout::root().join("compose/trials/torture.md")).unwrap();
    for patch in patches() {
        let name = patch.file_stem().unwrap().to_str().unwrap();
        assert!(results.contains(&format!("`{name}`")), "{name}");
    }
}
