//! Bounds of the log lines that clients cause: how many, and how long.

use std::{
    fmt::Display,
    mem,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

const INTERVAL: Duration = Duration::from_secs(1);
const MAX_CHARACTERS: usize = 300;

/// Admits one line per second of one kind.
#[derive(Debug, Default)]
pub struct Sampler(Mutex<(Option<Instant>, u64)>);

impl Sampler {
    pub const fn new() -> Self {
        Self(Mutex::new((None, 0)))
    }

    /// The number of lines left out since the last one, if this line is admitted.
    pub fn admit(&self) -> Option<u64> {
        self.admit_at(Instant::now())
    }

    fn admit_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, left_out) = &mut *state;
        if last.is_some_and(|last| now < last + INTERVAL) {
            *left_out += 1;
            return None;
        }
        *last = Some(now);
        Some(mem::take(left_out))
    }
}

/// The beginning of a text that may contain what a client sent.
pub fn shorten(text: &impl Display) -> String {
    let mut text = format!("{text:#}");
    if let Some((end, _)) = text.char_indices().nth(MAX_CHARACTERS) {
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_per_second_is_admitted_and_the_others_are_counted() {
        let (sampler, start) = (Sampler::new(), Instant::now());
        let at = |ms| sampler.admit_at(start + Duration::from_millis(ms));
        assert_eq!([0, 1, 999, 1000, 1001, 5000].map(at), [Some(0), None, None, Some(2), None, Some(1)]);
    }

    #[test]
    fn a_long_text_is_shortened_at_a_character() {
        assert_eq!(shorten(&"short"), "short");
        let long = shorten(&"ä".repeat(1000));
        assert_eq!((long.chars().count(), long.ends_with("ä…")), (MAX_CHARACTERS + 1, true));
    }
}
