//! What is kept of queues, definitions and jobs, and how it is shown.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::process::Script;
use crate::records::Record;

/// A compute environment; it has no effect, since everything runs on this machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Environment {
    pub name: String,
    pub arn: String,
    pub members: Map<String, Value>,
}

/// A job queue.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Queue {
    pub name: String,
    pub arn: String,
    pub members: Map<String, Value>,
}

/// One revision of a job definition.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Definition {
    /// `name:revision`.
    pub id: String,
    pub arn: String,
    pub name: String,
    pub revision: u32,
    /// The members of `RegisterJobDefinition`.
    pub members: Map<String, Value>,
    /// What the sandbox runs in place of the image.
    #[serde(default)]
    pub script: Option<Script>,
}

/// A job, or an element of an array job.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Job {
    /// An id, and for an element `id:index`.
    pub id: String,
    pub arn: String,
    pub name: String,
    pub queue_arn: String,
    /// `name:revision`.
    pub definition: String,
    pub definition_arn: String,
    /// The members of `SubmitJob`.
    pub request: Value,
    pub state: State,
    #[serde(default)]
    pub reason: Option<String>,
    pub created: Timestamp,
    #[serde(default)]
    pub started: Option<Timestamp>,
    #[serde(default)]
    pub stopped: Option<Timestamp>,
    #[serde(default)]
    pub attempts: Vec<Attempt>,
    pub attempts_max: usize,
    #[serde(default)]
    pub timeout_seconds: Option<u64>,
    #[serde(default)]
    pub cancelled: bool,
    #[serde(default)]
    pub terminated: bool,
    /// For an array job: its size.
    #[serde(default)]
    pub array_size: Option<u32>,
    /// For an element: the array job and its own place.
    #[serde(default)]
    pub element_of: Option<(String, u32)>,
}

/// One try.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Attempt {
    pub started: Timestamp,
    pub stopped: Timestamp,
    #[serde(default)]
    pub exit_code: Option<i32>,
    #[serde(default)]
    pub reason: Option<String>,
    pub status_reason: String,
    pub stream: String,
}

/// A job's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum State {
    Submitted,
    Pending,
    Runnable,
    Starting,
    Running,
    Succeeded,
    Failed,
}

impl State {
    pub(super) fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Submitted => "SUBMITTED",
            Self::Pending => "PENDING",
            Self::Runnable => "RUNNABLE",
            Self::Starting => "STARTING",
            Self::Running => "RUNNING",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
        }
    }
}

/// Every state, for the summary of an array job.
const STATES: [State; 7] = [
    State::Submitted,
    State::Pending,
    State::Runnable,
    State::Starting,
    State::Running,
    State::Succeeded,
    State::Failed,
];

impl Record for Environment {
    fn id(&self) -> &str {
        &self.name
    }
}

impl Record for Queue {
    fn id(&self) -> &str {
        &self.name
    }
}

impl Record for Definition {
    fn id(&self) -> &str {
        &self.id
    }
}

impl Record for Job {
    fn id(&self) -> &str {
        &self.id
    }
}

impl Definition {
    /// `containerProperties`.
    pub(super) fn container(&self) -> &Value {
        self.members.get("containerProperties").unwrap_or(&Value::Null)
    }

    pub(super) fn shape(&self) -> Value {
        let mut shape = self.members.clone();
        shape.insert("jobDefinitionArn".into(), self.arn.clone().into());
        shape.insert("revision".into(), self.revision.into());
        shape.insert("status".into(), "ACTIVE".into());
        Value::Object(shape)
    }
}

impl Job {
    /// A job as `DescribeJobs` shows it.
    pub(super) fn shape(&self, definition: Option<&Definition>, elements: &[State]) -> Value {
        let mut shape = self.summary();
        shape["jobQueue"] = json!(self.queue_arn);
        shape["jobDefinition"] = json!(self.definition_arn);
        // The model requires it also of a job that has not started.
        shape["startedAt"] = json!(self.started.map_or(0, Timestamp::as_millisecond));
        shape["attempts"] = self.attempts.iter().map(Attempt::shape).collect();
        shape["parameters"] = self.request.get("parameters").cloned().unwrap_or_else(|| json!({}));
        shape["dependsOn"] = json!([]);
        shape["isCancelled"] = self.cancelled.into();
        shape["isTerminated"] = self.terminated.into();
        if let Some(seconds) = self.timeout_seconds {
            shape["timeout"] = json!({ "attemptDurationSeconds": seconds });
        }
        if self.array_size.is_some() {
            let counts: BTreeMap<&str, usize> = STATES
                .iter()
                .map(|state| (state.name(), elements.iter().filter(|found| *found == state).count()))
                .collect();
            shape["arrayProperties"]["statusSummary"] = json!(counts);
        }
        if let Some(definition) = definition.filter(|_| self.array_size.is_none()) {
            shape["container"] = self.container(definition);
        }
        shape
    }

    fn container(&self, definition: &Definition) -> Value {
        let mut shape = definition.container().clone();
        if let Some(last) = self.attempts.last() {
            shape["logStreamName"] = json!(last.stream);
            if let Some(code) = last.exit_code {
                shape["exitCode"] = code.into();
            }
            if let Some(reason) = &last.reason {
                shape["reason"] = json!(reason);
            }
        }
        shape
    }

    /// A job as `ListJobs` shows it.
    pub(super) fn summary(&self) -> Value {
        let mut shape = json!({
            "jobId": self.id, "jobArn": self.arn, "jobName": self.name, "status": self.state.name(),
            "createdAt": self.created.as_millisecond(), "jobDefinition": self.definition_arn,
        });
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                shape[name] = value;
            }
        };
        set("startedAt", self.started.map(|at| at.as_millisecond().into()));
        set("stoppedAt", self.stopped.map(|at| at.as_millisecond().into()));
        set("statusReason", self.reason.clone().map(Value::from));
        set("arrayProperties", self.array_size.map(|size| json!({ "size": size })));
        set("arrayProperties", self.element_of.as_ref().map(|(_, index)| json!({ "index": index })));
        shape
    }
}

impl Attempt {
    fn shape(&self) -> Value {
        let mut container = json!({ "logStreamName": self.stream, "networkInterfaces": [] });
        if let Some(code) = self.exit_code {
            container["exitCode"] = code.into();
        }
        if let Some(reason) = &self.reason {
            container["reason"] = json!(reason);
        }
        json!({
            "container": container, "startedAt": self.started.as_millisecond(),
            "stoppedAt": self.stopped.as_millisecond(), "statusReason": self.status_reason,
        })
    }
}
