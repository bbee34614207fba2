//! A short way to read what this system writes: purchases, the metadata of events and lines in the encoding of this system, which are
//! nearly all of the log. Each function recognizes a part of what the general parsers accept, in a fraction of their time, and leaves
//! the rest to them, which also say what is wrong.

use chrono::{DateTime, NaiveDate, Utc};

use crate::{catalogue::License, money::Money, position::Position, role::Role};

/// A line of a purchase.
#[derive(Debug)]
pub struct Line {
    pub position: Position,
    pub time: DateTime<Utc>,
    pub license: License,
    pub price: Money,
}

/// The line of a purchase, exactly as this system encodes it.
pub fn line(json: &[u8]) -> Option<Line> {
    let mut rest = Rest(json);
    rest.skip(br#"{"specversion":"1.0","id":""#)?;
    let is_id = |(at, byte): (usize, &u8)| match at {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    };
    rest.take(36)?.iter().enumerate().all(is_id).then_some(())?;
    rest.skip(br#"","source":"/sales/event-store","type":"LicensePurchased","time":""#)?;
    let time = time(rest.take(27)?)?;
    rest.skip(br#"","datacontenttype":"application/json","position":"#)?;
    let position = rest.number()?.try_into().ok()?;
    rest.skip(br#","schemaversion":1,"#)?;
    if rest.skip(br#""metadatahash":""#).is_some() {
        is_hash(rest.take(44)?).then_some(())?;
        rest.skip(br#"","#)?;
    }
    rest.skip(br#""data":"#)?;
    let (license, price) = purchase(rest.0.strip_suffix(b"}")?)?;
    Some(Line { position, time, license, price })
}

/// The data of a purchase, version 1.
pub fn purchase(data: &[u8]) -> Option<(License, Money)> {
    let mut rest = Rest(data);
    rest.skip(br#"{"license":""#)?;
    let license = License::ALL.into_iter().find(|license| rest.skip(license.name().as_bytes()).is_some())?;
    rest.skip(br#"","price":{"amount_minor":"#)?;
    let amount = rest.number()?;
    rest.skip(br#","currency":"EUR"}}"#)?;
    rest.0.is_empty().then(|| (license, Money::eur(amount)))
}

/// Whether these are metadata with a salt, exactly as this system encodes them.
pub fn is_salted(metadata: &str) -> bool {
    let mut rest = Rest(metadata.as_bytes());
    let is_salted = (|| {
        rest.skip(br#"{"salt":""#)?;
        rest.text()?;
        if rest.skip(br#","actor":""#).is_some() {
            rest.text()?;
        }
        if rest.skip(br#","actor_role":""#).is_some() {
            let role = rest.text()?;
            Role::ALL.into_iter().find(|known| known.name().as_bytes() == role)?;
        }
        for name in [&br#","traceparent":""#[..], br#","idempotency_key":""#] {
            if rest.skip(name).is_some() {
                rest.text()?;
            }
        }
        rest.skip(b"}")
    })();
    is_salted.is_some() && rest.0.is_empty()
}

/// What is not read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn skip(&mut self, expected: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(expected)?;
        Some(())
    }

    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    /// A number of at most 16 digits, as a price may have, without leading zeros.
    fn number(&mut self) -> Option<i64> {
        let digits = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if !(1..=16).contains(&digits) || (self.0[0] == b'0' && digits > 1) {
            return None;
        }
        self.take(digits).map(number)
    }

    /// The rest of a string in which nothing is escaped, and its closing quotation mark.
    fn text(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|byte| matches!(byte, 0..0x20 | b'"' | b'\\'))?;
        let text = self.take(end)?;
        self.skip(b"\"")?;
        Some(text)
    }
}

fn number(digits: &[u8]) -> i64 {
    digits.iter().fold(0, |number, digit| 10 * number + i64::from(digit - b'0'))
}

/// `2026-11-23T18:30:00.000001Z`
fn time(text: &[u8]) -> Option<DateTime<Utc>> {
    const FORM: &[u8; 27] = b"0000-00-00T00:00:00.000000Z";
    let has_form = |(byte, form): (&u8, &u8)| if *form == b'0' { byte.is_ascii_digit() } else { byte == form };
    text.iter().zip(FORM).all(has_form).then_some(())?;
    let part = |from: usize, until: usize| u32::try_from(number(&text[from..until])).ok();
    let date = NaiveDate::from_ymd_opt(part(0, 4)?.try_into().ok()?, part(5, 7)?, part(8, 10)?)?;
    let time = date.and_hms_micro_opt(part(11, 13)?, part(14, 16)?, part(17, 19)?, part(20, 26)?)?;
    Some(time.and_utc())
}

/// Base64 of 32 bytes: the last two of its 258 bits are zero.
fn is_hash(text: &[u8]) -> bool {
    let Some((b'=', [digits @ .., last])) = text.split_last() else { return false };
    digits.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
        && b"AEIMQUYcgkosw048".contains(last)
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, test_runner::FileFailurePersistence};

    use super::*;
    use crate::{
        cloud_event::CloudEvent,
        event::{LicensePurchased, Metadata},
    };

    const LOG: &str = include_str!("../golden/log.ndjson");
    const METADATA: &str = concat!(
        r#"{"salt":"8f14e45fceea467fa7d1b8c9e3a20b64","actor":"carl","actor_role":"customer","#,
        r#""traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01","idempotency_key":"order-17"}"#,
    );

    /// A line with some bytes replaced by others that may have a meaning there.
    fn damaged(original: &'static str) -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![any::<u8>(), prop::sample::select(&b"\"{}[],:\\0123456789-+eE.=/AZaz \0\n"[..])];
        let change = (any::<prop::sample::Index>(), 0..3_usize, prop::collection::vec(byte, 0..3));
        prop::collection::vec(change, 0..3).prop_map(move |changes| {
            let mut bytes = original.as_bytes().to_vec();
            for (at, removed, added) in changes {
                let at = at.index(bytes.len() + 1);
                bytes.splice(at..bytes.len().min(at + removed), added);
            }
            bytes
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_failure_persistence(FileFailurePersistence::Direct("tests/counterexamples.txt")))]

        #[test]
        fn a_line_is_recognized_only_if_the_general_parser_reads_and_writes_the_same(
            json in prop::sample::select(LOG.lines().collect::<Vec<_>>()).prop_flat_map(damaged),
        ) {
            if let Some(found) = line(&json) {
                let event = CloudEvent::parse(&json).unwrap();
                prop_assert_eq!((found.position, found.time), (event.position, event.time));
                let purchase: LicensePurchased = serde_json::from_str(event.data()).unwrap();
                prop_assert_eq!((found.license, found.price), (purchase.license, purchase.price));
                prop_assert_eq!(event.to_json(), json);
            }
        }

        #[test]
        fn metadata_are_recognized_only_if_they_encode_to_the_same(metadata in damaged(METADATA)) {
            let Ok(text) = String::from_utf8(metadata) else { return Ok(()) };
            if is_salted(&text) {
                let metadata: Metadata = serde_json::from_str(&text).unwrap();
                prop_assert!(metadata.salt.is_some());
                prop_assert_eq!(metadata.encode().unwrap(), text);
            }
        }
    }

    #[test]
    fn purchases_of_this_system_are_recognized() {
        let recognized = LOG.lines().filter(|json| line(json.as_bytes()).is_some()).count();
        assert!(recognized >= 4, "{recognized} of the golden lines");
        assert!(is_salted(METADATA) && is_salted(r#"{"salt":"s","idempotency_key":"k"}"#));
        for price in ["0", "9999999999999999"] {
            let data = format!(r#"{{"license":"pro","price":{{"amount_minor":{price},"currency":"EUR"}}}}"#);
            assert!(purchase(data.as_bytes()).is_some(), "{data}");
        }
        for price in ["", "00", "01", "-1", "10000000000000000"] {
            let data = format!(r#"{{"license":"pro","price":{{"amount_minor":{price},"currency":"EUR"}}}}"#);
            assert!(purchase(data.as_bytes()).is_none(), "{data}");
        }
    }
}
