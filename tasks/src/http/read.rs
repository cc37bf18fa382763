//! What stands in an answer: values by JSON pointer, outputs, reasons.

use indexmap::IndexMap;
use serde_json::Value;

use super::{
    exchange::{ANSWER_BYTES_MAX, Answer},
    wrong,
};
use crate::operator::{ErrorClass, Failure, Outcome, Outputs};

/// Bytes that the outputs of a task may have together: they are read by templates and stored.
const OUTPUT_BYTES_MAX: usize = 256 * 1024;

/// Where in an answer something stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place<'a> {
    Header(&'a str),
    Pointer(&'a str),
}

impl<'a> Place<'a> {
    /// `header:NAME` or a JSON pointer.
    pub(super) fn read(text: &'a str, what: &str) -> Result<Self, Failure> {
        match text.strip_prefix("header:") {
            Some(name) if !name.trim().is_empty() => Ok(Self::Header(name.trim())),
            Some(_) => Err(wrong(format!("{what}: name the header, as in `header:Location`"))),
            None => Self::pointer(text, what),
        }
    }

    /// A JSON pointer.
    pub(super) fn pointer(text: &'a str, what: &str) -> Result<Self, Failure> {
        if text.is_empty() || text.starts_with('/') {
            return Ok(Self::Pointer(text));
        }
        Err(wrong(format!("{what}: `{text}` is no JSON pointer; it begins with `/`, as in /result/rows")))
    }

    /// The text that stands there.
    pub(super) fn text(&self, answer: &Answer, json: Option<&Value>) -> Option<String> {
        match self {
            Self::Header(name) => answer.headers.get(name.to_ascii_lowercase()).map(str::to_owned),
            Self::Pointer(pointer) => text_at(json?, pointer),
        }
    }
}

/// The text, number or boolean at a pointer, as text.
pub(super) fn text_at(json: &Value, pointer: &str) -> Option<String> {
    match json.pointer(pointer)? {
        Value::String(text) => Some(text.clone()),
        value @ (Value::Number(_) | Value::Bool(_)) => Some(value.to_string()),
        _ => None,
    }
}

/// The outcome of an answer that shows success.
pub(super) fn outcome(
    wanted: &IndexMap<String, String>,
    answer: &Answer,
    mut outputs: Outputs,
) -> Result<Outcome, Failure> {
    outputs.insert("status".to_owned(), answer.status.into());
    let json = answer.json();
    if wanted.is_empty() {
        let body = json.clone().unwrap_or_else(|| String::from_utf8_lossy(&answer.body).into_owned().into());
        outputs.insert("body".to_owned(), body);
    }
    for (name, pointer) in wanted {
        let Some(json) = &json else {
            return Err(wrong(format!("outputs: the answer is no JSON: {}", answer.shown())));
        };
        let Some(value) = json.pointer(pointer) else {
            return Err(wrong(format!(
                "outputs: the answer holds nothing at `{pointer}`: {}",
                answer.shown()
            )));
        };
        outputs.insert(name.clone(), value.clone());
    }
    let bytes = Value::Object(outputs.clone()).to_string().len();
    if bytes > OUTPUT_BYTES_MAX {
        return Err(wrong(format!(
            "the outputs have {bytes} bytes and may have {OUTPUT_BYTES_MAX}: pick values with `outputs`"
        )));
    }
    Ok(Outcome { outputs, ..Outcome::default() })
}

/// The failure for an answer that says no, in the service's own words.
pub(super) fn refusal(label: &str, answer: &Answer) -> Failure {
    let class = match answer.status {
        429 => ErrorClass::Throttled,
        408 | 500..=599 => ErrorClass::System,
        _ => ErrorClass::Config,
    };
    let to = match answer.headers.get("location") {
        Some(to) if (300..400).contains(&answer.status) => format!(" to {to}, which is not followed here"),
        _ => String::new(),
    };
    let message = format!("{label} was answered with status {}{to}: {}", answer.status, answer.shown());
    let mut failure = Failure::new(class, message).with_code(answer.status.to_string());
    failure.request_id = answer.request_id();
    failure
}

/// The failure for an answer that is longer than is read.
pub(super) fn too_long(label: &str, status: u16) -> Failure {
    let mut failure = wrong(format!(
        "{label} was answered with more than {ANSWER_BYTES_MAX} bytes, which is the most that is read: \
         let the service write to S3, or ask for less"
    ));
    failure.code = Some(status.to_string());
    failure
}
