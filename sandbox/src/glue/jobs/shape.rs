//! Jobs and runs in the shapes of the Glue API, and the sizes that a request may ask for.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::record::{Capacity, JobRecord, RunRecord};
use crate::glue::request::insert_some;
use crate::wire::{ApiError, epoch_seconds};

/// DPUs of a Spark job that says nothing, as Glue has it.
const SPARK_DPU: f64 = 10.0;
/// DPUs of a Python shell job that says nothing, as Glue has it.
const PYTHON_SHELL_DPU: f64 = 0.0625;
/// Minutes that a run may take if nobody says (Glue up to 4.0).
const TIMEOUT_MINUTES: u32 = 2_880;
/// The same from Glue 5.0 on.
const TIMEOUT_MINUTES_5: u32 = 480;
/// The most minutes that can be asked for: 7 days.
const TIMEOUT_MINUTES_MAX: u32 = 10_080;

/// A job as `GetJob` shows it.
pub(super) fn job_shape(job: &JobRecord) -> Value {
    let mut shape = job.definition.clone();
    // Members of CreateJob that the Job shape does not have.
    shape.remove("Tags");
    shape.insert("Name".into(), job.name.clone().into());
    shape.insert("CreatedOn".into(), epoch_seconds(job.created));
    shape.insert("LastModifiedOn".into(), epoch_seconds(job.modified));
    shape.entry("MaxRetries").or_insert_with(|| 0.into());
    shape.entry("ExecutionProperty").or_insert_with(|| json!({"MaxConcurrentRuns": 1}));
    shape.entry("Timeout").or_insert_with(|| default_timeout(job).into());
    Value::Object(shape)
}

/// A run as `GetJobRun` shows it.
pub(super) fn run_shape(run: &RunRecord, job: &JobRecord, now: Timestamp) -> Value {
    let mut shape = Map::new();
    let seconds = run.execution_seconds(now);
    shape.insert("Id".into(), run.id.clone().into());
    shape.insert("Attempt".into(), run.attempt.into());
    insert_some(&mut shape, "PreviousRunId", run.previous.clone());
    shape.insert("JobName".into(), run.job.clone().into());
    shape.insert("StartedOn".into(), epoch_seconds(run.started));
    shape.insert("LastModifiedOn".into(), epoch_seconds(run.modified));
    insert_some(&mut shape, "CompletedOn", run.completed.map(epoch_seconds));
    shape.insert("JobRunState".into(), run.state.name().into());
    if !run.arguments.is_empty() {
        shape.insert("Arguments".into(), json!(run.arguments));
    }
    insert_some(&mut shape, "ErrorMessage", run.error.clone());
    shape.insert("PredecessorRuns".into(), json!([]));
    shape.insert("ExecutionTime".into(), seconds.into());
    shape.insert("Timeout".into(), run.timeout_minutes.into());
    shape.insert("MaxCapacity".into(), run.capacity.dpu.into());
    #[expect(clippy::cast_possible_truncation, reason = "capacities are small")]
    shape.insert("AllocatedCapacity".into(), (run.capacity.dpu.ceil() as i64).into());
    insert_some(&mut shape, "WorkerType", run.capacity.worker_type.clone());
    insert_some(&mut shape, "NumberOfWorkers", run.capacity.workers);
    #[expect(clippy::cast_precision_loss, reason = "run times are far below 2^53 seconds")]
    shape.insert("DPUSeconds".into(), (run.capacity.dpu * seconds as f64).into());
    insert_some(&mut shape, "GlueVersion", job.text("GlueVersion"));
    insert_some(&mut shape, "ExecutionClass", job.text("ExecutionClass"));
    insert_some(&mut shape, "SecurityConfiguration", job.text("SecurityConfiguration"));
    shape.insert("LogGroupName".into(), super::execute::log_group(job).into());
    shape.insert("JobMode".into(), "SCRIPT".into());
    Value::Object(shape)
}

/// The sizes that a job or a run asks for.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Sizes {
    pub max_capacity: Option<f64>,
    pub worker_type: Option<String>,
    pub number_of_workers: Option<u32>,
    pub allocated_capacity: Option<f64>,
    pub timeout: Option<u32>,
}

impl Sizes {
    fn of(job: &JobRecord) -> Self {
        serde_json::from_value(Value::Object(job.definition.clone())).unwrap_or_default()
    }

    /// Refuses contradictions, in Glue's words.
    pub(super) fn check(&self) -> Result<(), ApiError> {
        if self.max_capacity.is_some() && (self.worker_type.is_some() || self.number_of_workers.is_some()) {
            return Err(invalid(
                "Please do not set Max Capacity if using Worker Type and Number of Workers.",
            ));
        }
        if self.number_of_workers == Some(0) {
            return Err(invalid("Number of workers must be at least 1."));
        }
        if let Some(timeout) = self.timeout
            && !(1..=TIMEOUT_MINUTES_MAX).contains(&timeout)
        {
            return Err(invalid("Timeout not supported for this job: it must be from 1 to 10080 minutes."));
        }
        Ok(())
    }

    /// What a run with these wishes gets.
    pub(super) fn capacity(&self, job: &JobRecord) -> Capacity {
        let defaults = Self::of(job);
        let by_workers = |sizes: &Self| sizes.worker_type.is_some() || sizes.number_of_workers.is_some();
        if self.max_capacity.is_none() && (by_workers(self) || by_workers(&defaults)) {
            let worker_type =
                self.worker_type.clone().or(defaults.worker_type).unwrap_or_else(|| "G.1X".to_owned());
            let workers = self.number_of_workers.or(defaults.number_of_workers).unwrap_or(2);
            let dpu = f64::from(workers) * dpu_of(&worker_type);
            return Capacity { dpu, worker_type: Some(worker_type), workers: Some(workers) };
        }
        let usual = if job.command_name() == "pythonshell" { PYTHON_SHELL_DPU } else { SPARK_DPU };
        let dpu = self
            .max_capacity
            .or(self.allocated_capacity)
            .or(defaults.max_capacity)
            .or(defaults.allocated_capacity)
            .unwrap_or(usual);
        Capacity { dpu, worker_type: None, workers: None }
    }

    /// The run's limit in minutes.
    pub(super) fn timeout_minutes(&self, job: &JobRecord) -> u32 {
        self.timeout.or(Self::of(job).timeout).unwrap_or_else(|| default_timeout(job))
    }
}

fn default_timeout(job: &JobRecord) -> u32 {
    let version: f64 = job.text("GlueVersion").and_then(|text| text.parse().ok()).unwrap_or(0.0);
    if version >= 5.0 { TIMEOUT_MINUTES_5 } else { TIMEOUT_MINUTES }
}

/// DPUs of one worker.
fn dpu_of(worker_type: &str) -> f64 {
    match worker_type {
        "G.025X" => 0.25,
        "G.2X" => 2.0,
        "G.4X" => 4.0,
        "G.8X" => 8.0,
        "G.12X" => 12.0,
        "G.16X" => 16.0,
        _ => 1.0,
    }
}

fn invalid(text: &str) -> ApiError {
    ApiError::new(400, "InvalidInputException", text)
}
