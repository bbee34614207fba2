//! No file of the workspace imports another one that imports it back, not even through others. Cargo checks this between
//! crates; here it is checked between the files of each crate.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use stack::checkout;

/// A file of a crate, by its module path below the root: empty for `lib.rs`.
type Module = Vec<String>;
type Imports = BTreeMap<Module, BTreeSet<Module>>;

#[test]
fn no_imports_form_a_circle() {
    let files = sources(checkout::root());
    let crates: Vec<&Path> =
        files.iter().filter(|file| file.ends_with("src/lib.rs")).filter_map(|file| file.parent()).collect();
    assert!(crates.len() >= 12, "not all crates of the workspace: {crates:?}");
    for source in crates {
        let circle = circle(&imports(source));
        assert!(circle.is_none(), "{}: {:?} import each other", source.display(), circle.unwrap_or_default());
    }
}

#[test]
fn a_circle_is_found_through_nested_imports_and_parents() {
    let modules: BTreeSet<Module> = ["", "a", "a::b", "c"].into_iter().map(module).collect();
    let of = |file: &str, text: &str| (module(file), imported(&module(file), text, &modules));
    let a = of("a", "use crate::{c::{Thing, Other}, Config};");
    // Items of the crate's root are in lib.rs.
    assert_eq!(a.1, BTreeSet::from([module(""), module("c")]));
    let c = of("c", "//! use crate::a;\nfn f() { crate::a::b::g() }");
    assert_eq!(c.1, BTreeSet::from([module("a::b")]));
    let b = of("a::b", "use super::Helper;\n#[cfg(test)]\nmod tests { use crate::c::x; }");
    assert_eq!(b.1, BTreeSet::from([module("a")]));
    assert!(circle(&Imports::from([a.clone(), c.clone()])).is_none());
    assert!(circle(&Imports::from([a, b, c])).is_some());
}

fn module(path: &str) -> Module {
    path.split("::").filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// Every Rust file below a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let skipped = ["target", "node_modules", ".git", ".stack"];
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() && !skipped.iter().any(|name| entry.file_name() == *name) {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

fn imports(source: &Path) -> Imports {
    let files: BTreeMap<Module, PathBuf> = sources(source)
        .into_iter()
        .filter(|file| !file.strip_prefix(source).unwrap().starts_with("bin") && !file.ends_with("main.rs"))
        .map(|file| {
            let mut path: Module = file.strip_prefix(source).unwrap().with_extension("").iter().map(name).collect();
            path.pop_if(|last| last == "mod" || last == "lib");
            (path, file)
        })
        .collect();
    let modules = files.keys().cloned().collect();
    let imported = |(module, file): (&Module, &PathBuf)| {
        (module.clone(), imported(module, &fs::read_to_string(file).unwrap(), &modules))
    };
    files.iter().map(imported).collect()
}

fn name(part: &std::ffi::OsStr) -> String {
    part.to_string_lossy().into_owned()
}

/// The modules that `text` names through `crate::`, `super::` or `self::`. A module's own children do not count: `mod.rs` is the
/// map of its folder, and names what it declares.
fn imported(own: &Module, text: &str, modules: &BTreeSet<Module>) -> BTreeSet<Module> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let code: String = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let mut found = BTreeSet::new();
    for (root, base) in [
        ("crate::", Module::new()),
        ("super::", own.split_last().map(|(_, parent)| parent.to_vec()).unwrap_or_default()),
        ("self::", own.clone()),
    ] {
        for (at, _) in code.match_indices(root) {
            if !code[..at].ends_with(|before: char| before.is_alphanumeric() || "_:".contains(before)) {
                expand(&code[at + root.len()..], &base, modules, &mut found);
            }
        }
    }
    found.retain(|module| !module.starts_with(own));
    found
}

/// Resolves the tree of paths at the start of `code`, each to the deepest file on it. Returns its length.
fn expand(code: &str, base: &Module, modules: &BTreeSet<Module>, found: &mut BTreeSet<Module>) -> usize {
    if let Some(list) = code.strip_prefix('{') {
        let mut at = 0;
        while !list[at..].starts_with('}') && at < list.len() {
            at += expand(&list[at..], base, modules, found).max(1);
        }
        return at + 2;
    }
    let blank = code.len() - code.trim_start().len();
    let word = code[blank..].split(|part: char| !part.is_alphanumeric() && part != '_').next().unwrap_or_default();
    let end = blank + word.len();
    if word.is_empty() {
        return blank;
    }
    let inner = [&base[..], &[word.to_owned()]].concat();
    if !modules.contains(&inner) {
        found.insert(base.clone());
        return end;
    }
    if let Some(rest) = code[end..].strip_prefix("::") {
        return end + 2 + expand(rest, &inner, modules, found);
    }
    found.insert(inner);
    end
}

/// Removes modules that import nothing that is left, until none does: what stays lies on circles.
fn circle(imports: &Imports) -> Option<Vec<Module>> {
    let mut left = imports.clone();
    loop {
        let names: BTreeSet<Module> = left.keys().cloned().collect();
        let before = left.len();
        left.retain(|_, imported| imported.iter().any(|module| names.contains(module)));
        if left.len() == before {
            return (before > 0).then(|| left.into_keys().collect());
        }
    }
}
