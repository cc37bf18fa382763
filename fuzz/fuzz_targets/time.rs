//! Short texts about time: schedules, zones, spans, dates, run keys.
//!
//! The first two bytes choose zone, kind of interval and the present; the rest is text, of which the
//! first line is read as everything, and the second, if there is one, as a schedule.
#![no_main]

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use libfuzzer_sys::{Corpus, fuzz_target};
use trunkline_state::schedule::{
    Calendar, DataInterval, DstRule, Interval, SelectError, describe_interval, interval_at, interval_of_fire,
    parse_run_key, parse_span, run_key, runs_between, select, span_text, stretch, zone,
};

/// Zones with every oddity: none, whole hours, half an hour, gaps at midnight, a lost date.
const ZONES: [&str; 7] = [
    "UTC",
    "America/New_York",
    "Europe/Berlin",
    "Australia/Lord_Howe",
    "America/Sao_Paulo",
    "Pacific/Apia",
    "Africa/Casablanca",
];
const KINDS: [&str; 8] = ["hour", "day", "week", "month", "none", "10m", "1h30m", "366d"];
/// Around changes of the clock, early and late.
const PRESENTS: [&str; 4] =
    ["1971-03-28T02:30:00Z", "2011-12-30T09:59:59.5Z", "2026-11-01T05:30:00Z", "2198-12-31T23:59:59Z"];

fuzz_target!(|data: &[u8]| -> Corpus {
    let [first, second, rest @ ..] = data else { return Corpus::Reject };
    let Ok(text) = std::str::from_utf8(rest) else { return Corpus::Reject };
    let (line, more) = text.split_once('\n').unwrap_or((text, ""));
    let name = ZONES.get(usize::from(first & 7)).copied().unwrap_or(line);
    let Ok(zone) = zone(name) else { return Corpus::Keep };
    let kind: DataInterval = KINDS[usize::from(first >> 3 & 7)].parse().expect("a kind");
    let kind = line.parse().unwrap_or(kind);
    let now: Timestamp = PRESENTS[usize::from(second & 3)].parse().expect("a moment");
    let dst = if second & 4 == 0 { DstRule::RunAtGapEnd } else { DstRule::Skip };

    spans(line);
    let calendar = [line, more].into_iter().find_map(|text| Calendar::parse(text, name, dst).ok());
    if let Some(calendar) = &calendar {
        fires(calendar, now);
    }
    dates(line, kind, &zone, calendar.as_ref(), now);
    Corpus::Keep
});

/// What is printed reads back as the same.
fn spans(text: &str) {
    if let Some(span) = parse_span(text) {
        assert_eq!(parse_span(&span_text(span)), Some(span));
    }
    if let Ok(kind) = text.parse::<DataInterval>() {
        assert_eq!(kind.to_string().parse::<DataInterval>().as_ref(), Ok(&kind));
    }
}

/// The next fire lies ahead, the one before behind, and there is none between a moment and its next fire.
fn fires(calendar: &Calendar, now: Timestamp) {
    let stored = serde_json::to_string(calendar).expect("a calendar is stored as text");
    assert_eq!(&serde_json::from_str::<Calendar>(&stored).expect("what was stored is read"), calendar);
    assert!(!calendar.describe().is_empty());
    let before = calendar.previous_before(now);
    assert!(before.is_none_or(|fire| fire < now));
    let mut at = now;
    for _ in 0..4 {
        let Some(next) = calendar.next_after(at) else { break };
        assert!(next > at, "{next} follows {at}");
        let previous = calendar.previous_before(next);
        assert!(previous.is_none_or(|fire| fire <= at), "{previous:?} lies between {at} and {next}");
        let just_after = next + SignedDuration::from_nanos(1);
        assert_eq!(calendar.previous_before(just_after), Some(next), "before {just_after}");
        at = next;
    }
}

/// Intervals hold what they are of, and keys lead back.
fn dates(text: &str, kind: DataInterval, zone: &TimeZone, calendar: Option<&Calendar>, now: Timestamp) {
    if let Some(interval) = interval_at(kind, zone, now) {
        assert!(interval.contains(now), "{interval:?} holds {now}");
        let next = interval_at(kind, zone, interval.end).expect("there is a next one");
        assert_eq!(next.start, interval.end, "they touch");
        leads_back(kind, zone, Some(interval), interval.start);
    }
    if let Some(interval) = interval_of_fire(kind, zone, now) {
        assert!(interval.start < interval.end && interval.end <= now);
        assert!(!describe_interval(zone, Some(interval), Some(now)).is_empty());
    }
    match parse_run_key(kind, zone, text) {
        Ok(parts) => leads_back(kind, zone, parts.interval, parts.logical_date),
        Err(SelectError::Text { example, .. } | SelectError::Year { example, .. }) => {
            assert!(parse_run_key(kind, zone, &example).is_ok(), "{example} is an example");
        }
        Err(_) => {}
    }
    if let Ok(selected) = select(kind, zone, calendar, Some(text), now) {
        leads_back(kind, zone, selected.interval, selected.logical_date);
        assert_eq!(selected.key, run_key(kind, zone, selected.interval, selected.logical_date));
    }
    if let Ok(range) = stretch(text, zone) {
        assert!(range.start < range.end);
        let (runs, _) = runs_between(kind, zone, calendar, range, now, 20);
        let begins = |run: &trunkline_state::schedule::Selected| run.logical_date;
        assert!(runs.iter().all(|run| (range.start..range.end).contains(&begins(run))));
        assert!(runs.is_sorted_by(|one, other| begins(one) < begins(other)));
    }
}

fn leads_back(kind: DataInterval, zone: &TimeZone, interval: Option<Interval>, logical: Timestamp) {
    // Keys are read of the years from 1970 to 2199; what begins there may lie before or end behind.
    if !(1971..2199).contains(&zone.to_datetime(logical).year()) {
        return;
    }
    let key = run_key(kind, zone, interval, logical);
    let parts = parse_run_key(kind, zone, &key).unwrap_or_else(|error| panic!("{key}: {error}"));
    assert_eq!((parts.interval, parts.logical_date), (interval, logical), "{key}");
}
