//! Values of `tasks` into values of `state`: the two crates do not know each other.

use serde::Serialize;
use serde_json::{Value, json};
use trunkline_state::{document::Document, run::Failure};
use trunkline_tasks::operator::{self, Handle, Outcome, Request};

/// A plain value as JSON; our own types always can be.
pub(super) fn to_json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}

/// A failure, with its class as the word of `retry_on`.
pub(super) fn failure(failure: operator::Failure) -> Failure {
    let class = to_json(&failure.class).as_str().unwrap_or("system").to_owned();
    Failure { class, code: failure.code, message: failure.message, request_id: failure.request_id }
}

/// What a failed job leaves behind: its cost.
pub(super) fn cost_of(failure: &operator::Failure) -> Value {
    json!({"cost": failure.cost})
}

/// What a job leaves behind.
pub(super) fn outcome(outcome: &Outcome) -> Value {
    to_json(outcome)
}

/// A stored request.
pub(super) fn request(stored: &Document) -> Option<Request> {
    stored.read().ok()
}

/// A stored handle.
pub(super) fn handle(stored: &Document) -> Option<Handle> {
    stored.read().ok()
}
