//! Progress: a bar in a terminal, otherwise a line every few seconds.

use std::{
    io::{IsTerminal, stderr},
    time::{Duration, Instant},
};

use contract::position::Position;
use event_log::output::report;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{examine::Share, source::Source};

const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// Counts events, or bytes where the number of events is unknown.
pub struct Progress {
    bar: ProgressBar,
    in_bytes: bool,
    what: &'static str,
    reported_at: Instant,
}

impl Progress {
    pub async fn start(what: &'static str, source: &Source, after: Position, until: Option<Position>) -> Self {
        let until = match until {
            Some(until) => Some(until),
            None => source.supposed_end().await,
        };
        let (length, in_bytes) = match until {
            Some(until) => (Some(until.as_sequence().saturating_sub(after.as_sequence())), false),
            None => (source.bytes(), source.bytes().is_some()),
        };
        let template = match (length, in_bytes) {
            (None, _) => "{msg} {human_pos} events, {per_sec}",
            (Some(_), false) => "{msg} {bar:30} {human_pos} of {human_len} events, {per_sec}, {eta} to go",
            (Some(_), true) => "{msg} {bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} to go",
        };
        let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr())
            .with_style(ProgressStyle::with_template(template).expect("a valid template"))
            .with_message(what);
        Self { bar, in_bytes, what, reported_at: Instant::now() }
    }

    pub fn advance(&mut self, share: &Share) {
        self.bar.inc(if self.in_bytes { share.bytes } else { share.events.len() } as u64);
        if !stderr().is_terminal() && self.reported_at.elapsed() >= LINE_INTERVAL {
            self.reported_at = Instant::now();
            let unit = if self.in_bytes { "bytes" } else { "events" };
            let (done, rate) = (self.bar.position(), self.bar.per_sec());
            match self.bar.length() {
                Some(all) => {
                    let left = self.bar.eta().as_secs();
                    report(format_args!("{} {done} of {all} {unit}, {rate:.0}/s, {left} s to go", self.what));
                }
                None => report(format_args!("{} {done} {unit}, {rate:.0}/s", self.what)),
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
