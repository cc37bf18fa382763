//! Athena's text functions: those that count from the end, split, and match patterns.
//!
//! Patterns are Java's in Athena. What the pattern language of the sandbox has not, such as looking ahead and
//! references back, is refused when the pattern is read.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, ListArray, ListBuilder, StringArray, StringBuilder,
};
use datafusion::arrow::datatypes::{DataType, Field, Int64Type};
use datafusion::error::{DataFusionError, Result};
use datafusion::prelude::SessionContext;
use regex::{Regex, RegexBuilder};

use crate::functions::Plain;

/// Memory of one compiled pattern.
const PATTERN_BYTES_MAX: usize = 4 * 1024 * 1024;

pub(super) fn register(context: &SessionContext) {
    let (text, number) = (DataType::Utf8, DataType::Int64);
    let list = DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)));
    let two: &[DataType] = &[text.clone(), text.clone()];
    let three: &[DataType] = &[text.clone(), text.clone(), text.clone()];
    let group: &[DataType] = &[text.clone(), text.clone(), number.clone()];
    let from: &[DataType] = &[text.clone(), number.clone()];
    let range: &[DataType] = &[text.clone(), number.clone(), number.clone()];
    context.register_udf(Plain::fixed("split_part", &[group], text.clone(), split_part));
    context.register_udf(Plain::fixed("split", &[two], list.clone(), split));
    for name in ["substr", "substring"] {
        context.register_udf(Plain::fixed(name, &[from, range], text.clone(), substr));
    }
    context.register_udf(Plain::fixed("regexp_extract", &[two, group], text.clone(), regexp_extract));
    context.register_udf(Plain::fixed("regexp_extract_all", &[two, group], list.clone(), regexp_extract_all));
    context.register_udf(Plain::fixed("regexp_replace", &[two, three], text, regexp_replace));
    context.register_udf(Plain::fixed("regexp_split", &[two], list, regexp_split));
    context.register_udf(Plain::fixed("regexp_count", &[two], number, regexp_count));
}

fn wrong(text: impl std::fmt::Display) -> DataFusionError {
    DataFusionError::Execution(format!("INVALID_FUNCTION_ARGUMENT: {text}"))
}

fn split_part(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    let (delimiters, indexes) = (arguments[1].as_string::<i32>(), arguments[2].as_primitive::<Int64Type>());
    let parts = arguments[0]
        .as_string::<i32>()
        .iter()
        .zip(delimiters.iter().zip(indexes))
        .map(|(text, (delimiter, index))| {
            let (Some(text), Some(delimiter), Some(index)) = (text, delimiter, index) else {
                return Ok(None);
            };
            let at = usize::try_from(index).ok().and_then(|index| index.checked_sub(1));
            let at = at.ok_or_else(|| wrong("Index must be greater than zero"))?;
            // Behind the last part there is nothing; an empty delimiter parts letter from letter.
            Ok(if delimiter.is_empty() {
                text.chars().nth(at).map(String::from)
            } else {
                text.split(delimiter).nth(at).map(str::to_owned)
            })
        })
        .collect::<Result<StringArray>>()?;
    Ok(Arc::new(parts))
}

fn split(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    let delimiters = arguments[1].as_string::<i32>();
    let rows = arguments[0].as_string::<i32>().iter().zip(delimiters).map(|(text, delimiter)| {
        let (Some(text), Some(delimiter)) = (text, delimiter) else { return Ok(None) };
        if delimiter.is_empty() {
            return Err(wrong("The delimiter may not be the empty string"));
        }
        Ok(Some(text.split(delimiter).map(|part| Some(part.to_owned())).collect()))
    });
    lists(rows)
}

/// Counts letters from 1, and from the end where the start is negative; from 0 there is nothing.
#[expect(clippy::unnecessary_wraps, reason = "the engine calls all functions alike")]
fn substr(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    let starts = arguments[1].as_primitive::<Int64Type>();
    let lengths = arguments.get(2).map(|lengths| lengths.as_primitive::<Int64Type>());
    let pieces: StringArray = arguments[0]
        .as_string::<i32>()
        .iter()
        .enumerate()
        .map(|(row, text)| {
            let text = text?;
            let start = starts.is_valid(row).then(|| starts.value(row))?;
            let length = match lengths {
                Some(lengths) => lengths.is_valid(row).then(|| lengths.value(row))?,
                None => i64::MAX,
            };
            let letters = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
            let first = if start > 0 { start - 1 } else { letters.saturating_add(start) };
            if start == 0 || first < 0 || first >= letters || length <= 0 {
                return Some(String::new());
            }
            let (first, length) =
                (usize::try_from(first).ok()?, usize::try_from(length).unwrap_or(usize::MAX));
            Some(text.chars().skip(first).take(length).collect())
        })
        .collect();
    Ok(Arc::new(pieces))
}

/// The pattern of a row; the last one is kept, as it is the same for all rows nearly always.
#[derive(Default)]
struct Patterns(Option<(String, Regex)>);

impl Patterns {
    fn of(&mut self, pattern: &str) -> Result<&Regex> {
        if self.0.as_ref().is_none_or(|(known, _)| known != pattern) {
            let compiled = RegexBuilder::new(pattern).size_limit(PATTERN_BYTES_MAX).build();
            let compiled = compiled.map_err(|error| {
                let text = error.to_string();
                let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
                DataFusionError::Execution(format!(
                    "NOT_SUPPORTED: the sandbox's Athena cannot use the pattern {pattern}: {reason}"
                ))
            })?;
            self.0 = Some((pattern.to_owned(), compiled));
        }
        // Just put there.
        self.0.as_ref().map(|(_, compiled)| compiled).ok_or_else(|| wrong("no pattern"))
    }
}

/// The number of the wanted group in each row: 0, the whole match, where none is given.
fn group_of(arguments: &[ArrayRef], row: usize) -> Option<i64> {
    let Some(groups) = arguments.get(2) else { return Some(0) };
    let groups = groups.as_primitive::<Int64Type>();
    groups.is_valid(row).then(|| groups.value(row))
}

fn check_group(pattern: &Regex, group: i64) -> Result<usize> {
    let known = pattern.captures_len() - 1;
    usize::try_from(group)
        .ok()
        .filter(|group| *group <= known)
        .ok_or_else(|| wrong(format!("Pattern has {known} groups. Cannot access group {group}")))
}

fn regexp_extract(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    let mut patterns = Patterns::default();
    let found = pairs(arguments).enumerate().map(|(row, (text, pattern))| {
        let (Some(text), Some(pattern), Some(group)) = (text, pattern, group_of(arguments, row)) else {
            return Ok(None);
        };
        let pattern = patterns.of(pattern)?;
        let group = check_group(pattern, group)?;
        Ok(pattern.captures(text).and_then(|found| Some(found.get(group)?.as_str().to_owned())))
    });
    Ok(Arc::new(found.collect::<Result<StringArray>>()?))
}

fn regexp_extract_all(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    let mut patterns = Patterns::default();
    let rows = pairs(arguments).enumerate().map(|(row, (text, pattern))| {
        let (Some(text), Some(pattern), Some(group)) = (text, pattern, group_of(arguments, row)) else {
            return Ok(None);
        };
        let pattern = patterns.of(pattern)?;
        let group = check_group(pattern, group)?;
        let piece = |found: regex::Captures<'_>| Some(found.get(group)?.as_str().to_owned());
        Ok(Some(pattern.captures_iter(text).map(piece).collect()))
    });
    lists(rows)
}

fn regexp_split(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    let mut patterns = Patterns::default();
    let rows = pairs(arguments).map(|(text, pattern)| {
        let (Some(text), Some(pattern)) = (text, pattern) else { return Ok(None) };
        Ok(Some(patterns.of(pattern)?.split(text).map(|part| Some(part.to_owned())).collect()))
    });
    lists(rows)
}

fn regexp_count(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    let mut patterns = Patterns::default();
    let counts = pairs(arguments).map(|(text, pattern)| {
        let (Some(text), Some(pattern)) = (text, pattern) else { return Ok(None) };
        let count = patterns.of(pattern)?.find_iter(text).count();
        Ok(Some(i64::try_from(count).unwrap_or(i64::MAX)))
    });
    Ok(Arc::new(counts.collect::<Result<Int64Array>>()?))
}

fn regexp_replace(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    let replacements = arguments.get(2).map(|texts| texts.as_string::<i32>());
    let mut patterns = Patterns::default();
    let replaced = pairs(arguments).enumerate().map(|(row, (text, pattern))| {
        let (Some(text), Some(pattern)) = (text, pattern) else { return Ok(None) };
        let by = match replacements {
            Some(texts) if texts.is_null(row) => return Ok(None),
            Some(texts) => replacement(texts.value(row)),
            None => String::new(),
        };
        Ok(Some(patterns.of(pattern)?.replace_all(text, by).into_owned()))
    });
    Ok(Arc::new(replaced.collect::<Result<StringArray>>()?))
}

/// Java's `$1`, `${name}` and `\$` in the words of the sandbox's patterns.
fn replacement(java: &str) -> String {
    let mut out = String::with_capacity(java.len() + 8);
    let mut letters = java.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some('$') => out.push_str("$$"),
                Some(other) => out.push(other),
                None => out.push('\\'),
            },
            '$' if letters.peek().is_some_and(char::is_ascii_digit) => {
                out.push_str("${");
                while let Some(digit) = letters.next_if(char::is_ascii_digit) {
                    out.push(digit);
                }
                out.push('}');
            }
            other => out.push(other),
        }
    }
    out
}

fn pairs(arguments: &[ArrayRef]) -> impl Iterator<Item = (Option<&str>, Option<&str>)> {
    arguments[0].as_string::<i32>().iter().zip(arguments[1].as_string::<i32>())
}

/// A column of lists of texts.
fn lists(rows: impl Iterator<Item = Result<Option<Vec<Option<String>>>>>) -> Result<ArrayRef> {
    let mut builder = ListBuilder::new(StringBuilder::new());
    for row in rows {
        match row? {
            Some(items) => builder.append_value(items),
            None => builder.append_null(),
        }
    }
    let made: ListArray = builder.finish();
    Ok(Arc::new(made))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replacements_are_javas() {
        for (java, ours) in
            [("3$1a", "3${1}a"), ("\\$1", "$$1"), ("${name}!", "${name}!"), ("a\\\\b", "a\\b")]
        {
            assert_eq!(replacement(java), ours, "{java}");
        }
    }
}
