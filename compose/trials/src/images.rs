//! Our images, built as everybody builds them, and stand-ins for those that cannot be pulled.

use std::env;
use std::fs;
use std::io::Write;
use std::process;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::engine::{Engine, stand_ins};
use crate::project::FILE;
use stack::progress::Progress;
use stack::tool::Tool;
use stack::{checkout, provision};

/// Those of the services, which a new version replaces.
pub const OURS: [&str; 4] = ["command-api", "projector", "query-api", "web"];
const MOST_BYTES: u64 = 15_000_000;
/// nginx of the stand-in and the libraries around it are Debian's, half again as large as Alpine's.
const MOST_BYTES_OF_WEB_ON_A_STAND_IN: u64 = 18_000_000;

/// Two slow cores, nothing compiled yet.
const BUILD_LIMIT: Duration = Duration::from_mins(25);

/// What the Dockerfile names, and what `build.sh` calls it.
const FOR_BUILDING: [(&str, &str); 4] = [
    ("busybox:1.35", "busybox"),
    ("rust:1.95-slim-bookworm", "rust"),
    ("node:20-slim", "node"),
    ("nginxinc/nginx-unprivileged:stable-alpine", "nginx"),
];
/// What the Compose files name besides.
const FOR_RUNNING: [(&str, &str); 4] = [
    ("traefik:v3.7", "traefik"),
    ("postgres:18", "postgres"),
    ("nats:2.15-alpine", "nats"),
    ("dpage/pgadmin4:9", "pgadmin"),
];

/// What `pack` calls what high availability needs besides ours.
const FOR_HIGH_AVAILABILITY: [(&str, &str); 2] =
    [("quay.io/coreos/etcd:v3.6.6", "etcd"), ("haproxy:3.2-alpine", "haproxy")];
/// And monitoring.
const FOR_MONITORING: [(&str, &str); 3] = [
    ("prom/alertmanager:v0.34.1", "alertmanager"),
    ("prom/node-exporter:v1.12.1", "node-exporter"),
    ("prometheuscommunity/postgres-exporter:v0.20.1", "postgres-exporter"),
];
const PROMETHEUS: &str = "prom/prometheus:v3.14.0";
/// What `build.sh` makes for it.
const PROMETHEUS_STAND_IN: &str = "prom/prometheus:v3";
/// Makes images of what is installed here, or packaged.
const PACK: &str = "compose/trials/stand-ins/pack";
/// Part of each program of ours: a section that says of which crates it is made.
const MADE_OF: &[u8] = b".dep-v0";

pub enum Provided {
    All,
    /// No registry of packages has Grafana, cAdvisor and the exporter of NATS.
    WhatIsPackaged,
}

/// Images with a tag of this run, or those with the tag that `SALES_TAG` names.
pub struct Images<'a> {
    engine: &'a Engine,
    pub tag: String,
}

impl<'a> Images<'a> {
    /// Images, or why there are none.
    pub fn find_or_build(engine: &'a Engine) -> Result<Result<Self, String>> {
        let given = env::var("SALES_TAG").ok();
        let images = Self { engine, tag: given.clone().unwrap_or_else(|| format!("test-{}", process::id())) };
        if stand_ins().is_none()
            && let Some((image, _)) = FOR_RUNNING.iter().find(|(image, _)| !images.has_or_pulls(image))
        {
            return Ok(Err(format!("{image} cannot be pulled, and there is no stand-in for it")));
        }
        images.stand_in_for(&FOR_BUILDING)?;
        if let Some(tag) = given {
            Progress::Shown.heading(format_args!("  not built: SALES_TAG names {tag}"));
            images.stand_in_for(&FOR_RUNNING)?;
            return Ok(Ok(images));
        }
        // Making stand-ins is mostly waiting for packages, and the compiler has enough to do.
        thread::scope(|scope| {
            let others = scope.spawn(|| images.stand_in_for(&FOR_RUNNING));
            let built = Progress::Shown.step("our images", || {
                let build = ["compose", "--file", FILE, "--profile", "auditor", "build", "--quiet"];
                engine.docker_within(BUILD_LIMIT, build).env("SALES_TAG", &images.tag).run_quietly()
            });
            let others = others.join().expect("making stand-ins fails without a panic");
            built.and(others)
        })?;
        Ok(Ok(images))
    }

    /// Only those that are not there. Where nobody has stand-ins, they were pulled.
    fn stand_in_for(&self, public: &[(&str, &str)]) -> Result<()> {
        let Some(script) = stand_ins().map(|folder| folder.join("build.sh")).filter(|script| script.is_file()) else {
            return Ok(());
        };
        for (image, target) in public {
            if self.inspect(image, "{{.Id}}").is_err() {
                let name = format!("stand-in for {target}");
                Progress::Shown.step(&name, || Tool::new("bash").arg(&script).arg(target).run_quietly())?;
            }
        }
        Ok(())
    }

    /// Patroni on the image of Postgres, and what it works with.
    pub fn provide_high_availability(&self) -> Result<()> {
        self.pack(&FOR_HIGH_AVAILABILITY)?;
        self.provide_on_postgres("patroni")
    }

    /// Barman on the image of Postgres.
    pub fn provide_backups(&self) -> Result<()> {
        self.provide_on_postgres("barman")
    }

    /// What watches the rest: all of it, or as much as there are packages of.
    pub fn provide_monitoring(&self) -> Result<Provided> {
        self.pack(&FOR_MONITORING)?;
        if stand_ins().is_none() {
            return Ok(Provided::All);
        }
        self.stand_in_for(&[(PROMETHEUS_STAND_IN, "prometheus")])?;
        if self.inspect(PROMETHEUS, "{{.Id}}").is_err() {
            self.engine.docker(["tag", PROMETHEUS_STAND_IN, PROMETHEUS]).run_quietly()?;
        }
        Ok(Provided::WhatIsPackaged)
    }

    /// Where nobody has stand-ins, Docker pulls them.
    fn pack(&self, public: &[(&str, &str)]) -> Result<()> {
        if stand_ins().is_none() {
            return Ok(());
        }
        for (image, target) in public {
            if self.inspect(image, "{{.Id}}").is_err() {
                Progress::Shown.step(&format!("stand-in for {target}"), || {
                    Tool::new(checkout::root().join(PACK)).arg(target).arg(image).run_quietly()
                })?;
            }
        }
        Ok(())
    }

    /// Where nobody has stand-ins, Docker builds it.
    fn provide_on_postgres(&self, ours: &str) -> Result<()> {
        let image = self.name(ours);
        Progress::Shown.step(ours, || {
            if stand_ins().is_none() {
                let target = format!("--target={ours}");
                let build = ["build", "--quiet", "--file=compose/Dockerfile", &target, "--tag", &image, "."];
                return self.engine.docker_within(BUILD_LIMIT, build).run_quietly();
            }
            let packages = provision::patroni(Progress::Silent)?;
            Tool::new(checkout::root().join(PACK)).arg(ours).arg(&image).arg(packages).run_quietly()
        })
    }

    pub fn name(&self, ours: &str) -> String {
        format!("sales/{ours}:{}", self.tag)
    }

    fn has_or_pulls(&self, image: &str) -> bool {
        self.inspect(image, "{{.Id}}").is_ok() || self.engine.docker(["pull", "--quiet", image]).run_quietly().is_ok()
    }

    fn inspect(&self, image: &str, format: &str) -> Result<String> {
        self.engine.says(["image", "inspect", "--format", format, image])
    }

    /// Nothing is in them but what they run, as nobody in particular.
    pub fn are_small_and_bare(&self) -> Result<()> {
        for ours in OURS.into_iter().chain(["auditor"]) {
            let image = self.name(ours);
            let size: u64 = self.inspect(&image, "{{.Size}}")?.parse()?;
            let is_on_a_stand_in = ours == "web" && stand_ins().is_some();
            let most = if is_on_a_stand_in { MOST_BYTES_OF_WEB_ON_A_STAND_IN } else { MOST_BYTES };
            Progress::Shown.measure(&format!("size of {ours}"), || {
                Ok(format!("{}.{} MB", size / 1_000_000, size / 100_000 % 10))
            })?;
            ensure!(size <= most, "{image} has {size} bytes, more than {most}");
            let user = self.inspect(&image, "{{.Config.User}}")?;
            ensure!(user == "65532:65532", "{image} runs as {user:?}");
            let health = self.inspect(&image, "{{json .Config.Healthcheck}}")?;
            ensure!(health.contains("healthcheck") || ours == "auditor", "{image} has no health check: {health}");
            let shell =
                self.engine.docker(["run", "--rm", "--network=none", "--entrypoint=/bin/sh", &image, "-c", "true"]);
            let said = shell.output().err().map(|error| error.to_string()).unwrap_or_default();
            ensure!(said.contains("no such file"), "{image} has a shell: {said}");
            if ours != "web" {
                ensure!(
                    self.program(ours)?.windows(MADE_OF.len()).any(|bytes| bytes == MADE_OF),
                    "{image} lists no crates"
                );
            }
        }
        Ok(())
    }

    /// The bytes of what an image runs.
    fn program(&self, ours: &str) -> Result<Vec<u8>> {
        let folder = tempfile::tempdir()?;
        let (container, file) = (format!("{ours}-{}", process::id()), folder.path().join(ours));
        self.engine.docker(["create", "--name", &container, &self.name(ours)]).run_quietly()?;
        let copied =
            self.engine.docker(["cp", &format!("{container}:/{ours}"), &file.display().to_string()]).run_quietly();
        self.engine.docker(["rm", &container]).run_quietly()?;
        copied?;
        Ok(fs::read(file)?)
    }

    /// The next version, which differs by one more line in each Dockerfile.
    pub fn next(&self, line: &str, name: &str) -> Result<String> {
        let tag = format!("{}-{name}", self.tag);
        for ours in OURS {
            let folder = tempfile::tempdir()?;
            let mut file = fs::File::create(folder.path().join("Dockerfile"))?;
            writeln!(file, "FROM {}\n{line}", self.name(ours))?;
            let image = format!("sales/{ours}:{tag}");
            let context = folder.path().to_str().context("temporary folders have plain names")?;
            self.engine.docker(["build", "--quiet", "--tag", &image, context]).run_quietly()?;
        }
        Ok(tag)
    }
}

impl Drop for Images<'_> {
    fn drop(&mut self) {
        // What was built stays in BuildKit's cache.
        if let Ok(images) = self.engine.says(["image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "sales/*"]) {
            let is_given = env::var_os("SALES_TAG").is_some();
            let begin = if is_given { format!(":{}-", self.tag) } else { format!(":{}", self.tag) };
            let ours = images.lines().filter(|image| image.contains(&begin));
            let _ = self.engine.docker(["image", "rm", "--force"].into_iter().chain(ours)).run_quietly();
        }
    }
}
