//! Trials of the images and the Compose files on a Docker engine.
//!
//! - [`engine`]: the Docker engine; [`images`]: builds the images; [`files`]: checks the Compose files
//! - [`project`]: the development file in Compose
//! - [`swarm`], [`deployment`]: the deploy file in a swarm
//! - [`access`], [`availability`], [`high_availability`], [`operations`]: trials of the deployment
//! - [`routes`], [`pages`]: routes and pages as natively
//! - [`torture`]: breaks a native system or a deployment in many ways
//! - [`site`]: the shop as users reach it; [`load_clients`]: clients that buy during a disruption

use anyhow::{Result, ensure};

use stack::interrupt::Interrupt;
use stack::progress::{Progress, seconds};

mod access;
mod availability;
mod deployment;
mod engine;
mod files;
mod high_availability;
mod images;
mod load_clients;
mod operations;
mod pages;
mod project;
mod routes;
mod site;
mod swarm;
pub mod torture;

use deployment::Deployment;
use engine::{Engine, explained};
use images::{Images, Provided};
use load_clients::{Bought, LoadClients};
use project::Project;

/// Returns the reason if there is no Docker engine, or no image to try.
pub fn test() -> Result<Option<String>> {
    let interrupt = Interrupt::listen()?;
    let engine = match Engine::find()? {
        Ok(engine) => engine,
        Err(reason) => return Ok(Some(reason)),
    };
    let heading = |what: &str| Progress::Shown.heading(what);
    heading("The files");
    files::are_accepted(&engine)?;
    heading("The images");
    let images = match Images::find_or_build(&engine)? {
        Ok(images) => images,
        Err(reason) => return Ok(Some(reason)),
    };
    images.are_small_and_bare()?;
    heading("The development file");
    development(&engine, &images, &interrupt)?;
    heading("The deploy file, in a swarm");
    deployment(&engine, &images, &interrupt)?;
    heading("With high availability");
    high_availability(&engine, &images, &interrupt)?;
    heading("With monitoring and backups");
    monitoring_and_backups(&engine, &images, &interrupt)?;
    Ok(None)
}

fn development(engine: &Engine, images: &Images, interrupt: &Interrupt) -> Result<()> {
    let project = Project::up(engine, images, interrupt)?;
    explained(try_development(&project, interrupt), || project.log())
}

fn try_development(project: &Project, interrupt: &Interrupt) -> Result<()> {
    step("Traefik's dashboard", || project.has_a_dashboard())?;
    step("routes of the file", || routes::are_those_of_the_file(&project.routers()?))?;
    step("pages as natively", || project.serves_pages_as_natively(interrupt))?;
    step("only Traefik is published", || project.publishes_only_traefik())?;
    let position = Progress::Shown.step("buy, see, reset", || project.site.sells())?;
    step("the auditor verifies the log", || project.is_audited())?;
    step("pgAdmin is connected", || project.has_pgadmin_connected())?;
    step("down and up again", || project.keeps_its_volumes(position))?;
    for service in ["command-api", "query-api", "projector", "web"] {
        Progress::Shown.measure(&format!("start to ready: {service}"), || project.start_to_ready(service))?;
    }
    Ok(())
}

fn deployment(engine: &Engine, images: &Images, interrupt: &Interrupt) -> Result<()> {
    let stack = Deployment::deploy(engine, &[files::DEPLOY], images, interrupt)?;
    explained(try_deployment(&stack, images), || stack.log())
}

fn try_deployment(stack: &Deployment, images: &Images) -> Result<()> {
    step("routes of the file", || routes::are_those_of_the_file(&stack.routers()?))?;
    step("HTTP redirects to HTTPS", || stack.redirects_to_https())?;
    step("tokens and passwords", || stack.requires_tokens_and_passwords())?;
    step("Traefik is isolated", || stack.isolates_traefik())?;
    step("buy, see, reset", || stack.site.sells().map(drop))?;
    step("3 query-apis, all answer", || {
        stack.scale("query-api", 3)?;
        stack.all_answer("query-api", "/api/get_current_money")
    })?;
    step("2 query-apis again", || stack.scale("query-api", 2))?;
    step("Traefik without routes", || stack.answers_503_without_routes())?;
    step("no command-api", || stack.answers_503_without_command_api())?;
    step("no query-api", || stack.answers_503_without_query_api())?;

    let next = images.next("LABEL next=1", "next")?;
    let broken = images.next("CMD [\"no such command\"]", "broken")?;
    let mut all = Bought::default();
    let updated = under_load(stack, "update of all services", || stack.upgrade(&next))?;
    let rolled_back =
        under_load(stack, "rollback of a broken update", || stack.rolls_back("query-api", &broken, &next))?;
    for bought in [updated, rolled_back] {
        ensure!(
            bought.retried <= bought.ids.len() / 1000,
            "{} purchases were retried during an update, more than one of a thousand",
            bought.retried
        );
        all.add(bought);
    }
    for (id, service) in stack.containers()? {
        all.add(under_load(stack, &format!("{service} killed"), || stack.kill(&id, &service))?);
    }
    let count = all.is_in_the_log(&stack.site)?;
    Progress::Shown.heading(format_args!("  {count} acknowledged purchases, each in the log once"));
    Ok(())
}

fn high_availability(engine: &Engine, images: &Images, interrupt: &Interrupt) -> Result<()> {
    images.provide_high_availability()?;
    images.provide_backups()?;
    let files = &[files::DEPLOY, files::HIGH_AVAILABILITY, files::BACKUP];
    let stack = Deployment::deploy(engine, files, images, interrupt)?;
    explained(try_high_availability(&stack), || stack.log())
}

fn try_high_availability(stack: &Deployment) -> Result<()> {
    step("buy, see, reset", || stack.site.sells().map(drop))?;
    step("a synchronous standby", || stack.until_a_standby_is_synchronous())?;
    step("patronictl", || stack.patronictl_works())?;
    step("Barman backs up", || operations::barman_backs_up(stack))?;
    let mut lost = "";
    let mut all = under_load(stack, "loss of the primary", || {
        lost = stack.lose_the_primary()?;
        stack.site.until("purchases work again", || stack.site.sells().map(|_| true))
    })?;
    step("the lost node follows", || stack.restore_node(lost))?;
    for node in ["nats-1", "nats-2", "nats-3"] {
        all.add(under_load(stack, &format!("{node} killed"), || stack.kill(&stack.container(node)?, node))?);
    }
    let count = all.is_in_the_log(&stack.site)?;
    Progress::Shown.heading(format_args!("  {count} acknowledged purchases, each in the log once"));
    step("the log is restored", || operations::the_log_is_restored(stack))?;
    Ok(())
}

fn monitoring_and_backups(engine: &Engine, images: &Images, interrupt: &Interrupt) -> Result<()> {
    let provided = images.provide_monitoring()?;
    images.provide_backups()?;
    let files: &[&str] = match provided {
        Provided::All => &[files::DEPLOY, files::MONITORING, files::BACKUP],
        Provided::OnlyPackaged => {
            Progress::Shown.heading("  without Grafana, cAdvisor and the NATS exporter, which have no packages");
            &[files::DEPLOY, files::MONITORING, files::BACKUP, files::PACKAGED]
        }
    };
    let stack = Deployment::deploy(engine, files, images, interrupt)?;
    explained(try_monitoring_and_backups(&stack, &provided), || stack.log())
}

fn try_monitoring_and_backups(stack: &Deployment, provided: &Provided) -> Result<()> {
    step("Barman backs up", || operations::barman_backs_up(stack))?;
    step("backups are monitored", || operations::backups_are_monitored(stack))?;
    step("all jobs are scraped", || operations::every_job_is_scraped(stack, provided))?;
    step("the alerts are loaded", || operations::alerts_are_loaded(stack))?;
    step("the log is restored", || operations::the_log_is_restored(stack))?;
    Ok(())
}

fn step(name: &str, run: impl FnOnce() -> Result<()>) -> Result<()> {
    Progress::Shown.step(name, run)
}

/// Runs a disruption while clients buy, and prints how it affected them.
fn under_load(stack: &Deployment, what: &str, disruption: impl FnOnce() -> Result<()>) -> Result<Bought> {
    let clients = LoadClients::start(&stack.site);
    let disrupted = Progress::Shown.step(what, disruption);
    let bought = clients.stop(&stack.site)?;
    disrupted?;
    Progress::Shown.heading(format_args!(
        "      {} purchases, {} retried, slowest {}{}",
        bought.ids.len(),
        bought.retried,
        seconds(bought.slowest),
        if bought.reasons.is_empty() { String::new() } else { format!(" {:?}", bought.reasons) },
    ));
    Ok(bought)
}
