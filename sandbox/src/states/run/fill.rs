//! The values of single fields: a number, a text, the variables of an `Assign`.

use serde_json::{Map, Value};

use crate::states::definition::{Amount, Assign, SECONDS_MAX, Words};
use crate::states::failure::Failure;
use crate::states::scope::Scope;

/// A text; nothing where the field is not there.
pub(super) fn fill_words(words: &Words, scope: Scope<'_>) -> Result<Option<String>, Failure> {
    match words {
        Words::None => Ok(None),
        Words::Fixed(text) => Ok(Some(text.clone())),
        Words::Expression(expression) => match expression.evaluate(scope)? {
            Value::String(text) => Ok(Some(text)),
            other => Err(Failure::runtime(format!("a text is expected, not {other}"))),
        },
        Words::Query(query) => {
            query.evaluate_as(scope, "string", |value| value.as_str().map(str::to_owned)).map(Some)
        }
    }
}

/// The failure of a text that should be a time and is none.
pub(super) fn no_time(words: &Words, text: &str) -> Failure {
    match words {
        Words::Query(query) => {
            let field = query.field();
            Failure::query(field, format!("The {field} field is no timestamp of RFC 3339: {text}"))
        }
        _ => Failure::runtime(format!("The Timestamp '{text}' is no timestamp of RFC 3339")),
    }
}

/// A whole number. `field` names the field that holds a path to it.
pub(super) fn fill_amount(field: &str, amount: &Amount, scope: Scope<'_>) -> Result<u64, Failure> {
    match amount {
        Amount::Fixed(number) => Ok(*number),
        Amount::Path(path) => {
            let value = path.get(scope);
            let value = value.ok_or_else(|| Failure::missing(field, path, scope.input))?;
            let wrong =
                || Failure::runtime(format!("{field} '{path}' must give a whole number, not {value}"));
            value.as_u64().ok_or_else(wrong)
        }
        Amount::Query(query) => query.evaluate_as(scope, "whole number from 0 to 99999999", |value| {
            value.as_u64().filter(|number| *number <= SECONDS_MAX)
        }),
    }
}

impl Assign {
    /// The values of all variables; each is evaluated with the variables as they were before.
    pub(super) fn fill(&self, scope: Scope<'_>) -> Result<Map<String, Value>, Failure> {
        self.variables.iter().map(|(name, template)| Ok((name.clone(), template.fill(scope)?))).collect()
    }
}
