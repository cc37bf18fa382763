//! The run key: the text that names a run within its pipeline, one for each interval.
//!
//! | data interval | key | example |
//! |---|---|---|
//! | day | local date | `2026-11-19` |
//! | hour | local date and hour; with the offset where the clock shows the hour twice | `2026-11-19T05`, `2026-11-01T01-04:00` |
//! | week | ISO week | `2026-W47` |
//! | month | month | `2026-10` |
//! | span | start in UTC | `2026-11-19T05:10Z` |
//! | none | fire time in UTC | `2026-11-20T09:00Z` |
//!
//! Within one pipeline, whose kind and zone do not change, equal keys mean equal intervals.

use jiff::{Timestamp, ToSpan, Unit, civil::DateTime, tz::TimeZone};

use super::{
    date_text::DateText,
    interval::{DataInterval, Interval, interval_at},
    local::{Stretch, is_repeated},
    select::SelectError,
};

/// A moment whose keys can be read in every zone; the epoch lies in 1969 west of Greenwich. 2026-11-19T09:00Z.
const EXAMPLE: Timestamp = Timestamp::constant(1_795_078_800, 0);

/// What a run key says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunKeyParts {
    /// What the run covers.
    pub interval: Option<Interval>,
    /// The start of the interval; without one, the fire time.
    pub logical_date: Timestamp,
}

/// The key of the run that covers `interval`; without one, of the run whose logical date this
/// is.
pub fn run_key(
    kind: DataInterval,
    zone: &TimeZone,
    interval: Option<Interval>,
    logical_date: Timestamp,
) -> String {
    let start = interval.map_or(logical_date, |interval| interval.start);
    let local = zone.to_datetime(start);
    match kind {
        DataInterval::Day => local.strftime("%Y-%m-%d").to_string(),
        DataInterval::Week => local.strftime("%G-W%V").to_string(),
        DataInterval::Month => local.strftime("%Y-%m").to_string(),
        DataInterval::Hour => hour_key(zone, start, local),
        DataInterval::Span(_) | DataInterval::None => utc_text(start),
    }
}

/// What a key says: the inverse of [`run_key`]. Also takes what people write for the same
/// thing, such as a full timestamp with an offset; refuses what leaves a choice.
pub fn parse_run_key(kind: DataInterval, zone: &TimeZone, text: &str) -> Result<RunKeyParts, SelectError> {
    let example = || run_key(kind, zone, None, EXAMPLE);
    let written = DateText::read(text, zone, &example())?;
    let range = written.range;
    let interval = match kind {
        DataInterval::None => None,
        DataInterval::Span(span) => {
            let end = range.start.checked_add(span).map_err(|_| SelectError::text(text, &example()))?;
            Some(Interval { start: range.start, end })
        }
        _ => interval_at(kind, zone, range.start),
    };
    let exact = match (kind, interval) {
        (DataInterval::None | DataInterval::Span(_), _) => written.exact,
        (_, Some(interval)) => range.end <= interval.end,
        (_, None) => false,
    };
    if !exact {
        return Err(SelectError::text(text, &example()));
    }
    Ok(RunKeyParts { interval, logical_date: interval.map_or(range.start, |interval| interval.start) })
}

/// Where the clock shows some of the hour twice, the offset tells the two apart.
fn hour_key(zone: &TimeZone, start: Timestamp, local: DateTime) -> String {
    let hour = local.date().at(local.hour(), 0, 0, 0);
    let ends = [Some(hour), hour.checked_add(59.minutes().seconds(59)).ok()];
    let text = local.strftime("%Y-%m-%dT%H").to_string();
    if !ends.into_iter().flatten().any(|end| is_repeated(zone, end)) {
        return text;
    }
    let offset = Stretch::at(zone, start).offset;
    format!("{text}{}", start.to_zoned(offset.to_time_zone()).strftime("%:z"))
}

/// An instant in UTC, as short as it is exact.
pub(super) fn utc_text(instant: Timestamp) -> String {
    let whole_minute = instant.as_nanosecond() % 60_000_000_000 == 0;
    if !whole_minute {
        return instant.to_string();
    }
    match instant.round(Unit::Minute) {
        Ok(minute) => minute.strftime("%Y-%m-%dT%H:%MZ").to_string(),
        Err(_) => instant.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::zone;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn key(kind: &str, zone_name: &str, instant: &str) -> String {
        let (kind, zone) = (kind.parse().unwrap(), zone(zone_name).unwrap());
        let interval = interval_at(kind, &zone, at(instant));
        let key = run_key(kind, &zone, interval, at(instant));
        let parts = parse_run_key(kind, &zone, &key).unwrap();
        assert_eq!(parts.interval, interval, "{key}");
        assert_eq!(parts.logical_date, interval.map_or(at(instant), |interval| interval.start), "{key}");
        key
    }

    #[test]
    fn keys_are_short_and_lead_back() {
        let (new_york, first, second) = ("America/New_York", "2026-11-01T05:30Z", "2026-11-01T06:30Z");
        assert_eq!(key("day", new_york, "2026-11-20T03:00Z"), "2026-11-19");
        assert_eq!(key("hour", new_york, first), "2026-11-01T01-04:00");
        assert_eq!(key("hour", new_york, second), "2026-11-01T01-05:00");
        assert_eq!(key("hour", new_york, "2026-11-01T07:30Z"), "2026-11-01T02");
        assert_eq!(key("hour", "Australia/Lord_Howe", "2026-04-04T15:10Z"), "2026-04-05T01+10:30");
        assert_eq!(key("week", "UTC", "2027-01-01T00:00Z"), "2026-W53");
        assert_eq!(key("month", "UTC", "2026-10-31T23:59Z"), "2026-10");
        assert_eq!(key("10m", new_york, "2026-11-19T05:17Z"), "2026-11-19T05:10Z");
        assert_eq!(key("none", new_york, "2026-11-19T05:17:30Z"), "2026-11-19T05:17:30Z");
        assert_eq!(key("none", new_york, "2026-11-19T05:17:00.25Z"), "2026-11-19T05:17:00.25Z");
    }

    #[test]
    fn what_leaves_a_choice_is_no_key() {
        let utc = TimeZone::UTC;
        for (kind, text) in
            [("hour", "2026-11-19"), ("day", "2026-11"), ("10m", "2026-11-19T05"), ("none", "2026-11-19")]
        {
            let refused = parse_run_key(kind.parse().unwrap(), &utc, text);
            assert!(matches!(refused, Err(SelectError::Text { .. })), "{kind} {text}: {refused:?}");
        }
    }

    #[test]
    fn what_a_refusal_tells_to_write_is_read() {
        for zone_name in ["UTC", "America/New_York", "Pacific/Kiritimati"] {
            for kind in ["hour", "day", "week", "month", "10m", "none"] {
                let (kind, zone) = (kind.parse().unwrap(), zone(zone_name).unwrap());
                let Err(SelectError::Text { example, .. }) = parse_run_key(kind, &zone, "yesterday") else {
                    panic!("`yesterday` is no key")
                };
                assert!(parse_run_key(kind, &zone, &example).is_ok(), "{zone_name}: {example}");
            }
        }
    }
}
