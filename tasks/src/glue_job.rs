//! `glue_job`: one run of an AWS Glue job.
//!
//! **Safe start**: `StartJobRun` has no client token. Three things stand in for one.
//!
//! 1. Every start carries the attempt's id as the job argument `--trunkline-attempt`, and
//!    `GetJobRuns` gives arguments back: a run that exists can be recognised.
//! 2. The SDK never repeats a start by itself.
//! 3. A start is signed with the time of its intent, and AWS refuses signatures that are older
//!    than 15 minutes: a start that was not seen by then was never made and never will be, even
//!    if a frozen replica wakes up and sends it. [`Options::quarantine`] is that time with a
//!    margin.
//!
//! Glue's own retries (`MaxRetries` of the job) are followed: a failed run that Glue is about
//! to repeat, or has repeated, is not reported as failed.
//!
//! Job bookmarks: a cleared task processes its data again only if the job forgets what it has processed.
//! `on_clear: { reset_bookmark: true }` calls `ResetJobBookmark` before each start of a cleared generation. The call
//! belongs to the start: made after the intent, once each time it is sent, signed with its time.
//!
//! What can stay open: with `marker: off` (for scripts that refuse arguments they do not know)
//! a run is recognised by its arguments and its time, and two that look alike end as `lost`.

use std::{collections::BTreeMap, time::Duration};

use indexmap::IndexMap;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    access::{Finding, Needs, Place},
    aws::{
        SignedAt, address::Address, console_host, earlier, error::Trouble, exact_body, later, merge, scaled,
        url_part,
    },
    clients::{Clients, Purpose},
    clock::Clock,
    operator::{
        Call, ErrorClass, Failure, Found, Handle, Intent, Operator, PrepareContext, Rate, Request, Sent,
        Status,
    },
    registry::Options,
    scalar::Scalar,
};

mod access;
mod find;
mod poll;
mod report;

#[cfg(test)]
mod tests;

/// The job argument that carries the attempt's id.
pub(crate) const MARKER: &str = "--trunkline-attempt";

/// The longest that Glue lets a run take.
const RUN_TIME_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Most entries that one page of `GetJobRuns` holds.
const PAGE: i32 = 200;

/// How far AWS's clock may be behind the one that dates intents.
const CLOCKS_APART: Duration = Duration::from_secs(120);

/// The operator.
#[derive(Clone, Debug)]
pub struct GlueJob {
    clock: Clock,
    quarantine: Duration,
}

/// Settings of a `glue_job` task.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GlueJobConfig {
    /// The job's name.
    pub job: String,
    /// Arguments of this run; each name starts with `--`. They are laid over the job's own.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    #[schemars(with = "BTreeMap<String, Scalar>")]
    pub arguments: IndexMap<String, Scalar>,
    /// How many workers the run gets, instead of what the job says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number_of_workers: Option<u32>,
    /// Their type, e.g. `G.1X`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_type: Option<String>,
    /// The capacity in DPUs, for Python shell jobs and old Spark jobs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_capacity: Option<f64>,
    /// `STANDARD`, or `FLEX` for cheap runs that may wait and be interrupted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_class: Option<String>,
    /// The name of a Glue security configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_configuration: Option<String>,
    /// An S3 address of a JSON object `{"outputs": {…}, "warnings": […]}` that the job writes;
    /// it is read when the job has succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<String>,
    /// `off` leaves out the argument `--trunkline-attempt`, for scripts that refuse it.
    #[serde(default)]
    pub marker: Marker,
    /// What is done before the start when the task was cleared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_clear: Option<OnClear>,
    /// More of `StartJobRun`, in the words of the API; laid over everything above.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub request: Map<String, Value>,
}

/// What is done before the start of a task that was cleared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OnClear {
    /// Resets the job's bookmark, so that the job processes again what it has processed. It is the bookmark of the
    /// whole job: later runs too begin from there.
    #[serde(default)]
    pub reset_bookmark: bool,
}

/// Whether runs carry the attempt's id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Marker {
    /// They do.
    #[default]
    On,
    /// They do not.
    Off,
}

/// What a handle says beside the id of the run.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Detail {
    job: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    report: Option<String>,
}

impl GlueJob {
    /// Takes the clock and the quarantine of the options.
    pub fn new(options: &Options) -> Self {
        Self { clock: options.clock.clone(), quarantine: options.quarantine }
    }
}

impl Operator for GlueJob {
    const TYPE: &'static str = "glue_job";
    const EXAMPLE: &'static str = "\
type: glue_job
job: cdr_etl
arguments: { --date: \"2026-11-19\" }
number_of_workers: 10
timeout: 6h
";
    const GUARANTEE: &'static str = "Runs carry the attempt's id as an argument and starts are signed \
         with the time of their intent: a start is found again, or proved never made after 16 minutes.";
    type Config = GlueJobConfig;

    fn default_timeout(&self) -> Duration {
        RUN_TIME_MAX
    }

    fn prepare(&self, config: &GlueJobConfig, cx: &PrepareContext<'_>) -> Result<Request, Failure> {
        let mut body = json!({ "StartJobRun": start_job_run(config, cx)? });
        if let Some(report) = &config.report {
            Address::object(report, "report")?;
            body["Report"] = json!(report);
        }
        if config.on_clear.is_some_and(|on_clear| on_clear.reset_bookmark) && cx.generation > 1 {
            body["ResetJobBookmark"] = json!({ "JobName": job_in(&body) });
        }
        Ok(Request { token: cx.attempt_id.to_string(), connection: cx.connection.to_owned(), body })
    }

    async fn send(&self, clients: &Clients, intent: &Intent<'_>) -> Sent {
        let request = intent.request;
        let glue = match clients.glue(&request.connection, Purpose::Start).await {
            Ok(glue) => glue,
            Err(failure) => return Sent::Refused(failure),
        };
        if let Err(refusal) = reset_bookmark(glue, intent).await {
            return refusal;
        }
        let answer = glue
            .start_job_run()
            .job_name(job_of(request))
            .customize()
            .config_override(aws_sdk_glue::config::Builder::new().time_source(SignedAt(intent.intent_at)))
            .mutate_request(exact_body(&request.body["StartJobRun"]))
            .send()
            .await;
        match answer.map_err(Trouble::from) {
            Ok(answer) => match answer.job_run_id {
                Some(id) => Sent::Accepted(handle(request, id)),
                None => Sent::Unknown(Failure::new(
                    ErrorClass::System,
                    "glue accepted the start but named no run",
                )),
            },
            Err(trouble) if trouble.is_not_there() => {
                let region = clients.region_of(&request.connection).await.unwrap_or_default();
                Sent::Refused(no_such_job(request, &region, trouble))
            }
            Err(trouble) => trouble.into_sent(),
        }
    }

    async fn find(&self, clients: &Clients, intent: &Intent<'_>) -> Found {
        find::find(clients, intent, self.quarantine).await
    }

    async fn poll(&self, clients: &Clients, handles: &[Handle]) -> Vec<Status> {
        poll::poll(clients, handles, &self.clock).await
    }

    async fn cancel(&self, clients: &Clients, handle: &Handle) -> Result<(), Failure> {
        poll::cancel(clients, handle).await
    }

    fn batch_key(&self, handle: &Handle) -> String {
        format!("{}\u{1f}{}", handle.connection, job_named(handle))
    }

    fn batch_size(&self) -> usize {
        PAGE.unsigned_abs() as usize
    }

    fn rate(&self, call: Call) -> Option<Rate> {
        // AWS publishes no figures for these; people are throttled at 15 to 20 starts at once.
        Some(match call {
            Call::Start => Rate { api: "glue:StartJobRun".into(), per_second: 3.0, burst: 10.0 },
            Call::Read => Rate { api: "glue:GetJobRuns".into(), per_second: 10.0, burst: 20.0 },
        })
    }

    fn label(&self, request: &Request) -> String {
        format!("Glue job {}", job_of(request))
    }

    fn handle_of(&self, intent: &Intent<'_>, id: &str) -> Option<Handle> {
        Some(handle(intent.request, id))
    }

    fn console_url(&self, region: &str, handle: &Handle) -> Option<String> {
        Some(format!(
            "https://{}/gluestudio/home?region={region}#/job/{}/run/{}",
            console_host(region),
            url_part(&job_named(handle)),
            url_part(&handle.id)
        ))
    }

    fn needs(&self, request: &Request, place: &Place) -> Option<Needs> {
        Some(access::needs(request, place))
    }

    async fn check(&self, clients: &Clients, request: &Request, _: &Place) -> Vec<Finding> {
        access::check(clients, request).await
    }
}

/// Resets the job's bookmark where the request says so. An error is the answer to the start: nothing was started.
async fn reset_bookmark(glue: &aws_sdk_glue::Client, intent: &Intent<'_>) -> Result<(), Sent> {
    let call = &intent.request.body["ResetJobBookmark"];
    if call.is_null() {
        return Ok(());
    }
    let answer = glue
        .reset_job_bookmark()
        .job_name(job_of(intent.request))
        .customize()
        .config_override(aws_sdk_glue::config::Builder::new().time_source(SignedAt(intent.intent_at)))
        .mutate_request(exact_body(call))
        .send()
        .await;
    match answer.map_err(Trouble::from) {
        Ok(_) => Ok(()),
        // A job that never kept a bookmark has none to reset; a job that is not there is refused at its start.
        Err(trouble) if trouble.is_not_there() => Ok(()),
        Err(trouble) => Err(match trouble.into_sent() {
            Sent::Refused(failure) => Sent::Refused(not_reset(failure)),
            // Resetting again does no harm, so an answer that was lost is no reason to look for a run.
            Sent::Throttled(failure) | Sent::Unknown(failure) => Sent::Throttled(not_reset(failure)),
            other => other,
        }),
    }
}

fn not_reset(failure: Failure) -> Failure {
    let message = format!("the job's bookmark was not reset (`on_clear`): {}", failure.message);
    Failure { message, ..failure }
}

/// The body of `StartJobRun`.
fn start_job_run(config: &GlueJobConfig, cx: &PrepareContext<'_>) -> Result<Value, Failure> {
    let mut arguments = Map::new();
    for (name, Scalar(value)) in &config.arguments {
        check_argument(name)?;
        arguments.insert(name.clone(), Value::from(value.clone()));
    }
    let mut call = json!({ "JobName": config.job });
    let mut set = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            call[key] = value;
        }
    };
    set("Arguments", (!arguments.is_empty()).then_some(Value::Object(arguments)));
    set("NumberOfWorkers", config.number_of_workers.map(Value::from));
    set("WorkerType", config.worker_type.clone().map(Value::from));
    set("MaxCapacity", config.max_capacity.map(Value::from));
    set("ExecutionClass", config.execution_class.clone().map(Value::from));
    set("SecurityConfiguration", config.security_configuration.clone().map(Value::from));
    set("Timeout", run_minutes(cx.timeout).map(Value::from));
    merge(&mut call, &Value::Object(config.request.clone()));
    if let Some(key) = ["JobRunId"].into_iter().find(|key| call.get(key).is_some()) {
        let message = format!("request: `{key}` would resume an earlier run, which Trunkline cannot follow");
        return Err(Failure::new(ErrorClass::Config, message));
    }
    if call["JobName"].as_str().is_none_or(str::is_empty) {
        return Err(Failure::new(ErrorClass::Config, "job: the name of a Glue job is missing"));
    }
    if config.marker == Marker::On {
        if !call["Arguments"].is_object() {
            call["Arguments"] = json!({});
        }
        // After `request:`, so that nothing can take the marker away.
        call["Arguments"][MARKER] = json!(cx.attempt_id.to_string());
    }
    Ok(call)
}

fn check_argument(name: &str) -> Result<(), Failure> {
    if !name.starts_with("--") {
        let message =
            format!("arguments: `{name}` must start with two dashes: `--{}`", name.trim_start_matches('-'));
        return Err(Failure::new(ErrorClass::Config, message));
    }
    if name == MARKER {
        let message = format!("arguments: `{MARKER}` is set by Trunkline; `marker: off` leaves it out");
        return Err(Failure::new(ErrorClass::Config, message));
    }
    Ok(())
}

/// Glue's own limit for the run, so that it ends in time even if nobody is there to stop it.
/// Where the task names none, the job's own stays.
fn run_minutes(timeout: Duration) -> Option<u64> {
    (timeout < RUN_TIME_MAX).then(|| timeout.as_secs().div_ceil(60).max(1))
}

fn handle(request: &Request, id: impl Into<String>) -> Handle {
    let report = request.body["Report"].as_str().map(str::to_owned);
    let detail = Detail { job: job_of(request).to_owned(), report };
    Handle {
        connection: request.connection.clone(),
        id: id.into(),
        detail: serde_json::to_value(detail).unwrap_or_default(),
    }
}

fn job_of(request: &Request) -> &str {
    job_in(&request.body)
}

fn job_in(body: &Value) -> &str {
    body["StartJobRun"]["JobName"].as_str().unwrap_or_default()
}

fn job_named(handle: &Handle) -> String {
    handle.detail["job"].as_str().unwrap_or_default().to_owned()
}

fn no_such_job(request: &Request, region: &str, trouble: Trouble) -> Failure {
    let mut failure = trouble.into_failure();
    failure.class = ErrorClass::Config;
    failure.message = format!(
        "Glue has no job `{}` in {region} (connection `{}`): {}",
        job_of(request),
        request.connection,
        failure.message
    );
    failure
}

/// Whether `moment` is within the time in which a start of this intent can have been accepted.
fn in_window(moment: Option<Timestamp>, intent_at: Timestamp, quarantine: Duration) -> bool {
    let Some(moment) = moment else { return true };
    let before = scaled(CLOCKS_APART, quarantine);
    moment >= earlier(intent_at, before) && moment <= later(intent_at, quarantine)
}
