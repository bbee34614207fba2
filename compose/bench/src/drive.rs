//! Puts subjects under load in turns, and checks the consistency after each load.

use std::array;
use std::time::Duration;

use anyhow::Result;
use stack::progress::Progress;

use crate::{
    Answers, Figure, Latency, Load, MOST_CONNECTIONS, Row, RunningLoad, Storage, Subject, TestBed, Traffic,
    open_connections,
};

/// The resolution of the time until the projection has caught up.
const PROJECTION_POLL_INTERVAL: Duration = Duration::from_millis(5);

/// The repetitions of a load on one subject.
#[derive(Clone, Debug)]
pub struct Runs {
    pub name: &'static str,
    pub connections: u32,
    /// Length of the log at the beginning.
    pub events: i64,
    pub rate: Figure,
    pub latency: Latency,
}

impl Runs {
    pub fn row(&self, what: impl Into<String>) -> Row {
        Row::new(what, self.rate.clone()).latency(self.latency)
    }
}

impl TestBed {
    /// A load of the usual duration.
    pub fn load(&self, traffic: Traffic, connections: u32) -> Load {
        Load { traffic, connections, time: Duration::from_secs(self.options.seconds) }
    }

    pub fn load_at_rate(&self, rate: f64) -> Load {
        self.load(Traffic::PurchasesAt(rate), open_connections(rate))
    }

    /// Maximum of purchases per second: from an earlier section, or measured now.
    pub fn most_purchases(&self, subject: Subject) -> Result<f64> {
        if let Some([ours, _]) = self.measured_at_start(subject, MOST_CONNECTIONS) {
            return Ok(ours.rate.median);
        }
        let [runs] = self.in_turns([subject], self.load(Traffic::Purchases, MOST_CONNECTIONS))?;
        Ok(runs.rate.median)
    }

    pub fn measured_at_start(&self, subject: Subject, connections: u32) -> Option<&[Runs; 2]> {
        self.at_start.iter().find(|[ours, _]| (ours.name, ours.connections) == (subject.name, connections))
    }

    /// Repeats the load on all subjects in turns: if the machine slows down, it does so for all of them.
    pub fn in_turns<const N: usize>(&self, subjects: [Subject; N], load: Load) -> Result<[Runs; N]> {
        let events = self.settle()?;
        let drive = |subject: Subject, load: Load, turn: &str| {
            let name = format!("{}, {} connections, {turn}", subject.name, load.connections);
            Progress::Shown.measure(&name, || self.drive(subject, load, |_| Ok(0)))
        };
        if self.options.warm_up_seconds > 0 {
            let warm_up = Load { time: Duration::from_secs(self.options.warm_up_seconds), ..load };
            subjects.iter().try_for_each(|&subject| drive(subject, warm_up, "warm-up").map(drop))?;
        }
        let (mut rates, mut latencies) = (subjects.map(|_| Vec::new()), subjects.map(|_| Vec::new()));
        for repetition in 1..=self.options.repetitions {
            for (index, &subject) in subjects.iter().enumerate() {
                let turn = format!("{repetition} of {}", self.options.repetitions);
                let answers = drive(subject, load, &turn)?;
                rates[index].push(answers.rate);
                latencies[index].push(answers.latency);
            }
        }
        Ok(array::from_fn(|index| Runs {
            name: subjects[index].name,
            connections: load.connections,
            events,
            rate: Figure::new("1/s", rates[index].clone()),
            latency: Latency::median(&latencies[index]),
        }))
    }

    /// Puts a subject under load, runs `meanwhile`, which returns how many more purchases it made, and checks the
    /// consistency at the end.
    pub fn drive(
        &self,
        subject: Subject,
        load: Load,
        meanwhile: impl FnOnce(&RunningLoad) -> Result<i64>,
    ) -> Result<Answers> {
        let before = self.mark()?;
        let mut running = RunningLoad::start(&self.folder, subject.address, load)?;
        let also_bought = meanwhile(&running)?;
        self.pause(running.remaining())?;
        let is_stored = subject.stores_in == Storage::EventLog;
        let drained_after = is_stored.then(|| self.follow_projection(&mut running)).transpose()?;
        let mut answers = running.finish(&self.interrupt)?;
        answers.answered += also_bought;
        answers.drained_after = drained_after;
        self.check(subject.stores_in, before, answers.answered)?;
        Ok(answers)
    }

    /// Returns how long after the last request the totals included the last purchase.
    fn follow_projection(&self, running: &mut RunningLoad) -> Result<Duration> {
        let (mut projected, mut since) = (0, Duration::ZERO);
        loop {
            // Before the position is read: no event is stored once wrk has ended.
            let has_ended = running.has_ended()?;
            let now = self.totals()?.position;
            if now != projected {
                (projected, since) = (now, running.quiet_for());
            }
            // Fails if there is no progress.
            if has_ended && self.settle()? == projected {
                return Ok(since);
            }
            self.pause(PROJECTION_POLL_INTERVAL)?;
        }
    }
}
