//! Athena's date functions. Times have no zone, and formats are `MySQL`'s.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, AsArray, Date32Array, Float64Array, Int64Array, StringArray, TimestampMillisecondArray,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Float64Type, Int64Type, TimeUnit, TimestampMillisecondType,
};
use datafusion::error::{DataFusionError, Result};
use datafusion::prelude::SessionContext;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ToSpan as _, Unit};

use crate::functions::{Body, Plain};

const TIME: DataType = DataType::Timestamp(TimeUnit::Millisecond, None);

pub(super) fn register(context: &SessionContext) {
    let text = DataType::Utf8;
    let utc = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    context.register_udf(Plain::fixed("date_parse", &[&[text.clone(), text.clone()]], TIME, date_parse));
    context.register_udf(Plain::fixed("date_format", &[&[TIME, text.clone()]], text.clone(), date_format));
    context.register_udf(Plain::fixed("from_unixtime", &[&[DataType::Float64]], utc, from_unixtime));
    context.register_udf(Plain::fixed("to_unixtime", &[&[TIME]], DataType::Float64, to_unixtime));
    context.register_udf(Plain::same_as(
        "date_add",
        &[&[text.clone(), DataType::Int64, DataType::Date32], &[text.clone(), DataType::Int64, TIME]],
        2,
        date_add,
    ));
    context.register_udf(Plain::fixed(
        "date_diff",
        &[&[text.clone(), DataType::Date32, DataType::Date32], &[text, TIME, TIME]],
        DataType::Int64,
        date_diff,
    ));
    let (text, utc) = (DataType::Utf8, DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())));
    let one = std::slice::from_ref(&text);
    let iso = Plain::fixed("from_iso8601_timestamp", &[one], utc, from_iso8601_timestamp);
    context.register_udf(iso);
    let date = DataType::Date32;
    context.register_udf(Plain::fixed("from_iso8601_date", &[one], date.clone(), from_iso8601_date));
    let either: &[&[DataType]] = &[&[DataType::Date32], &[TIME]];
    context.register_udf(Plain::fixed("last_day_of_month", either, date, last_day_of_month));
    let parts: [(&'static str, Body); 11] = [
        ("year", |a| part(a, |at| i64::from(at.year()))),
        ("quarter", |a| part(a, |at| (i64::from(at.month()) + 2) / 3)),
        ("month", |a| part(a, |at| i64::from(at.month()))),
        ("week", |a| part(a, |at| i64::from(at.date().iso_week_date().week()))),
        ("day", |a| part(a, |at| i64::from(at.day()))),
        ("day_of_month", |a| part(a, |at| i64::from(at.day()))),
        ("day_of_week", |a| part(a, |at| i64::from(at.weekday().to_monday_one_offset()))),
        ("day_of_year", |a| part(a, |at| i64::from(at.day_of_year()))),
        ("hour", |a| part(a, |at| i64::from(at.hour()))),
        ("minute", |a| part(a, |at| i64::from(at.minute()))),
        ("second", |a| part(a, |at| i64::from(at.second()))),
    ];
    for (name, body) in parts {
        context.register_udf(Plain::fixed(name, &[&[DataType::Date32], &[TIME]], DataType::Int64, body));
    }
}

fn failed(text: impl Into<String>) -> DataFusionError {
    DataFusionError::Execution(text.into())
}

/// The rows of a date or time column; values outside the calendar are null.
fn times(column: &ArrayRef) -> Result<Vec<Option<DateTime>>> {
    if column.data_type() == &DataType::Date32 {
        return Ok(column.as_primitive::<Date32Type>().iter().map(|days| days.and_then(date_of)).collect());
    }
    let civil = |at: i64| Some(Timestamp::from_millisecond(at).ok()?.to_zoned(TimeZone::UTC).datetime());
    let column = cast(column, &TIME)?;
    Ok(column.as_primitive::<TimestampMillisecondType>().iter().map(|at| at.and_then(civil)).collect())
}

fn date_of(days: i32) -> Option<DateTime> {
    let date = Date::constant(1970, 1, 1).checked_add(i64::from(days).days()).ok()?;
    Some(date.to_datetime(jiff::civil::Time::midnight()))
}

fn milliseconds(at: DateTime) -> Result<i64> {
    let zoned = at.to_zoned(TimeZone::UTC).map_err(|error| failed(error.to_string()))?;
    Ok(zoned.timestamp().as_millisecond())
}

fn part(arguments: &[ArrayRef], read: fn(DateTime) -> i64) -> Result<ArrayRef> {
    let values: Int64Array = times(&arguments[0])?.into_iter().map(|at| at.map(read)).collect();
    Ok(Arc::new(values))
}

#[expect(clippy::unnecessary_wraps, reason = "the engine calls all functions alike")]
fn from_unixtime(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "times beyond the range of milliseconds are not times"
    )]
    let values: TimestampMillisecondArray = arguments[0]
        .as_primitive::<Float64Type>()
        .iter()
        .map(|seconds| seconds.map(|seconds| (seconds * 1000.0).round() as i64))
        .collect();
    Ok(Arc::new(values.with_timezone("UTC")))
}

fn to_unixtime(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    let times = cast(&arguments[0], &TIME)?;
    #[expect(clippy::cast_precision_loss, reason = "the function's result is a double in Athena too")]
    let values: Float64Array = times
        .as_primitive::<TimestampMillisecondType>()
        .iter()
        .map(|at| at.map(|at| at as f64 / 1000.0))
        .collect();
    Ok(Arc::new(values))
}

fn unit_of(text: &str) -> Result<Unit> {
    Ok(match text.to_lowercase().as_str() {
        "millisecond" => Unit::Millisecond,
        "second" => Unit::Second,
        "minute" => Unit::Minute,
        "hour" => Unit::Hour,
        "day" => Unit::Day,
        "week" => Unit::Week,
        "month" => Unit::Month,
        "year" => Unit::Year,
        other => {
            return Err(failed(format!(
                "INVALID_FUNCTION_ARGUMENT: '{other}' is not a valid Timestamp field"
            )));
        }
    })
}

fn span_of(unit: Unit, count: i64) -> Result<Span> {
    let span = Span::new();
    let made = match unit {
        Unit::Year => span.try_years(count),
        Unit::Month => span.try_months(count),
        Unit::Week => span.try_weeks(count),
        Unit::Day => span.try_days(count),
        Unit::Hour => span.try_hours(count),
        Unit::Minute => span.try_minutes(count),
        Unit::Second => span.try_seconds(count),
        _ => span.try_milliseconds(count),
    };
    made.map_err(|error| failed(error.to_string()))
}

fn date_add(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    let units = arguments[0].as_string::<i32>();
    let counts = arguments[1].as_primitive::<Int64Type>();
    let added = times(&arguments[2])?
        .into_iter()
        .zip(units.iter().zip(counts))
        .map(|(at, (unit, count))| {
            let (Some(at), Some(unit), Some(count)) = (at, unit, count) else { return Ok(None) };
            let span = span_of(unit_of(unit)?, count)?;
            at.checked_add(span).map(Some).map_err(|error| failed(error.to_string()))
        })
        .collect::<Result<Vec<Option<DateTime>>>>()?;
    if arguments[2].data_type() == &DataType::Date32 {
        let epoch = Date::constant(1970, 1, 1);
        let days: Date32Array = added
            .into_iter()
            .map(|at| at.and_then(|at| epoch.until(at.date()).ok()).map(|span| span.get_days()))
            .collect();
        return Ok(Arc::new(days));
    }
    let values = added
        .into_iter()
        .map(|at| at.map(milliseconds).transpose())
        .collect::<Result<TimestampMillisecondArray>>()?;
    Ok(cast(&values, arguments[2].data_type())?)
}

fn date_diff(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    let units = arguments[0].as_string::<i32>();
    let values = times(&arguments[1])?
        .into_iter()
        .zip(times(&arguments[2])?)
        .zip(units)
        .map(|((from, to), unit)| {
            let (Some(from), Some(to), Some(unit)) = (from, to, unit) else { return Ok(None) };
            let unit = unit_of(unit)?;
            let span = from.until((unit, to)).map_err(|error| failed(error.to_string()))?;
            // The difference has only this unit and smaller ones; the smaller ones are cut off.
            Ok(Some(match unit {
                Unit::Year => i64::from(span.get_years()),
                Unit::Month => i64::from(span.get_months()),
                Unit::Week => i64::from(span.get_weeks()),
                Unit::Day => i64::from(span.get_days()),
                Unit::Hour => i64::from(span.get_hours()),
                Unit::Minute => span.get_minutes(),
                Unit::Second => span.get_seconds(),
                _ => span.get_milliseconds(),
            }))
        })
        .collect::<Result<Int64Array>>()?;
    Ok(Arc::new(values))
}

fn date_format(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    let texts = times(&arguments[0])?
        .into_iter()
        .zip(arguments[1].as_string::<i32>())
        .map(|(at, format)| {
            let (Some(at), Some(format)) = (at, format) else { return Ok(None) };
            mysql_format(at, format).map(Some)
        })
        .collect::<Result<StringArray>>()?;
    Ok(Arc::new(texts))
}

fn mysql_format(at: DateTime, format: &str) -> Result<String> {
    let mut out = String::new();
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        let Some(code) = letters.next() else { break };
        let hour12 = (at.hour() + 11) % 12 + 1;
        let piece = match code {
            'Y' => format!("{:04}", at.year()),
            'y' => format!("{:02}", at.year() % 100),
            'm' => format!("{:02}", at.month()),
            'c' => at.month().to_string(),
            'd' => format!("{:02}", at.day()),
            'e' => at.day().to_string(),
            'H' => format!("{:02}", at.hour()),
            'k' => at.hour().to_string(),
            'h' | 'I' => format!("{hour12:02}"),
            'l' => format!("{hour12}"),
            'i' => format!("{:02}", at.minute()),
            's' | 'S' => format!("{:02}", at.second()),
            'f' => format!("{:06}", at.subsec_nanosecond() / 1000),
            'p' => (if at.hour() < 12 { "AM" } else { "PM" }).to_owned(),
            'j' => format!("{:03}", at.day_of_year()),
            'T' => format!("{:02}:{:02}:{:02}", at.hour(), at.minute(), at.second()),
            'b' => at.strftime("%b").to_string(),
            'M' => at.strftime("%B").to_string(),
            'a' => at.strftime("%a").to_string(),
            'W' => at.strftime("%A").to_string(),
            '%' => "%".to_owned(),
            other => return Err(failed(format!("NOT_SUPPORTED: %{other} in a date format"))),
        };
        out.push_str(&piece);
    }
    Ok(out)
}

fn date_parse(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    let values = arguments[0]
        .as_string::<i32>()
        .iter()
        .zip(arguments[1].as_string::<i32>())
        .map(|(text, format)| {
            let (Some(text), Some(format)) = (text, format) else { return Ok(None) };
            milliseconds(mysql_parse(text, format)?).map(Some)
        })
        .collect::<Result<TimestampMillisecondArray>>()?;
    Ok(Arc::new(values))
}

fn mysql_parse(text: &str, format: &str) -> Result<DateTime> {
    let invalid = || failed(format!("INVALID_FUNCTION_ARGUMENT: Invalid format: \"{text}\" for '{format}'"));
    let mut pattern = String::new();
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            pattern.push(letter);
            continue;
        }
        match letters.next() {
            Some('i') => pattern.push_str("%M"),
            Some('s' | 'S') => pattern.push_str("%S"),
            Some('c') => pattern.push_str("%m"),
            Some('e') => pattern.push_str("%d"),
            Some('k') => pattern.push_str("%H"),
            Some('h' | 'l' | 'I') => pattern.push_str("%I"),
            Some('M') => pattern.push_str("%B"),
            Some('W') => pattern.push_str("%A"),
            Some(code @ ('Y' | 'y' | 'm' | 'd' | 'H' | 'f' | 'p' | 'j' | 'T' | 'b' | 'a' | '%')) => {
                pattern.push('%');
                pattern.push(code);
            }
            other => {
                return Err(failed(format!("NOT_SUPPORTED: %{} in a date format", other.unwrap_or(' '))));
            }
        }
    }
    let parsed = jiff::fmt::strtime::parse(&pattern, text).map_err(|_| invalid())?;
    match parsed.to_datetime() {
        Ok(at) => Ok(at),
        // A format without a time means midnight.
        Err(_) => parsed
            .to_date()
            .map(|date| date.to_datetime(jiff::civil::Time::midnight()))
            .map_err(|_| invalid()),
    }
}

/// Times in UTC only: a column of the engine has one zone for all its rows, in Athena each row has its own.
fn from_iso8601_timestamp(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    let read = |text: &str| {
        let zoned = text.find('T').is_some_and(|at| text[at..].contains(['Z', 'z', '+', '-']));
        let at = if zoned {
            let has_offset = !text.ends_with(['Z', 'z']) && !text.ends_with("+00:00");
            if has_offset {
                return Err(failed(format!(
                    "NOT_SUPPORTED: the sandbox's Athena reads ISO 8601 times in UTC only: {text}"
                )));
            }
            text.parse::<Timestamp>().ok().map(|at| at.as_millisecond())
        } else {
            text.parse::<DateTime>().ok().and_then(|at| milliseconds(at).ok())
        };
        at.ok_or_else(|| failed(format!("INVALID_FUNCTION_ARGUMENT: Invalid format: \"{text}\"")))
    };
    let texts = arguments[0].as_string::<i32>().iter();
    let values =
        texts.map(|text| text.map(read).transpose()).collect::<Result<TimestampMillisecondArray>>()?;
    Ok(Arc::new(values.with_timezone("UTC")))
}

fn from_iso8601_date(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    let read = |text: &str| {
        let date = text.parse::<Date>();
        date.map(days_of)
            .map_err(|_| failed(format!("INVALID_FUNCTION_ARGUMENT: Invalid format: \"{text}\"")))
    };
    let texts = arguments[0].as_string::<i32>().iter();
    Ok(Arc::new(texts.map(|text| text.map(read).transpose()).collect::<Result<Date32Array>>()?))
}

fn last_day_of_month(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    let days = times(&arguments[0])?.into_iter().map(|at| at.map(|at| days_of(at.date().last_of_month())));
    Ok(Arc::new(days.collect::<Date32Array>()))
}

/// Days since 1970.
fn days_of(date: Date) -> i32 {
    Date::constant(1970, 1, 1).until(date).map_or(0, |span| span.get_days())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_and_parses_as_mysql() {
        let at = mysql_parse("2026-11-19 03:04:05", "%Y-%m-%d %H:%i:%s").unwrap();
        assert_eq!(mysql_format(at, "%d/%c/%y %l:%i %p %b %%").unwrap(), "19/11/26 3:04 AM Nov %");
        let day = mysql_parse("10/28/21", "%m/%d/%y").unwrap();
        assert_eq!(mysql_format(day, "%Y-%m-%d %T").unwrap(), "2021-10-28 00:00:00");
        assert!(mysql_parse("2026", "%Y-%m").is_err());
        assert!(mysql_format(at, "%Q").is_err());
    }
}
