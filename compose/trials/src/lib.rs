//! The images and the Compose files, tried on a real Docker engine.
//!
//! - [`engine`]: Docker itself, found or started
//! - [`images`]: ours, built, and stand-ins for those that cannot be pulled
//! - [`files`]: what everybody who reads the Compose files says of them
//! - [`project`]: the development file, brought up by Compose
//! - [`swarm`]: the deploy file, as a stack of a swarm
//! - [`operations`]: what watches the stack and backs it up
//! - [`routes`] and [`pages`]: who answers what, and how, as natively
//! - [`site`]: the shop as people reach it; [`shoppers`]: who buys meanwhile

use std::cell::Cell;
use std::time::Duration;

use anyhow::{Result, ensure};

use stack::interrupt::Interrupt;
use stack::progress::{Progress, seconds};

mod engine;
mod files;
mod images;
mod operations;
mod pages;
mod project;
mod routes;
mod shoppers;
mod site;
mod swarm;

use engine::Engine;
use images::{Images, Provided};
use project::Project;
use shoppers::{Bought, Shoppers};
use swarm::Stack;

/// What is promised with three nodes of Postgres: whatever dies, people buy again within this time.
const BACK_WITHIN: Duration = Duration::from_secs(30);

/// `Some` reason where there is no Docker, or no image, to try anything with.
pub fn test() -> Result<Option<String>> {
    let interrupt = Interrupt::listen()?;
    let engine = match Engine::find()? {
        Ok(engine) => engine,
        Err(reason) => return Ok(Some(reason)),
    };
    let says = |what: &str| Progress::Shown.heading(what);
    says("The files");
    files::are_accepted(&engine)?;
    says("The images");
    let images = match Images::find_or_build(&engine)? {
        Ok(images) => images,
        Err(reason) => return Ok(Some(reason)),
    };
    images.are_small_and_bare()?;
    says("The development file");
    development(&engine, &images, &interrupt)?;
    says("The deploy file, in a swarm");
    deployment(&engine, &images, &interrupt)?;
    says("With high availability");
    high_availability(&engine, &images, &interrupt)?;
    says("With monitoring and backups");
    monitoring_and_backups(&engine, &images, &interrupt)?;
    Ok(None)
}

/// What failed, with what everybody said last.
fn explained(tried: Result<()>, log: impl FnOnce() -> String) -> Result<()> {
    if tried.is_err() {
        eprintln!("{}", log());
    }
    tried
}

fn development(engine: &Engine, images: &Images, interrupt: &Interrupt) -> Result<()> {
    let project = Project::up(engine, images, interrupt)?;
    explained(try_development(&project, interrupt), || project.log())
}

fn try_development(project: &Project, interrupt: &Interrupt) -> Result<()> {
    let step = |name: &str, run: &dyn Fn() -> Result<()>| Progress::Shown.step(name, run);
    step("Traefik's dashboard", &|| project.has_a_dashboard())?;
    step("routes of the file", &|| routes::are_those_of_the_file(&project.routers()?))?;
    step("pages as natively", &|| project.serves_pages_as_natively(interrupt))?;
    step("only Traefik is published", &|| project.publishes_only_traefik())?;
    let position = Progress::Shown.step("buy, see, reset", || project.site.sells())?;
    step("the books are audited", &|| project.is_audited())?;
    step("pgAdmin is connected", &|| project.has_pgadmin_connected())?;
    step("down and up again", &|| project.keeps_its_volumes(position))?;
    for service in ["command-api", "query-api", "projector", "web"] {
        Progress::Shown.measure(&format!("start to ready: {service}"), || project.start_to_ready(service))?;
    }
    Ok(())
}

fn deployment(engine: &Engine, images: &Images, interrupt: &Interrupt) -> Result<()> {
    let stack = Stack::deploy(engine, &[swarm::FILE], images, interrupt)?;
    explained(try_deployment(&stack, images), || stack.log())
}

fn try_deployment(stack: &Stack, images: &Images) -> Result<()> {
    let step = |name: &str, run: &dyn Fn() -> Result<()>| Progress::Shown.step(name, run);
    step("routes of the file", &|| routes::are_those_of_the_file(&stack.routers()?))?;
    step("http leads to https", &|| stack.leads_to_https())?;
    step("tokens and passwords", &|| stack.asks_for_tokens_and_passwords())?;
    step("Traefik kept from the rest", &|| stack.keeps_traefik_from_the_rest())?;
    step("buy, see, reset", &|| stack.site.sells().map(drop))?;
    step("query-api=3, all answer", &|| {
        stack.scale("query-api", 3)?;
        stack.all_answer("query-api", "/api/get_current_money")
    })?;
    step("query-api=2 again", &|| stack.scale("query-api", 2))?;
    step("Traefik knows nobody yet", &|| stack.says_come_again())?;
    step("no command-api runs", &|| stack.sells_later())?;

    let next = images.next("LABEL next=1", "next")?;
    let broken = images.next("CMD [\"no such command\"]", "broken")?;
    let mut all = Bought::default();
    let updated = while_people_buy(stack, "all services updated", &|| stack.upgrade(&next))?;
    let refused =
        while_people_buy(stack, "a broken update taken back", &|| stack.refuses("query-api", &broken, &next))?;
    for bought in [updated, refused] {
        ensure!(
            bought.retried <= bought.ids.len() / 1000,
            "customers do not notice an update, but {} purchases were sent again",
            bought.retried
        );
        all.add(bought);
    }
    for (id, service) in stack.containers()? {
        all.add(while_people_buy(stack, &format!("{service} killed"), &|| stack.kill(&id, &service))?);
    }
    let count = all.is_in_the_log(&stack.site)?;
    Progress::Shown.heading(format_args!("  {count} purchases were acknowledged, and each is in the log once"));
    Ok(())
}

fn high_availability(engine: &Engine, images: &Images, interrupt: &Interrupt) -> Result<()> {
    images.provide_high_availability()?;
    images.provide_backups()?;
    let files = &[swarm::FILE, swarm::HIGH_AVAILABILITY, swarm::BACKUP];
    let stack = Stack::deploy(engine, files, images, interrupt)?;
    explained(try_high_availability(&stack), || stack.log())
}

fn try_high_availability(stack: &Stack) -> Result<()> {
    let step = |name: &str, run: &dyn Fn() -> Result<()>| Progress::Shown.step(name, run);
    step("buy, see, reset", &|| stack.site.sells().map(drop))?;
    step("a node that can take over", &|| stack.until_a_node_can_take_over())?;
    step("patronictl", &|| stack.has_patronictl())?;
    step("Barman has copies", &|| operations::barman_has_copies(stack))?;
    let lost = Cell::new("");
    let mut all = while_people_buy(stack, "the primary is lost, and people buy", &|| {
        lost.set(stack.lose_the_primary()?);
        stack.site.until("people buy again", || stack.site.sells().map(|_| true))
    })?;
    ensure!(all.slowest < BACK_WITHIN, "nobody could buy for {}", seconds(all.slowest));
    step("the lost node follows", &|| stack.give_back(lost.get()))?;
    for node in ["nats-1", "nats-2", "nats-3"] {
        all.add(while_people_buy(stack, &format!("{node} killed"), &|| stack.kill(&stack.container(node)?, node))?);
    }
    let count = all.is_in_the_log(&stack.site)?;
    Progress::Shown.heading(format_args!("  {count} purchases were acknowledged, and each is in the log once"));
    step("the log is restored", &|| operations::the_log_is_restored(stack))?;
    Ok(())
}

fn monitoring_and_backups(engine: &Engine, images: &Images, interrupt: &Interrupt) -> Result<()> {
    let provided = images.provide_monitoring()?;
    images.provide_backups()?;
    let files: &[&str] = match provided {
        Provided::All => &[swarm::FILE, swarm::MONITORING, swarm::BACKUP],
        Provided::WhatIsPackaged => {
            Progress::Shown.heading("  without Grafana, cAdvisor and the exporter of NATS, which cannot be had here");
            &[swarm::FILE, swarm::MONITORING, swarm::BACKUP, swarm::PACKAGED]
        }
    };
    let stack = Stack::deploy(engine, files, images, interrupt)?;
    explained(try_monitoring_and_backups(&stack, &provided), || stack.log())
}

fn try_monitoring_and_backups(stack: &Stack, provided: &Provided) -> Result<()> {
    let step = |name: &str, run: &dyn Fn() -> Result<()>| Progress::Shown.step(name, run);
    step("Barman has copies", &|| operations::barman_has_copies(stack))?;
    step("copies are watched", &|| operations::copies_are_watched(stack))?;
    step("Prometheus watches all", &|| operations::all_are_watched(stack, provided))?;
    step("the alerts are loaded", &|| operations::alerts_are_loaded(stack))?;
    step("the log is restored", &|| operations::the_log_is_restored(stack))?;
    Ok(())
}

/// Does something under load, and says what customers noticed.
fn while_people_buy(stack: &Stack, what: &str, happens: &dyn Fn() -> Result<()>) -> Result<Bought> {
    let shoppers = Shoppers::start(&stack.site);
    let happened = Progress::Shown.step(what, happens);
    let bought = shoppers.stop(&stack.site)?;
    happened?;
    Progress::Shown.heading(format_args!(
        "      {} bought, {} of them sent again, the slowest after {}{}",
        bought.ids.len(),
        bought.retried,
        seconds(bought.slowest),
        if bought.reasons.is_empty() { String::new() } else { format!(" {:?}", bought.reasons) },
    ));
    ensure!(bought.slowest < Duration::from_secs(45), "a customer waits {} for a purchase", seconds(bought.slowest));
    Ok(bought)
}
