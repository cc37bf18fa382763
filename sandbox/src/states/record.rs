//! The durable records of state machines and executions, and their shapes in the API.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::glue::request::insert_some;
use crate::wire::epoch_seconds;

/// How long after its end an execution can be redriven (the service's own limit).
pub(super) const REDRIVABLE_FOR: SignedDuration = SignedDuration::from_hours(14 * 24);

/// A state machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct MachineRecord {
    pub arn: String,
    pub name: String,
    /// `STANDARD` or `EXPRESS`.
    #[serde(rename = "type")]
    pub kind: MachineKind,
    /// As it was sent.
    pub definition: String,
    pub role_arn: String,
    pub created: Timestamp,
    /// Changes with each update.
    pub revision: Option<Uuid>,
    /// Members that are kept and shown and have no effect here.
    #[serde(default)]
    pub settings: Map<String, Value>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum MachineKind {
    #[default]
    Standard,
    Express,
}

/// The state of an execution, in the service's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Status {
    Running,
    Succeeded,
    Failed,
    TimedOut,
    Aborted,
}

/// An execution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ExecutionRecord {
    pub arn: String,
    pub name: String,
    /// Name of the state machine.
    pub machine: String,
    pub machine_arn: String,
    pub kind: MachineKind,
    /// The definition at the time of the start: later updates do not change an execution.
    pub definition: String,
    pub role_arn: String,
    pub region: String,
    /// As it was sent.
    pub input: String,
    pub status: Status,
    pub started: Timestamp,
    pub stopped: Option<Timestamp>,
    pub output: Option<String>,
    pub error: Option<String>,
    pub cause: Option<String>,
    /// What all chance and all request ids of the execution follow from.
    pub seed: Uuid,
    #[serde(default)]
    pub redrives: u64,
    #[serde(default)]
    pub redriven: Option<Timestamp>,
    /// Tokens of the latest redrives, each with the answer's date.
    #[serde(default)]
    pub redrive_tokens: Vec<(String, Timestamp)>,
}

impl MachineRecord {
    /// As `DescribeStateMachine` shows it.
    pub(super) fn shape(&self) -> Value {
        let mut shape = self.settings.clone();
        shape.insert("stateMachineArn".into(), self.arn.clone().into());
        shape.insert("name".into(), self.name.clone().into());
        shape.insert("status".into(), "ACTIVE".into());
        shape.insert("definition".into(), self.definition.clone().into());
        shape.insert("roleArn".into(), self.role_arn.clone().into());
        shape.insert("type".into(), json!(self.kind));
        shape.insert("creationDate".into(), epoch_seconds(self.created));
        insert_some(&mut shape, "revisionId", self.revision.map(|revision| revision.to_string()));
        Value::Object(shape)
    }

    /// As `ListStateMachines` shows it.
    pub(super) fn listed(&self) -> Value {
        json!({
            "stateMachineArn": self.arn,
            "name": self.name,
            "type": self.kind,
            "creationDate": epoch_seconds(self.created),
        })
    }
}

impl Status {
    /// The service's word.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::TimedOut => "TIMED_OUT",
            Self::Aborted => "ABORTED",
        }
    }
}

impl ExecutionRecord {
    /// Ends the execution.
    pub(super) fn end(&mut self, status: Status, now: Timestamp) {
        self.status = status;
        self.stopped = Some(now);
    }

    /// Why the execution cannot be redriven, if it cannot.
    pub(super) fn not_redrivable(&self, now: Timestamp) -> Option<&'static str> {
        let age = self.stopped.map(|stopped| now.duration_since(stopped));
        match self.status {
            Status::Running => Some("Execution is RUNNING and cannot be redriven"),
            Status::Succeeded => Some("Execution is SUCCEEDED and cannot be redriven"),
            _ if age.is_some_and(|age| age > REDRIVABLE_FOR) => {
                Some("Execution has exceeded the redrivable period of 14 days")
            }
            _ => None,
        }
    }

    /// As `DescribeExecution` shows it.
    pub(super) fn shape(&self, now: Timestamp, with_data: bool) -> Value {
        let mut shape = self.summary();
        if with_data {
            shape.insert("input".into(), self.input.clone().into());
            insert_some(&mut shape, "output", self.output.clone());
            insert_some(&mut shape, "error", self.error.clone());
            insert_some(&mut shape, "cause", self.cause.clone());
        }
        shape.insert("inputDetails".into(), json!({ "included": with_data }));
        if self.output.is_some() {
            shape.insert("outputDetails".into(), json!({ "included": with_data }));
        }
        let reason = self.not_redrivable(now);
        let word = if reason.is_some() { "NOT_REDRIVABLE" } else { "REDRIVABLE" };
        shape.insert("redriveStatus".into(), word.into());
        insert_some(&mut shape, "redriveStatusReason", reason);
        Value::Object(shape)
    }

    /// As `ListExecutions` shows it.
    pub(super) fn summary(&self) -> Map<String, Value> {
        let mut shape = Map::new();
        shape.insert("executionArn".into(), self.arn.clone().into());
        shape.insert("stateMachineArn".into(), self.machine_arn.clone().into());
        shape.insert("name".into(), self.name.clone().into());
        shape.insert("status".into(), self.status.name().into());
        shape.insert("startDate".into(), epoch_seconds(self.started));
        insert_some(&mut shape, "stopDate", self.stopped.map(epoch_seconds));
        shape.insert("redriveCount".into(), self.redrives.into());
        insert_some(&mut shape, "redriveDate", self.redriven.map(epoch_seconds));
        shape
    }
}
