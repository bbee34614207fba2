//! Which notes a checkpoint file keeps: all of the last minutes, then one per minute, per hour and per day.

use chrono::{DateTime, TimeDelta, Utc};

use super::notes::SignedNote;

/// All notes of the last ten minutes are kept, …
const ALL: TimeDelta = TimeDelta::minutes(10);
/// … then the last of each minute for a day, …
const MINUTES: TimeDelta = TimeDelta::days(1);
/// … then the last of each hour for a quarter of a year, and the last of each day for ever.
const HOURS: TimeDelta = TimeDelta::days(90);
/// Notes of earlier versions do not state their time. This many of them are kept, at most, evenly.
const UNTIMED: usize = 2000;

/// The notes to keep of those that are pushed, each with its offset. Statements, the first note and the highest one are always kept.
pub struct Thinned {
    now: DateTime<Utc>,
    kept: Vec<(u64, SignedNote)>,
    untimed: Vec<(u64, SignedNote)>,
    /// Each of so many notes without a time is kept.
    step: usize,
    untimed_pushed: usize,
    highest: Option<(u64, SignedNote)>,
    pushed: usize,
}

impl Thinned {
    pub const fn new(now: DateTime<Utc>) -> Self {
        Self { now, kept: Vec::new(), untimed: Vec::new(), step: 1, untimed_pushed: 0, highest: None, pushed: 0 }
    }

    pub fn push(&mut self, offset: u64, note: SignedNote) {
        self.pushed += 1;
        let Some(checkpoint) = note.checkpoint() else {
            self.kept.push((offset, note));
            return;
        };
        let highest = self.highest.as_ref().and_then(|(_, note)| Some(note.checkpoint()?.position));
        if highest.is_none_or(|highest| checkpoint.position >= highest) {
            self.highest = Some((offset, note.clone()));
        }
        let Some(time) = checkpoint.time else {
            self.push_untimed(offset, note);
            return;
        };
        // The last of a minute is also that of its hour if it is the last there: notes can be thinned again and again.
        let is_replaced = |(before, found): &(u64, SignedNote)| {
            let earlier = found.checkpoint().filter(|earlier| earlier.position <= checkpoint.position)?;
            Some(*before > 0 && self.bucket(earlier.time?)? == self.bucket(time)?)
        };
        if self.kept.last().and_then(is_replaced) == Some(true) {
            self.kept.pop();
        }
        self.kept.push((offset, note));
    }

    fn push_untimed(&mut self, offset: u64, note: SignedNote) {
        if self.untimed_pushed.is_multiple_of(self.step) {
            if self.untimed.len() == UNTIMED {
                let mut index = 0;
                self.untimed.retain(|_| {
                    index += 1;
                    index % 2 == 1
                });
                self.step *= 2;
            }
            if self.untimed_pushed.is_multiple_of(self.step) {
                self.untimed.push((offset, note));
            }
        }
        self.untimed_pushed += 1;
    }

    /// The period of which one note is kept; none if all are.
    fn bucket(&self, time: DateTime<Utc>) -> Option<(i64, i64)> {
        let length = match self.now - time {
            age if age <= ALL => return None,
            age if age <= MINUTES => 60,
            age if age <= HOURS => 60 * 60,
            _ => 24 * 60 * 60,
        };
        Some((length, time.timestamp().div_euclid(length)))
    }

    /// How many notes are not kept.
    pub const fn dropped(&self) -> usize {
        self.pushed - self.kept.len() - self.untimed.len()
    }

    /// In the order of their offsets.
    pub fn finish(self) -> Vec<(u64, SignedNote)> {
        let mut notes = [self.untimed, self.kept].concat();
        notes.extend(self.highest);
        notes.sort_by_key(|(offset, _)| *offset);
        notes.dedup_by_key(|(offset, _)| *offset);
        notes
    }
}

#[cfg(test)]
mod tests {
    use contract::position::Position;
    use event_log::transparency::{
        merkle::record_hash,
        signed_checkpoint::{SigningKey, generate_keys},
    };

    use super::*;

    fn key() -> SigningKey {
        SigningKey::parse(&generate_keys("sales.example/log").unwrap().0).unwrap()
    }

    fn note(key: &SigningKey, size: u64, time: Option<DateTime<Utc>>) -> SignedNote {
        let (position, root) = (Position::from_sequence(size), record_hash(b""));
        let text = time.map_or_else(|| key.sign(position, root), |time| key.sign_at(position, root, time));
        SignedNote::unverified(&text, "sales.example/log").unwrap()
    }

    fn thin(notes: &[SignedNote], now: DateTime<Utc>) -> Vec<SignedNote> {
        let mut thinned = Thinned::new(now);
        for (offset, note) in notes.iter().enumerate() {
            thinned.push(offset as u64, note.clone());
        }
        thinned.finish().into_iter().map(|(_, note)| note).collect()
    }

    fn sizes(notes: &[SignedNote]) -> Vec<i64> {
        notes.iter().map(|note| note.checkpoint().unwrap().position.get()).collect()
    }

    #[test]
    fn two_days_of_notes_become_one_per_minute_and_hour_whenever_they_are_thinned() {
        let (key, start) = (key(), DateTime::from_timestamp(1_800_000_000, 0).unwrap());
        let day = 24 * 60 * 60;
        let mut kept = Vec::new();
        for (number, second) in (0..2 * day).step_by(10).enumerate() {
            let time = start + TimeDelta::seconds(second);
            kept.push(note(&key, number as u64 + 1, Some(time)));
            if number % 2000 == 0 {
                kept = thin(&kept, time);
            }
        }
        let now = start + TimeDelta::seconds(2 * day);
        let kept = thin(&kept, now);
        // The first, a day of hours, a day of minutes, ten minutes of all.
        assert!((24 + 1430 + 60..24 + 1440 + 70).contains(&kept.len()), "{}", kept.len());
        let sizes = sizes(&kept);
        assert_eq!((sizes[0], *sizes.last().unwrap()), (1, 2 * day / 10));
        assert!(sizes.is_sorted());
        // Of the last minute before the ten, the last note.
        let last_of_minute = kept.iter().filter_map(|note| note.checkpoint()?.time).filter(|time| now - *time > ALL);
        assert!(last_of_minute.skip(1).all(|time| time.timestamp() % 60 == 50));
    }

    #[test]
    fn notes_without_a_time_are_kept_evenly_and_once_and_for_all() {
        let key = key();
        let template = note(&key, 1, None);
        let mut thinned = Thinned::new(Utc::now());
        for offset in 0..10_000 {
            thinned.push(offset, template.clone());
        }
        let kept = thinned.finish();
        assert!((UNTIMED / 2..=UNTIMED + 1).contains(&kept.len()), "{}", kept.len());
        assert_eq!((kept[0].0, kept[kept.len() - 1].0), (0, 9_999));
        let kept: Vec<_> = kept.into_iter().map(|(_, note)| note).collect();
        assert_eq!(thin(&kept[..1200], Utc::now()).len(), 1200);
    }

    #[test]
    fn the_highest_note_is_kept_although_older_ones_follow_it() {
        let (key, start) = (key(), DateTime::from_timestamp(1_800_000_000, 0).unwrap());
        for time in [Some(start), None] {
            let mut notes: Vec<_> = (1..=5000).map(|size| note(&key, size, time)).collect();
            notes.extend((1..=5000).map(|size| note(&key, size % 17, time)));
            let kept = sizes(&thin(&notes, start + MINUTES));
            assert!(kept.contains(&5000), "{kept:?}");
            assert!(kept.len() <= 5000, "{}", kept.len());
        }
    }
}
