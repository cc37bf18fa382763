//! The functions that Step Functions adds to `JSONata`, and the ones of `JSONata` that must not be themselves
//! here: those of chance and time give the same when an interrupted execution is continued, `$pad` is bounded,
//! and `$eval` is not offered.
//!
//! Every other function is the crate's.

use std::rc::Rc;

use jiff::Timestamp;
use jsonata_core::evaluator::{Evaluator, EvaluatorError};
use jsonata_core::parser;
use jsonata_core::value::JValue;

use super::LENGTH_MAX;
use crate::states::intrinsic::digest;
use crate::states::scope::Dice;

/// The longest text that `$pad` makes, in characters.
const PADDED_MAX: usize = 1_000_000;

type Answer = Result<JValue, EvaluatorError>;

/// Gives an evaluator the functions of the service. All chance comes from `dice`.
pub(super) fn register(evaluator: &mut Evaluator, dice: Dice, now: Timestamp) -> Result<(), EvaluatorError> {
    let dice = Rc::new(dice);
    evaluator.register_fn("partition", partition)?;
    evaluator.register_fn("range", range)?;
    evaluator.register_fn("hash", hash)?;
    evaluator.register_fn("parse", parse)?;
    let throws = Rc::clone(&dice);
    evaluator.register_fn("uuid", move |_: &[JValue]| Ok(JValue::string(throws.uuid())))?;
    let throws = Rc::clone(&dice);
    evaluator.register_fn_override("random", move |given: &[JValue]| {
        let unit = match given.first() {
            None | Some(JValue::Undefined) => throws.unit(),
            Some(seed) => Dice::seeded(&number(seed, "random")?.to_string()).unit(),
        };
        Ok(JValue::from_f64(unit))
    })?;
    evaluator.register_fn_override("shuffle", move |given: &[JValue]| Ok(shuffle(given, &dice)))?;
    evaluator
        .register_fn_override("millis", move |_: &[JValue]| Ok(JValue::from_i64(now.as_millisecond())))?;
    evaluator.register_fn_override("pad", pad)?;
    evaluator.register_fn_override("eval", |_: &[JValue]| {
        Err(failed("T1006: $eval is not supported by Step Functions: use $parse for JSON"))
    })
}

/// The function `$now(picture, timezone)` of a moment, in `JSONata`'s own terms.
pub(super) fn now(moment: Timestamp) -> Answer {
    let text = format!(
        "function($picture, $timezone) {{ $fromMillis({}, $picture, $timezone) }}",
        moment.as_millisecond()
    );
    let tree = parser::parse(&text).map_err(|error| failed(error.to_string()))?;
    Evaluator::new().evaluate(&tree, &JValue::Undefined)
}

/// `$partition(list, size)`: the list in parts of so many; nothing for an empty list or a size below one.
fn partition(given: &[JValue]) -> Answer {
    let (Some(list), Some(size)) = (defined(given, 0), defined(given, 1)) else {
        return Ok(JValue::Undefined);
    };
    let size = whole(size, "partition")?;
    let single = std::slice::from_ref(list);
    let items = list.as_array().map_or(single, Vec::as_slice);
    match usize::try_from(size) {
        Ok(size) if size > 0 && !items.is_empty() => {
            Ok(JValue::array(items.chunks(size).map(|part| JValue::array(part.to_vec())).collect()))
        }
        _ => Ok(JValue::Undefined),
    }
}

/// `$range(first, last, step)`: nothing where the step leads away from the last number.
fn range(given: &[JValue]) -> Answer {
    let (Some(first), Some(last), Some(step)) = (defined(given, 0), defined(given, 1), defined(given, 2))
    else {
        return Ok(JValue::Undefined);
    };
    let (first, last, step) = (whole(first, "range")?, whole(last, "range")?, whole(step, "range")?);
    let too_long = || failed(format!("D2015: $range makes at most {LENGTH_MAX} numbers"));
    if step == 0 || (last > first && step < 0) || (last < first && step > 0) {
        return Ok(JValue::Undefined);
    }
    let steps = last.checked_sub(first).and_then(|span| span.checked_div(step)).ok_or_else(too_long)?;
    if usize::try_from(steps).map_or(true, |steps| steps >= LENGTH_MAX) {
        return Err(too_long());
    }
    Ok(JValue::sequence((0..=steps).map(|number| JValue::from_i64(first + number * step)).collect()))
}

/// `$hash(text, algorithm)` in lower-case hexadecimal digits.
fn hash(given: &[JValue]) -> Answer {
    let (Some(data), Some(algorithm)) = (defined(given, 0), defined(given, 1)) else {
        return Ok(JValue::Undefined);
    };
    let (data, algorithm) = (text(data, "hash")?, text(algorithm, "hash")?);
    let digest = digest(algorithm, data);
    digest
        .map(JValue::string)
        .ok_or_else(|| failed(format!("$hash: {algorithm} is none of MD5, SHA-1, SHA-256, SHA-384, SHA-512")))
}

/// `$parse(text)`: the value of a text of JSON.
fn parse(given: &[JValue]) -> Answer {
    let Some(json) = defined(given, 0) else { return Ok(JValue::Undefined) };
    let value = serde_json::from_str::<serde_json::Value>(text(json, "parse")?);
    value.map(JValue::from).map_err(|error| failed(format!("$parse: the text is no JSON: {error}")))
}

/// `$shuffle(list)`, by the throws of the execution's dice.
fn shuffle(given: &[JValue], dice: &Dice) -> JValue {
    let Some(list) = defined(given, 0) else { return JValue::Undefined };
    let single = std::slice::from_ref(list);
    let mut items = list.as_array().map_or(single, Vec::as_slice).to_vec();
    for last in (1..items.len()).rev() {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a throw of dice below the length of a list"
        )]
        let other = (dice.unit() * (last + 1) as f64) as usize;
        items.swap(last, other.min(last));
    }
    JValue::array(items)
}

/// `$pad(text, width, character)`: the crate's own makes a text as long as it is told to.
fn pad(given: &[JValue]) -> Answer {
    let (Some(padded), Some(width)) = (defined(given, 0), defined(given, 1)) else {
        return Ok(JValue::Undefined);
    };
    let (padded, width) = (text(padded, "pad")?, whole(width, "pad")?);
    let filling = defined(given, 2).map(|filling| text(filling, "pad")).transpose()?;
    let filling = filling.filter(|filling| !filling.is_empty()).unwrap_or(" ");
    let wanted = usize::try_from(width.unsigned_abs()).unwrap_or(usize::MAX);
    if wanted > PADDED_MAX {
        return Err(failed(format!("$pad makes texts of at most {PADDED_MAX} characters")));
    }
    let missing = wanted.saturating_sub(padded.chars().count());
    let filling: String = filling.chars().cycle().take(missing).collect();
    Ok(JValue::string(if width < 0 { filling + padded } else { padded.to_owned() + &filling }))
}

/// An argument that is given and has a value.
fn defined(given: &[JValue], index: usize) -> Option<&JValue> {
    given.get(index).filter(|value| !value.is_undefined())
}

fn text<'a>(value: &'a JValue, function: &str) -> Result<&'a str, EvaluatorError> {
    value.as_str().ok_or_else(|| failed(format!("T0410: an argument of ${function} must be a string")))
}

fn number(value: &JValue, function: &str) -> Result<f64, EvaluatorError> {
    value.as_f64().ok_or_else(|| failed(format!("T0410: an argument of ${function} must be a number")))
}

/// A whole number; a fraction is cut off.
fn whole(value: &JValue, function: &str) -> Result<i64, EvaluatorError> {
    #[expect(clippy::cast_possible_truncation, reason = "cut to what an integer holds")]
    let whole = number(value, function)?.trunc() as i64;
    Ok(whole)
}

fn failed(what: impl Into<String>) -> EvaluatorError {
    EvaluatorError::EvaluationError(what.into())
}
