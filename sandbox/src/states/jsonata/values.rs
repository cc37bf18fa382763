//! Values on their way into an expression and out of it. The crate's numbers are 64-bit floats, as `JSONata`'s
//! are: whole numbers beyond 2^53 lose their last digits in an expression.

use jsonata_core::value::JValue;
use serde_json::{Map, Number, Value};

use crate::states::scope::Scope;

/// How deep a result may nest: it is written into the journal, and JSON is read back 128 levels deep.
const DEPTH_MAX: usize = 100;
/// The largest result in bytes, about as many as the service lets one expression use. What a result is used for
/// has its own, smaller limits.
const BYTES_MAX: usize = 7 * 1024 * 1024;
/// What a value counts besides its texts: an expression can refer to one value from many places, so that a small
/// one becomes very large when it is written out.
const BYTES_OF_ONE: usize = 8;

/// Whole numbers that a float holds exactly.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// The reserved variable `$states`.
pub(super) fn states(scope: Scope<'_>) -> JValue {
    let mut members = Map::new();
    members.insert("input".to_owned(), scope.input.clone());
    members.insert("context".to_owned(), scope.context.clone());
    members.extend(scope.result.map(|result| ("result".to_owned(), result.clone())));
    members.extend(scope.error.map(|error| ("errorOutput".to_owned(), error.clone())));
    JValue::from(Value::Object(members))
}

/// A result as JSON; the error says what about it cannot be.
pub(super) fn json(value: &JValue) -> Result<Value, String> {
    let mut left = BYTES_MAX;
    written(value, DEPTH_MAX, &mut left)
}

fn written(value: &JValue, depth: usize, left: &mut usize) -> Result<Value, String> {
    if depth == 0 {
        return Err(format!("returned a value that is nested more than {DEPTH_MAX} levels deep."));
    }
    spend(left, BYTES_OF_ONE)?;
    Ok(match value {
        JValue::Null | JValue::Undefined => Value::Null,
        JValue::Bool(is) => Value::Bool(*is),
        JValue::Number(number) => Value::Number(self::number(*number)?),
        JValue::String(text) => {
            spend(left, text.len())?;
            Value::from(&**text)
        }
        JValue::Array(items) => {
            let items = items.iter().filter(|item| !item.is_undefined());
            items.map(|item| written(item, depth - 1, left)).collect::<Result<_, _>>()?
        }
        JValue::Object(members) => {
            let mut map = Map::new();
            for (name, member) in members.iter().filter(|(_, member)| !member.is_undefined()) {
                spend(left, name.len())?;
                map.insert(name.clone(), written(member, depth - 1, left)?);
            }
            Value::Object(map)
        }
        JValue::Lambda(_) | JValue::Builtin { .. } | JValue::Regex { .. } => {
            return Err("returned an unsupported result type.".to_owned());
        }
    })
}

/// Takes bytes from what is left of a result's size.
fn spend(left: &mut usize, bytes: usize) -> Result<(), String> {
    let rest = left.checked_sub(bytes);
    *left = rest.ok_or_else(|| format!("returned a value of more than {BYTES_MAX} bytes."))?;
    Ok(())
}

/// A whole number without a fraction, as JSON writes it.
fn number(number: f64) -> Result<Number, String> {
    #[expect(clippy::cast_possible_truncation, reason = "an exact whole number fits")]
    if number.fract() == 0.0 && number.abs() <= EXACT_MAX {
        return Ok(Number::from(number as i64));
    }
    Number::from_f64(number).ok_or_else(|| format!("returned {number}, which is no number of JSON."))
}

/// The kind of a value in `JSONata`'s word.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
