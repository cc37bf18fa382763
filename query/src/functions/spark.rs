//! Spark's date functions that the scripts of Glue jobs use, with Java's patterns, in UTC.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Int64Type, TimeUnit, TimestampMicrosecondType};
use datafusion::error::{DataFusionError, Result};
use datafusion::prelude::SessionContext;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::Plain;

/// Spark's pattern if none is given.
const DEFAULT_PATTERN: &str = "yyyy-MM-dd HH:mm:ss";

pub(super) fn register(context: &SessionContext) {
    context.register_udf(Plain::fixed(
        "from_unixtime",
        &[&[DataType::Int64], &[DataType::Int64, DataType::Utf8]],
        DataType::Utf8,
        from_unixtime,
    ));
    context.register_udf(Plain::fixed(
        "date_format",
        &[&[DataType::Timestamp(TimeUnit::Microsecond, None), DataType::Utf8]],
        DataType::Utf8,
        date_format,
    ));
}

fn from_unixtime(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    let seconds = arguments[0].as_primitive::<Int64Type>();
    let patterns = arguments.get(1).map(datafusion::arrow::array::AsArray::as_string::<i32>);
    let texts = seconds
        .iter()
        .enumerate()
        .map(|(row, seconds)| {
            let pattern = match patterns {
                None => Some(DEFAULT_PATTERN),
                Some(patterns) => patterns.iter().nth(row).flatten(),
            };
            let (Some(seconds), Some(pattern)) = (seconds, pattern) else { return Ok(None) };
            // Seconds beyond the calendar are null, as in Spark.
            let Ok(at) = Timestamp::from_second(seconds) else { return Ok(None) };
            java_format(at.to_zoned(TimeZone::UTC).datetime(), pattern).map(Some)
        })
        .collect::<Result<StringArray>>()?;
    Ok(Arc::new(texts))
}

fn date_format(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    let times = cast(&arguments[0], &DataType::Timestamp(TimeUnit::Microsecond, None))?;
    let times = times.as_primitive::<TimestampMicrosecondType>();
    let patterns = arguments[1].as_string::<i32>();
    let texts = times
        .iter()
        .zip(patterns)
        .map(|(time, pattern)| {
            let (Some(time), Some(pattern)) = (time, pattern) else { return Ok(None) };
            let Ok(at) = Timestamp::from_microsecond(time) else { return Ok(None) };
            java_format(at.to_zoned(TimeZone::UTC).datetime(), pattern).map(Some)
        })
        .collect::<Result<StringArray>>()?;
    Ok(Arc::new(texts))
}

/// Formats with the letters y M d H m s of Java's patterns; others are refused.
fn java_format(at: DateTime, pattern: &str) -> Result<String> {
    let mut out = String::new();
    let mut rest = pattern;
    while let Some(letter) = rest.chars().next() {
        let count = rest.chars().take_while(|c| *c == letter).count();
        if letter == '\'' {
            let (quoted, after) = rest[1..].split_once('\'').unwrap_or((&rest[1..], ""));
            out.push_str(if quoted.is_empty() { "'" } else { quoted });
            rest = after;
            continue;
        }
        let number = match letter {
            'y' if count == 2 => Some(i64::from(at.year()) % 100),
            'y' => Some(i64::from(at.year())),
            'M' if count <= 2 => Some(i64::from(at.month())),
            'd' => Some(i64::from(at.day())),
            'H' => Some(i64::from(at.hour())),
            'm' => Some(i64::from(at.minute())),
            's' => Some(i64::from(at.second())),
            c if c.is_ascii_alphabetic() => {
                return Err(DataFusionError::Plan(format!(
                    "date pattern '{pattern}': the letter {letter} is not supported; use y M d H m s"
                )));
            }
            _ => None,
        };
        match number {
            Some(number) => out.push_str(&format!("{number:0count$}")),
            None => rest.chars().take(count).for_each(|c| out.push(c)),
        }
        rest = &rest[letter.len_utf8() * count..];
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_with_java_patterns() {
        let at = Timestamp::from_second(1_709_994_151).unwrap().to_zoned(TimeZone::UTC).datetime();
        for (pattern, expected) in [
            ("HH", "14"),
            ("yyyy-MM-dd HH:mm:ss", "2024-03-09 14:22:31"),
            ("yy/M/d", "24/3/9"),
            ("yyyy-MM-dd'T'HH''", "2024-03-09T14'"),
        ] {
            assert_eq!(java_format(at, pattern).unwrap(), expected);
        }
        assert!(java_format(at, "EEEE").is_err());
    }
}
