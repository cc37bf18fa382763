//! An error of a state, in the states language's own names.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::path::Path;

/// The longest cause that is kept: the service's own limit.
const CAUSE_MAX: usize = 32_768;

/// How much of an input is shown in a cause.
const SHOWN_MAX: usize = 1_000;

/// Why a state or an execution failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Failure {
    /// Its name: `States.Timeout`, `Glue.EntityNotFoundException`, or one of the definition's own.
    pub error: String,
    /// Text for people.
    pub cause: String,
    /// The field whose expression failed, as long as the history does not tell of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

impl Failure {
    /// A failure; a cause that is too long is cut.
    pub(super) fn new(error: impl Into<String>, cause: impl Into<String>) -> Self {
        Self { error: error.into(), cause: cut(cause.into(), CAUSE_MAX), field: None }
    }

    /// A mistake of the definition that no retrier and no catcher may hide.
    pub(super) fn runtime(cause: impl Into<String>) -> Self {
        Self::new("States.Runtime", cause)
    }

    /// An expression of a field that has no value, or not one that the field takes.
    pub(super) fn query(field: &str, cause: impl Into<String>) -> Self {
        Self { field: Some(field.to_owned()), ..Self::new("States.QueryEvaluationError", cause) }
    }

    /// The failure as the history and the catchers tell it, with the state that it happened in; for a failure
    /// of an expression, the field that the history has yet to tell of.
    pub(super) fn told(self, state: &str, entered: u64) -> (Self, Option<String>) {
        let Some(field) = self.field else { return (self, None) };
        let cause = format!(
            "An error occurred while executing the state '{state}' (entered at the event id #{entered}). {}",
            self.cause
        );
        (Self::new(self.error, cause), Some(field))
    }

    /// A path in parameters that selects nothing.
    pub(super) fn missing_parameter(path: &Path, input: &Value) -> Self {
        let input = cut(input.to_string(), SHOWN_MAX);
        let text = format!("The JSONPath '{path}' could not be found in the input '{input}'");
        Self::new("States.ParameterPathFailure", text)
    }

    /// A path of a field that selects nothing.
    pub(super) fn missing(field: &str, path: &Path, input: &Value) -> Self {
        let input = cut(input.to_string(), SHOWN_MAX);
        Self::runtime(format!("Invalid path '{path}' of {field}: it selects nothing in the input '{input}'"))
    }

    /// Whether a retrier or catcher with this name takes it.
    pub(super) fn is_named(&self, name: &str) -> bool {
        // Mistakes of the definition and results that are too long cannot be caught by any general name.
        let is_fatal = matches!(self.error.as_str(), "States.Runtime" | "States.DataLimitExceeded");
        match name {
            "States.ALL" => !is_fatal,
            "States.TaskFailed" => !is_fatal && self.error != "States.Timeout",
            name => self.error == name && self.error != "States.Runtime",
        }
    }

    /// What a catcher hands to the next state.
    pub(super) fn output(&self) -> Value {
        json!({ "Error": self.error, "Cause": self.cause })
    }
}

/// A text of at most so many bytes.
fn cut(mut text: String, most: usize) -> String {
    if text.len() > most {
        let end = (0..=most).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn general_names_take_what_they_should() {
        let names = |error: &str| {
            let failure = Failure::new(error, "");
            ["States.ALL", "States.TaskFailed", error].map(|name| failure.is_named(name))
        };
        assert_eq!(names("Glue.EntityNotFoundException"), [true, true, true]);
        assert_eq!(names("States.Timeout"), [true, false, true]);
        assert_eq!(names("States.Runtime"), [false, false, false]);
        assert_eq!(names("States.DataLimitExceeded"), [false, false, true]);
    }

    #[test]
    fn long_causes_are_cut_between_characters() {
        let failure = Failure::new("E", "ä".repeat(CAUSE_MAX));
        assert!(failure.cause.ends_with("ä…") && failure.cause.len() <= CAUSE_MAX + 3);
    }
}
