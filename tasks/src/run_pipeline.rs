//! `run_pipeline`: runs another pipeline of the same store, and waits for its end.
//!
//! **Safe start**: a run has a key, and the store holds one run of a key: its date, where the
//! pipeline has data intervals, else the attempt's id. So a start that is repeated, by whomever
//! and whenever, meets the run that is there. Which run is meant is found out once, before the
//! intent, and stored with it.
//!
//! A run of that date may exist already, since schedules, people and earlier attempts make the
//! same runs: `existing` says what then. To run it again means a new generation of it, and the
//! generation that was there before the intent is remembered, so that this happens once as well.

use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::{
    access::{Finding, Needs, Place},
    aws::ask_again,
    clients::Clients,
    clock::Clock,
    operator::{
        ErrorClass, Failure, Found, Handle, Intent, Operator, Outcome, Outputs, PrepareContext, Request,
        Sent, Status,
    },
    pipelines::{Again, BATCH_MAX, Pipelines, PlannedRun, RunStatus, WantedRun, check_name, next_look},
    registry::Options,
    released::Released,
};

/// Bytes of the other run's outputs that are kept: they are stored and read by templates.
const OUTPUT_BYTES_MAX: usize = 256 * 1024;

/// The operator.
#[derive(Debug)]
pub struct RunPipeline {
    released: Released,
    clock: Clock,
    quarantine: Duration,
}

/// Settings of a `run_pipeline` task.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunPipelineConfig {
    /// The other pipeline, by name; no template, so that circles are seen when the file is read.
    pub pipeline: String,
    /// The date that its run covers, as `--date` of `trunkline run` takes it, e.g. `{{ ds }}`.
    /// Without one, its last complete interval; a pipeline without intervals gets a new run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
    /// Parameters of the run.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub params: Map<String, Value>,
    /// Whether the task waits until the run has ended, and ends as it does.
    #[serde(default = "yes")]
    pub wait: bool,
    /// What to do if there is a run of that date already. `join` takes it as it is: waits while it
    /// runs, and ends as it ended. `clear_failed` runs again what failed in it. `rerun` runs all of
    /// it again. One that runs at this moment is joined in any case.
    #[serde(default)]
    pub existing: Existing,
}

/// What to do about a run that is there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Existing {
    /// Take it as it is.
    #[default]
    Join,
    /// Run again what failed in it.
    ClearFailed,
    /// Run all of it again.
    Rerun,
}

fn yes() -> bool {
    true
}

/// What a stored request holds.
#[derive(Debug, Deserialize, Serialize)]
struct Stored {
    #[serde(flatten)]
    config: RunPipelineConfig,
    /// Who asks, for the other run's history.
    by: String,
}

/// What is kept of a run that is watched.
#[derive(Debug, Deserialize, Serialize)]
struct Watched {
    run: Uuid,
    label: String,
    by: String,
    /// Whether this task made it, or made it run again: only then a cancel is passed on.
    ours: bool,
    since: Timestamp,
}

impl RunPipeline {
    /// Takes clock and scale of time of the options.
    pub fn new(options: &Options) -> Self {
        Self { released: Released::default(), clock: options.clock.clone(), quarantine: options.quarantine }
    }
}

impl Operator for RunPipeline {
    const TYPE: &'static str = "run_pipeline";
    const EXAMPLE: &'static str = "\
type: run_pipeline
pipeline: monthly_invoices
date: '2026-11'
params: { dry_run: false }
existing: clear_failed
";
    const GUARANTEE: &'static str = "One run per date (or, without data intervals, per attempt): its key is unique \
         in the store, so a repeated start meets the run that is there.";
    type Config = RunPipelineConfig;

    fn default_timeout(&self) -> Duration {
        // Runs have limits of their own; a day, so that one that waits for ever is said.
        Duration::from_secs(24 * 60 * 60)
    }

    fn needs_baseline(&self) -> bool {
        true
    }

    fn asks_trunkline(&self) -> bool {
        true
    }

    fn label(&self, request: &Request) -> String {
        format!("pipeline {}", request.body["pipeline"].as_str().unwrap_or_default())
    }

    fn prepare(&self, config: &RunPipelineConfig, cx: &PrepareContext<'_>) -> Result<Request, Failure> {
        check_name(&config.pipeline)?;
        let stored = Stored { config: config.clone(), by: format!("task:{}/{}", cx.run, cx.task) };
        let body = serde_json::to_value(stored).map_err(|error| wrong(error.to_string()))?;
        Ok(Request { token: cx.attempt_id.to_string(), connection: cx.connection.to_owned(), body })
    }

    async fn baseline(&self, clients: &Clients, request: &Request) -> Result<Value, Failure> {
        let stored = read(&request.body)?;
        let wanted = WantedRun {
            pipeline: &stored.config.pipeline,
            date: stored.config.date.as_deref(),
            params: &stored.config.params,
            own_key: &request.token,
        };
        let planned = clients.pipelines()?.plan(wanted).await?;
        serde_json::to_value(planned).map_err(|error| wrong(error.to_string()))
    }

    async fn send(&self, clients: &Clients, intent: &Intent<'_>) -> Sent {
        let (stored, planned) = match read(&intent.request.body).and_then(|stored| {
            let planned = PlannedRun::deserialize(intent.baseline);
            Ok((stored, planned.map_err(|error| wrong(format!("the stored plan cannot be read: {error}")))?))
        }) {
            Ok(both) => both,
            Err(failure) => return Sent::Refused(failure),
        };
        let pipelines = match clients.pipelines() {
            Ok(pipelines) => pipelines,
            Err(failure) => return Sent::Throttled(failure),
        };
        match begin(pipelines, &stored, &planned).await {
            Ok(run) if stored.config.wait => Sent::Accepted(handle(intent, &stored, &planned, &run)),
            Ok(run) => Sent::Done(Outcome { outputs: outputs_of(&run), ..Outcome::default() }),
            Err(failure) if failure.class == ErrorClass::Config => Sent::Refused(failure),
            Err(failure) if failure.class == ErrorClass::Throttled => Sent::Throttled(failure),
            Err(failure) => Sent::Unknown(failure),
        }
    }

    async fn find(&self, clients: &Clients, intent: &Intent<'_>) -> Found {
        let seen = async {
            let (stored, planned) = (read(&intent.request.body)?, PlannedRun::deserialize(intent.baseline));
            let planned = planned.map_err(|error| wrong(error.to_string()))?;
            let holder = clients.pipelines()?.holder(&planned.pipeline, &planned.key).await?;
            Ok::<_, Failure>((stored, planned, holder))
        };
        match seen.await {
            Ok((stored, planned, Some(run))) if is_begun(&stored, &planned, &run) => {
                if stored.config.wait {
                    Found::Found(handle(intent, &stored, &planned, &run))
                } else {
                    Found::Done(Outcome { outputs: outputs_of(&run), ..Outcome::default() })
                }
            }
            // The key is unique and the generation is looked at again: nothing happens twice.
            Ok(_) => Found::SafeToRepeat,
            Err(failure) => ask_again(intent, self.quarantine, &failure),
        }
    }

    async fn poll(&self, clients: &Clients, handles: &[Handle]) -> Vec<Status> {
        let watched: Vec<Option<Watched>> =
            handles.iter().map(|handle| Watched::deserialize(&handle.detail).ok()).collect();
        let runs: Vec<Uuid> =
            watched.iter().map(|watched| watched.as_ref().map_or(Uuid::nil(), |it| it.run)).collect();
        let unavailable = |failure: &Failure| vec![Status::Unavailable(failure.clone()); handles.len()];
        let pipelines = match clients.pipelines() {
            Ok(pipelines) => pipelines,
            Err(failure) => return unavailable(&failure),
        };
        let states = match pipelines.states(&runs).await {
            Ok(states) => states,
            Err(failure) => return unavailable(&failure),
        };
        let asked = handles.iter().zip(watched).zip(states);
        join_all(asked.map(|((handle, watched), state)| self.status(pipelines, handle, watched, state))).await
    }

    async fn cancel(&self, clients: &Clients, handle: &Handle) -> Result<(), Failure> {
        let watched = Watched::deserialize(&handle.detail).map_err(|error| wrong(error.to_string()))?;
        if watched.ours {
            return clients.pipelines()?.cancel(watched.run, &watched.by).await;
        }
        // Somebody else's run goes on; only the wait ends.
        self.released.add(&handle.id);
        Ok(())
    }

    fn batch_size(&self) -> usize {
        BATCH_MAX
    }

    fn batch_key(&self, _: &Handle) -> String {
        String::new()
    }

    fn needs(&self, _: &Request, _: &Place) -> Option<Needs> {
        // The store is asked; what the other run needs, its own pipeline says.
        Some(Needs::default())
    }

    async fn check(&self, _: &Clients, _: &Request, _: &Place) -> Vec<Finding> {
        Vec::new()
    }
}

impl RunPipeline {
    async fn status(
        &self,
        pipelines: &dyn Pipelines,
        handle: &Handle,
        watched: Option<Watched>,
        state: Option<RunStatus>,
    ) -> Status {
        let gone = |message: String| Status::Gone(Failure::new(ErrorClass::Lost, message));
        if self.released.contains(&handle.id) {
            self.released.remove(&handle.id);
            let message = format!("no longer waits for {}, which goes on", handle.id);
            return Status::Cancelled(Failure::new(ErrorClass::Cancelled, message));
        }
        let Some(watched) = watched else { return gone("the stored handle cannot be read".to_owned()) };
        let Some(run) = state else { return gone(format!("there is no run {} any more", watched.label)) };
        if !run.is_over() {
            let poll_at = next_look(watched.since, self.clock.now(), self.quarantine);
            return Status::Running { remote_state: run.state, poll_at: Some(poll_at) };
        }
        let end = match pipelines.end_of(run.id).await {
            Ok(end) => end,
            Err(failure) => return Status::Unavailable(failure),
        };
        let label = &run.label;
        let reason = end.failure.map(|text| format!(": {text}")).unwrap_or_default();
        match run.state.as_str() {
            "succeeded" => Status::Succeeded(outcome(&run, end.outputs)),
            "failed" => {
                let message = format!("{label} failed{reason}\nSee it: trunkline show {label}");
                Status::Failed(Failure::new(ErrorClass::Failed, message))
            }
            _ => {
                let message = format!("{label} was cancelled{reason}");
                Status::Cancelled(Failure::new(ErrorClass::Cancelled, message))
            }
        }
    }
}

/// Makes the run, or makes it run again, or takes it as it is.
async fn begin(
    pipelines: &dyn Pipelines,
    stored: &Stored,
    planned: &PlannedRun,
) -> Result<RunStatus, Failure> {
    let run = pipelines.start(planned, &stored.by).await?;
    if is_begun(stored, planned, &run) {
        return Ok(run);
    }
    let what = if stored.config.existing == Existing::Rerun { Again::All } else { Again::Failed };
    pipelines.again(run.id, what, &stored.by).await?;
    Ok(RunStatus { generation: run.generation + 1, ..run })
}

/// Whether nothing is left to do for the run that holds the key.
fn is_begun(stored: &Stored, planned: &PlannedRun, run: &RunStatus) -> bool {
    let before = planned.existing.as_ref().map_or(0, |existing| existing.generation);
    let wants_again = match stored.config.existing {
        Existing::Join => false,
        Existing::ClearFailed => run.state != "succeeded",
        Existing::Rerun => true,
    };
    run.generation > before || !run.is_over() || !wants_again
}

fn handle(intent: &Intent<'_>, stored: &Stored, planned: &PlannedRun, run: &RunStatus) -> Handle {
    let before = planned.existing.as_ref().map_or(0, |existing| existing.generation);
    let watched = Watched {
        run: run.id,
        label: run.label.clone(),
        by: stored.by.clone(),
        ours: run.generation > before,
        since: intent.intent_at,
    };
    Handle {
        connection: intent.request.connection.clone(),
        id: run.label.clone(),
        detail: serde_json::to_value(watched).unwrap_or_default(),
    }
}

fn outputs_of(run: &RunStatus) -> Outputs {
    let mut outputs = Outputs::new();
    outputs.insert("run".to_owned(), json!(run.label));
    outputs.insert("run_id".to_owned(), json!(run.id));
    outputs.insert("state".to_owned(), json!(run.state));
    outputs
}

fn outcome(run: &RunStatus, tasks: Outputs) -> Outcome {
    let mut outcome = Outcome { outputs: outputs_of(run), ..Outcome::default() };
    let tasks = Value::Object(tasks);
    let bytes = tasks.to_string().len();
    if bytes > OUTPUT_BYTES_MAX {
        outcome.warnings.push(format!(
            "the outputs of {} have {bytes} bytes and may have {OUTPUT_BYTES_MAX}: they are left out",
            run.label
        ));
    } else {
        outcome.outputs.insert("tasks".to_owned(), tasks);
    }
    outcome
}

fn read(body: &Value) -> Result<Stored, Failure> {
    Stored::deserialize(body).map_err(|error| wrong(format!("the stored request cannot be read: {error}")))
}

fn wrong(message: impl Into<String>) -> Failure {
    Failure::new(ErrorClass::Config, message)
}

#[cfg(test)]
mod tests;
