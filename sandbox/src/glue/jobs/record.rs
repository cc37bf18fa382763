//! The durable records of jobs and their runs.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub(super) use crate::process::Script;

/// Longest error message that is kept; the rest is in the run's log.
const MESSAGE_MAX: usize = 2_000;

/// A job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct JobRecord {
    /// The name.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// When its definition was last changed.
    pub modified: Timestamp,
    /// The members of `CreateJob` or `JobUpdate`, without `Name`.
    pub definition: Map<String, Value>,
    /// The sandbox's script, if provisioning named one.
    pub script: Option<Script>,
}

impl JobRecord {
    /// The most runs at the same time.
    pub(super) fn concurrent_runs_max(&self) -> usize {
        let property =
            self.definition.get("ExecutionProperty").and_then(|property| property.get("MaxConcurrentRuns"));
        property.and_then(Value::as_u64).and_then(|max| usize::try_from(max).ok()).unwrap_or(1)
    }

    /// How often Glue itself runs a failed run again.
    pub(super) fn retries_max(&self) -> u32 {
        self.definition
            .get("MaxRetries")
            .and_then(Value::as_u64)
            .and_then(|max| u32::try_from(max).ok())
            .unwrap_or(0)
    }

    /// The kind of job: `glueetl`, `pythonshell`…
    pub(super) fn command_name(&self) -> &str {
        self.definition
            .get("Command")
            .and_then(|command| command.get("Name"))
            .and_then(Value::as_str)
            .unwrap_or("glueetl")
    }

    /// The URI of the script on AWS.
    pub(super) fn script_location(&self) -> &str {
        let command = self.definition.get("Command");
        command.and_then(|command| command.get("ScriptLocation")).and_then(Value::as_str).unwrap_or_default()
    }

    /// A member of the definition that is text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.definition.get(name).and_then(Value::as_str)
    }

    /// The default arguments with the run's own over them.
    pub(super) fn arguments(&self, run: &RunRecord) -> BTreeMap<String, String> {
        let defaults = self.definition.get("DefaultArguments").and_then(Value::as_object);
        let mut all: BTreeMap<String, String> = defaults
            .into_iter()
            .flatten()
            .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect();
        all.extend(run.arguments.iter().map(|(name, value)| (name.clone(), value.clone())));
        all
    }
}

/// The state of a run, in Glue's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum RunState {
    Starting,
    Running,
    Stopping,
    Stopped,
    Succeeded,
    Failed,
    Timeout,
}

impl RunState {
    /// Whether it can still change.
    pub(super) fn is_terminal(self) -> bool {
        matches!(self, Self::Stopped | Self::Succeeded | Self::Failed | Self::Timeout)
    }

    /// Glue's word.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Starting => "STARTING",
            Self::Running => "RUNNING",
            Self::Stopping => "STOPPING",
            Self::Stopped => "STOPPED",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Timeout => "TIMEOUT",
        }
    }
}

/// How much a run was given to work with.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Capacity {
    /// DPUs, as billed.
    pub dpu: f64,
    /// Worker type, if the run was sized by workers.
    pub worker_type: Option<String>,
    /// Number of workers, if the run was sized by workers.
    pub workers: Option<u32>,
}

/// A run of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct RunRecord {
    /// `jr_…`.
    pub id: String,
    /// The job's name.
    pub job: String,
    /// 0 for the first; Glue's own retries count up.
    pub attempt: u32,
    /// The run that this one repeats.
    pub previous: Option<String>,
    /// State.
    pub state: RunState,
    /// When it was accepted.
    pub started: Timestamp,
    /// When the record last changed.
    pub modified: Timestamp,
    /// When it ended.
    pub completed: Option<Timestamp>,
    /// The run's own arguments.
    pub arguments: BTreeMap<String, String>,
    /// What it was given to work with.
    pub capacity: Capacity,
    /// Its limit in minutes, before scaling.
    pub timeout_minutes: u32,
    /// Why it failed.
    pub error: Option<String>,
}

impl RunRecord {
    /// Ends the run, unless it has ended.
    pub(super) fn end(&mut self, state: RunState, error: Option<String>, now: Timestamp) {
        if self.state.is_terminal() {
            return;
        }
        self.state = state;
        self.error = error.map(|text| {
            if text.chars().count() > MESSAGE_MAX {
                text.chars().take(MESSAGE_MAX).chain(['…']).collect()
            } else {
                text
            }
        });
        self.modified = now;
        self.completed = Some(now);
    }

    /// The record of Glue's own repetition of this run.
    pub(super) fn next_attempt(&self, now: Timestamp) -> Self {
        let attempt = self.attempt + 1;
        let base = self.id.split("_attempt_").next().unwrap_or(&self.id);
        Self {
            id: format!("{base}_attempt_{attempt}"),
            attempt,
            previous: Some(self.id.clone()),
            state: RunState::Starting,
            started: now,
            modified: now,
            completed: None,
            error: None,
            ..self.clone()
        }
    }

    /// Whole seconds of execution so far.
    pub(super) fn execution_seconds(&self, now: Timestamp) -> i64 {
        let end = self.completed.unwrap_or(now);
        // A run of a part of a second is shown as one second, so that it has a cost.
        let milliseconds = end.as_millisecond().saturating_sub(self.started.as_millisecond()).max(0);
        (milliseconds + 999) / 1000
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run() -> RunRecord {
        RunRecord {
            id: "jr_1".into(),
            job: "etl".into(),
            attempt: 0,
            previous: None,
            state: RunState::Running,
            started: Timestamp::UNIX_EPOCH,
            modified: Timestamp::UNIX_EPOCH,
            completed: None,
            arguments: BTreeMap::from([("--date".to_owned(), "d".to_owned())]),
            capacity: Capacity::default(),
            timeout_minutes: 1,
            error: None,
        }
    }

    #[test]
    fn run_arguments_lie_over_the_defaults() {
        let Value::Object(definition) = json!({"DefaultArguments": {"--date": "default", "--TempDir": "t"}})
        else {
            unreachable!("the literal above is an object")
        };
        let at = Timestamp::UNIX_EPOCH;
        let job = JobRecord { name: "etl".into(), created: at, modified: at, definition, script: None };
        let arguments = job.arguments(&run());
        assert_eq!(arguments["--date"], "d");
        assert_eq!(arguments["--TempDir"], "t");
        assert_eq!(job.concurrent_runs_max(), 1);
    }

    #[test]
    fn an_ended_run_stays_as_it_ended() {
        let mut run = run();
        let later = Timestamp::from_second(90).unwrap();
        run.end(RunState::Succeeded, None, later);
        run.end(RunState::Stopped, None, later);
        assert_eq!(run.state, RunState::Succeeded);
        assert_eq!(run.execution_seconds(Timestamp::from_second(900).unwrap()), 90);
        let next = run.next_attempt(later).next_attempt(later);
        assert_eq!((next.id.as_str(), next.attempt), ("jr_1_attempt_2", 2));
        assert_eq!(next.previous.as_deref(), Some("jr_1_attempt_1"));
    }
}
