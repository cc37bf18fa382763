//! Which interval a person means: `--date 2026-11-19`, or nothing at all.

use std::fmt::Write as _;

use jiff::{Timestamp, tz::TimeZone};

use super::{
    calendar::Calendar,
    date_text::DateText,
    fires::fires_between,
    interval::{DataInterval, Interval, interval_at, interval_of_fire},
    key::{run_key, utc_text},
    local::{just_after, just_before},
};

/// Dates outside these years are slips of the finger, not runs.
pub(super) const YEARS: std::ops::RangeInclusive<i16> = 1970..=2199;

/// The longest text that is read as a date; the longest zone names stay below it.
pub(super) const TEXT_LENGTH_MAX: usize = 80;

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

/// The stretch of time that a text names, e.g. a whole month; for lists and ranges.
pub fn stretch(text: &str, zone: &TimeZone) -> Result<Interval, SelectError> {
    Ok(DateText::read(text, zone, "2026-11-19")?.range)
}

/// The runs whose intervals begin within a stretch of time, oldest first, with their fires: those
/// of the schedule, or without a schedule every interval. At most `limit`, and whether there are
/// more. None for [`DataInterval::None`].
pub fn runs_between(
    kind: DataInterval,
    zone: &TimeZone,
    calendar: Option<&Calendar>,
    stretch: Interval,
    now: Timestamp,
    limit: usize,
) -> (Vec<Selected>, bool) {
    let selection = Selection { kind, zone, calendar, now };
    let mut runs = Vec::new();
    let mut position = stretch.start;
    while position < stretch.end {
        let Some(interval) = selection.next_interval(position) else { break };
        if interval.start >= stretch.end {
            break;
        }
        if runs.len() == limit {
            return (runs, true);
        }
        position = just_after(interval.start);
        runs.push(selection.of(Some(interval), None));
    }
    (runs, false)
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
        let keys: Vec<String> = candidates.iter().map(key).collect();
        Err(several(text, &keys))
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
            _ => Err(several(text, &fires.into_iter().map(utc_text).collect::<Vec<_>>())),
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

    /// The first interval that begins at or after the instant.
    fn next_interval(&self, from: Timestamp) -> Option<Interval> {
        let Some(calendar) = self.calendar else {
            let around = interval_at(self.kind, self.zone, from)?;
            return if around.start >= from {
                Some(around)
            } else {
                interval_at(self.kind, self.zone, around.end)
            };
        };
        // A fire covers what ended before it: the first fires after the instant may cover too early a stretch.
        let mut fire = from;
        loop {
            fire = calendar.next_after(fire)?;
            let covered = interval_of_fire(self.kind, self.zone, fire)?;
            if covered.start >= from {
                return Some(covered);
            }
        }
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

fn several(text: &str, keys: &[String]) -> SelectError {
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

pub(super) fn shorten(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(TEXT_LENGTH_MAX).collect()
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
