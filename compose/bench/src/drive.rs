//! Puts subjects under load in turns, and checks the consistency after each load.

use std::thread;
use std::time::Duration;

use anyhow::Result;

use crate::load::{Load, Traffic};
use crate::runs::{Compared, Measured, Runs};
use crate::settings::MOST_CONNECTIONS;
use crate::test_bed::{Storage, Subject, TestBed};
use crate::wrk::RunningLoad;
use stack::progress::Progress;

const SENDING_POLL_INTERVAL: Duration = Duration::from_millis(20);
/// The resolution of the time until the projection has caught up.
const PROJECTION_POLL_INTERVAL: Duration = Duration::from_millis(5);

impl TestBed {
    /// A load of the usual duration.
    pub fn load(&self, traffic: Traffic, connections: u32) -> Load {
        Load { traffic, connections, time: Duration::from_secs(self.settings.seconds) }
    }

    /// A load of purchases at a fixed rate, of the usual duration.
    pub fn load_at_rate(&self, rate: f64) -> Load {
        Load::at_rate(rate, Duration::from_secs(self.settings.seconds))
    }

    /// Maximum of purchases per second: from the section `purchases`, or measured now.
    pub fn most_purchases(&self) -> Result<f64> {
        let [subject, ..] = self.purchases;
        if let Some(known) = self.measured_at_start(subject, MOST_CONNECTIONS) {
            return Ok(known.ours.rate().median);
        }
        let [runs] = self.in_turns([subject], self.load(Traffic::Purchases, MOST_CONNECTIONS))?;
        Ok(runs.rate().median)
    }

    pub fn measured_at_start(&self, subject: Subject, connections: u32) -> Option<&Compared> {
        self.at_start.iter().find(|known| (known.ours.name, known.ours.connections) == (subject.name, connections))
    }

    pub fn compare(&self, [ours, baseline]: [Subject; 2], load: Load) -> Result<Compared> {
        let events = self.settle()?;
        let [ours, baseline] = self.in_turns([ours, baseline], load)?;
        Ok(Compared { events, ours, baseline })
    }

    /// Repeats the load on all subjects in turns: if the machine slows down, it does so for all of them.
    pub fn in_turns<const N: usize>(&self, subjects: [Subject; N], load: Load) -> Result<[Runs; N]> {
        if self.settings.warm_up_seconds > 0 {
            let warm_up = Load { time: Duration::from_secs(self.settings.warm_up_seconds), ..load };
            for subject in subjects {
                self.drive_alone(subject, warm_up, "warm-up")?;
            }
        }
        let mut runs =
            subjects.map(|subject| Runs { name: subject.name, connections: load.connections, measured: Vec::new() });
        for repetition in 1..=self.settings.repetitions {
            for (subject, runs) in subjects.into_iter().zip(&mut runs) {
                let turn = format!("{repetition} of {}", self.settings.repetitions);
                runs.measured.push(self.drive_alone(subject, load, &turn)?);
            }
        }
        Ok(runs)
    }

    fn drive_alone(&self, subject: Subject, load: Load, turn: &str) -> Result<Measured> {
        let name = format!("{}, {} connections, {turn}", subject.name, load.connections);
        Progress::Shown.measure(&name, || self.drive(subject, load, |_| Ok(())))
    }

    /// Puts a subject under load, runs `meanwhile`, and checks the consistency at the end.
    pub fn drive(
        &self,
        subject: Subject,
        load: Load,
        meanwhile: impl FnOnce(&mut RunningLoad) -> Result<()>,
    ) -> Result<Measured> {
        let before = self.mark()?;
        let mut running = RunningLoad::start(&self.folder, &self.interrupt, subject.address, load)?;
        meanwhile(&mut running)?;
        running.while_sending(SENDING_POLL_INTERVAL, || Ok(()))?;
        let is_stored = subject.stores_in == Storage::EventLog;
        let drained_after = is_stored.then(|| self.follow_projection(&mut running)).transpose()?;
        let also_bought = running.also_bought;
        let answers = running.finish()?;
        let acknowledged = answers.answered + also_bought;
        self.check(subject.stores_in, before, acknowledged)?;
        Ok(Measured { rate: answers.rate(load), latency: answers.latency, acknowledged, drained_after })
    }

    /// Returns how long after the last request the projection had caught up.
    fn follow_projection(&self, running: &mut RunningLoad) -> Result<Duration> {
        let mut caught_up: Option<(i64, Duration)> = None;
        loop {
            // Before the position is read: no event is stored once wrk has ended.
            let has_ended = running.has_ended()?;
            let head = self.head()?;
            if caught_up.is_none_or(|(at, _)| at != head) {
                let is_projected = self.projected()? >= head;
                caught_up = is_projected.then(|| (head, running.quiet_for()));
            }
            match caught_up {
                Some((_, after)) if has_ended => return Ok(after),
                // Reports its progress, and fails if there is none.
                None if has_ended => {
                    self.settle()?;
                }
                _ => thread::sleep(PROJECTION_POLL_INTERVAL),
            }
        }
    }
}
