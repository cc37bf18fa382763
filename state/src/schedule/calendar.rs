//! A schedule with its zone, checked once: whoever holds a [`Calendar`] holds one that fires.

use jiff::{
    Timestamp,
    tz::{self, TimeZone},
};
use serde::{Deserialize, Serialize};

use super::{
    expression::{EXPRESSION_LENGTH_MAX, Rule},
    field::FieldError,
};

/// The longest zone name that is quoted; the longest real one has 30 characters.
const ZONE_LENGTH_MAX: usize = 60;

/// Below this likeness (1 is equal) a suggestion would be a guess.
const ZONE_LIKENESS_MIN: f64 = 0.9;

/// What happens to a fire whose local time the clock skips.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DstRule {
    /// It fires when the skipped hour ends, so that no day is left out.
    #[default]
    RunAtGapEnd,
    /// It does not fire; `EventBridge`'s rule.
    Skip,
}

/// When a pipeline fires: an expression in a zone, with a rule for clock changes.
///
/// Fires are whole minutes. A fixed time fires once for each local date, also where the clock
/// shows it twice (the first one counts). Expressions that repeat through the day (`*` or a
/// step in minute or hour) fire at each real instant whose local time matches. A time that the
/// clock skips fires at the skip's end, unless the rule is [`DstRule::Skip`] or the expression
/// fires in every hour anyway. Several skipped times share one fire. `rate(…)` knows no zone.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "CalendarText", into = "CalendarText")]
pub struct Calendar {
    text: CalendarText,
    pub(super) rule: Rule,
    pub(super) zone: TimeZone,
}

/// What is stored of a calendar.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct CalendarText {
    expression: String,
    timezone: String,
    #[serde(default)]
    dst: DstRule,
}

/// Why a schedule was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CalendarError {
    /// Nothing at all.
    #[error("the schedule is empty; write e.g. `0 9 * * *`, or leave `schedule` out to run by hand")]
    Empty,
    /// Longer than any sensible expression.
    #[error("the schedule has {0} characters, at most {EXPRESSION_LENGTH_MAX} are read")]
    TooLong(usize),
    /// Not five fields.
    #[error(
        "a schedule has 5 fields (minute, hour, day of month, month, day of week), this has {0}; \
         EventBridge's 6 fields go inside `cron(…)`"
    )]
    FieldsOfFive(usize),
    /// Not six fields within `cron(…)`.
    #[error(
        "`cron(…)` has 6 fields (minutes, hours, day of month, month, day of week, year), this has {0}; \
         5 fields are written without `cron(…)`"
    )]
    FieldsOfSix(usize),
    /// Both or neither of the days left open within `cron(…)`.
    #[error("in `cron(…)` exactly one of day of month and day of week is `?`, e.g. `cron(0 9 * * ? *)`")]
    QuestionMark,
    /// One field is wrong.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// The inside of `rate(…)` is wrong.
    #[error("rate({text}): {cause}")]
    Rate {
        /// The inside as written.
        text: String,
        /// What is wrong, and what to write.
        cause: String,
    },
    /// `at(…)` and `@once`.
    #[error("a schedule repeats; for a single run leave `schedule` out and use `trunkline run`")]
    Once,
    /// A call that is not a schedule.
    #[error("`{0}(…)` is not a schedule; write five fields, `cron(…)` or `rate(…)`")]
    Call(String),
    /// An unknown `@` word.
    #[error(
        "`@{0}` is not known; use @hourly, @daily, @weekly, @monthly, @quarterly or @yearly, or five fields"
    )]
    Alias(String),
    /// The matcher refused what our own checks let pass.
    #[error("the schedule cannot be read: {0}")]
    Cron(String),
    /// It matches no date at all, like 31 February.
    #[error("`{0}` never fires: no date matches all fields")]
    NeverFires(String),
    /// Not in the zone database.
    #[error("time zone `{name}` is not known; {hint}")]
    Zone {
        /// The name as written, shortened.
        name: String,
        /// What to write instead.
        hint: String,
    },
}

/// The zone with this IANA name.
pub fn zone(name: &str) -> Result<TimeZone, CalendarError> {
    if name == "UTC" {
        return Ok(TimeZone::UTC);
    }
    TimeZone::get(name).map_err(|_| {
        let name: String = name.chars().take(ZONE_LENGTH_MAX).collect();
        let hint = match similar_zone(&name) {
            Some(similar) => format!("did you mean {similar}?"),
            None => "write an IANA name such as UTC or Europe/Berlin".to_owned(),
        };
        CalendarError::Zone { name, hint }
    })
}

/// The known zone that is most like the name, by its last part or as a whole.
fn similar_zone(name: &str) -> Option<String> {
    let wanted = name.to_ascii_lowercase();
    let likeness = |known: &str| {
        let known = known.to_ascii_lowercase();
        let city = known.rsplit('/').next().unwrap_or(&known);
        strsim::jaro_winkler(&wanted, &known).max(strsim::jaro_winkler(&wanted, city))
    };
    let known = tz::db().available().map(|known| (likeness(known.as_str()), known.to_string()));
    let (score, best) = known.max_by(|left, right| left.0.total_cmp(&right.0))?;
    (score >= ZONE_LIKENESS_MIN).then_some(best)
}

impl Calendar {
    /// Reads a schedule: five-field cron, `cron(…)` or `rate(…)` as `EventBridge` writes them,
    /// or a word like `@daily`; in the zone with this IANA name.
    ///
    /// Refuses what would never fire.
    pub fn parse(expression: &str, timezone: &str, dst: DstRule) -> Result<Self, CalendarError> {
        let rule = Rule::parse(expression)?;
        let zone = zone(timezone)?;
        let expression = expression.trim().to_owned();
        let text = CalendarText { expression, timezone: timezone.to_owned(), dst };
        let calendar = Self { text, rule, zone };
        // From the epoch: an expression may name years, and years that are over are no mistake.
        if calendar.next_after(Timestamp::UNIX_EPOCH).is_none() {
            return Err(CalendarError::NeverFires(calendar.text.expression));
        }
        Ok(calendar)
    }

    /// The expression as written.
    pub fn expression(&self) -> &str {
        &self.text.expression
    }

    /// The zone's IANA name as written.
    pub fn timezone(&self) -> &str {
        &self.text.timezone
    }

    /// The zone.
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// The rule for clock changes.
    pub fn dst(&self) -> DstRule {
        self.text.dst
    }

    /// The schedule in one line of English: `0 9 * * * (UTC)`, `every 10 minutes`.
    pub fn describe(&self) -> String {
        match self.rule {
            Rule::Every { seconds } => every(seconds),
            Rule::Cron(_) => format!("{} ({})", self.text.expression, self.text.timezone),
        }
    }

    /// The times of a cron expression in English: `at 09:00, on Monday`. None where [`Calendar::describe`] says
    /// it in words already.
    pub fn in_words(&self) -> Option<String> {
        match &self.rule {
            Rule::Every { .. } => None,
            Rule::Cron(rule) => Some(rule.in_words()),
        }
    }
}

fn every(seconds: i64) -> String {
    let (count, unit) = match seconds {
        whole if whole % 86_400 == 0 => (whole / 86_400, "day"),
        whole if whole % 3_600 == 0 => (whole / 3_600, "hour"),
        whole => (whole / 60, "minute"),
    };
    if count == 1 { format!("every {unit}") } else { format!("every {count} {unit}s") }
}

impl PartialEq for Calendar {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Calendar {}

impl TryFrom<CalendarText> for Calendar {
    type Error = CalendarError;

    fn try_from(text: CalendarText) -> Result<Self, CalendarError> {
        Self::parse(&text.expression, &text.timezone, text.dst)
    }
}

impl From<Calendar> for CalendarText {
    fn from(calendar: Calendar) -> Self {
        calendar.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_name_cause_and_fix() {
        let shown = [
            "",
            "0 9 * *",
            "0 0 9 * * *",
            "0 9 ? * *",
            "61 * * * *",
            "0 9 31 2 *",
            "@reboot",
            "@once",
            "at(2026-11-19T00:00:00)",
            "every(5)",
            "cron(0 9 * * *)",
            "cron(0 9 * * * *)",
            "cron(0 9 ? * ? *)",
            "cron(? 9 * * ? *)",
            "cron(0 9 ? * L *)",
            "cron(0 9 30 2 ? *)",
            "rate(1 minutes)",
            "rate(2 minute)",
            "rate(0 minutes)",
            "rate(5 weeks)",
            "rate(10m)",
            "rate(99999999999 days)",
            "rate(-1 hours)",
            "0 9 * * MON-",
            "0 9 +1 * *",
        ]
        .map(|text| match Calendar::parse(text, "UTC", DstRule::default()) {
            Ok(_) => format!("{text}: accepted"),
            Err(error) => format!("{text}: {error}"),
        });
        insta::assert_snapshot!(shown.join("\n"));
        let refusal = |name: &str| zone(name).unwrap_err().to_string();
        assert_eq!(
            refusal("Europe/Berln"),
            "time zone `Europe/Berln` is not known; did you mean Europe/Berlin?"
        );
        assert_eq!(refusal("berlin"), "time zone `berlin` is not known; did you mean Europe/Berlin?");
        assert!(refusal("Mars/Olympus").ends_with("write an IANA name such as UTC or Europe/Berlin"));
    }

    #[test]
    fn a_schedule_is_told_in_words() {
        let words = [
            "0 9 * * *",
            "30 2 * * 1-5",
            "*/15 * * * *",
            "0 */6 * * *",
            "5 4 1 * *",
            "0 12 L * *",
            "@monthly",
            "0 9,17 * * MON",
            "0 9 1,15 1-3 *",
            "cron(0 9 ? * 2#1 *)",
            "cron(0 9 ? * MON-FRI 2026)",
            "rate(2 hours)",
        ]
        .map(|text| {
            let calendar = Calendar::parse(text, "UTC", DstRule::default()).unwrap();
            format!("{text}: {}", calendar.in_words().unwrap_or_else(|| calendar.describe()))
        });
        insta::assert_snapshot!(words.join("\n"));
    }

    #[test]
    fn a_calendar_is_stored_as_its_text() {
        let calendar = Calendar::parse(" 0 9 * * * ", "Europe/Berlin", DstRule::Skip).unwrap();
        let stored = serde_json::to_string(&calendar).unwrap();
        assert_eq!(stored, r#"{"expression":"0 9 * * *","timezone":"Europe/Berlin","dst":"skip"}"#);
        assert_eq!(serde_json::from_str::<Calendar>(&stored).unwrap(), calendar);
        let broken = stored.replace("0 9", "0 99");
        assert!(serde_json::from_str::<Calendar>(&broken).is_err());
    }
}
