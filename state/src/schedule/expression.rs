//! The text of a schedule: five-field cron, `cron(…)` and `rate(…)` as `EventBridge` writes
//! them, and the `@daily` words. Reads text; the zone and its clock changes come later.

use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use jiff::{Zoned, civil::DateTime, tz::TimeZone};

use super::{
    calendar::CalendarError,
    field::{Dialect, Field, FieldError, canonical},
};

/// Longer than any list of minutes, hours and days that a person would write.
pub(super) const EXPRESSION_LENGTH_MAX: usize = 512;

/// The longest period of a `rate(…)`: ten years, far beyond use, far below overflow.
const RATE_SECONDS_MAX: u64 = 3_650 * 86_400;

/// A schedule before its zone is known.
#[derive(Clone, Debug)]
pub(super) enum Rule {
    /// Matches local times.
    Cron(Box<CivilRule>),
    /// Fires at each multiple of so many seconds since 1970-01-01T00:00Z.
    Every { seconds: i64 },
}

/// A cron expression as a set of local times.
#[derive(Clone, Debug)]
pub(super) struct CivilRule {
    cron: Cron,
    /// Minute or hour is `*` or has a step: it repeats through the day, so it fires at each
    /// real instant whose local time matches, also when the clock repeats an hour.
    pub(super) repeats: bool,
    /// It fires in every hour of the day: when the clock jumps it simply goes on.
    pub(super) every_hour: bool,
}

impl CivilRule {
    /// The first local time at or after this one that matches.
    pub(super) fn first_from(&self, local: DateTime) -> Option<DateTime> {
        let carrier = local.to_zoned(TimeZone::UTC).ok()?;
        self.cron.find_next_occurrence(&carrier, true).ok().map(|found: Zoned| found.datetime())
    }

    /// The last local time at or before this one that matches.
    pub(super) fn last_until(&self, local: DateTime) -> Option<DateTime> {
        let carrier = local.to_zoned(TimeZone::UTC).ok()?;
        self.cron.find_previous_occurrence(&carrier, true).ok().map(|found: Zoned| found.datetime())
    }

    /// In English, in the middle of a sentence.
    pub(super) fn in_words(&self) -> String {
        let sentence = self.cron.describe();
        let (first, rest) = sentence.split_at(usize::from(sentence.is_char_boundary(1)));
        (first.to_lowercase() + rest).trim_end_matches('.').to_owned()
    }

    fn compile(fields: &[String; 6]) -> Result<Self, CalendarError> {
        let parser = CronParser::builder().seconds(Seconds::Required).year(Year::Required).build();
        let text = format!("0 {}", fields.join(" "));
        let cron = parser.parse(&text).map_err(|error| CalendarError::Cron(error.to_string()))?;
        let repeats = fields[..2].iter().any(|field| field.contains('*') || field.contains('/'));
        let every_hour = cron.pattern.hours.values().len() == 24;
        Ok(Self { cron, repeats, every_hour })
    }
}

impl Rule {
    /// Reads a schedule's text.
    pub(super) fn parse(text: &str) -> Result<Self, CalendarError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(CalendarError::Empty);
        }
        if text.len() > EXPRESSION_LENGTH_MAX {
            return Err(CalendarError::TooLong(text.len()));
        }
        if let Some(word) = text.strip_prefix('@') {
            return Self::parse_five(alias(word)?);
        }
        match call(text) {
            Some(("cron", inner)) => Self::parse_eventbridge(inner),
            Some(("rate", inner)) => parse_rate(inner),
            Some(("at", _)) => Err(CalendarError::Once),
            Some((name, _)) => Err(CalendarError::Call(name.to_owned())),
            None => Self::parse_five(text),
        }
    }

    fn parse_five(text: &str) -> Result<Self, CalendarError> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = words[..] else {
            return Err(CalendarError::FieldsOfFive(words.len()));
        };
        for (name, field) in [("day of month", day), ("day of week", weekday)] {
            if field == "?" {
                let cause = "`?` belongs to `cron(…)`; write `*`".to_owned();
                return Err(FieldError { field: name, text: field.to_owned(), cause }.into());
            }
        }
        let read = |field, text| canonical(field, Dialect::Cron, text);
        let rule = CivilRule::compile(&[
            read(Field::Minute, minute)?,
            read(Field::Hour, hour)?,
            read(Field::DayOfMonth, day)?,
            read(Field::Month, month)?,
            read(Field::DayOfWeek, weekday)?,
            "*".to_owned(),
        ])?;
        Ok(Self::Cron(Box::new(rule)))
    }

    fn parse_eventbridge(inner: &str) -> Result<Self, CalendarError> {
        let words: Vec<&str> = inner.split_whitespace().collect();
        let [minute, hour, day, month, weekday, year] = words[..] else {
            return Err(CalendarError::FieldsOfSix(words.len()));
        };
        if (day == "?") == (weekday == "?") {
            return Err(CalendarError::QuestionMark);
        }
        let read = |field, text: &str| {
            let may_be_open = matches!(field, Field::DayOfMonth | Field::DayOfWeek);
            if text == "?" && !may_be_open {
                let cause = "`?` is only for the days; write `*`".to_owned();
                return Err(FieldError { field: open_field_name(field), text: text.to_owned(), cause });
            }
            canonical(field, Dialect::EventBridge, text)
        };
        let rule = CivilRule::compile(&[
            read(Field::Minute, minute)?,
            read(Field::Hour, hour)?,
            read(Field::DayOfMonth, day)?,
            read(Field::Month, month)?,
            read(Field::DayOfWeek, weekday)?,
            read(Field::Year, year)?,
        ])?;
        Ok(Self::Cron(Box::new(rule)))
    }
}

fn open_field_name(field: Field) -> &'static str {
    match field {
        Field::Minute => "minute",
        Field::Hour => "hour",
        Field::Month => "month",
        _ => "year",
    }
}

/// Splits `name(inner)`.
fn call(text: &str) -> Option<(&str, &str)> {
    let (name, rest) = text.split_once('(')?;
    let inner = rest.strip_suffix(')')?;
    Some((name.trim(), inner.trim()))
}

/// The `@` words of cron and Airflow.
fn alias(word: &str) -> Result<&'static str, CalendarError> {
    match word {
        "hourly" => Ok("0 * * * *"),
        "daily" | "midnight" => Ok("0 0 * * *"),
        "weekly" => Ok("0 0 * * 0"),
        "monthly" => Ok("0 0 1 * *"),
        "quarterly" => Ok("0 0 1 */3 *"),
        "yearly" | "annually" => Ok("0 0 1 1 *"),
        "once" | "none" => Err(CalendarError::Once),
        _ => Err(CalendarError::Alias(word.to_owned())),
    }
}

/// Reads the inside of `rate(…)`: a positive number and a unit in the right number.
fn parse_rate(inner: &str) -> Result<Rule, CalendarError> {
    let refuse = |cause: String| CalendarError::Rate { text: inner.to_owned(), cause };
    let words: Vec<&str> = inner.split_whitespace().collect();
    let [number, unit] = words[..] else {
        return Err(refuse("write a number and a unit, e.g. `rate(10 minutes)`".to_owned()));
    };
    let plain = number.bytes().all(|byte| byte.is_ascii_digit());
    let count = match number.parse::<u64>() {
        Ok(count) if plain && count > 0 => count,
        _ => return Err(refuse(format!("`{number}` is not a positive whole number"))),
    };
    let (singular, seconds) = match unit.strip_suffix('s').unwrap_or(unit) {
        "minute" => ("minute", 60),
        "hour" => ("hour", 3_600),
        "day" => ("day", 86_400),
        _ => return Err(refuse(format!("`{unit}` is not minute(s), hour(s) or day(s)"))),
    };
    if (count == 1) != (unit == singular) {
        let plural = if count == 1 { "" } else { "s" };
        return Err(refuse(format!("write `rate({count} {singular}{plural})`")));
    }
    match count.checked_mul(seconds).filter(|total| *total <= RATE_SECONDS_MAX) {
        Some(total) => Ok(Rule::Every { seconds: i64::try_from(total).unwrap_or(i64::MAX) }),
        None => Err(refuse("at most 3650 days".to_owned())),
    }
}
