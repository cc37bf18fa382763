//! What the answer to a call means: a result, a function that failed, something unreadable.

use aws_sdk_lambda::operation::invoke::InvokeOutput;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::Value;

use crate::operator::{ErrorClass, Failure, Outcome, Sent};

/// The longest response that is kept as an output: it stands in the store and flows into the
/// requests of later tasks. What is larger belongs into S3.
const RESPONSE_BYTES_MAX: usize = 256 * 1024;

/// How much of a response that cannot be read is shown.
const SHOWN_BYTES: usize = 500;

/// How many lines of the function's log become part of its error; the tail that Lambda gives
/// has 4 KB.
const LOG_LINES: usize = 15;

/// An error as Lambda's runtimes write it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Raised {
    error_type: Option<String>,
    error_message: Option<Value>,
}

/// Reads the answer of a call that Lambda took.
pub(super) fn read(function: &str, is_sync: bool, answer: &InvokeOutput, request_id: Option<String>) -> Sent {
    let payload = answer.payload().map(AsRef::as_ref).unwrap_or_default();
    if let Some(kind) = answer.function_error() {
        let mut failure = raised(function, kind, payload, answer.log_result());
        failure.request_id = request_id;
        return Sent::Refused(failure);
    }
    let mut outcome = Outcome::default();
    let mut set = |name: &str, value: Value| outcome.outputs.insert(name.to_owned(), value);
    if let Some(id) = &request_id {
        set("request_id", Value::from(id.clone()));
    }
    if let Some(arn) = answer.durable_execution_arn() {
        set("durable_execution_arn", Value::from(arn));
    }
    if let Some(version) = answer.executed_version() {
        set("executed_version", Value::from(version));
    }
    if is_sync {
        match response(payload) {
            Ok(value) => set("response", value),
            Err(reason) => {
                // The function has run: of a class that is not repeated by itself.
                let mut failure =
                    Failure::new(ErrorClass::Config, format!("function {function} succeeded, but {reason}"));
                failure.request_id = request_id;
                return Sent::Refused(failure);
            }
        };
    }
    Sent::Done(outcome)
}

fn response(payload: &[u8]) -> Result<Value, String> {
    if payload.is_empty() {
        return Ok(Value::Null);
    }
    if payload.len() > RESPONSE_BYTES_MAX {
        return Err(format!(
            "its response has {} bytes, and an output holds at most {RESPONSE_BYTES_MAX}: let it write to S3 \
             and return the address",
            payload.len()
        ));
    }
    serde_json::from_slice(payload)
        .map_err(|error| format!("its response is not JSON ({error}): {}", shown(payload)))
}

/// The failure of a function that raised an error, ran out of time or died.
fn raised(function: &str, kind: &str, payload: &[u8], log: Option<&str>) -> Failure {
    let told: Raised = serde_json::from_slice(payload).unwrap_or_default();
    let text = match told.error_message {
        Some(Value::String(text)) => text,
        Some(other) => other.to_string(),
        None => shown(payload),
    };
    let timed_out = told.error_type.as_deref() == Some("Sandbox.Timedout")
        || (told.error_type.is_none() && text.contains("Task timed out after"));
    let class = if timed_out { ErrorClass::Timeout } else { ErrorClass::Failed };
    let code = told.error_type.unwrap_or_else(|| kind.to_owned());
    let mut message = format!("{code}: {text}");
    let lines = log_lines(log);
    if !lines.is_empty() {
        message.push_str(&format!("\nlast lines of the log of {function}:\n  {}", lines.join("\n  ")));
    }
    Failure::new(class, message).with_code(code)
}

/// The end of the log, without what Lambda itself writes around each call.
fn log_lines(log: Option<&str>) -> Vec<String> {
    let Some(bytes) = log.and_then(|text| STANDARD.decode(text).ok()) else { return Vec::new() };
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let frame = ["START RequestId:", "END RequestId:", "REPORT RequestId:", "INIT_START "];
    let told: Vec<String> = text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty() && !frame.iter().any(|word| line.starts_with(word)))
        .map(str::to_owned)
        .collect();
    told[told.len().saturating_sub(LOG_LINES)..].to_vec()
}

fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN_BYTES)]).into_owned();
    if bytes.len() > SHOWN_BYTES { format!("{text}…") } else { text }
}
