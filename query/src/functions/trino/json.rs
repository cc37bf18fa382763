//! Athena's functions on JSON texts. What is no JSON, and a path that leads nowhere, gives null.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, Int64Array, StringArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::error::{DataFusionError, Result};
use datafusion::prelude::SessionContext;
use serde_json::Value;

use crate::functions::Plain;

pub(super) fn register(context: &SessionContext) {
    let text = DataType::Utf8;
    let one = std::slice::from_ref(&text);
    let two: &[DataType] = &[text.clone(), text.clone()];
    context.register_udf(Plain::fixed("json_extract", &[two], text.clone(), extract));
    context.register_udf(Plain::fixed("json_extract_scalar", &[two], text.clone(), extract_scalar));
    context.register_udf(Plain::fixed("json_array_length", &[one], DataType::Int64, array_length));
    // What json_extract gives is a text already.
    context.register_udf(Plain::fixed("json_format", &[one], text.clone(), |a| Ok(Arc::clone(&a[0]))));
}

/// A step of a path.
#[derive(Debug, PartialEq)]
enum Step {
    Member(String),
    Item(usize),
}

fn extract(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    at_path(arguments, |value| Some(value.to_string()))
}

fn extract_scalar(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    at_path(arguments, |value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    })
}

fn at_path(arguments: &[ArrayRef], read: fn(&Value) -> Option<String>) -> Result<ArrayRef> {
    let paths = arguments[1].as_string::<i32>();
    let mut known: Option<(String, Vec<Step>)> = None;
    let found = arguments[0].as_string::<i32>().iter().zip(paths).map(|(text, path)| {
        let (Some(text), Some(path)) = (text, path) else { return Ok(None) };
        if known.as_ref().is_none_or(|(last, _)| last != path) {
            known = Some((path.to_owned(), steps(path)?));
        }
        let steps = known.as_ref().map(|(_, steps)| steps.as_slice()).unwrap_or_default();
        let Ok(value) = serde_json::from_str::<Value>(text) else { return Ok(None) };
        let found = steps.iter().try_fold(&value, |value, step| match step {
            Step::Member(name) => value.as_object()?.get(name),
            Step::Item(at) => value.as_array()?.get(*at),
        });
        Ok(found.and_then(read))
    });
    Ok(Arc::new(found.collect::<Result<StringArray>>()?))
}

#[expect(clippy::unnecessary_wraps, reason = "the engine calls all functions alike")]
fn array_length(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    let lengths = arguments[0].as_string::<i32>().iter().map(|text| {
        let value = serde_json::from_str::<Value>(text?).ok()?;
        i64::try_from(value.as_array()?.len()).ok()
    });
    Ok(Arc::new(lengths.collect::<Int64Array>()))
}

/// The steps of a path: `$`, `.name`, `[0]`, `["name"]`.
fn steps(path: &str) -> Result<Vec<Step>> {
    let wrong =
        || DataFusionError::Execution(format!("INVALID_FUNCTION_ARGUMENT: Invalid JSON path: '{path}'"));
    let unknown = || {
        DataFusionError::Execution(format!(
            "NOT_SUPPORTED: the sandbox's Athena has no wildcards, filters and slices in JSON paths: '{path}'"
        ))
    };
    let mut rest = path.strip_prefix('$').ok_or_else(wrong)?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if rest.starts_with("..") || rest.contains(['*', '@']) {
            return Err(unknown());
        }
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            if end == 0 {
                return Err(wrong());
            }
            steps.push(Step::Member(after[..end].to_owned()));
            rest = &after[end..];
            continue;
        }
        let after = rest.strip_prefix('[').ok_or_else(wrong)?;
        let quote = after.chars().next().filter(|c| matches!(c, '"' | '\''));
        if let Some(quote) = quote {
            let (name, after) = after[1..].split_once(quote).ok_or_else(wrong)?;
            steps.push(Step::Member(name.to_owned()));
            rest = after.strip_prefix(']').ok_or_else(wrong)?;
        } else {
            let (number, after) = after.split_once(']').ok_or_else(wrong)?;
            if number.contains([':', '-', ',']) {
                return Err(unknown());
            }
            steps.push(Step::Item(number.parse().map_err(|_| wrong())?));
            rest = after;
        }
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_or_refused() {
        let member = |name: &str| Step::Member(name.to_owned());
        assert_eq!(steps("$").unwrap(), []);
        assert_eq!(
            steps("$.a[0][\"b c\"]['d'].e").unwrap(),
            [member("a"), Step::Item(0), member("b c"), member("d"), member("e")]
        );
        for path in ["", "a", "$a", "$.", "$[", "$[x]", "$[\"a]", "$..a", "$[*]", "$.a[-1]", "$[0:1]"] {
            assert!(steps(path).is_err(), "{path}");
        }
    }
}
