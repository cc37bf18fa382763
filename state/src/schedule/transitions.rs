//! The sweep over every clock change of every zone from 2020 to 2037: fires against a walk
//! through real minutes, intervals against each other.

use std::collections::{BTreeSet, HashSet};

use jiff::{
    SignedDuration, Timestamp,
    civil::{DateTime, date},
    tz::{self, TimeZone},
};

use super::*;

/// Minute and hour fields: fixed times around all hours at which clocks change, lists, ranges,
/// and everything that repeats.
const LINES: [(&str, &str); 40] = [
    ("0", "0"),
    ("30", "0"),
    ("59", "23"),
    ("0", "1"),
    ("30", "1"),
    ("59", "1"),
    ("0", "2"),
    ("15", "2"),
    ("30", "2"),
    ("59", "2"),
    ("0", "3"),
    ("30", "3"),
    ("0", "4"),
    ("45", "22"),
    ("0", "23"),
    ("30", "23"),
    ("0,30", "1,2"),
    ("0,30", "0,1,2,3"),
    ("15", "0-5"),
    ("0", "22,23,0"),
    ("0", "9"),
    ("1,31", "2"),
    ("0-10", "2"),
    ("5", "1,13"),
    ("*/5", "*"),
    ("0", "*"),
    ("30", "*"),
    ("*/20", "*"),
    ("*/15", "1"),
    ("*/20", "2"),
    ("*/20", "0"),
    ("0", "*/2"),
    ("30", "*/2"),
    ("0", "*/6"),
    ("15", "*/3"),
    ("*/7", "23"),
    ("10-50/10", "0-3"),
    ("*/30", "1-2"),
    ("*", "2"),
    ("0,59", "*/12"),
];

/// Longer than any jump of a clock, so that it holds what comes before and after.
const HALF_WINDOW: SignedDuration = SignedDuration::from_hours(4);

/// A zone's name, the zone, and its changes of offset.
type Changes = (String, TimeZone, Vec<Timestamp>);

/// One zone for each distinct history, of all that the database knows.
fn zones() -> Vec<Changes> {
    let from: Timestamp = "2020-01-01T00:00Z".parse().unwrap();
    let until: Timestamp = "2038-01-01T00:00Z".parse().unwrap();
    let mut seen = HashSet::new();
    let mut zones = Vec::new();
    for name in tz::db().available() {
        let Ok(zone) = TimeZone::get(name.as_str()) else { continue };
        let mut offset = zone.to_offset(from);
        let mut history = vec![(from, offset)];
        for change in zone.following(from).take_while(|change| change.timestamp() < until) {
            if change.offset() != offset {
                offset = change.offset();
                history.push((change.timestamp(), offset));
            }
        }
        if seen.insert(history.clone()) {
            let changes = history.into_iter().skip(1).map(|(instant, _)| instant).collect();
            zones.push((name.to_string(), zone, changes));
        }
    }
    assert!(zones.len() > 50, "only {} zones: is the zone database there?", zones.len());
    zones
}

/// A line of [`LINES`], read apart from the parser under test.
struct Pattern {
    minutes: HashSet<i8>,
    hours: HashSet<i8>,
    repeats: bool,
}

impl Pattern {
    fn new(line: (&str, &str)) -> Self {
        let repeats = [line.0, line.1].iter().any(|field| field.contains(['*', '/']));
        Self { minutes: values(line.0, 59), hours: values(line.1, 23), repeats }
    }

    fn matches(&self, local: DateTime) -> bool {
        self.minutes.contains(&local.minute()) && self.hours.contains(&local.hour())
    }
}

/// The values that a field of [`LINES`] names; written apart from the parser under test.
fn values(field: &str, high: i8) -> HashSet<i8> {
    let mut values = HashSet::new();
    for item in field.split(',') {
        let (range, step) =
            item.split_once('/').map_or((item, 1), |(range, step)| (range, step.parse().unwrap()));
        let (first, last) = match range.split_once('-') {
            Some((first, last)) => (first.parse().unwrap(), last.parse().unwrap()),
            None if range == "*" => (0, high),
            None => (range.parse().unwrap(), range.parse().unwrap()),
        };
        values.extend((first..=last).step_by(step));
    }
    values
}

/// The real minutes around a change with the local time that each shows.
fn minutes_around(zone: &TimeZone, change: Timestamp) -> Vec<(Timestamp, DateTime)> {
    let from = change - HALF_WINDOW;
    (0..HALF_WINDOW.as_mins() * 2)
        .map(|minute| from + SignedDuration::from_mins(minute))
        .map(|instant| (instant, zone.to_datetime(instant)))
        .collect()
}

/// The fires by the documented rule, from a walk through real minutes.
fn expected(pattern: &Pattern, dst: DstRule, minutes: &[(Timestamp, DateTime)]) -> Vec<Timestamp> {
    let shifts = dst == DstRule::RunAtGapEnd && pattern.hours.len() < 24;
    let mut shown = HashSet::new();
    let mut fires = Vec::new();
    let mut before: Option<DateTime> = None;
    for &(instant, local) in minutes {
        let mut skipped = before.and_then(|before| before.checked_add(SignedDuration::from_mins(1)).ok());
        let mut fires_here = pattern.matches(local) && (shown.insert(local) || pattern.repeats);
        while let Some(missing) = skipped.filter(|missing| *missing < local && shifts) {
            fires_here |= pattern.matches(missing);
            skipped = missing.checked_add(SignedDuration::from_mins(1)).ok();
        }
        if fires_here {
            fires.push(instant);
        }
        before = Some(local);
    }
    fires
}

#[test]
fn fires_follow_the_documented_rule_over_every_change() {
    let mut compared = 0;
    for (name, zone, changes) in zones() {
        let rules = [DstRule::RunAtGapEnd, DstRule::Skip];
        let all = LINES.iter().flat_map(|line| rules.map(|dst| (*line, dst, Pattern::new(*line))));
        let calendars: Vec<_> = all
            // The rule changes nothing where every hour has a fire.
            .filter(|(_, dst, pattern)| *dst == DstRule::RunAtGapEnd || pattern.hours.len() < 24)
            .map(|(line, dst, pattern)| {
                let text = format!("{} {} * * *", line.0, line.1);
                (pattern, line, dst, Calendar::parse(&text, &name, dst).unwrap())
            })
            .collect();
        for change in changes {
            let minutes = minutes_around(&zone, change);
            let (from, until) = (minutes[0].0, minutes[minutes.len() - 1].0);
            for (pattern, line, dst, calendar) in &calendars {
                let wanted = expected(pattern, *dst, &minutes);
                let found = fires::fires_between(calendar, from, until + SignedDuration::from_secs(1), 1_000);
                assert_eq!(found, wanted, "{name} {line:?} {dst:?} around {change}");
                compared += wanted.len().max(1);
                // Backwards the same fires, probed where the change is.
                let last = wanted.iter().rev().find(|fire| **fire < change + SignedDuration::from_hours(3));
                if let Some(last) = last {
                    let position = wanted.iter().position(|fire| fire == last).unwrap_or(0);
                    for pair in wanted[position.saturating_sub(3)..=position].windows(2) {
                        assert_eq!(
                            calendar.previous_before(pair[1]),
                            Some(pair[0]),
                            "{name} {line:?} {dst:?}"
                        );
                    }
                }
            }
        }
    }
    // Some 545,000 with the zone database of 2026.
    assert!(compared > 400_000, "only {compared} fires compared");
}

/// Checks one interval on its own, and that its key leads back to it.
fn check_interval(
    name: &str,
    zone: &TimeZone,
    kind: DataInterval,
    interval: Interval,
    keys: &mut BTreeSet<String>,
) {
    assert!(interval.start < interval.end, "{name} {kind} {interval:?}");
    for inside in [interval.start, local::just_before(interval.end)] {
        assert_eq!(interval_at(kind, zone, inside), Some(interval), "{name} {kind} {inside}");
    }
    assert_eq!(interval_of_fire(kind, zone, interval.end), Some(interval), "{name} {kind} {interval:?}");
    let key = run_key(kind, zone, Some(interval), interval.start);
    assert!(keys.insert(key.clone()), "{name} {kind} {key} twice");
    let parts = parse_run_key(kind, zone, &key).unwrap();
    assert_eq!(parts.interval, Some(interval), "{name} {kind} {key}");
    let selected = select(kind, zone, None, Some(&key), interval.end).unwrap();
    assert_eq!(
        (selected.interval, selected.key, selected.finished),
        (Some(interval), key, true),
        "{name} {kind}"
    );
}

fn check_tiling(name: &str, zone: &TimeZone, kind: DataInterval, from: Timestamp, until: Timestamp) -> usize {
    let mut keys = BTreeSet::new();
    let mut interval = interval_at(kind, zone, from).unwrap();
    while interval.start < until {
        check_interval(name, zone, kind, interval, &mut keys);
        let next = interval_at(kind, zone, interval.end).unwrap();
        assert_eq!(next.start, interval.end, "{name} {kind}");
        interval = next;
    }
    keys.len()
}

#[test]
fn intervals_tile_the_time_line_and_have_keys_of_their_own() {
    let mut checked = 0;
    for (name, zone, changes) in zones() {
        for change in changes {
            let (from, until) =
                (change - SignedDuration::from_hours(60), change + SignedDuration::from_hours(60));
            for kind in [DataInterval::Hour, DataInterval::Day] {
                checked += check_tiling(&name, &zone, kind, from, until);
            }
        }
        for kind in [DataInterval::Week, DataInterval::Month] {
            let from = date(2020, 1, 1).to_zoned(TimeZone::UTC).unwrap().timestamp();
            let until = date(2037, 12, 1).to_zoned(TimeZone::UTC).unwrap().timestamp();
            checked += check_tiling(&name, &zone, kind, from, until);
        }
    }
    assert!(checked > 200_000, "only {checked} intervals checked");
}

#[test]
fn a_fire_covers_what_ended_last() {
    for (name, zone, changes) in zones() {
        for change in changes {
            for minutes in (-180..=180).step_by(30) {
                let fire = change + SignedDuration::from_mins(minutes);
                for kind in [DataInterval::Hour, DataInterval::Day, DataInterval::Week, DataInterval::Month] {
                    let covered = interval_of_fire(kind, &zone, fire).unwrap();
                    let next = interval_at(kind, &zone, covered.end).unwrap();
                    assert!(covered.end <= fire && next.end > fire, "{name} {kind} {fire}: {covered:?}");
                }
            }
        }
    }
}

#[test]
fn the_date_that_an_interval_begins_on_selects_it() {
    for (name, zone, changes) in zones() {
        for change in changes {
            let day = interval_at(DataInterval::Day, &zone, change).unwrap();
            let text = zone.to_datetime(day.start).date().to_string();
            for kind in [DataInterval::Day, DataInterval::Week, DataInterval::Month] {
                let wanted = interval_at(kind, &zone, day.start);
                let selected = select(kind, &zone, None, Some(&text), change).unwrap();
                assert_eq!(selected.interval, wanted, "{name} {kind} {text}");
            }
        }
    }
}
