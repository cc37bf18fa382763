//! How people write durations: `90s`, `5m`, `2h`, `1d`, `1h30m`, or ISO 8601 `PT1H30M`.
//!
//! Here lives the text form only; calendar units (months, years) never come here, because
//! their length depends on a date.

use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The longest duration that is taken: ten years, past every limit of every service. It keeps
/// sums with timestamps far from overflow.
pub const DURATION_MAX: Duration = Duration::from_secs(3650 * 24 * 60 * 60);

/// The longest text that is looked at.
const TEXT_BYTES_MAX: usize = 64;

/// A duration that reads and prints as people write it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HumanDuration(pub Duration);

/// Why a text is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Not in either form.
    #[error("`{0}` is no duration: write a number with a unit, such as 90s, 5m, 2h or 1d")]
    Form(String),
    /// A bare number.
    #[error("`{0}` has no unit: write {0}s, {0}m, {0}h or {0}d")]
    NoUnit(String),
    /// Longer than [`DURATION_MAX`].
    #[error("`{0}` is longer than ten years")]
    TooLong(String),
}

impl FromStr for HumanDuration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let trimmed = text.trim();
        let form = || DurationError::Form(text.chars().take(TEXT_BYTES_MAX).collect());
        if trimmed.is_empty() || trimmed.len() > TEXT_BYTES_MAX {
            return Err(form());
        }
        if trimmed.bytes().all(|b| b.is_ascii_digit()) {
            return Err(DurationError::NoUnit(trimmed.to_owned()));
        }
        let parsed = if trimmed.starts_with(['P', 'p']) { parse_iso(trimmed) } else { parse_units(trimmed) };
        let duration = parsed.ok_or_else(form)?;
        if duration > DURATION_MAX {
            return Err(DurationError::TooLong(trimmed.to_owned()));
        }
        Ok(Self(duration))
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.0.as_millis();
        if left == 0 {
            return f.write_str("0s");
        }
        for (unit, milliseconds) in UNITS {
            let count = left / milliseconds;
            left %= milliseconds;
            if count > 0 {
                write!(f, "{count}{unit}")?;
            }
        }
        Ok(())
    }
}

impl Serialize for HumanDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = HumanDuration;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as 90s, 5m, 2h or 1d")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<HumanDuration, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<HumanDuration, E> {
                Err(E::custom(DurationError::NoUnit(number.to_string())))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for HumanDuration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "title": "Duration",
            "description": "a number with a unit, such as 90s, 5m, 2h or 1d",
            "pattern": r"^\s*(([0-9]+(\.[0-9]+)?\s*(ms|s|m|h|d)\s*)+|[Pp].+)$",
        })
    }
}

/// Units from the longest to the shortest, in milliseconds.
const UNITS: [(&str, u128); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

fn parse_units(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let after = after.trim_start();
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let (_, milliseconds) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
        total = total.checked_add(scaled(number, milliseconds)?)?;
        rest = after.trim_start();
    }
    Some(total)
}

/// `number` times a unit, where a decimal fraction is allowed: `1.5h`.
fn scaled(number: &str, milliseconds: u128) -> Option<Duration> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || (number.contains('.') && fraction.is_empty()) || fraction.len() > 9 {
        return None;
    }
    let whole = whole.parse::<u64>().ok()?;
    let mut total = u128::from(whole).checked_mul(milliseconds)?;
    if !fraction.is_empty() {
        let digits = u128::from(fraction.parse::<u64>().ok()?);
        total += digits * milliseconds / 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    }
    Some(Duration::from_millis(u64::try_from(total).ok()?))
}

fn parse_iso(text: &str) -> Option<Duration> {
    let span = text.parse::<jiff::Span>().ok()?;
    if span.get_months() != 0 || span.get_years() != 0 {
        return None;
    }
    let signed = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).ok()?;
    // Printed are milliseconds, and what is printed must read back as the same.
    Some(Duration::from_millis(u64::try_from(signed.as_millis()).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: &str) -> u64 {
        text.parse::<HumanDuration>().unwrap().0.as_secs()
    }

    #[test]
    fn units_and_iso_agree() {
        assert_eq!(seconds("90s"), 90);
        assert_eq!(seconds("5m"), 300);
        assert_eq!(seconds("2h"), 7200);
        assert_eq!(seconds("1d"), 86_400);
        assert_eq!(seconds("1h 30m"), seconds("PT1H30M"));
        assert_eq!(seconds("1.5h"), 5400);
        assert_eq!(seconds("P1DT1S"), 86_401);
        assert_eq!("250ms".parse::<HumanDuration>().unwrap().0, Duration::from_millis(250));
    }

    #[test]
    fn what_is_no_duration_is_refused_with_a_reason() {
        for text in ["", "s", "5", "-5s", "5 parsecs", "P1M", "1..5h", "5.h", "5s5", "99999999999999999999d"]
        {
            assert!(text.parse::<HumanDuration>().is_err(), "{text}");
        }
        assert_eq!("20".parse::<HumanDuration>(), Err(DurationError::NoUnit("20".into())));
        assert_eq!("4000d".parse::<HumanDuration>(), Err(DurationError::TooLong("4000d".into())));
    }

    #[test]
    fn prints_what_it_reads() {
        for text in ["90s", "1d2h3m4s5ms", "0s", "48h", "PT1.0005S"] {
            let parsed: HumanDuration = text.parse().unwrap();
            assert_eq!(parsed.to_string().parse::<HumanDuration>().unwrap(), parsed);
        }
        assert_eq!(HumanDuration(Duration::from_secs(5400)).to_string(), "1h30m");
    }
}
