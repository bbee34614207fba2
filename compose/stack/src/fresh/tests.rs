use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// A workspace of two packages: a service, and a package whose test runs it.
fn workspace(folder: &Path) {
    let fresh = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/fresh.rs");
    for (file, text) in [
        ("Cargo.toml", "[workspace]\nresolver = \"3\"\nmembers = [\"service\", \"user\"]\n".to_owned()),
        ("service/Cargo.toml", "[package]\nname = \"service\"\nedition = \"2024\"\n".to_owned()),
        ("user/Cargo.toml", "[package]\nname = \"user\"\nedition = \"2024\"\n[lib]\ntest = false\n".to_owned()),
        ("user/src/lib.rs", format!("#[path = {fresh:?}]\npub mod fresh;\n")),
        ("user/tests/it.rs", USER.to_owned()),
    ] {
        let file = folder.join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
}

const USER: &str = r#"
    use std::{env, path::Path, process::Command};

    #[test]
    fn the_service_says_what_its_source_says() {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let service = user::fresh::program(workspace, user::fresh::Kind::Binary, "service").unwrap();
        let said = Command::new(service).output().unwrap().stdout;
        assert_eq!(String::from_utf8(said).unwrap(), env::var("EXPECTED").unwrap());
    }
"#;

fn edit_service(folder: &Path, text: &str) {
    let source = folder.join("service/src/main.rs");
    fs::create_dir_all(source.parent().unwrap()).unwrap();
    fs::write(source, format!("fn main() {{ print!({text:?}) }}")).unwrap();
}

/// Tests the package that uses the service, which does not make cargo build the service.
fn test_user(folder: &Path, expected: &str, run: Option<&str>) {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(folder).args(["test", "--quiet", "--offline", "--package", "user"]);
    cargo.env("EXPECTED", expected).env_remove("CARGO_TARGET_DIR").env_remove("NEXTEST_RUN_ID");
    cargo.envs(run.map(|run| ("NEXTEST_RUN_ID", run)));
    let output = cargo.output().unwrap();
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success(), "{expected}:\n{text}");
}

#[test]
fn a_test_gets_a_program_that_is_not_older_than_its_sources() {
    let folder = TempDir::new().unwrap();
    workspace(folder.path());
    for (text, run) in [("missing", None), ("edited", None), ("edited again", Some("1")), ("and again", Some("2"))] {
        edit_service(folder.path(), text);
        test_user(folder.path(), text, run);
    }
}
