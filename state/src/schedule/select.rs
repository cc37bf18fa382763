//! Which interval a person means: `--date 2026-11-19`, or nothing at all.

use std::fmt::Write as _;

use jiff::{
    SignedDuration, Timestamp, ToSpan, Zoned,
    civil::{Date, DateTime, ISOWeekDate, Weekday},
    tz::{AmbiguousOffset, Offset, TimeZone},
};

use super::{
    calendar::Calendar,
    fires::fires_between,
    interval::{DataInterval, Interval, interval_at, interval_of_fire, next_unit},
    key::{run_key, utc_text},
    local::{Stretch, first_instant, just_after, just_before},
};

/// Dates outside these years are slips of the finger, not runs.
const YEARS: std::ops::RangeInclusive<i16> = 1970..=2199;

/// The longest text that is read as a date; the longest zone names stay below it.
const TEXT_LENGTH_MAX: usize = 80;

/// So many matches are counted; a month of minutes is more, and nobody reads on.
const MATCHES_MAX: usize = 1_000;

/// So many choices are listed before the rest is only counted.
const CHOICES_SHOWN: usize = 6;

/// What a run is going to cover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selected {
    /// The interval; none for `data_interval: none`.
    pub interval: Option<Interval>,
    /// The scheduled fire whose interval this is, if the schedule has one; may lie ahead.
    pub fire: Option<Timestamp>,
    /// The start of the interval; without one, the fire, or else now.
    pub logical_date: Timestamp,
    /// Whether the interval is over. If not, its data may still be incomplete: warn.
    pub finished: bool,
    /// The run's key, as [`run_key`] writes it.
    pub key: String,
}

/// Why the text selects no run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SelectError {
    /// It cannot be read.
    #[error("`{text}` is not a date that can be read; write e.g. {example}")]
    Text {
        /// The text, shortened.
        text: String,
        /// One that works for this pipeline.
        example: String,
    },
    /// It lies too far out.
    #[error("`{text}` lies outside the years {} to {}; write e.g. {example}", YEARS.start(), YEARS.end())]
    Year {
        /// The text.
        text: String,
        /// One that works for this pipeline.
        example: String,
    },
    /// The local time does not exist: the clock jumps over it.
    #[error("`{text}` does not exist in this time zone: the clock jumps over it; the next moment is {next}")]
    Skipped {
        /// The text.
        text: String,
        /// Where the clock goes on, in UTC.
        next: String,
    },
    /// Several runs match.
    #[error("`{text}` matches {total} runs; type one of {}", choices.join(", "))]
    Several {
        /// The text.
        text: String,
        /// What to type instead: the first few keys and the last.
        choices: Vec<String>,
        /// How many match; `1000 or more` are not counted further.
        total: String,
    },
    /// No run matches: the schedule has no fire whose span lies there.
    #[error("`{text}` matches no run of this schedule; the next one is {next}")]
    NoMatch {
        /// The text.
        text: String,
        /// What to type instead.
        next: String,
    },
}

impl SelectError {
    pub(super) fn text(text: &str, example: &str) -> Self {
        Self::Text { text: shorten(text), example: example.to_owned() }
    }
}

/// Picks the run that a person means.
///
/// The text is a month (`2026-10`), an ISO week (`2026-W47`), a date, an hour
/// (`2026-11-19T05`) or a full timestamp, local to `zone` unless it carries an offset or a
/// zone of its own. It picks the interval that contains it, or the only one that it touches.
/// Without text it is the last complete one; without an interval, now. Spans (`10m`) end at the
/// schedule's fires, and without a schedule at multiples of the span since the epoch.
pub fn select(
    kind: DataInterval,
    zone: &TimeZone,
    calendar: Option<&Calendar>,
    text: Option<&str>,
    now: Timestamp,
) -> Result<Selected, SelectError> {
    let selection = Selection { kind, zone, calendar, now };
    match text {
        None => Ok(selection.of(selection.last_complete(), None)),
        Some(text) => selection.by_text(text),
    }
}

struct Selection<'a> {
    kind: DataInterval,
    zone: &'a TimeZone,
    calendar: Option<&'a Calendar>,
    now: Timestamp,
}

impl Selection<'_> {
    fn by_text(&self, text: &str) -> Result<Selected, SelectError> {
        let example = self.of(self.last_complete(), None).key;
        let written = DateText::read(text, self.zone, &example)?;
        if self.kind == DataInterval::None {
            return self.moment(text, &written);
        }
        let candidates = self.intervals(written.range);
        if let Some(chosen) = choose(&candidates, &written) {
            return Ok(self.of(Some(chosen), None));
        }
        if candidates.is_empty() {
            let next = self.calendar.and_then(|calendar| calendar.next_after(written.range.end));
            let next = next.and_then(|fire| interval_of_fire(self.kind, self.zone, fire));
            let next = next.map_or(example, |interval| self.of(Some(interval), None).key);
            return Err(SelectError::NoMatch { text: shorten(text), next });
        }
        let key = |interval: &Interval| run_key(self.kind, self.zone, Some(*interval), interval.start);
        Err(several(text, candidates.iter().map(key).collect()))
    }

    /// Without an interval: the named instant, or the only fire within the named stretch.
    fn moment(&self, text: &str, written: &DateText) -> Result<Selected, SelectError> {
        let range = written.range;
        let Some(calendar) = self.calendar else { return Ok(self.of(None, Some(range.start))) };
        if written.exact {
            return Ok(self.of(None, Some(range.start)));
        }
        let fires = fires_between(calendar, range.start, range.end, MATCHES_MAX);
        match fires[..] {
            [fire] => Ok(self.of(None, Some(fire))),
            [] => {
                let next = calendar.next_after(range.end).unwrap_or(self.now);
                Err(SelectError::NoMatch { text: shorten(text), next: utc_text(next) })
            }
            _ => Err(several(text, fires.into_iter().map(utc_text).collect())),
        }
    }

    fn last_complete(&self) -> Option<Interval> {
        match self.kind {
            DataInterval::None => None,
            DataInterval::Span(_) => {
                let fire = self.calendar.and_then(|calendar| calendar.previous_before(just_after(self.now)));
                let end = fire.or_else(|| Some(interval_at(self.kind, self.zone, self.now)?.start))?;
                interval_of_fire(self.kind, self.zone, end)
            }
            _ => interval_of_fire(self.kind, self.zone, self.now),
        }
    }

    /// The intervals that touch the range, in order.
    fn intervals(&self, range: Interval) -> Vec<Interval> {
        if let (DataInterval::Span(span), Some(calendar)) = (self.kind, self.calendar) {
            let until = range.end.checked_add(span).unwrap_or(Timestamp::MAX);
            let fires = fires_between(calendar, just_after(range.start), until, MATCHES_MAX);
            return fires
                .into_iter()
                .filter_map(|fire| interval_of_fire(self.kind, self.zone, fire))
                .collect();
        }
        let mut intervals = Vec::new();
        let mut position = range.start;
        while position < range.end && intervals.len() < MATCHES_MAX {
            let Some(interval) = interval_at(self.kind, self.zone, position) else { break };
            position = interval.end;
            intervals.push(interval);
        }
        intervals
    }

    fn of(&self, interval: Option<Interval>, moment: Option<Timestamp>) -> Selected {
        let fire = match (interval, moment) {
            (Some(interval), _) => self.fire_of(interval),
            (None, Some(moment)) => self.next_from(moment).filter(|fire| *fire == moment),
            (None, None) => None,
        };
        let logical_date = interval.map(|interval| interval.start).or(moment).unwrap_or(self.now);
        let finished = interval.map_or(logical_date, |interval| interval.end) <= self.now;
        let key = run_key(self.kind, self.zone, interval, logical_date);
        Selected { interval, fire, logical_date, finished, key }
    }

    fn fire_of(&self, interval: Interval) -> Option<Timestamp> {
        let fire = self.next_from(interval.end)?;
        (interval_of_fire(self.kind, self.zone, fire) == Some(interval)).then_some(fire)
    }

    fn next_from(&self, instant: Timestamp) -> Option<Timestamp> {
        self.calendar?.next_after(just_before(instant))
    }
}

/// The only candidate; the one that begins at the named instant; the only one around the
/// named stretch.
fn choose(candidates: &[Interval], written: &DateText) -> Option<Interval> {
    if let [only] = candidates {
        return Some(*only);
    }
    if written.exact
        && let Some(start) = candidates.iter().find(|interval| interval.start == written.range.start)
    {
        return Some(*start);
    }
    let range = written.range;
    let mut around =
        candidates.iter().filter(|interval| interval.start <= range.start && range.end <= interval.end);
    let chosen = around.next()?;
    around.next().is_none().then_some(*chosen)
}

fn several(text: &str, keys: Vec<String>) -> SelectError {
    let mut total = keys.len().to_string();
    if keys.len() >= MATCHES_MAX {
        let _ = write!(total, " or more");
    }
    let mut choices: Vec<String> = keys.iter().take(CHOICES_SHOWN).cloned().collect();
    if let Some(last) = keys.get(CHOICES_SHOWN..).and_then(<[String]>::last) {
        choices.push(format!("… {last}"));
    }
    SelectError::Several { text: shorten(text), choices, total }
}

fn shorten(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(TEXT_LENGTH_MAX).collect()
}

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
        let from = date.to_datetime(jiff::civil::Time::new(hour, 0, 0, 0).ok()?);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{DstRule, zone};

    const NOW: &str = "2026-11-20T09:00:30Z";

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn pick(
        kind: &str,
        zone_name: &str,
        cron: Option<&str>,
        text: Option<&str>,
    ) -> Result<Selected, SelectError> {
        let calendar = cron.map(|cron| Calendar::parse(cron, zone_name, DstRule::default()).unwrap());
        select(kind.parse().unwrap(), &zone(zone_name).unwrap(), calendar.as_ref(), text, at(NOW))
    }

    fn line(kind: &str, zone_name: &str, cron: Option<&str>, text: Option<&str>) -> String {
        let asked = format!("{kind} {} {} {zone_name}: ", cron.unwrap_or("-"), text.unwrap_or("-"));
        asked
            + &match pick(kind, zone_name, cron, text) {
                Ok(selected) => {
                    let unfinished = if selected.finished { "" } else { ", unfinished" };
                    let zone = zone(zone_name).unwrap();
                    let covers = crate::schedule::describe_interval(&zone, selected.interval, selected.fire);
                    format!("{} {covers}{unfinished}", selected.key)
                }
                Err(error) => format!("error: {error}"),
            }
    }

    #[test]
    fn what_people_type() {
        let daily = Some("0 9 * * *");
        insta::assert_snapshot!(
            [
                line("day", "UTC", daily, None),
                line("day", "UTC", daily, Some("2026-11-19")),
                line("day", "UTC", daily, Some("2026-11-20")),
                line("day", "UTC", daily, Some("2026-11-19T05")),
                line("day", "UTC", daily, Some("2026-11-19T23:30:00-05:00")),
                line("day", "UTC", daily, Some("2026-11-19T23:30[America/New_York]")),
                line("day", "UTC", None, Some("2026-11-19 05:10")),
                line("month", "UTC", Some("0 12 2 * *"), Some("2026-10")),
                line("month", "UTC", Some("0 12 2 * *"), Some("2026-10-31")),
                line("month", "UTC", Some("0 12 2 * *"), None),
                line("week", "Europe/Berlin", Some("@weekly"), Some("2026-W47")),
                line("week", "Europe/Berlin", Some("@weekly"), Some("2026-11-18")),
                line("hour", "America/New_York", Some("10 * * * *"), Some("2026-11-01T01-05:00")),
                line("hour", "Asia/Kolkata", Some("10 * * * *"), Some("2026-11-19T05Z")),
                line("10m", "UTC", Some("*/10 * * * *"), Some("2026-11-19T05:10")),
                line("10m", "UTC", Some("*/10 * * * *"), None),
                line("2h", "UTC", daily, Some("2026-11-19")),
                line("10m", "UTC", None, None),
                line("none", "UTC", daily, None),
                line("none", "UTC", daily, Some("2026-11-19")),
                line("none", "UTC", None, Some("2026-11-19T05:10:30.5Z")),
            ]
            .join("\n")
        );
    }

    #[test]
    fn refusals_say_what_to_type() {
        let daily = Some("0 9 * * *");
        insta::assert_snapshot!(
            [
                line("day", "UTC", daily, Some("yesterday")),
                line("day", "UTC", daily, Some("2026-02-30")),
                line("day", "UTC", daily, Some("19.11.2026")),
                line("month", "UTC", daily, Some("2026")),
                line("day", "UTC", daily, Some("")),
                line("day", "UTC", daily, Some("0026-11-19")),
                line("day", "UTC", daily, Some("2200-01-01")),
                line("day", "UTC", daily, Some("2026-11")),
                line("hour", "UTC", daily, Some("2026-11-19")),
                line("hour", "America/New_York", None, Some("2026-11-01T01")),
                line("hour", "America/New_York", None, Some("2026-03-08T02")),
                line("day", "America/New_York", None, Some("2026-03-08T02:30")),
                line("day", "America/New_York", None, Some("2026-11-01T01:30")),
                line("1d", "UTC", daily, Some("2026-11-19")),
                line("1h", "UTC", daily, Some("2026-11-19T20")),
                line("1m", "UTC", Some("* * * * *"), Some("2026-11")),
                line("none", "UTC", Some("0 */6 * * *"), Some("2026-11-19")),
                line("none", "UTC", daily, Some("2026-11-19T10")),
            ]
            .join("\n")
        );
    }

    #[test]
    fn no_text_makes_it_panic() {
        for text in [
            "-",
            "2026-",
            "2026-W",
            "2026-W99",
            "2026-13",
            "2026-11-19T",
            "2026-11-19Tx",
            "2026-11-19T99",
            "2026-11-19T05+",
            "2026-11-19T05+99:99",
            "2026-11-19T05:10[Mars/Base]",
            "2199-12-31T23:59",
            "１",
            "2026é",
        ] {
            for kind in ["hour", "day", "week", "month", "10m", "none"] {
                let _ = pick(kind, "Europe/Berlin", Some("0 9 * * *"), Some(text));
            }
        }
    }
}
