//! Dates inside templates: `{{ data_interval_end.add("1d").in_tz("Asia/Tokyo").strftime("%Y") }}`.
//!
//! A moment is an object with methods; a date that is text (`ds`, a `date` param) understands
//! the same methods, through [`text_method`]. No clock is read here.

use std::{fmt, sync::Arc};

use jiff::{
    Timestamp, Zoned,
    civil::{Date, DateTime},
    tz::TimeZone,
};
use minijinja::{
    Error, ErrorKind, State, Value,
    value::{Enumerator, Kwargs, Object, ObjectRepr, from_args},
};

use trunkline_tasks::duration::HumanDuration;

/// The methods of every date.
pub const METHODS: [&str; 6] = ["strftime", "in_tz", "add", "subtract", "isoformat", "date"];
/// The parts of a moment.
pub const PARTS: [&str; 6] = ["year", "month", "day", "hour", "minute", "second"];
/// No template moves a date by more units: it keeps every result inside the calendar.
const UNITS_MAX: i64 = 1_000_000;

/// A moment in a zone.
#[derive(Clone)]
pub(super) struct Moment(pub(super) Zoned);

impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&isoformat(&self.0))
    }
}

impl Object for Moment {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let at = &self.0;
        Some(match key.as_str()? {
            "year" => Value::from(i64::from(at.year())),
            "month" => Value::from(i64::from(at.month())),
            "day" => Value::from(i64::from(at.day())),
            "hour" => Value::from(i64::from(at.hour())),
            "minute" => Value::from(i64::from(at.minute())),
            "second" => Value::from(i64::from(at.second())),
            _ => return None,
        })
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::NonEnumerable
    }

    fn call_method(
        self: &Arc<Self>,
        _state: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        match method {
            "strftime" => {
                Ok(Value::from(strftime(args, |format| jiff::fmt::strtime::format(format, &self.0))?))
            }
            "in_tz" => {
                let (zone,): (&str,) = from_args(args)?;
                let zone =
                    TimeZone::get(zone).map_err(|_| invalid(format!("there is no time zone `{zone}`")))?;
                Ok(moment(self.0.with_time_zone(zone)))
            }
            "add" => shift(&self.0, args, 1).map(moment),
            "subtract" => shift(&self.0, args, -1).map(moment),
            "isoformat" => {
                let (): () = from_args(args)?;
                Ok(Value::from(isoformat(&self.0)))
            }
            "date" => {
                let (): () = from_args(args)?;
                Ok(Value::from(self.0.date().to_string()))
            }
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&isoformat(&self.0))
    }
}

/// A moment as a template value.
pub(super) fn moment(at: Zoned) -> Value {
    Value::from_object(Moment(at))
}

/// `2026-11-19T00:00:00+00:00`, as Python writes it.
pub(super) fn isoformat(at: &Zoned) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
}

/// The methods of a date that is text.
pub(super) fn text_method(text: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    if !METHODS.contains(&method) {
        return Err(Error::from(ErrorKind::UnknownMethod));
    }
    if let Ok(date) = text.parse::<Date>()
        && text.len() == 10
    {
        return date_method(date, method, args);
    }
    let at = text
        .parse::<Timestamp>()
        .map(|at| at.to_zoned(TimeZone::UTC))
        .or_else(|_| text.parse::<Zoned>())
        .map_err(|_| invalid(format!("`{text}` is no date, so `.{method}()` does not apply")))?;
    Arc::new(Moment(at)).call_any(method, args)
}

impl Moment {
    fn call_any(self: &Arc<Self>, method: &str, args: &[Value]) -> Result<Value, Error> {
        let environment = minijinja::Environment::empty();
        let mut state = environment.empty_state();
        self.call_method(&mut state, method, args)
    }
}

fn date_method(date: Date, method: &str, args: &[Value]) -> Result<Value, Error> {
    let midnight =
        || date.to_zoned(TimeZone::UTC).map_err(|_| invalid(format!("`{date}` lies outside the calendar")));
    match method {
        "strftime" => strftime(args, |format| jiff::fmt::strtime::format(format, date)).map(Value::from),
        "add" => Ok(Value::from(shift(&midnight()?, args, 1)?.date().to_string())),
        "subtract" => Ok(Value::from(shift(&midnight()?, args, -1)?.date().to_string())),
        "in_tz" => {
            let (zone,): (&str,) = from_args(args)?;
            let zone = TimeZone::get(zone).map_err(|_| invalid(format!("there is no time zone `{zone}`")))?;
            let at = DateTime::from(date).to_zoned(zone).map_err(|error| invalid(error.to_string()))?;
            Ok(moment(at))
        }
        _ => {
            let (): () = from_args(args)?;
            Ok(Value::from(date.to_string()))
        }
    }
}

fn strftime(args: &[Value], format: impl Fn(&str) -> Result<String, jiff::Error>) -> Result<String, Error> {
    let (pattern,): (&str,) = from_args(args)?;
    format(pattern).map_err(|error| invalid(format!("the pattern `{pattern}` cannot be used: {error}")))
}

/// `.add("1d")`, `.add(days=1, hours=-2)`.
fn shift(at: &Zoned, args: &[Value], sign: i64) -> Result<Zoned, Error> {
    let (text, units): (Option<&str>, Kwargs) = from_args(args)?;
    let mut span = jiff::Span::new();
    for name in ["months", "weeks", "days", "hours", "minutes", "seconds"] {
        let Some(amount) = units.get::<Option<i64>>(name)? else { continue };
        if !(-UNITS_MAX..=UNITS_MAX).contains(&amount) {
            return Err(invalid(format!("{amount} {name} lead outside the calendar")));
        }
        let amount = amount * sign;
        span = match name {
            "months" => span.try_months(amount),
            "weeks" => span.try_weeks(amount),
            "days" => span.try_days(amount),
            "hours" => span.try_hours(amount),
            "minutes" => span.try_minutes(amount),
            _ => span.try_seconds(amount),
        }
        .map_err(|error| invalid(error.to_string()))?;
    }
    units.assert_all_used()?;
    let moved = at.checked_add(span).map_err(|error| invalid(error.to_string()))?;
    let Some(text) = text else { return Ok(moved) };
    add_text(&moved, text, sign)
}

/// Whole days keep the local time over a change of the clocks; everything else is exact.
fn add_text(at: &Zoned, text: &str, sign: i64) -> Result<Zoned, Error> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-sign, rest),
        None => (sign, text.strip_prefix('+').unwrap_or(text)),
    };
    let duration = text.parse::<HumanDuration>().map_err(|error| invalid(error.to_string()))?.0;
    let seconds = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    let span = if seconds % 86_400 == 0 {
        jiff::Span::new().try_days(sign * (seconds / 86_400))
    } else {
        jiff::Span::new().try_seconds(sign * seconds)
    };
    span.and_then(|span| at.checked_add(span)).map_err(|error| invalid(error.to_string()))
}

fn invalid(text: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, text)
}
