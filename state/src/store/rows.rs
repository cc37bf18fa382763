//! Rows from and to the model: the only such conversions.

use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use super::StoreError;
use crate::{
    document::Document,
    elements::Element,
    ids::RunId,
    run::{Attempt, Failure, StopReason, TaskRun},
    schedule::Interval,
    words::{AttemptState, TaskState},
};

/// A timestamp as sqlx binds it.
pub(super) fn at(moment: Timestamp) -> jiff_sqlx::Timestamp {
    jiff_sqlx::ToSqlx::to_sqlx(moment)
}

/// An optional timestamp as sqlx binds it.
pub(super) fn at_option(moment: Option<Timestamp>) -> Option<jiff_sqlx::Timestamp> {
    moment.map(at)
}

/// An optional timestamp as it was read.
pub(super) fn read_option(moment: Option<jiff_sqlx::Timestamp>) -> Option<Timestamp> {
    moment.map(jiff_sqlx::Timestamp::to_jiff)
}

/// A count that Postgres keeps as a signed number.
pub(super) fn unsigned(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

/// A count as Postgres keeps it.
pub(super) fn signed(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// A position as Postgres keeps it.
pub(super) fn position(task: usize) -> i32 {
    i32::try_from(task).unwrap_or(i32::MAX)
}

pub(super) fn to_json(value: &impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}

pub(super) fn unknown_word(what: &str, word: &str) -> StoreError {
    StoreError::Broken {
        message: format!("the store holds {what} `{word}`, which this binary does not know"),
    }
}

pub(super) fn read_failure(value: Option<Value>) -> Option<Failure> {
    value.and_then(|value| serde_json::from_value(value).ok())
}

pub(super) fn interval(start: Option<Timestamp>, end: Option<Timestamp>) -> Option<Interval> {
    Some(Interval { start: start?, end: end? })
}

/// Which element a task run stands for, if it is one.
pub(super) fn read_element(of: Option<i32>, index: Option<i32>, item: Option<Value>) -> Option<Element> {
    Some(Element { of: unsigned(of?) as usize, index: unsigned(index?), item: item? })
}

/// A task run's row, as loading reads it.
pub(super) struct TaskRecord {
    pub(super) run_id: Uuid,
    pub(super) task: String,
    pub(super) state: String,
    pub(super) generation: i32,
    pub(super) attempts: i32,
    pub(super) tries: i32,
    pub(super) retry_at: Option<jiff_sqlx::Timestamp>,
    pub(super) outputs: Option<Value>,
    pub(super) warnings: Option<Value>,
    pub(super) failure: Option<Value>,
    pub(super) started_at: Option<jiff_sqlx::Timestamp>,
    pub(super) ended_at: Option<jiff_sqlx::Timestamp>,
    pub(super) element_of: Option<i32>,
    pub(super) element_index: Option<i32>,
    pub(super) item: Option<Value>,
    pub(super) elements: Option<i32>,
}

impl TaskRecord {
    pub(super) fn into_model(self) -> Result<TaskRun, StoreError> {
        let state =
            TaskState::from_word(&self.state).ok_or_else(|| unknown_word("the task state", &self.state))?;
        Ok(TaskRun {
            state,
            attempts: unsigned(self.attempts),
            tries: unsigned(self.tries),
            retry_at: read_option(self.retry_at),
            outputs: self.outputs,
            warnings: self.warnings.and_then(|list| serde_json::from_value(list).ok()).unwrap_or_default(),
            failure: read_failure(self.failure),
            started_at: read_option(self.started_at),
            ended_at: read_option(self.ended_at),
            element: read_element(self.element_of, self.element_index, self.item).map(Box::new),
            elements: self.elements.map(unsigned),
            ..TaskRun::new(unsigned(self.generation))
        })
    }
}

/// A live attempt's row, as loading reads it.
pub(super) struct AttemptRecord {
    pub(super) run_id: Uuid,
    pub(super) position: i32,
    pub(super) number: i32,
    pub(super) generation: i32,
    pub(super) state: String,
    pub(super) request: Document,
    pub(super) baseline: Document,
    pub(super) intent_at: jiff_sqlx::Timestamp,
    pub(super) deferred_until: Option<jiff_sqlx::Timestamp>,
    pub(super) handle: Option<Document>,
    pub(super) external_id: Option<String>,
    pub(super) reattached: bool,
    pub(super) deadline_at: jiff_sqlx::Timestamp,
    pub(super) stop_reason: Option<String>,
    pub(super) note: Option<String>,
    pub(super) started_at: Option<jiff_sqlx::Timestamp>,
}

impl AttemptRecord {
    pub(super) fn into_model(self) -> Result<Attempt, StoreError> {
        let state = AttemptState::from_word(&self.state)
            .ok_or_else(|| unknown_word("the attempt state", &self.state))?;
        Ok(Attempt {
            number: unsigned(self.number),
            generation: unsigned(self.generation),
            state,
            request: self.request,
            baseline: self.baseline,
            intent_at: self.intent_at.to_jiff(),
            deferred_until: read_option(self.deferred_until),
            handle: self.handle,
            external_id: self.external_id,
            reattached: self.reattached,
            remote_state: None,
            deadline_at: self.deadline_at.to_jiff(),
            stop: self.stop_reason.as_deref().and_then(stop_reason),
            note: self.note,
            started_at: read_option(self.started_at),
            ended_at: None,
            failure: None,
            result: None,
            look_at: None,
            sending: false,
        })
    }
}

pub(super) fn stop_word(reason: StopReason) -> &'static str {
    match reason {
        StopReason::Cancel => "cancel",
        StopReason::Timeout => "timeout",
    }
}

fn stop_reason(word: &str) -> Option<StopReason> {
    match word {
        "cancel" => Some(StopReason::Cancel),
        "timeout" => Some(StopReason::Timeout),
        _ => None,
    }
}

pub(super) fn run_ids(ids: &[RunId]) -> Vec<Uuid> {
    ids.iter().map(|id| id.0).collect()
}
