//! Attributes of spans: their names, which are an interface, and what all spans share.

use serde_json::Value;
use trunkline_state::{run::Failure, store::RunRow};

use super::Facts;

/// Characters of an error's message: receivers cut longer values, some refuse them.
const MESSAGE_CHARS_MAX: usize = 2_000;

/// What every span has, so that each can be found alone.
pub(super) fn common(facts: &Facts<'_>) -> Vec<(String, Value)> {
    let mut attributes = Vec::new();
    put(&mut attributes, "pipeline", facts.run.pipeline.as_str());
    put(&mut attributes, "run", label(facts.run));
    put(&mut attributes, "generation", facts.ended.generation);
    put(&mut attributes, "environment", facts.pipeline.environment.as_str());
    attributes
}

/// Sets an attribute of ours; one that is there already gets the new value.
pub(super) fn put(attributes: &mut Vec<(String, Value)>, name: &str, value: impl Into<Value>) {
    let (name, value) = (format!("trunkline.{name}"), value.into());
    match attributes.iter_mut().find(|(known, _)| *known == name) {
        Some((_, known)) => *known = value,
        None => attributes.push((name, value)),
    }
}

/// Why it failed, in the words of the service.
pub(super) fn put_failure(attributes: &mut Vec<(String, Value)>, failure: Option<&Failure>) {
    let Some(failure) = failure else { return };
    // OpenTelemetry's own name for it.
    attributes.push(("error.type".to_owned(), failure.class.as_str().into()));
    if let Some(code) = &failure.code {
        put(attributes, "error.code", code.as_str());
    }
    if let Some(id) = &failure.request_id {
        put(attributes, "error.request_id", id.as_str());
    }
}

/// `pipeline@key`.
pub(super) fn label(run: &RunRow) -> String {
    format!("{}@{}", run.pipeline, run.key)
}

/// A text that is not too long for a value.
pub(super) fn cut(text: String) -> String {
    match text.char_indices().nth(MESSAGE_CHARS_MAX) {
        None => text,
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}
