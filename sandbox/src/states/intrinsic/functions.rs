//! What each intrinsic function does.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value};

use super::Expression;
use crate::states::failure::Failure;
use crate::states::scope::{Dice, Scope};

/// The longest text that hashing and encoding take (the language's own limit).
const TEXT_MAX: usize = 10_000;
/// The longest list that `ArrayRange` makes (the language's own limit).
const RANGE_MAX: i64 = 1_000;

/// An intrinsic function.
pub(in crate::states) struct Function {
    name: &'static str,
    /// How many arguments it takes.
    arguments: std::ops::RangeInclusive<usize>,
    body: Body,
}

/// The work, given the values of the arguments; the error is a sentence.
type Work = fn(&[Value], Scope<'_>) -> Result<Value, String>;

enum Body {
    Plain(Work),
    /// `States.Format`, which looks at its template before the escapes are undone.
    Format,
}

const MANY: usize = usize::MAX;

static FUNCTIONS: [Function; 18] = [
    Function { name: "States.Format", arguments: 1..=MANY, body: Body::Format },
    plain("States.StringToJson", 1..=1, string_to_json),
    plain("States.JsonToString", 1..=1, |values, _| Ok(Value::from(values[0].to_string()))),
    plain("States.Array", 0..=MANY, |values, _| Ok(Value::from(values.to_vec()))),
    plain("States.ArrayPartition", 2..=2, array_partition),
    plain("States.ArrayContains", 2..=2, |values, _| Ok(list(values, 0)?.contains(&values[1]).into())),
    plain("States.ArrayRange", 3..=3, array_range),
    plain("States.ArrayGetItem", 2..=2, array_get_item),
    plain("States.ArrayLength", 1..=1, |values, _| Ok(list(values, 0)?.len().into())),
    plain("States.ArrayUnique", 1..=1, array_unique),
    plain("States.Base64Encode", 1..=1, |values, _| Ok(BASE64.encode(short_text(values, 0)?).into())),
    plain("States.Base64Decode", 1..=1, base64_decode),
    plain("States.Hash", 2..=2, hash),
    plain("States.JsonMerge", 3..=3, json_merge),
    plain("States.MathRandom", 2..=3, math_random),
    plain("States.MathAdd", 2..=2, math_add),
    plain("States.StringSplit", 2..=2, string_split),
    plain("States.UUID", 0..=0, |_, scope| Ok(scope.dice.uuid().into())),
];

const fn plain(name: &'static str, arguments: std::ops::RangeInclusive<usize>, body: Work) -> Function {
    Function { name, arguments, body: Body::Plain(body) }
}

/// The function of a name.
pub(super) fn named(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.name == name)
}

/// A quoted text without its escapes.
pub(super) fn unescape(raw: &str) -> String {
    let mut text = String::with_capacity(raw.len());
    let mut characters = raw.chars();
    while let Some(character) = characters.next() {
        text.extend(if character == '\\' { characters.next() } else { Some(character) });
    }
    text
}

impl std::fmt::Debug for Function {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name)
    }
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Function {
    /// Whether the function takes so many arguments.
    pub(super) fn check(&self, arguments: &[Expression]) -> Result<(), String> {
        if self.arguments.contains(&arguments.len()) {
            return Ok(());
        }
        let (least, most) = (*self.arguments.start(), *self.arguments.end());
        let takes = match (least, most) {
            (least, MANY) => format!("{least} or more"),
            (least, most) if least == most => least.to_string(),
            (least, most) => format!("{least} to {most}"),
        };
        Err(format!("{} takes {takes} arguments, not {}", self.name, arguments.len()))
    }

    /// Calls it.
    pub(super) fn call(&self, arguments: &[Expression], scope: Scope<'_>) -> Result<Value, Failure> {
        let failed = |what: String| {
            Failure::new("States.IntrinsicFailure", format!("The function '{}' failed: {what}", self.name))
        };
        let template = match (&self.body, arguments.first()) {
            (Body::Format, Some(Expression::Text(raw))) => Some(Value::from(raw.as_str())),
            _ => None,
        };
        let mut values = Vec::with_capacity(arguments.len());
        for argument in arguments {
            values.push(argument.evaluate(scope)?);
        }
        match self.body {
            Body::Plain(work) => work(&values, scope).map_err(failed),
            Body::Format => {
                if let Some(raw) = template {
                    values[0] = raw;
                }
                format_text(&values).map_err(failed)
            }
        }
    }
}

fn format_text(values: &[Value]) -> Result<Value, String> {
    let template = text(values, 0)?;
    let mut inserted = values[1..].iter();
    let mut made = String::new();
    let mut characters = template.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' => made.extend(characters.next()),
            '{' if characters.peek() == Some(&'}') => {
                characters.next();
                let value = inserted.next().ok_or("there are more {} than values")?;
                made.push_str(&value.as_str().map_or_else(|| value.to_string(), str::to_owned));
            }
            '{' | '}' => return Err("a brace that is no {} must be escaped by a backslash".to_owned()),
            other => made.push(other),
        }
    }
    if inserted.next().is_some() {
        return Err("there are more values than {}".to_owned());
    }
    Ok(made.into())
}

fn string_to_json(values: &[Value], _: Scope<'_>) -> Result<Value, String> {
    let text = text(values, 0)?;
    if text.trim().is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(text).map_err(|error| format!("the text is no JSON: {error}"))
}

fn array_partition(values: &[Value], _: Scope<'_>) -> Result<Value, String> {
    let size = usize::try_from(integer(values, 1)?).ok().filter(|size| *size > 0);
    let size = size.ok_or("the size of a part must be a positive number")?;
    Ok(list(values, 0)?.chunks(size).map(|part| Value::from(part.to_vec())).collect())
}

fn array_range(values: &[Value], _: Scope<'_>) -> Result<Value, String> {
    let (first, last, step) = (integer(values, 0)?, integer(values, 1)?, integer(values, 2)?);
    if step == 0 {
        return Err("the step must not be 0".to_owned());
    }
    let too_long = || format!("a range has at most {RANGE_MAX} members");
    let steps = last.checked_sub(first).and_then(|span| span.checked_div(step)).ok_or_else(too_long)?;
    if steps >= RANGE_MAX {
        return Err(too_long());
    }
    Ok((0..=steps).map(|number| Value::from(first + number * step)).collect())
}

fn array_get_item(values: &[Value], _: Scope<'_>) -> Result<Value, String> {
    let (list, index) = (list(values, 0)?, integer(values, 1)?);
    let item = usize::try_from(index).ok().and_then(|index| list.get(index));
    item.cloned().ok_or_else(|| format!("the list of {} members has none at {index}", list.len()))
}

fn array_unique(values: &[Value], _: Scope<'_>) -> Result<Value, String> {
    let mut seen = std::collections::HashSet::new();
    let list = list(values, 0)?.iter();
    // The text of a value stands for it: maps of one template have their members in one order.
    Ok(list.filter(|value| seen.insert(value.to_string())).cloned().collect())
}

fn base64_decode(values: &[Value], _: Scope<'_>) -> Result<Value, String> {
    let bytes = BASE64.decode(short_text(values, 0)?).map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map(Value::from).map_err(|error| error.to_string())
}

fn hash(values: &[Value], _: Scope<'_>) -> Result<Value, String> {
    let data = values[0].as_str().map_or_else(|| values[0].to_string(), str::to_owned);
    if data.chars().count() > TEXT_MAX {
        return Err(format!("it takes at most {TEXT_MAX} characters"));
    }
    let algorithm = text(values, 1)?;
    let digest = digest(algorithm, &data);
    digest
        .map(Value::from)
        .ok_or_else(|| format!("{algorithm} is none of MD5, SHA-1, SHA-256, SHA-384, SHA-512"))
}

/// The digest of a text in hexadecimal digits; nothing for an algorithm that the service does not have.
pub(in crate::states) fn digest(algorithm: &str, data: &str) -> Option<String> {
    use md5::Digest as _;
    Some(match algorithm {
        "MD5" => hex::encode(md5::Md5::digest(data)),
        "SHA-1" => hex::encode(sha1::Sha1::digest(data)),
        "SHA-256" => sha2_of::<sha2::Sha256>(data),
        "SHA-384" => sha2_of::<sha2::Sha384>(data),
        "SHA-512" => sha2_of::<sha2::Sha512>(data),
        _ => return None,
    })
}

fn sha2_of<D: sha2::Digest>(data: &str) -> String {
    hex::encode(D::digest(data))
}

fn json_merge(values: &[Value], _: Scope<'_>) -> Result<Value, String> {
    if values[2] != Value::Bool(false) {
        return Err("deep merging is not offered: the third argument must be false".to_owned());
    }
    let object = |index: usize| -> Result<&Map<String, Value>, String> {
        values[index].as_object().ok_or_else(|| format!("argument {} is no object", index + 1))
    };
    let mut merged = object(0)?.clone();
    merged.extend(object(1)?.clone());
    Ok(merged.into())
}

fn math_random(values: &[Value], scope: Scope<'_>) -> Result<Value, String> {
    let (first, end) = (integer(values, 0)?, integer(values, 1)?);
    if first >= end {
        return Err("the first number must be smaller than the second".to_owned());
    }
    let unit = match values.get(2) {
        Some(seed) => Dice::seeded(&seed.to_string()).unit(),
        None => scope.dice.unit(),
    };
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a throw of dice")]
    let offset = (unit * (end.saturating_sub(first)) as f64) as i64;
    Ok(Value::from(first + offset.min(end.saturating_sub(first) - 1)))
}

fn math_add(values: &[Value], _: Scope<'_>) -> Result<Value, String> {
    let sum = integer(values, 0)?.checked_add(integer(values, 1)?);
    sum.map(Value::from).ok_or_else(|| "the sum is too large".to_owned())
}

fn string_split(values: &[Value], _: Scope<'_>) -> Result<Value, String> {
    let (whole, separators) = (text(values, 0)?, text(values, 1)?);
    // Each character of the second argument separates, and nothing stands for nothing.
    let parts = whole.split(|character| separators.contains(character));
    Ok(parts.filter(|part| !part.is_empty()).map(Value::from).collect())
}

fn text(values: &[Value], index: usize) -> Result<&str, String> {
    values[index].as_str().ok_or_else(|| format!("argument {} is no text", index + 1))
}

fn short_text(values: &[Value], index: usize) -> Result<&str, String> {
    let text = text(values, index)?;
    let fits = text.chars().count() <= TEXT_MAX;
    fits.then_some(text).ok_or_else(|| format!("it takes at most {TEXT_MAX} characters"))
}

fn list(values: &[Value], index: usize) -> Result<&Vec<Value>, String> {
    values[index].as_array().ok_or_else(|| format!("argument {} is no list", index + 1))
}

/// A whole number; fractions are rounded, as the service does.
fn integer(values: &[Value], index: usize) -> Result<i64, String> {
    let value = &values[index];
    #[expect(clippy::cast_possible_truncation, reason = "rounded to what an integer holds")]
    let rounded = value.as_f64().map(|number| number.round() as i64);
    value.as_i64().or(rounded).ok_or_else(|| format!("argument {} is no number", index + 1))
}
