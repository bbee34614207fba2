//! Drives the rig: one load after the other, each with its books checked afterwards.

use std::fmt;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::runtime::Runtime;
use tokio::time::sleep;

use crate::figures::{Figure, Latency, Unit, median, number};
use crate::footprint::Idle;
use crate::ledger::{Books, Ledger};
use crate::load::{Generator, Load, Running, Traffic};
use crate::rig::Rig;
use crate::settings::{MOST_CONNECTIONS, Settings};
use stack::interrupt::Interrupt;
use stack::progress::Progress;

/// How soon a signal ends a wait.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How often the projection is looked at after a load: the resolution of the time that it needs.
const FOLLOW_EVERY: Duration = Duration::from_millis(5);

/// Who is driven.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    pub name: &'static str,
    pub address: SocketAddr,
    pub books: Books,
}

/// One load on one subject.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    pub rate: f64,
    pub latency: Latency,
    /// Answered with success, and stored and projected where the subject does that.
    pub acknowledged: i64,
    /// How long after the last request everything was in the totals.
    pub drained_after: Option<Duration>,
}

impl fmt::Display for Measured {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Latency { p50_ms, p99_ms, p999_ms } = self.latency;
        let latency = [p50_ms, p99_ms, p999_ms].map(number).join(" / ");
        write!(formatter, "{:>9}/s  {latency} ms", number(self.rate))?;
        match self.drained_after {
            Some(drained) => write!(formatter, "  projected after {} ms", drained.as_millis()),
            None => Ok(()),
        }
    }
}

/// What the repetitions of a load measured.
#[derive(Clone, Debug, Default)]
pub struct Runs(pub Vec<Measured>);

impl Runs {
    pub fn rate(&self) -> Figure {
        Figure::new(Unit::PerSecond, self.0.iter().map(|run| run.rate).collect())
    }

    pub fn latency(&self) -> Latency {
        let median_of = |pick: fn(&Latency) -> f64| {
            let samples: Vec<f64> = self.0.iter().map(|run| pick(&run.latency)).collect();
            median(&samples)
        };
        Latency {
            p50_ms: median_of(|latency| latency.p50_ms),
            p99_ms: median_of(|latency| latency.p99_ms),
            p999_ms: median_of(|latency| latency.p999_ms),
        }
    }
}

/// A subject and what it is compared with, measured in turns.
#[derive(Clone, Debug)]
pub struct Compared {
    pub connections: u32,
    /// The length of the log when this began.
    pub events: i64,
    pub ours: Runs,
    pub nothing: Runs,
}

#[derive(Debug)]
pub struct Bench {
    pub rig: Rig,
    pub settings: Settings,
    pub ledger: Ledger,
    pub progress: Progress,
    pub interrupt: Interrupt,
    pub idle: Idle,
    /// What was measured before the log grew, for the section that compares with it.
    pub purchases_at_start: Vec<Compared>,
    pub reads_at_start: Option<Compared>,
    generator: Generator,
    runtime: Runtime,
}

impl Bench {
    pub fn new(rig: Rig, settings: Settings, progress: Progress, interrupt: &Interrupt) -> Result<Self> {
        let runtime = Runtime::new()?;
        let ledger = {
            let _in_runtime = runtime.enter();
            Ledger::open(&rig)?
        };
        let generator = Generator::new(rig.folder.path(), rig.folder.log("wrk"), interrupt)?;
        Ok(Self {
            rig,
            settings,
            ledger,
            progress,
            interrupt: interrupt.clone(),
            idle: Idle::default(),
            purchases_at_start: Vec::new(),
            reads_at_start: None,
            generator,
            runtime,
        })
    }

    pub fn command_api(&self) -> Subject {
        Subject { name: "purchases", address: self.rig.addresses.command_api, books: Books::Log }
    }

    pub fn nothing(&self) -> Subject {
        Subject { name: "stores nothing", address: self.rig.addresses.nothing, books: Books::None }
    }

    /// Of the usual length.
    pub fn load(&self, traffic: Traffic, connections: u32) -> Load {
        Load { traffic, connections, time: self.settings.load_time() }
    }

    /// Purchases per second that the system can take, measured now unless they have been.
    pub fn most_purchases(&self) -> Result<f64> {
        let known = self.purchases_at_start.iter().find(|known| known.connections == MOST_CONNECTIONS);
        if let Some(known) = known {
            return Ok(known.ours.rate().median);
        }
        let [runs] = self.in_turns([self.command_api()], self.load(Traffic::Purchases, MOST_CONNECTIONS))?;
        Ok(runs.rate().median)
    }

    /// Runs something to its end, or until Ctrl-C.
    pub fn block_on<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.runtime.block_on(async {
            tokio::select! {
                done = work => done,
                () = raised(&self.interrupt) => bail!("interrupted"),
            }
        })
    }

    /// Each subject under the same load, in turns, so that a machine that drifts slows all of them.
    pub fn in_turns<const N: usize>(&self, subjects: [Subject; N], load: Load) -> Result<[Runs; N]> {
        if self.settings.warm_up_seconds > 0 {
            let warm_up = Load { time: Duration::from_secs(self.settings.warm_up_seconds), ..load };
            for subject in &subjects {
                self.show(subject, warm_up, "warm-up")?;
            }
        }
        let mut runs = subjects.map(|_| Runs::default());
        for repetition in 1..=self.settings.repetitions {
            for (subject, runs) in subjects.iter().zip(&mut runs) {
                let turn = format!("{repetition} of {}", self.settings.repetitions);
                runs.0.push(self.show(subject, load, &turn)?);
            }
        }
        Ok(runs)
    }

    fn show(&self, subject: &Subject, load: Load, turn: &str) -> Result<Measured> {
        let name = format!("{}, {} connections, {turn}", subject.name, load.connections);
        self.progress.measure(&name, || self.drive(*subject, load, |running| running.wait_while_sending()))
    }

    /// Puts a load on a subject, does something else meanwhile, and checks the books.
    pub fn drive(
        &self,
        subject: Subject,
        load: Load,
        meanwhile: impl FnOnce(&mut Running) -> Result<()>,
    ) -> Result<Measured> {
        let before = self.block_on(self.ledger.mark())?;
        let mut running = self.generator.start(subject.address, load)?;
        meanwhile(&mut running)?;
        running.wait_while_sending()?;
        let drained_after = if subject.books == Books::Log { Some(self.follow(&mut running)?) } else { None };
        let also_bought = running.also_bought;
        let answers = running.finish()?;
        let acknowledged = answers.count() + also_bought;
        self.block_on(self.ledger.check(subject.books, before, acknowledged))?;
        Ok(Measured { rate: answers.rate(load), latency: answers.latency(), acknowledged, drained_after })
    }

    /// Watches the projection from the end of the sending on. Returns when it had caught up with what was under way.
    fn follow(&self, running: &mut Running) -> Result<Duration> {
        let mut caught_up: Option<(i64, Duration)> = None;
        loop {
            // Asked first: what is stored later than this is not missed.
            let ended = running.has_ended()?;
            let head = self.block_on(self.ledger.head())?;
            if caught_up.is_none_or(|(at, _)| at != head) {
                let is_there = self.block_on(self.ledger.projected())? >= head;
                caught_up = is_there.then(|| (head, running.quiet_for()));
            }
            match caught_up {
                Some((_, after)) if ended => return Ok(after),
                // However long that takes, it says how it stands.
                None if ended => {
                    self.block_on(self.ledger.settle())?;
                }
                _ => thread::sleep(FOLLOW_EVERY),
            }
        }
    }
}

async fn raised(interrupt: &Interrupt) {
    while !interrupt.is_raised() {
        sleep(LOOK_AGAIN).await;
    }
}
