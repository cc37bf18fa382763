//! Contact trace records of Amazon Connect as Firehose writes them: a folder for each hour in UTC, a few records in each
//! object, back to back.
//!
//! The peculiarities are all here, because a pipeline that was only tried on well-behaved records is not tried: objects
//! that are empty, cut off or no JSON at all, line breaks between and within records, keys that people escape; contacts
//! that come twice, older ones after newer ones, two that are equally new and differ. What one record says stands in
//! `record.rs`.

mod record;

use jiff::{Timestamp, ToSpan as _};
use serde_json::{Map, Value};

use super::{GenerateError, Object, Random};
use record::{disagreeing, older, record};

/// Contacts of one hour.
pub const COUNT_MAX: u64 = 1_000_000;
/// Hours: three months.
pub const HOURS_MAX: u32 = 24 * 92;

/// Contacts of one object: Firehose closes one after a minute or a few megabytes.
const PER_OBJECT: u64 = 5;
/// From this many contacts on every peculiarity occurs.
const ROUND: u64 = 40;

/// What to generate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContactsSpec {
    /// Same seed, same bytes.
    pub seed: u64,
    /// Contacts of each hour; from 40 on every quirk occurs.
    pub count: u64,
    /// The first hour.
    pub from: Timestamp,
    /// How many hours.
    pub hours: u32,
}

impl ContactsSpec {
    /// Refuses what is outside the limits.
    pub fn check(&self) -> Result<(), GenerateError> {
        let wrong = |text: String| Err(GenerateError::Spec(text));
        if !(1..=COUNT_MAX).contains(&self.count) {
            return wrong(format!("--count {} is not between 1 and {COUNT_MAX}", self.count));
        }
        if !(1..=HOURS_MAX).contains(&self.hours) {
            return wrong(format!("--hours {} is not between 1 and {HOURS_MAX}", self.hours));
        }
        if self.from.as_second() % 3600 != 0 {
            return wrong(format!("--from {} is not the beginning of an hour", self.from));
        }
        Ok(())
    }

    fn hour(&self, number: u32) -> Timestamp {
        self.from.checked_add(i64::from(number).hours()).unwrap_or(self.from)
    }
}

/// What is peculiar about a contact, counted as in the first round of an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Quirk(u64);

impl Quirk {
    /// Twice in one object, the newer one behind; and the older one again in a later object.
    const TWICE: Self = Self(14);
    /// The older one in a later object.
    const OLDER_LATER: Self = Self(15);
    /// In a later object with another reason and the same time.
    const DISAGREES: Self = Self(20);
    /// The same bytes again, at once.
    const REPEATED: Self = Self(21);

    /// The first that may befall any contact: what comes again does so in the first round only, so that the object of an
    /// hour that holds these stays small.
    const EVERYWHERE: u64 = 22;

    fn of(number: u64, random: &mut Random) -> Self {
        let drawn = random.below(400).max(Self::EVERYWHERE);
        Self(if number < ROUND { number } else { drawn })
    }
}

/// How an object is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    BackToBack,
    Lines,
    Pretty,
}

/// The objects of all hours, in the order in which they were delivered.
pub fn contacts(spec: &ContactsSpec) -> impl Iterator<Item = Object> {
    let spec = spec.clone();
    (0..spec.hours).flat_map(move |number| {
        let hour = spec.hour(number);
        let objects = spec.count.div_ceil(PER_OBJECT);
        let spec = spec.clone();
        let late = [empty(&spec, hour, objects), cut_off(&spec, hour, objects + 1)];
        let last = [no_json(&spec, hour, objects + 2), again(&spec, hour, objects + 3)];
        (0..objects).map(move |object| delivered(&spec, hour, object)).chain(late).chain(last)
    })
}

/// One object with its contacts.
fn delivered(spec: &ContactsSpec, hour: Timestamp, object: u64) -> Object {
    let first = object * PER_OBJECT;
    let mut records = Vec::new();
    for number in first..(first + PER_OBJECT).min(spec.count) {
        let (quirk, newest) = record(spec, hour, number);
        if quirk == Quirk::TWICE {
            records.push(older(&newest));
        }
        if quirk == Quirk::REPEATED {
            records.push(newest.clone());
        }
        records.push(newest);
    }
    let layout = match object % 8 {
        1 => Layout::Lines,
        2 => Layout::Pretty,
        _ => Layout::BackToBack,
    };
    // Characters that people escape when they put a key into a message or a link.
    let stream = match object % 8 {
        3 => "contact+records",
        4 => "contact%3Arecords",
        5 => "contact records",
        _ => "contact-records",
    };
    Object { key: key(spec, hour, object, stream), body: written(&records, layout).into_bytes() }
}

fn written(records: &[Map<String, Value>], layout: Layout) -> String {
    let separator = if layout == Layout::Lines { "\n" } else { "" };
    let text = |record: &Map<String, Value>| {
        let plain = || Value::Object(record.clone()).to_string();
        if layout == Layout::Pretty {
            serde_json::to_string_pretty(record).unwrap_or_else(|_| plain())
        } else {
            plain()
        }
    };
    records.iter().map(text).collect::<Vec<_>>().join(separator)
}

fn key(spec: &ContactsSpec, hour: Timestamp, object: u64, stream: &str) -> String {
    let mut random = Random::new(spec.seed ^ hour.as_second().cast_unsigned(), 1_000_000 + object);
    let at = hour.checked_add(object.min(3599).cast_signed().seconds()).unwrap_or(hour);
    format!(
        "connect/ctr/{}/{stream}-1-{}-{}",
        hour.strftime("%Y/%m/%d/%H"),
        at.strftime("%Y-%m-%d-%H-%M-%S"),
        random.uuid()
    )
}

fn empty(spec: &ContactsSpec, hour: Timestamp, object: u64) -> Object {
    Object { key: key(spec, hour, object, "contact-records"), body: Vec::new() }
}

/// A whole contact, and the beginning of one that nobody else has.
fn cut_off(spec: &ContactsSpec, hour: Timestamp, object: u64) -> Object {
    let (_, whole) = record(spec, hour, COUNT_MAX);
    let (_, lost) = record(spec, hour, COUNT_MAX + 1);
    let mut body = written(&[whole, lost], Layout::BackToBack);
    // Within the last field; all that is cut is ASCII.
    let end = body.char_indices().rev().nth(20).map_or(0, |(at, _)| at);
    body.truncate(end);
    Object { key: key(spec, hour, object, "contact-records"), body: body.into_bytes() }
}

fn no_json(spec: &ContactsSpec, hour: Timestamp, object: u64) -> Object {
    let body = b"<html><body>503 Service Unavailable</body></html>\n".to_vec();
    Object { key: key(spec, hour, object, "contact-records"), body }
}

/// What is delivered again, late.
fn again(spec: &ContactsSpec, hour: Timestamp, object: u64) -> Object {
    let mut records = Vec::new();
    for number in 0..spec.count.min(ROUND) {
        let (quirk, newest) = record(spec, hour, number);
        match quirk {
            Quirk::TWICE | Quirk::OLDER_LATER => records.push(older(&newest)),
            Quirk::DISAGREES => records.push(disagreeing(&newest)),
            _ => {}
        }
    }
    let body = written(&records, Layout::BackToBack).into_bytes();
    Object { key: key(spec, hour, object, "contact-records"), body }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> ContactsSpec {
        ContactsSpec { seed: 7, count: 40, from: "2026-11-20T23:00:00Z".parse().unwrap(), hours: 2 }
    }

    #[test]
    fn the_same_seed_gives_the_same_objects() {
        let small = ContactsSpec { hours: 1, ..spec() };
        let all: Vec<String> = contacts(&small)
            .map(|object| format!("{}\n{}", object.key, String::from_utf8(object.body).unwrap()))
            .collect();
        insta::assert_snapshot!(all.join("\n\n"));
        let more = ContactsSpec { count: 45, ..spec() };
        let first = |spec: &ContactsSpec| contacts(spec).take(8).collect::<Vec<_>>();
        assert_eq!(first(&small), first(&more), "a larger count adds objects and changes none");
    }

    #[test]
    fn no_two_objects_have_one_key() {
        let mut keys: Vec<String> = contacts(&spec()).map(|object| object.key).collect();
        assert_eq!(keys.len(), 2 * (8 + 4));
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 2 * (8 + 4));
    }

    #[test]
    fn what_is_outside_the_limits_is_refused() {
        for wrong in [
            ContactsSpec { count: 0, ..spec() },
            ContactsSpec { hours: 0, ..spec() },
            ContactsSpec { from: "2026-11-20T22:10:00Z".parse().unwrap(), ..spec() },
        ] {
            assert!(wrong.check().is_err(), "{wrong:?}");
        }
        spec().check().unwrap();
    }
}
