//! One field of a cron expression: checked by the dialect's own rules, and rewritten in the
//! one dialect that the matcher reads, so that no reading of it is left to chance.

/// Why a field was refused. The text names the fix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} `{text}`: {cause}")]
pub struct FieldError {
    /// The field's name: `minute`, `hour`, `day of month`, `month`, `day of week`, `year`.
    pub field: &'static str,
    /// The field as written.
    pub text: String,
    /// What is wrong, and what to write instead.
    pub cause: String,
}

/// Who defined the notation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Five fields; Sunday is 0 and 7.
    Cron,
    /// Six fields within `cron(…)`; Sunday is 1; steps may omit the range's end.
    EventBridge,
}

/// Which field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Minute,
    Hour,
    DayOfMonth,
    Month,
    DayOfWeek,
    Year,
}

const MONTHS: [&str; 12] =
    ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

/// So many comma-separated items name every minute of the hour; more would be a mistake.
const ITEMS_MAX: usize = 60;

impl Field {
    fn name(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::DayOfMonth => "day of month",
            Self::Month => "month",
            Self::DayOfWeek => "day of week",
            Self::Year => "year",
        }
    }

    /// The smallest and the largest number that may be written.
    fn bounds(self, dialect: Dialect) -> (u16, u16) {
        match (self, dialect) {
            (Self::Minute, _) => (0, 59),
            (Self::Hour, _) => (0, 23),
            (Self::DayOfMonth, _) => (1, 31),
            (Self::Month, _) => (1, 12),
            (Self::DayOfWeek, Dialect::Cron) => (0, 7),
            (Self::DayOfWeek, Dialect::EventBridge) => (1, 7),
            // The years that EventBridge takes.
            (Self::Year, _) => (1970, 2199),
        }
    }
}

/// Checks a field and rewrites it: numbers for names, Sunday as 0, explicit range ends.
pub(super) fn canonical(field: Field, dialect: Dialect, text: &str) -> Result<String, FieldError> {
    let refuse = |cause: String| FieldError { field: field.name(), text: text.to_owned(), cause };
    let upper = text.to_ascii_uppercase();
    if upper == "?" {
        return Ok("*".to_owned());
    }
    let items: Vec<&str> = upper.split(',').collect();
    if items.len() > ITEMS_MAX {
        return Err(refuse(format!("at most {ITEMS_MAX} items, this has {}", items.len())));
    }
    if items.len() > 1 && items.contains(&"*") {
        return Err(refuse("`*` already matches everything; drop it or the rest".to_owned()));
    }
    let mut rewritten = Vec::with_capacity(items.len());
    for item in items {
        rewritten.push(canonical_item(field, dialect, item).map_err(refuse)?);
    }
    Ok(rewritten.join(","))
}

fn canonical_item(field: Field, dialect: Dialect, item: &str) -> Result<String, String> {
    if item.is_empty() {
        return Err("an item of the list is empty".to_owned());
    }
    if item == "*" {
        return Ok("*".to_owned());
    }
    if item.contains('?') {
        return Err("`?` stands alone, for \"no particular day\"".to_owned());
    }
    if let Some(special) = special_item(field, dialect, item)? {
        return Ok(special);
    }
    match item.split_once('/') {
        Some((range, step)) => stepped(field, dialect, range, step),
        None => range(field, dialect, item),
    }
}

/// `L`, `LW`, `15W`, `6L` and `2#1`; `None` if the item is none of these.
fn special_item(field: Field, dialect: Dialect, item: &str) -> Result<Option<String>, String> {
    match field {
        Field::DayOfMonth if item == "L" || item == "LW" => Ok(Some(item.to_owned())),
        Field::DayOfMonth if item.starts_with("L-") => {
            Err("days counted back from the last one are not supported; `L` is the last day".to_owned())
        }
        Field::DayOfMonth => match item.strip_suffix('W') {
            Some(day) => Ok(Some(format!("{}W", number(field, dialect, day)?))),
            None => Ok(None),
        },
        Field::DayOfWeek if item == "L" => {
            Err("`L` alone never fires here; write the day, e.g. `SAT`, or `6L` for a last one".to_owned())
        }
        Field::DayOfWeek => {
            if let Some((day, nth)) = item.split_once('#') {
                let day = weekday(dialect, number(field, dialect, day)?);
                return match nth.parse::<u8>() {
                    Ok(nth @ 1..=5) => Ok(Some(format!("{day}#{nth}"))),
                    _ => Err("after `#` comes which one of the month, 1 to 5".to_owned()),
                };
            }
            match item.strip_suffix('L') {
                Some(day) => Ok(Some(format!("{}L", weekday(dialect, number(field, dialect, day)?)))),
                None => Ok(None),
            }
        }
        _ => Ok(None),
    }
}

fn stepped(field: Field, dialect: Dialect, base: &str, step: &str) -> Result<String, String> {
    let (low, high) = field.bounds(dialect);
    let step_max = high - low + u16::from(low == 0);
    let step = match step.parse::<u16>() {
        Ok(step) if (1..=step_max).contains(&step) => step,
        _ => return Err(format!("the step after `/` is a number from 1 to {step_max}")),
    };
    if base == "*" || (base.is_empty() && dialect == Dialect::EventBridge) {
        return Ok(format!("*/{step}"));
    }
    if base.is_empty() {
        return Err(format!("write `*/{step}`"));
    }
    if base.contains('-') {
        return Ok(format!("{}/{step}", range(field, dialect, base)?));
    }
    let first = number(field, dialect, base)?;
    if dialect == Dialect::Cron {
        return Err(format!("write a range before `/`: `{first}-{high}/{step}`"));
    }
    let shift = u16::from(field == Field::DayOfWeek);
    Ok(format!("{}-{}/{step}", first - shift, high - shift))
}

/// `5` or `1-5`.
fn range(field: Field, dialect: Dialect, item: &str) -> Result<String, String> {
    let shown = |value: u16| if field == Field::DayOfWeek { weekday(dialect, value) } else { value };
    let Some((first, last)) = item.split_once('-') else {
        return Ok(shown(number(field, dialect, item)?).to_string());
    };
    let from = number(field, dialect, first)?;
    let mut until = number(field, dialect, last)?;
    if field == Field::DayOfWeek && dialect == Dialect::Cron && until == 0 && from > 0 {
        until = 7;
    }
    if from > until {
        let (low, high) = field.bounds(dialect);
        return Err(format!("the range runs backwards; write `{from}-{high},{low}-{until}`"));
    }
    let shift = u16::from(field == Field::DayOfWeek && dialect == Dialect::EventBridge);
    Ok(format!("{}-{}", from - shift, until - shift))
}

/// A weekday's number as cron counts: Sunday is 0.
fn weekday(dialect: Dialect, written: u16) -> u16 {
    match dialect {
        Dialect::Cron => written % 7,
        Dialect::EventBridge => written - 1,
    }
}

/// A number or a name, within the field's bounds.
fn number(field: Field, dialect: Dialect, text: &str) -> Result<u16, String> {
    let (low, high) = field.bounds(dialect);
    let named = match field {
        Field::Month => position(&MONTHS, text).map(|index| index + 1),
        Field::DayOfWeek => position(&WEEKDAYS, text).map(|index| index + low),
        _ => None,
    };
    if let Some(value) = named {
        return Ok(value);
    }
    if text.is_empty() {
        return Err(format!("here belongs {}", expectation(field, low, high)));
    }
    let plain = text.len() <= 4 && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse::<u16>() {
        Ok(value) if plain && (low..=high).contains(&value) => Ok(value),
        _ => Err(format!("`{text}` is not {}", expectation(field, low, high))),
    }
}

fn expectation(field: Field, low: u16, high: u16) -> String {
    match field {
        Field::Month => format!("a number from {low} to {high} or a name such as JAN"),
        Field::DayOfWeek => format!("a number from {low} to {high} or a name such as MON"),
        _ => format!("a number from {low} to {high}"),
    }
}

fn position(names: &[&str], text: &str) -> Option<u16> {
    names.iter().position(|name| *name == text).and_then(|index| u16::try_from(index).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_rewritten_in_one_dialect() {
        for (field, dialect, text, expected) in [
            (Field::Minute, Dialect::Cron, "*/20", "*/20"),
            (Field::Hour, Dialect::Cron, "8-18/2,23", "8-18/2,23"),
            (Field::Month, Dialect::Cron, "jan-mar,DEC", "1-3,12"),
            (Field::DayOfWeek, Dialect::Cron, "MON-FRI", "1-5"),
            (Field::DayOfWeek, Dialect::Cron, "SAT-SUN", "6-7"),
            (Field::DayOfWeek, Dialect::Cron, "7", "0"),
            (Field::DayOfWeek, Dialect::EventBridge, "2", "1"),
            (Field::DayOfWeek, Dialect::EventBridge, "MON-FRI", "1-5"),
            (Field::DayOfWeek, Dialect::EventBridge, "6L", "5L"),
            (Field::DayOfWeek, Dialect::EventBridge, "2#1", "1#1"),
            (Field::DayOfWeek, Dialect::EventBridge, "2/2", "1-6/2"),
            (Field::DayOfMonth, Dialect::EventBridge, "1/5", "1-31/5"),
            (Field::DayOfMonth, Dialect::EventBridge, "?", "*"),
            (Field::DayOfMonth, Dialect::EventBridge, "15W", "15W"),
            (Field::Minute, Dialect::EventBridge, "/6", "*/6"),
        ] {
            assert_eq!(canonical(field, dialect, text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn refusals_name_field_and_fix() {
        let cause = |field, dialect, text: &str| canonical(field, dialect, text).unwrap_err().to_string();
        insta::assert_snapshot!(
            [
                cause(Field::Minute, Dialect::Cron, "60"),
                cause(Field::Minute, Dialect::Cron, "0/15"),
                cause(Field::Minute, Dialect::Cron, "*/0"),
                cause(Field::Minute, Dialect::Cron, "1,,2"),
                cause(Field::Minute, Dialect::Cron, "*,5"),
                cause(Field::Hour, Dialect::Cron, "22-2"),
                cause(Field::Hour, Dialect::Cron, "nine"),
                cause(Field::Month, Dialect::Cron, "0"),
                cause(Field::DayOfMonth, Dialect::EventBridge, "L-3"),
                cause(Field::DayOfMonth, Dialect::EventBridge, "32W"),
                cause(Field::DayOfWeek, Dialect::EventBridge, "L"),
                cause(Field::DayOfWeek, Dialect::EventBridge, "0"),
                cause(Field::DayOfWeek, Dialect::EventBridge, "2#6"),
                cause(Field::DayOfWeek, Dialect::Cron, "FRI-MON"),
                cause(Field::Year, Dialect::EventBridge, "1969"),
            ]
            .join("\n")
        );
    }
}
