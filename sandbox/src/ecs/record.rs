//! What is kept of clusters, definitions and tasks, and how it is shown.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::process::Script;
use crate::records::Record;
use crate::wire::epoch_seconds;

/// A cluster.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Cluster {
    pub name: String,
    pub arn: String,
    pub active: bool,
}

/// One revision of a task definition.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Definition {
    /// `family:revision`.
    pub id: String,
    pub arn: String,
    pub family: String,
    pub revision: u32,
    pub active: bool,
    pub registered: Timestamp,
    pub registered_by: String,
    /// The members of `RegisterTaskDefinition`.
    pub members: Map<String, Value>,
    /// What the sandbox runs in place of the first container's image.
    #[serde(default)]
    pub script: Option<Script>,
}

/// A task.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Task {
    pub id: String,
    pub arn: String,
    pub cluster: String,
    /// `family:revision`.
    pub definition: String,
    pub definition_arn: String,
    #[serde(default)]
    pub token: Option<String>,
    /// The request but for its token, to tell a repetition from another request.
    pub request: Value,
    pub state: State,
    pub desired_stopped: bool,
    pub created: Timestamp,
    #[serde(default)]
    pub started: Option<Timestamp>,
    #[serde(default)]
    pub stopping: Option<Timestamp>,
    #[serde(default)]
    pub stopped: Option<Timestamp>,
    #[serde(default)]
    pub stop_code: Option<String>,
    #[serde(default)]
    pub stopped_reason: Option<String>,
    pub containers: Vec<ContainerState>,
    pub version: u32,
}

/// A container of a task.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ContainerState {
    pub name: String,
    pub image: String,
    pub arn: String,
    pub essential: bool,
    #[serde(default)]
    pub exit_code: Option<i32>,
    #[serde(default)]
    pub reason: Option<String>,
}

/// A task's last status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum State {
    Pending,
    Running,
    Stopping,
    Stopped,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Stopping => "STOPPING",
            Self::Stopped => "STOPPED",
        }
    }
}

impl Record for Cluster {
    fn id(&self) -> &str {
        &self.name
    }
}

impl Record for Definition {
    fn id(&self) -> &str {
        &self.id
    }
}

impl Record for Task {
    fn id(&self) -> &str {
        &self.id
    }
}

impl Cluster {
    pub(super) fn shape(&self) -> Value {
        json!({
            "clusterArn": self.arn, "clusterName": self.name,
            "status": if self.active { "ACTIVE" } else { "INACTIVE" },
            "registeredContainerInstancesCount": 0, "runningTasksCount": 0, "pendingTasksCount": 0,
            "activeServicesCount": 0,
        })
    }
}

impl Definition {
    /// The definitions of its containers.
    pub(super) fn containers(&self) -> &[Value] {
        self.members
            .get("containerDefinitions")
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default()
    }

    pub(super) fn shape(&self) -> Value {
        let mut shape = self.members.clone();
        shape.remove("tags");
        shape.insert("taskDefinitionArn".into(), self.arn.clone().into());
        shape.insert("revision".into(), self.revision.into());
        shape.insert("status".into(), if self.active { "ACTIVE" } else { "INACTIVE" }.into());
        shape.insert("registeredAt".into(), epoch_seconds(self.registered));
        shape.insert("registeredBy".into(), self.registered_by.clone().into());
        Value::Object(shape)
    }
}

impl Task {
    pub(super) fn is_stopped(&self) -> bool {
        self.state == State::Stopped
    }

    /// A text of the request.
    pub(super) fn asked(&self, member: &str) -> Option<&str> {
        self.request.get(member)?.as_str()
    }

    pub(super) fn shape(&self) -> Value {
        let mut shape = json!({
            "taskArn": self.arn, "clusterArn": self.cluster_arn(), "taskDefinitionArn": self.definition_arn,
            "lastStatus": self.state.name(),
            "desiredStatus": if self.desired_stopped { "STOPPED" } else { "RUNNING" },
            "createdAt": epoch_seconds(self.created), "version": self.version, "attachments": [],
            "launchType": self.asked("launchType").unwrap_or("EC2"),
            "group": self.asked("group").map_or_else(|| format!("family:{}", self.family()), str::to_owned),
            "containers": self.containers.iter().map(|container| self.container(container)).collect::<Vec<_>>(),
        });
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                shape[name] = value;
            }
        };
        set("startedBy", self.asked("startedBy").map(Value::from));
        set("overrides", self.request.get("overrides").cloned());
        set("tags", self.request.get("tags").cloned());
        set("startedAt", self.started.map(epoch_seconds));
        set("stoppingAt", self.stopping.map(epoch_seconds));
        set("stoppedAt", self.stopped.map(epoch_seconds));
        set("stopCode", self.stop_code.clone().map(Value::from));
        set("stoppedReason", self.stopped_reason.clone().map(Value::from));
        shape
    }

    pub(super) fn family(&self) -> &str {
        self.definition.split(':').next().unwrap_or_default()
    }

    fn cluster_arn(&self) -> String {
        let place = self.arn.split(":task/").next().unwrap_or_default();
        format!("{place}:cluster/{}", self.cluster)
    }

    fn container(&self, container: &ContainerState) -> Value {
        let state = match self.state {
            State::Stopping => "RUNNING",
            other => other.name(),
        };
        let mut shape = json!({
            "containerArn": container.arn, "taskArn": self.arn, "name": container.name, "image": container.image,
            "lastStatus": state, "networkInterfaces": [],
        });
        if let Some(code) = container.exit_code {
            shape["exitCode"] = code.into();
        }
        if let Some(reason) = &container.reason {
            shape["reason"] = json!(reason);
        }
        shape
    }
}
