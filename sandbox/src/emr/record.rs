//! What is kept of applications and job runs, and how it is shown.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::records::Record;
use crate::wire::epoch_seconds;

/// What a driver gets that asks for nothing: EMR Serverless's own figures.
const DRIVER_CPUS: f64 = 4.0;
const DRIVER_MEMORY_GB: f64 = 16.0;
const DRIVER_STORAGE_GB: f64 = 20.0;

/// An application.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Application {
    pub id: String,
    pub arn: String,
    pub created: Timestamp,
    /// The members of `CreateApplication`.
    pub members: Map<String, Value>,
}

/// A job run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct JobRun {
    pub id: String,
    pub application: String,
    pub arn: String,
    pub created_by: String,
    pub release: String,
    pub token: String,
    /// The request but for its token.
    pub request: Map<String, Value>,
    pub state: State,
    pub details: String,
    pub created: Timestamp,
    pub updated: Timestamp,
    #[serde(default)]
    pub started: Option<Timestamp>,
    #[serde(default)]
    pub ended: Option<Timestamp>,
}

/// A job run's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum State {
    Submitted,
    Pending,
    Running,
    Cancelling,
    Cancelled,
    Success,
    Failed,
}

impl State {
    pub(super) fn is_terminal(self) -> bool {
        matches!(self, Self::Cancelled | Self::Success | Self::Failed)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Submitted => "SUBMITTED",
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Cancelling => "CANCELLING",
            Self::Cancelled => "CANCELLED",
            Self::Success => "SUCCESS",
            Self::Failed => "FAILED",
        }
    }
}

impl Record for Application {
    fn id(&self) -> &str {
        &self.id
    }
}

impl Record for JobRun {
    fn id(&self) -> &str {
        &self.id
    }
}

/// The id of the application of a name. On AWS ids are given at random; here they follow from the name, so that a
/// template can refer to an application that is not there yet.
pub(crate) fn application_id(name: &str) -> String {
    format!("00{}", &hex::encode(Sha256::digest(name.as_bytes()))[..14])
}

impl Application {
    pub(super) fn text(&self, member: &str) -> &str {
        self.members.get(member).and_then(Value::as_str).unwrap_or_default()
    }

    pub(super) fn shape(&self) -> Value {
        let mut shape = self.members.clone();
        for member in ["clientToken", "tags"] {
            shape.remove(member);
        }
        shape.extend(self.about("applicationId"));
        Value::Object(shape)
    }

    pub(super) fn summary(&self) -> Value {
        let mut shape = self.about("id");
        for member in ["name", "releaseLabel", "type"] {
            shape.insert(member.to_owned(), self.text(member).into());
        }
        Value::Object(shape)
    }

    fn about(&self, id: &str) -> Map<String, Value> {
        let at = epoch_seconds(self.created);
        let about = [
            (id, self.id.clone().into()),
            ("arn", self.arn.clone().into()),
            ("state", "STARTED".into()),
            ("createdAt", at.clone()),
            ("updatedAt", at),
        ];
        about.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

impl JobRun {
    /// A text of the request.
    pub(super) fn asked(&self, member: &str) -> Option<&str> {
        self.request.get(member)?.as_str()
    }

    /// Members that every form shows.
    fn about(&self) -> Map<String, Value> {
        let mut about = Map::new();
        let mut set = |name: &str, value: Value| about.insert(name.to_owned(), value);
        set("applicationId", self.application.clone().into());
        set("arn", self.arn.clone().into());
        set("createdBy", self.created_by.clone().into());
        set("createdAt", epoch_seconds(self.created));
        set("updatedAt", epoch_seconds(self.updated));
        set("executionRole", self.asked("executionRoleArn").unwrap_or_default().into());
        set("state", self.state.name().into());
        set("stateDetails", self.details.clone().into());
        set("releaseLabel", self.release.clone().into());
        if let Some(name) = self.asked("name") {
            set("name", name.into());
        }
        about
    }

    /// A run as `ListJobRuns` shows it.
    pub(super) fn summary(&self) -> Value {
        let mut shape = self.about();
        shape.insert("id".into(), self.id.clone().into());
        shape.insert("type".into(), "SPARK".into());
        Value::Object(shape)
    }

    /// A run as `GetJobRun` shows it.
    pub(super) fn shape(&self, now: Timestamp) -> Value {
        let mut shape = self.about();
        shape.insert("jobRunId".into(), self.id.clone().into());
        for member in ["jobDriver", "configurationOverrides", "executionTimeoutMinutes", "tags"] {
            if let Some(value) = self.request.get(member) {
                shape.insert(member.to_owned(), value.clone());
            }
        }
        if let Some(started) = self.started {
            let end = self.ended.unwrap_or(now);
            let seconds = end.as_second().saturating_sub(started.as_second()).max(1);
            shape.insert("startedAt".into(), epoch_seconds(started));
            shape.insert("totalExecutionDurationSeconds".into(), seconds.into());
            shape.insert("totalResourceUtilization".into(), utilisation(seconds));
            if let Some(ended) = self.ended {
                shape.insert("endedAt".into(), epoch_seconds(ended));
                // A minute is billed at least, as on AWS.
                shape.insert("billedResourceUtilization".into(), utilisation(seconds.max(60)));
            }
        }
        Value::Object(shape)
    }
}

fn utilisation(seconds: i64) -> Value {
    #[expect(clippy::cast_precision_loss, reason = "run times are far below 2^53 seconds")]
    let hours = seconds as f64 / 3_600.0;
    json!({
        "vCPUHour": DRIVER_CPUS * hours, "memoryGBHour": DRIVER_MEMORY_GB * hours,
        "storageGBHour": DRIVER_STORAGE_GB * hours,
    })
}
