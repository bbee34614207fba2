use std::net::TcpListener;

use stack::ports;
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
