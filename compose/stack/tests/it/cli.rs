use std::env;
use std::fs::{self, Permissions};
use std::io::pipe;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use stack::{checkout, ports};
use tempfile::TempDir;

use crate::running::{stack, succeed, text};

#[test]
fn a_port_in_use_is_reported_with_the_option_that_changes_it() {
    let folder = TempDir::new().unwrap();
    for option in ["--http-port", "--dashboard-port"] {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let free = ports::free().unwrap().port();
        let other = if option == "--http-port" { "--dashboard-port" } else { "--http-port" };

        let output =
            stack("up", folder.path()).args([format!("{option}={port}"), format!("{other}={free}")]).output().unwrap();

        assert!(!output.status.success());
        let error = text(&output.stderr);
        assert!(error.contains(&port.to_string()) && error.contains(option), "{error}");
    }
}

#[test]
fn status_fails_if_no_stack_is_running() {
    let folder = TempDir::new().unwrap();
    let output = stack("status", folder.path()).arg("--json").output().unwrap();
    assert!(!output.status.success());
    assert!(output.stdout.is_empty());
    assert!(text(&output.stderr).contains("no stack is running"), "{}", text(&output.stderr));
}

#[test]
fn down_succeeds_if_no_stack_is_running() {
    let folder = TempDir::new().unwrap();
    succeed(&mut stack("down", folder.path()));
    succeed(&mut stack("down", &folder.path().join("missing")));
}

#[test]
fn a_command_whose_output_is_closed_succeeds() {
    let folder = TempDir::new().unwrap();
    let (reader, output) = pipe().unwrap();
    drop(reader);
    let status = stack("down", folder.path()).stdout(output).status().unwrap();
    assert!(status.success(), "{status}");
}

#[test]
fn no_secret_is_an_argument_of_a_program() {
    let folder = TempDir::new().unwrap();
    let [programs, secrets] = ["programs", "secrets"].map(|name| folder.path().join(name));
    for folder in [&programs, &secrets] {
        fs::create_dir(folder).unwrap();
    }
    // They exist already, so that no image has to run.
    for name in ["checkpoint_key", "license_key", "access_tokens", "metrics_token"] {
        fs::write(secrets.join(name), "").unwrap();
    }
    let recorder = programs.join("openssl");
    fs::write(&recorder, "#!/bin/sh\nprintf '%s\\n' \"$@\" >>\"$ARGUMENTS\"\nPATH=${PATH#*:} exec openssl \"$@\"\n")
        .unwrap();
    fs::set_permissions(&recorder, Permissions::from_mode(0o755)).unwrap();
    let arguments = folder.path().join("arguments");
    let path = format!("{}:{}", programs.display(), env::var("PATH").unwrap());
    let mut make = Command::new(checkout::root().join("compose/make-secrets"));
    make.env("PATH", path).env("ARGUMENTS", &arguments).env("SALES_SECRETS_FOLDER", &secrets).env("SALES_TAG", "1");
    let printed = succeed(&mut make);
    let (_, password) = printed.trim_end().split_once("dashboard: user admin, password ").unwrap();

    let passed = fs::read_to_string(arguments).unwrap();
    assert!(passed.starts_with("passwd\n") && !passed.contains(password), "{passed}");
    let users = fs::read_to_string(secrets.join("dashboard_users")).unwrap();
    let salt = users.split('$').nth(2).unwrap();
    let hash = succeed(Command::new("openssl").args(["passwd", "-apr1", "-salt", salt, password]));
    assert_eq!(users.trim_end(), format!("admin:{}", hash.trim_end()));
}
