//! Dates as people write them, from a month to an instant: text into the stretch of time that
//! it names. Which run that picks is decided in [`super::select`].

use jiff::{
    SignedDuration, Timestamp, ToSpan, Zoned,
    civil::{Date, DateTime, ISOWeekDate, Time, Weekday},
    tz::{AmbiguousOffset, Offset, TimeZone},
};

use super::{
    interval::{DataInterval, Interval, next_unit},
    key::utc_text,
    local::{Stretch, first_instant, just_after, just_before},
    select::{SelectError, TEXT_LENGTH_MAX, YEARS, shorten},
};

/// A date as written: the stretch that it names.
pub(super) struct DateText {
    /// All instants that the text may mean.
    pub(super) range: Interval,
    /// Whether the text names one instant.
    pub(super) exact: bool,
}

impl DateText {
    /// Reads a date; `example` stands in the refusal.
    pub(super) fn read(text: &str, zone: &TimeZone, example: &str) -> Result<Self, SelectError> {
        let refuse = || SelectError::text(text, example);
        let trimmed = text.trim();
        if trimmed.is_empty() || trimmed.len() > TEXT_LENGTH_MAX || !trimmed.is_ascii() {
            return Err(refuse());
        }
        let year_text = trimmed.get(..4).filter(|year| year.bytes().all(|byte| byte.is_ascii_digit()));
        let year: i16 = year_text.and_then(|year| year.parse().ok()).ok_or_else(refuse)?;
        if !YEARS.contains(&year) {
            return Err(SelectError::Year { text: shorten(text), example: example.to_owned() });
        }
        let written = Written::read(trimmed, zone).ok_or_else(refuse)?;
        let (range, exact) = match written {
            Written::Local(from, until) => {
                let ends = first_instant(zone, from).zip(first_instant(zone, until));
                let (start, end) = ends.ok_or_else(refuse)?;
                (Interval { start, end }, false)
            }
            Written::Hour(start, offset) => (hour(zone, start, offset).ok_or_else(refuse)?, false),
            Written::Instant(start) => (Interval { start, end: just_after(start) }, true),
            // Both lie in one day, but in two hours.
            Written::Repeated(start, last) => (Interval { start, end: just_after(last) }, false),
            Written::Skipped(next) => (Interval { start: next, end: next }, true),
        };
        if range.start >= range.end {
            return Err(SelectError::Skipped { text: shorten(text), next: utc_text(range.start) });
        }
        Ok(Self { range, exact })
    }
}

/// The forms in which dates are written.
enum Written {
    /// A month, week, date or hour of the local clock: `[from, until)`.
    Local(DateTime, DateTime),
    /// An hour with an offset of its own, and that offset.
    Hour(Timestamp, Offset),
    /// One instant.
    Instant(Timestamp),
    /// A local time that the clock shows twice.
    Repeated(Timestamp, Timestamp),
    /// A local time that the clock jumps over, and where it goes on.
    Skipped(Timestamp),
}

impl Written {
    fn read(text: &str, zone: &TimeZone) -> Option<Self> {
        if let Some(first) = month(text) {
            return unit(DataInterval::Month, first);
        }
        if let Some(first) = iso_week(text) {
            return unit(DataInterval::Week, first);
        }
        let date: Date = text.get(..10)?.parse().ok()?;
        let Some(time) = text.get(10..).filter(|rest| !rest.is_empty()) else {
            return unit(DataInterval::Day, date);
        };
        let time = time.strip_prefix(['T', 't', ' '])?;
        let hour: i8 = two_digits(time)?.try_into().ok()?;
        let from = date.to_datetime(Time::new(hour, 0, 0, 0).ok()?);
        match time.get(2..)? {
            "" => Some(Self::Local(from, from.checked_add(1.hour()).ok()?)),
            "Z" | "z" => Some(Self::Hour(Offset::UTC.to_timestamp(from).ok()?, Offset::UTC)),
            sign if sign.starts_with(['+', '-']) => {
                let start: Timestamp = format!("{date}T{hour:02}:00{sign}").parse().ok()?;
                // The difference between what was written and UTC is the offset.
                let offset = from.duration_since(Offset::UTC.to_datetime(start)).as_secs();
                Some(Self::Hour(start, Offset::from_seconds(offset.try_into().ok()?).ok()?))
            }
            _ => Self::instant(&format!("{date}T{time}"), zone),
        }
    }

    fn instant(text: &str, zone: &TimeZone) -> Option<Self> {
        if text.contains('[') {
            return Some(Self::Instant(text.parse::<Zoned>().ok()?.timestamp()));
        }
        if let Ok(instant) = text.parse::<Timestamp>() {
            return Some(Self::Instant(instant));
        }
        let local: DateTime = text.parse().ok()?;
        match zone.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => Some(Self::Instant(offset.to_timestamp(local).ok()?)),
            AmbiguousOffset::Fold { before, after } => {
                Some(Self::Repeated(before.to_timestamp(local).ok()?, after.to_timestamp(local).ok()?))
            }
            AmbiguousOffset::Gap { .. } => Some(Self::Skipped(first_instant(zone, local)?)),
        }
    }
}

/// The hour that begins at `start` by a clock with this offset; where the zone has that offset
/// in a part of the hour only, that part.
fn hour(zone: &TimeZone, start: Timestamp, offset: Offset) -> Option<Interval> {
    let end = start.checked_add(SignedDuration::from_hours(1)).ok()?;
    let (first, last) = (Stretch::at(zone, start), Stretch::at(zone, just_before(end)));
    if first.offset == offset {
        return Some(Interval { start, end: first.end.map_or(end, |changed| end.min(changed)) });
    }
    match last.start {
        Some((changed, _)) if last.offset == offset => Some(Interval { start: start.max(changed), end }),
        _ => Some(Interval { start, end }),
    }
}

fn unit(kind: DataInterval, first: Date) -> Option<Written> {
    let next = next_unit(kind, first)?;
    Some(Written::Local(first.at(0, 0, 0, 0), next.at(0, 0, 0, 0)))
}

/// `2026-10`: its first date.
fn month(text: &str) -> Option<Date> {
    let (year, month) = text.split_once('-')?;
    if text.len() != 7 || month.len() != 2 {
        return None;
    }
    Date::new(year.parse().ok()?, two_digits(month)?.try_into().ok()?, 1).ok()
}

/// `2026-W47`: its Monday.
fn iso_week(text: &str) -> Option<Date> {
    let (year, week) = text.split_once("-W")?;
    if week.len() != 2 {
        return None;
    }
    let week = two_digits(week)?.try_into().ok()?;
    Some(ISOWeekDate::new(year.parse().ok()?, week, Weekday::Monday).ok()?.date())
}

fn two_digits(text: &str) -> Option<u8> {
    let digits = text.get(..2).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok()
}
