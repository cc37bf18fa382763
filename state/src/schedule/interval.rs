//! What a run covers: calendar units in a zone, or a span before the fire.
//!
//! Units tile the time line without gap or overlap, over clock changes too: a day may have 23
//! or 25 hours, an hour that the clock repeats exists twice.

use std::{
    fmt::{self, Write as _},
    str::FromStr,
    time::Duration,
};

use jiff::{
    SignedDuration, Timestamp, ToSpan,
    civil::{Date, Weekday},
    tz::TimeZone,
};
use serde::{Deserialize, Serialize};

use super::local::{Stretch, first_instant, just_before};

/// The shortest span: fires are whole minutes, so nothing shorter can be covered without gaps.
pub const SPAN_MIN: Duration = Duration::from_mins(1);

/// The longest span: a leap year; longer ones are an `interval` of months in a query.
pub const SPAN_MAX: Duration = Duration::from_hours(366 * 24);

/// Every unit begins at most so many units before the one that its local date suggests; a zone
/// that drops a whole date makes one unit empty.
const EMPTY_UNITS_MAX: usize = 3;

/// Which stretch of time a run covers.
///
/// As text: `hour`, `day`, `week`, `month`, `none`, or a span such as `10m` or `1h30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DataInterval {
    /// The last complete hour of the local clock.
    Hour,
    /// The last complete local date.
    Day,
    /// The last complete ISO week, Monday to Sunday.
    Week,
    /// The last complete month.
    Month,
    /// `[fire − span, fire)`, in real time.
    Span(Duration),
    /// Nothing: the run is about the moment at which it fires.
    None,
}

/// A stretch of time `[start, end)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Interval {
    /// The first instant in it.
    pub start: Timestamp,
    /// The first instant after it.
    pub end: Timestamp,
}

impl Interval {
    /// Whether the instant lies in it.
    pub fn contains(&self, instant: Timestamp) -> bool {
        self.start <= instant && instant < self.end
    }
}

/// Why the text is no data interval.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DataIntervalError {
    /// Neither a word nor a span.
    #[error("`{0}` is no data interval; write hour, day, week, month, none or a span such as 10m")]
    Text(String),
    /// Too short or too long.
    #[error("a data interval lasts from 1 minute to 366 days, `{0}` does not")]
    Bounds(String),
}

/// Text beyond this length is not quoted in full.
const TEXT_SHOWN_MAX: usize = 40;

impl FromStr for DataInterval {
    type Err = DataIntervalError;

    fn from_str(text: &str) -> Result<Self, DataIntervalError> {
        match text {
            "hour" => Ok(Self::Hour),
            "day" => Ok(Self::Day),
            "week" => Ok(Self::Week),
            "month" => Ok(Self::Month),
            "none" => Ok(Self::None),
            _ => {
                let shown: String = text.chars().take(TEXT_SHOWN_MAX).collect();
                let span = parse_span(text).ok_or_else(|| DataIntervalError::Text(shown.clone()))?;
                let whole = span.subsec_nanos() == 0;
                if !whole || !(SPAN_MIN..=SPAN_MAX).contains(&span) {
                    return Err(DataIntervalError::Bounds(shown));
                }
                Ok(Self::Span(span))
            }
        }
    }
}

impl fmt::Display for DataInterval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hour => f.write_str("hour"),
            Self::Day => f.write_str("day"),
            Self::Week => f.write_str("week"),
            Self::Month => f.write_str("month"),
            Self::None => f.write_str("none"),
            Self::Span(span) => f.write_str(&span_text(*span)),
        }
    }
}

impl TryFrom<String> for DataInterval {
    type Error = DataIntervalError;

    fn try_from(text: String) -> Result<Self, DataIntervalError> {
        text.parse()
    }
}

impl From<DataInterval> for String {
    fn from(kind: DataInterval) -> Self {
        kind.to_string()
    }
}

/// Reads `90s`, `5m`, `2h`, `1d` and sums such as `1h30m`, larger units first.
pub fn parse_span(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total: u64 = 0;
    let mut unit_before = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let count: u64 = rest.get(..digits)?.parse().ok()?;
        let seconds = match rest.as_bytes().get(digits)? {
            b'd' => 86_400,
            b'h' => 3_600,
            b'm' => 60,
            b's' => 1,
            _ => return None,
        };
        if seconds >= unit_before {
            return None;
        }
        unit_before = seconds;
        total = total.checked_add(count.checked_mul(seconds)?)?;
        rest = rest.get(digits + 1..)?;
    }
    (!text.is_empty()).then_some(Duration::from_secs(total))
}

/// Writes a span as [`parse_span`] reads it; below a second it is `0s`.
pub fn span_text(span: Duration) -> String {
    let mut rest = span.as_secs();
    let mut text = String::new();
    for (seconds, unit) in [(86_400, 'd'), (3_600, 'h'), (60, 'm'), (1, 's')] {
        if rest >= seconds {
            let _ = write!(text, "{}{unit}", rest / seconds);
            rest %= seconds;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// What a run that fires at this instant covers: the last calendar unit that ended at or
/// before it, or the span before it. `None` for [`DataInterval::None`].
pub fn interval_of_fire(kind: DataInterval, zone: &TimeZone, fire: Timestamp) -> Option<Interval> {
    if let DataInterval::Span(span) = kind {
        return Some(Interval { start: back(fire, span)?, end: fire });
    }
    let current = interval_at(kind, zone, fire)?;
    interval_at(kind, zone, just_before(current.start))
}

/// The interval that contains the instant: the calendar unit, or the multiple of the span
/// since the epoch. `None` for [`DataInterval::None`].
pub fn interval_at(kind: DataInterval, zone: &TimeZone, instant: Timestamp) -> Option<Interval> {
    match kind {
        DataInterval::None => None,
        DataInterval::Span(span) => aligned(span, instant),
        DataInterval::Hour => hour_at(zone, instant),
        DataInterval::Day | DataInterval::Week | DataInterval::Month => date_unit_at(kind, zone, instant),
    }
}

fn back(instant: Timestamp, span: Duration) -> Option<Timestamp> {
    instant.checked_sub(SignedDuration::try_from(span).ok()?).ok()
}

fn aligned(span: Duration, instant: Timestamp) -> Option<Interval> {
    let span = SignedDuration::try_from(span).ok().filter(SignedDuration::is_positive)?;
    let length = span.as_nanos();
    let start = instant.as_nanosecond().div_euclid(length).checked_mul(length)?;
    let start = Timestamp::from_nanosecond(start).ok()?;
    Some(Interval { start, end: start.checked_add(span).ok()? })
}

/// The hour of the local clock, cut where the clock changes within it.
fn hour_at(zone: &TimeZone, instant: Timestamp) -> Option<Interval> {
    let stretch = Stretch::at(zone, instant);
    let local = stretch.local(instant);
    let from = local.date().at(local.hour(), 0, 0, 0);
    let start = stretch.instant(from)?;
    let end = stretch.instant(from.checked_add(1.hour()).ok()?)?;
    let start = stretch.start.map_or(start, |(changed, _)| start.max(changed));
    let end = stretch.end.map_or(end, |changed| end.min(changed));
    Some(Interval { start, end })
}

/// The day, week or month; the first local instant of a date begins it, also where the clock
/// shows that date's midnight twice or not at all.
fn date_unit_at(kind: DataInterval, zone: &TimeZone, instant: Timestamp) -> Option<Interval> {
    let mut first = unit_start(kind, zone.to_datetime(instant).date())?;
    // A clock that goes back over midnight shows yesterday's date within today.
    first = next_unit(kind, first)?;
    let mut start = first_instant(zone, first.at(0, 0, 0, 0))?;
    let mut end = start;
    for _ in 0..EMPTY_UNITS_MAX {
        if start <= instant {
            break;
        }
        end = start;
        first = previous_unit(kind, first)?;
        start = first_instant(zone, first.at(0, 0, 0, 0))?;
    }
    // Today's date may have begun twice; the next unit ends it.
    while end <= instant {
        first = next_unit(kind, first)?;
        end = first_instant(zone, first.at(0, 0, 0, 0))?;
    }
    Some(Interval { start, end })
}

/// The first date of the unit that contains a date.
pub(super) fn unit_start(kind: DataInterval, date: Date) -> Option<Date> {
    match kind {
        DataInterval::Week => {
            let monday = date.weekday().since(Weekday::Monday);
            date.checked_sub(i64::from(monday).days()).ok()
        }
        DataInterval::Month => Some(date.first_of_month()),
        _ => Some(date),
    }
}

/// The first date of the unit after the one that begins on `first`.
pub(super) fn next_unit(kind: DataInterval, first: Date) -> Option<Date> {
    match kind {
        DataInterval::Week => first.checked_add(1.week()).ok(),
        DataInterval::Month => first.checked_add(1.month()).ok(),
        _ => first.checked_add(1.day()).ok(),
    }
}

fn previous_unit(kind: DataInterval, first: Date) -> Option<Date> {
    match kind {
        DataInterval::Week => first.checked_sub(1.week()).ok(),
        DataInterval::Month => first.checked_sub(1.month()).ok(),
        _ => first.checked_sub(1.day()).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_spans_are_read_and_written() {
        for text in ["hour", "day", "week", "month", "none", "10m", "1h30m", "1d", "366d", "90s"] {
            let kind: DataInterval = text.parse().unwrap();
            let written = if text == "90s" { "1m30s" } else { text };
            assert_eq!(kind.to_string(), written);
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{written}\""));
        }
        assert_eq!(serde_json::from_str::<DataInterval>("\"day\"").unwrap(), DataInterval::Day);
        for text in ["", "10", "m", "10 m", "30m1h", "1h1h", "10x", "-1h", "99999999999999999999d"] {
            assert!(matches!(text.parse::<DataInterval>(), Err(DataIntervalError::Text(_))), "{text}");
        }
        for text in ["59s", "0m", "367d"] {
            assert!(matches!(text.parse::<DataInterval>(), Err(DataIntervalError::Bounds(_))), "{text}");
        }
    }

    #[test]
    fn the_day_before_the_fire_is_a_local_day() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let fire: Timestamp = "2026-03-30T07:00Z".parse().unwrap();
        let day = interval_of_fire(DataInterval::Day, &berlin, fire).unwrap();
        assert_eq!(day.start.to_string(), "2026-03-28T23:00:00Z");
        assert_eq!(day.end.to_string(), "2026-03-29T22:00:00Z");
        // A fire at the unit's very end covers it.
        assert_eq!(interval_of_fire(DataInterval::Day, &berlin, day.end), Some(day));
        let span = interval_of_fire("1d".parse().unwrap(), &berlin, fire).unwrap();
        assert_eq!(span.start.to_string(), "2026-03-29T07:00:00Z");
        assert_eq!(interval_of_fire(DataInterval::None, &berlin, fire), None);
    }
}
