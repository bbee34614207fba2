//! The project's images, and stand-ins for public images that cannot be pulled.

use std::env;
use std::fs;
use std::io::Write;
use std::process;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::engine::{Engine, stand_ins};
use crate::files::DEVELOPMENT;
use stack::progress::Progress;
use stack::tool::Tool;
use stack::{checkout, provision};

/// Images of the services, which an update replaces.
pub const SERVICES: [&str; 4] = ["command-api", "projector", "query-api", "web"];
const MOST_BYTES: u64 = 15_000_000;
/// The stand-in contains nginx and libraries of Debian, half again as large as those of Alpine.
const MOST_BYTES_OF_WEB_ON_A_STAND_IN: u64 = 18_100_000;

/// On two slow cores, with an empty cache.
const BUILD_LIMIT: Duration = Duration::from_mins(25);

/// Base images of the Dockerfile, and the targets of `build.sh` that build stand-ins for them.
const FOR_BUILDING: [(&str, &str); 4] = [
    ("busybox:1.35", "busybox"),
    ("rust:1.95-slim-bookworm", "rust"),
    ("node:20-slim", "node"),
    ("nginxinc/nginx-unprivileged:stable-alpine", "nginx"),
];
/// Other images of the Compose files, likewise.
const FOR_RUNNING: [(&str, &str); 4] = [
    ("traefik:v3.7", "traefik"),
    ("postgres:18", "postgres"),
    ("nats:2.15-alpine", "nats"),
    ("dpage/pgadmin4:9", "pgadmin"),
];

/// Public images for high availability, and the targets of `pack` that build stand-ins for them.
const FOR_HIGH_AVAILABILITY: [(&str, &str); 2] =
    [("quay.io/coreos/etcd:v3.6.6", "etcd"), ("haproxy:3.2-alpine", "haproxy")];
/// Likewise for monitoring.
const FOR_MONITORING: [(&str, &str); 3] = [
    ("prom/alertmanager:v0.34.1", "alertmanager"),
    ("prom/node-exporter:v1.12.1", "node-exporter"),
    ("prometheuscommunity/postgres-exporter:v0.20.1", "postgres-exporter"),
];
const PROMETHEUS: &str = "prom/prometheus:v3.14.0";
/// The tag that `build.sh` gives its stand-in.
const PROMETHEUS_STAND_IN: &str = "prom/prometheus:v3";
/// Builds stand-ins from programs installed on this machine and from packages.
const PACK: &str = "compose/trials/stand-ins/pack";
/// Name of the section in which each program lists its crates.
const CRATE_LIST: &[u8] = b".dep-v0";

pub enum Provided {
    All,
    /// Grafana, cAdvisor and the NATS exporter are in no package registry.
    OnlyPackaged,
}

/// Images tagged for this run, or existing ones with the tag in `SALES_TAG`.
pub struct Images<'a> {
    pub engine: &'a Engine,
    pub tag: String,
}

impl<'a> Images<'a> {
    /// Images, or the reason why there are none.
    pub fn find_or_build(engine: &'a Engine) -> Result<Result<Self, String>> {
        let given = env::var("SALES_TAG").ok();
        let images = Self { engine, tag: given.clone().unwrap_or_else(|| format!("test-{}", process::id())) };
        if stand_ins().is_none()
            && let Some((image, _)) = FOR_RUNNING.iter().find(|(image, _)| !images.has_or_pulls(image))
        {
            return Ok(Err(format!("{image} cannot be pulled, and there is no stand-in for it")));
        }
        images.build_stand_ins(&FOR_BUILDING)?;
        if let Some(tag) = given {
            Progress::Shown.heading(format_args!("  not built: SALES_TAG is {tag}"));
            images.build_stand_ins(&FOR_RUNNING)?;
            return Ok(Ok(images));
        }
        // Stand-ins mostly wait for downloads, builds for the processor.
        thread::scope(|scope| {
            let others = scope.spawn(|| images.build_stand_ins(&FOR_RUNNING));
            let built = Progress::Shown.step("images of the project", || {
                let build = ["compose", "--file", DEVELOPMENT, "--profile", "auditor", "build", "--quiet"];
                engine
                    .docker_within(BUILD_LIMIT, build)
                    .env("SALES_TAG", &images.tag)
                    .env("SALES_PROFILE", "release")
                    .run_quietly()
            });
            let others = others.join().expect("building stand-ins does not panic");
            built.and(others)
        })?;
        Ok(Ok(images))
    }

    /// Does nothing on machines that can pull images.
    fn build_stand_ins(&self, public: &[(&str, &str)]) -> Result<()> {
        match stand_ins().map(|folder| folder.join("build.sh")).filter(|script| script.is_file()) {
            Some(script) => self.build_missing(public, |_, target| Tool::new("bash").arg(&script).arg(target)),
            None => Ok(()),
        }
    }

    fn build_missing(&self, public: &[(&str, &str)], build: impl Fn(&str, &str) -> Tool) -> Result<()> {
        for (image, target) in public.iter().filter(|(image, _)| !self.exists(image)) {
            Progress::Shown.step(&format!("stand-in for {target}"), || build(image, target).run_quietly())?;
        }
        Ok(())
    }

    /// The image of Patroni, and those it works with.
    pub fn provide_high_availability(&self) -> Result<()> {
        self.pack(&FOR_HIGH_AVAILABILITY)?;
        self.provide_on_postgres("patroni")
    }

    /// Barman on the image of Postgres.
    pub fn provide_backups(&self) -> Result<()> {
        self.provide_on_postgres("barman")
    }

    pub fn provide_monitoring(&self) -> Result<Provided> {
        self.pack(&FOR_MONITORING)?;
        if stand_ins().is_none() {
            return Ok(Provided::All);
        }
        self.build_stand_ins(&[(PROMETHEUS_STAND_IN, "prometheus")])?;
        if !self.exists(PROMETHEUS) {
            self.engine.docker(["tag", PROMETHEUS_STAND_IN, PROMETHEUS]).run_quietly()?;
        }
        Ok(Provided::OnlyPackaged)
    }

    /// Does nothing on machines that can pull images.
    fn pack(&self, public: &[(&str, &str)]) -> Result<()> {
        if stand_ins().is_none() {
            return Ok(());
        }
        self.build_missing(public, |image, target| Tool::new(checkout::root().join(PACK)).arg(target).arg(image))
    }

    /// Builds an image with the Dockerfile, or with `pack` on machines that cannot pull images.
    fn provide_on_postgres(&self, name: &str) -> Result<()> {
        let image = self.image(name);
        Progress::Shown.step(name, || {
            if stand_ins().is_none() {
                let target = format!("--target={name}");
                let build = ["build", "--quiet", "--file=compose/Dockerfile", &target, "--tag", &image, "."];
                return self.engine.docker_within(BUILD_LIMIT, build).run_quietly();
            }
            let packages = provision::patroni(Progress::Silent)?;
            Tool::new(checkout::root().join(PACK)).arg(name).arg(&image).arg(packages).run_quietly()
        })
    }

    pub fn image(&self, name: &str) -> String {
        format!("sales/{name}:{}", self.tag)
    }

    fn has_or_pulls(&self, image: &str) -> bool {
        self.exists(image) || self.engine.docker(["pull", "--quiet", image]).run_quietly().is_ok()
    }

    fn exists(&self, image: &str) -> bool {
        self.inspect(image, "{{.Id}}").is_ok()
    }

    fn inspect(&self, image: &str, format: &str) -> Result<String> {
        self.engine.output(["image", "inspect", "--format", format, image])
    }

    /// Small, without a shell, with a health check and a list of crates, run by a user without privileges.
    pub fn are_small_and_bare(&self) -> Result<()> {
        for name in SERVICES.into_iter().chain(["auditor", "witness"]) {
            let image = self.image(name);
            let size: u64 = self.inspect(&image, "{{.Size}}")?.parse()?;
            let is_on_a_stand_in = name == "web" && stand_ins().is_some();
            let most = if is_on_a_stand_in { MOST_BYTES_OF_WEB_ON_A_STAND_IN } else { MOST_BYTES };
            Progress::Shown.measure(&format!("size of {name}"), || {
                Ok(format!("{}.{} MB", size / 1_000_000, size / 100_000 % 10))
            })?;
            ensure!(size <= most, "{image} has {size} bytes, more than {most}");
            let user = self.inspect(&image, "{{.Config.User}}")?;
            ensure!(user == "65532:65532", "{image} runs as {user:?}");
            let health = self.inspect(&image, "{{json .Config.Healthcheck}}")?;
            ensure!(health.contains("healthcheck") || name == "auditor", "{image} has no health check: {health}");
            let shell =
                self.engine.docker(["run", "--rm", "--network=none", "--entrypoint=/bin/sh", &image, "-c", "true"]);
            let error = shell.output().err().map(|error| error.to_string()).unwrap_or_default();
            ensure!(error.contains("no such file"), "{image} has a shell: {error}");
            if name != "web" {
                ensure!(
                    self.program(name)?.windows(CRATE_LIST.len()).any(|bytes| bytes == CRATE_LIST),
                    "{image} lists no crates"
                );
            }
        }
        Ok(())
    }

    /// The bytes of the program in an image.
    fn program(&self, name: &str) -> Result<Vec<u8>> {
        let folder = tempfile::tempdir()?;
        let (container, file) = (format!("{name}-{}", process::id()), folder.path().join(name));
        self.engine.docker(["create", "--name", &container, &self.image(name)]).run_quietly()?;
        let copied =
            self.engine.docker(["cp", &format!("{container}:/{name}"), &file.display().to_string()]).run_quietly();
        self.engine.docker(["rm", &container]).run_quietly()?;
        copied?;
        Ok(fs::read(file)?)
    }

    /// Another version, with one more line in each Dockerfile. Returns its tag.
    pub fn next(&self, line: &str, suffix: &str) -> Result<String> {
        let tag = format!("{}-{suffix}", self.tag);
        for name in SERVICES {
            let folder = tempfile::tempdir()?;
            let mut file = fs::File::create(folder.path().join("Dockerfile"))?;
            writeln!(file, "FROM {}\n{line}", self.image(name))?;
            let image = format!("sales/{name}:{tag}");
            let context = folder.path().to_str().context("temporary folders have plain names")?;
            self.engine.docker(["build", "--quiet", "--tag", &image, context]).run_quietly()?;
        }
        Ok(tag)
    }
}

impl Drop for Images<'_> {
    fn drop(&mut self) {
        // The layers stay in BuildKit's cache.
        if let Ok(images) = self.engine.output(["image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "sales/*"]) {
            let is_given = env::var_os("SALES_TAG").is_some();
            let begin = if is_given { format!(":{}-", self.tag) } else { format!(":{}", self.tag) };
            let ours = images.lines().filter(|image| image.contains(&begin));
            let _ = self.engine.docker(["image", "rm", "--force"].into_iter().chain(ours)).run_quietly();
        }
    }
}
