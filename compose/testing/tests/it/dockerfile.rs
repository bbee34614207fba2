//! What the images are built from.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use stack::checkout;
use tempfile::TempDir;

fn dockerfile() -> String {
    fs::read_to_string(checkout::root().join("compose/Dockerfile")).unwrap()
}

/// The images that are not stages of the same file.
fn base_images(dockerfile: &str) -> BTreeSet<&str> {
    let mut stages = BTreeSet::from(["scratch"]);
    let mut images = BTreeSet::new();
    for line in dockerfile.lines() {
        let source = match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["FROM", source, "AS", stage] => {
                stages.insert(stage);
                source
            }
            ["COPY", option, ..] if option.starts_with("--from=") => &option["--from=".len()..],
            _ => continue,
        };
        if !stages.contains(source) {
            images.insert(source);
        }
    }
    images
}

/// The registries cannot be asked in a test: a program in place of `docker` gives each image a digest.
#[test]
fn every_base_image_can_be_pinned() {
    let folder = TempDir::new().unwrap();
    let docker = folder.path().join("docker");
    fs::write(&docker, "#!/bin/sh\necho sha256:of-$4\n").unwrap();
    fs::set_permissions(&docker, Permissions::from_mode(0o755)).unwrap();
    let pinned = |path: &Path| {
        let path = format!("{}:/usr/bin:/bin", path.display());
        Command::new(checkout::root().join("compose/pin-base-images")).env("PATH", path).output().unwrap()
    };
    let dockerfile = dockerfile();
    let images = base_images(&dockerfile);
    assert!(images.contains("postgres:18") && images.contains("busybox:1.35"), "{images:?}");
    let options: Vec<_> = images
        .iter()
        .map(|image| format!("--build-context {image}=docker-image://{image}@sha256:of-{image}"))
        .collect();
    let output = pinned(folder.path());
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().collect::<Vec<_>>(), options);
    fs::write(&docker, "#!/bin/sh\necho unknown\n").unwrap();
    assert!(!pinned(folder.path()).status.success());
}

#[test]
fn no_package_of_the_pages_runs_a_script_at_its_installation() {
    let rules = fs::read_to_string(checkout::root().join("web/.npmrc")).unwrap();
    assert!(rules.lines().any(|line| line == "ignore-scripts=true"), "{rules}");
    let dockerfile = dockerfile();
    let (before, _) = dockerfile.split_once(" npm ci ").unwrap();
    let (_, copied) = before.rsplit_once("COPY").unwrap();
    assert!(copied.contains("web/.npmrc"), "{copied}");
}
