//! User events and clicks of campaigns as Firehose writes them: a folder for each hour in UTC, several objects in it,
//! records back to back with nothing between them.
//!
//! The peculiarities are all here, because a pipeline that was only tried on well-behaved records is not tried: JSON
//! within a text, texts of exactly and of more than their bytes, characters of several bytes, events that belong to the
//! hour before, the same request twice, unknown keys, clicks without a source, an hour without any record.

use jiff::{Timestamp, ToSpan as _};
use serde_json::{Map, Value, json};

use super::{GenerateError, Object, Random};

/// Events of one hour.
pub const COUNT_MAX: u64 = 1_000_000;
/// Hours: three months.
pub const HOURS_MAX: u32 = 24 * 92;

/// Records of one object: what a buffer of 1 MB holds is about this.
const PER_OBJECT: u64 = 500;
/// Of the hours, one in so many is empty.
const EMPTY_EVERY: u32 = 5;
/// Clicks are one for so many events.
const EVENTS_PER_CLICK: u64 = 4;
/// The longest message that the table takes.
const MESSAGE_BYTES: usize = 3128;
/// From this many events on every peculiarity occurs.
const ROUND: u64 = 40;

/// What to generate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventsSpec {
    /// Same seed, same bytes.
    pub seed: u64,
    /// Events of each hour; from 40 on every quirk occurs.
    pub count: u64,
    /// The first hour.
    pub from: Timestamp,
    /// How many hours.
    pub hours: u32,
}

impl EventsSpec {
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

/// The objects of all hours, of both streams.
pub fn events(spec: &EventsSpec) -> impl Iterator<Item = Object> {
    let spec = spec.clone();
    let full = (0..spec.hours).filter(|number| number % EMPTY_EVERY != 3);
    full.flat_map(move |number| {
        let hour = spec.hour(number);
        let objects = spec.count.div_ceil(PER_OBJECT);
        let spec = spec.clone();
        (0..objects).flat_map(move |object| {
            let first = object * PER_OBJECT;
            let numbers = first..(first + PER_OBJECT).min(spec.count);
            let mut random = Random::new(spec.seed ^ hour.as_second().cast_unsigned(), 1_000_000 + object);
            let records = numbers.clone().map(|number| event(&spec, hour, number));
            let events = put("event", hour, object, records, &mut random);
            let clicks = numbers
                .filter(|number| number % EVENTS_PER_CLICK == 0)
                .map(|number| click(&spec, hour, number));
            [events, put("utm", hour, object, clicks, &mut random)]
        })
    })
}

fn put(
    stream: &str,
    hour: Timestamp,
    object: u64,
    records: impl Iterator<Item = Map<String, Value>>,
    random: &mut Random,
) -> Object {
    let folder = hour.strftime("%Y/%m/%d/%H");
    let at = hour.checked_add((object.min(3599)).cast_signed().seconds()).unwrap_or(hour);
    let name = format!("user-{stream}-1-{}-{}", at.strftime("%Y-%m-%d-%H-%M-%S"), random.uuid());
    // Bare objects: the producer writes no line breaks.
    let body: String = records.map(|record| Value::Object(record).to_string()).collect();
    Object { key: format!("{stream}/{folder}/{name}"), body: body.into_bytes() }
}

fn chance(spec: &EventsSpec, hour: Timestamp, number: u64) -> Random {
    Random::new(spec.seed ^ hour.as_second().cast_unsigned().rotate_left(20), number)
}

fn object(value: Value) -> Map<String, Value> {
    let Value::Object(map) = value else { return Map::new() };
    map
}

fn event(spec: &EventsSpec, hour: Timestamp, number: u64) -> Map<String, Value> {
    let mut random = chance(spec, hour, number);
    let quirk = if number < ROUND { number } else { random.below(400) };
    // The same request again is the record before, byte for byte.
    if quirk == 5 && number > 0 {
        return event(spec, hour, number - 1);
    }
    let at = hour.checked_add(random.below(3_600_000).cast_signed().milliseconds()).unwrap_or(hour);
    let at = if quirk == 6 { at.checked_sub(1.hour()).unwrap_or(at) } else { at };
    let steps = ["color_palette.set", "template.choose", "publish.click", "domain.search"];
    let step = steps[usize::try_from(random.below(4)).unwrap_or(0)];
    let message =
        json!({ "step": step, "duration": random.below(9_000), "note": "a }{ b \"quoted\"" }).to_string();
    let mut record = object(json!({
        "request_id": random.uuid(),
        "request_timestamp": at.strftime("%Y-%m-%d %H:%M:%S%.6f").to_string(),
        "cookie_id": random.uuid(),
        "topic": format!("dolphin_cms.wizard.step.{step}"),
        "message": message,
        "environment": "prod",
        "website_id": if random.below(3) == 0 { Value::Null } else { json!(random.uuid()) },
        "user_account_id": random.uuid(),
        "location": format!("https://cms.example.com/wizard?step={}", random.below(20)),
        "user_agent": "Mozilla/5.0 (X11; Linux x86_64)",
        "referrer": "https://example.com/",
    }));
    let mut set = |key: &str, value: Value| {
        record.insert(key.to_owned(), value);
    };
    match quirk {
        7 => set("message", json!("x".repeat(MESSAGE_BYTES))),
        8 => set("message", json!("x".repeat(MESSAGE_BYTES + 1))),
        // Fewer characters than the limit, and more bytes.
        9 => set("message", json!("ü".repeat(MESSAGE_BYTES - 1000))),
        10 => set("location", json!("https://cms.example.com/straße/日本?q=😀")),
        11 => set("experiment", json!({ "name": "a", "arms": [1, 2] })),
        12 => set("cookie_id", Value::Null),
        13 => set("request_timestamp", json!("2026-02-30 10:00:00.000000")),
        14 => set("request_timestamp", json!("yesterday")),
        15 => set("topic", Value::Null),
        16 => set("message", Value::Null),
        17 => set("referrer", json!("r".repeat(501))),
        _ => {}
    }
    record
}

fn click(spec: &EventsSpec, hour: Timestamp, number: u64) -> Map<String, Value> {
    let mut random = chance(spec, hour, COUNT_MAX + number);
    let mut record = object(json!({
        "request_id": random.uuid(), "source": "adwords", "medium": "cpc",
        "campaign": format!("Website Builder {} (exact)", random.below(9)),
        "content": null, "term": "make a website", "matchtype": "e", "network": "g",
        "ad_id": random.between(100_000_000, 999_999_999).to_string(), "ad_pos": "1t1",
        "placement": null, "placement_category": null, "testgroup": null, "device": "c",
    }));
    match number {
        8 => drop(record.remove("source")),
        16 => drop(record.insert("campaign".to_owned(), json!("ü".repeat(128)))),
        24 => drop(record.insert("unknown".to_owned(), json!(1))),
        _ => {}
    }
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> EventsSpec {
        EventsSpec { seed: 7, count: 40, from: "2026-11-20T22:00:00Z".parse().unwrap(), hours: 5 }
    }

    #[test]
    fn the_same_seed_gives_the_same_objects() {
        let keys: Vec<String> = events(&spec()).map(|object| object.key).collect();
        insta::assert_snapshot!(keys.join("\n"));
        let first = events(&spec()).next().unwrap();
        let text = String::from_utf8(first.body).unwrap();
        insta::assert_snapshot!(text.chars().take(700).collect::<String>());
    }

    #[test]
    fn what_is_outside_the_limits_is_refused() {
        for wrong in [
            EventsSpec { count: 0, ..spec() },
            EventsSpec { hours: 0, ..spec() },
            EventsSpec { from: "2026-11-20T22:10:00Z".parse().unwrap(), ..spec() },
        ] {
            assert!(wrong.check().is_err(), "{wrong:?}");
        }
        spec().check().unwrap();
    }
}
