//! `pipeline_wait`: waits until a run of another pipeline has succeeded.
//!
//! **Safe start**: waiting changes nothing. All that wait are asked about in one query.

use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    access::{Finding, Needs, Place},
    clients::Clients,
    clock::Clock,
    operator::{
        ErrorClass, Failure, Found, Handle, Intent, Operator, Outcome, PrepareContext, Request, Sent, Status,
    },
    pipelines::{AwaitedRun, BATCH_MAX, RunStatus, check_name, next_look},
    registry::Options,
    released::Released,
};

/// The operator.
#[derive(Debug)]
pub struct PipelineWait {
    released: Released,
    clock: Clock,
    quarantine: Duration,
}

/// Settings of a `pipeline_wait` task.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PipelineWaitConfig {
    /// The other pipeline, by name.
    pub pipeline: String,
    /// Waits for the run that covers this date, as `--date` of `trunkline run` takes it, e.g.
    /// `{{ ds }}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
    /// Waits for any run that succeeded at this time or later, e.g. `{{ data_interval_end }}`;
    /// looked for among the thousand newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Whether the task fails when the run of `date` failed or was cancelled. By default it goes
    /// on waiting, since somebody may clear the run.
    #[serde(default)]
    pub if_failed: IfFailed,
}

/// What the end of a run means that did not succeed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IfFailed {
    /// Wait on.
    #[default]
    Wait,
    /// Fail.
    Fail,
}

/// What is kept of a wait.
#[derive(Debug, Deserialize, Serialize)]
struct Wait {
    pipeline: String,
    key: Option<String>,
    after: Option<Timestamp>,
    fail: bool,
    since: Timestamp,
}

impl PipelineWait {
    /// Takes clock and scale of time of the options.
    pub fn new(options: &Options) -> Self {
        Self { released: Released::default(), clock: options.clock.clone(), quarantine: options.quarantine }
    }
}

impl Operator for PipelineWait {
    const TYPE: &'static str = "pipeline_wait";
    const EXAMPLE: &'static str = "\
type: pipeline_wait
pipeline: daily_cdr_etl
date: '2026-11-19'
timeout: 6h
";
    const GUARANTEE: &'static str = "Waiting changes nothing; an interrupted wait goes on.";
    type Config = PipelineWaitConfig;

    fn default_timeout(&self) -> Duration {
        // Nothing limits the wait but ourselves: a day, so that a run that never comes is said.
        Duration::from_secs(24 * 60 * 60)
    }

    fn needs_baseline(&self) -> bool {
        true
    }

    fn asks_trunkline(&self) -> bool {
        true
    }

    fn label(&self, request: &Request) -> String {
        format!("run of pipeline {}", request.body["pipeline"].as_str().unwrap_or_default())
    }

    fn prepare(&self, config: &PipelineWaitConfig, cx: &PrepareContext<'_>) -> Result<Request, Failure> {
        check_name(&config.pipeline)?;
        match (&config.date, &config.since) {
            (Some(_), None) => {}
            (None, Some(since)) => {
                since_of(since)?;
                if config.if_failed == IfFailed::Fail {
                    return Err(wrong("if_failed: it is about one run; `since` waits for any that succeeds"));
                }
            }
            _ => return Err(wrong("say either `date` (one run) or `since` (any run from then on)")),
        }
        let body = serde_json::to_value(config).map_err(|error| wrong(&error.to_string()))?;
        Ok(Request { token: cx.attempt_id.to_string(), connection: cx.connection.to_owned(), body })
    }

    async fn baseline(&self, clients: &Clients, request: &Request) -> Result<Value, Failure> {
        let config = read(&request.body)?;
        let key = match &config.date {
            Some(date) => Some(clients.pipelines()?.key_of(&config.pipeline, date).await?),
            None => None,
        };
        Ok(json!({ "key": key }))
    }

    async fn send(&self, _: &Clients, intent: &Intent<'_>) -> Sent {
        match handle(intent) {
            Ok(handle) => Sent::Accepted(handle),
            Err(failure) => Sent::Refused(failure),
        }
    }

    async fn find(&self, _: &Clients, intent: &Intent<'_>) -> Found {
        match handle(intent) {
            Ok(handle) => Found::Found(handle),
            Err(failure) => Found::Lost(failure),
        }
    }

    async fn poll(&self, clients: &Clients, handles: &[Handle]) -> Vec<Status> {
        let unavailable = |failure: &Failure| vec![Status::Unavailable(failure.clone()); handles.len()];
        let mut waits = Vec::with_capacity(handles.len());
        for handle in handles {
            match Wait::deserialize(&handle.detail) {
                Ok(wait) => waits.push(wait),
                Err(error) => return unavailable(&wrong(&error.to_string())),
            }
        }
        let wanted: Vec<AwaitedRun> = waits
            .iter()
            .map(|wait| AwaitedRun {
                pipeline: wait.pipeline.clone(),
                key: wait.key.clone(),
                since: wait.after,
            })
            .collect();
        let pipelines = match clients.pipelines() {
            Ok(pipelines) => pipelines,
            Err(failure) => return unavailable(&failure),
        };
        match pipelines.awaited(&wanted).await {
            Ok(found) => {
                let asked = handles.iter().zip(&waits).zip(found);
                asked.map(|((handle, wait), run)| self.status(handle, wait, run)).collect()
            }
            Err(failure) => unavailable(&failure),
        }
    }

    async fn cancel(&self, _: &Clients, handle: &Handle) -> Result<(), Failure> {
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
        // The store is asked, nothing of AWS.
        Some(Needs::default())
    }

    async fn check(&self, _: &Clients, _: &Request, _: &Place) -> Vec<Finding> {
        Vec::new()
    }
}

impl PipelineWait {
    fn status(&self, handle: &Handle, wait: &Wait, run: Option<RunStatus>) -> Status {
        if self.released.contains(&handle.id) {
            self.released.remove(&handle.id);
            let failure = Failure::new(ErrorClass::Cancelled, "the wait was cut short");
            return Status::Cancelled(failure);
        }
        match run {
            Some(run) if run.state == "succeeded" => {
                let mut outcome = Outcome::default();
                outcome.outputs.insert("run".to_owned(), json!(run.label));
                outcome.outputs.insert("run_id".to_owned(), json!(run.id));
                outcome.outputs.insert("ended_at".to_owned(), json!(run.ended_at));
                Status::Succeeded(outcome)
            }
            Some(run) if run.is_over() && wait.fail => {
                let message = format!("{0} {1}\nSee it: trunkline show {0}", run.label, run.state);
                Status::Failed(Failure::new(ErrorClass::Failed, message))
            }
            other => Status::Running {
                remote_state: other.map_or_else(|| "no such run yet".to_owned(), |run| run.state),
                poll_at: Some(next_look(wait.since, self.clock.now(), self.quarantine)),
            },
        }
    }
}

fn handle(intent: &Intent<'_>) -> Result<Handle, Failure> {
    let config = read(&intent.request.body)?;
    let key = intent.baseline["key"].as_str().map(str::to_owned);
    let what = key.as_deref().or(config.since.as_deref()).unwrap_or_default();
    let id = format!("{}@{what} {}", config.pipeline, intent.request.token);
    let wait = Wait {
        key,
        after: config.since.as_deref().map(since_of).transpose()?,
        fail: config.if_failed == IfFailed::Fail,
        since: intent.intent_at,
        pipeline: config.pipeline,
    };
    let detail = serde_json::to_value(wait).map_err(|error| wrong(&error.to_string()))?;
    Ok(Handle { connection: intent.request.connection.clone(), id, detail })
}

fn since_of(text: &str) -> Result<Timestamp, Failure> {
    text.trim().parse().map_err(|_| {
        wrong(&format!("since: `{text}` is no time with an offset; write e.g. 2026-11-19T05:00:00Z"))
    })
}

fn read(body: &Value) -> Result<PipelineWaitConfig, Failure> {
    PipelineWaitConfig::deserialize(body)
        .map_err(|error| wrong(&format!("the stored request cannot be read: {error}")))
}

fn wrong(message: &str) -> Failure {
    Failure::new(ErrorClass::Config, message)
}

#[cfg(test)]
#[path = "pipeline_wait/tests.rs"]
mod tests;
