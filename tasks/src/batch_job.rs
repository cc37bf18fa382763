//! `batch_job`: one AWS Batch job, or one array job, run to its end.
//!
//! **Safe start**: `SubmitJob` has no client token and Batch takes any number of jobs of one name. Three things
//! stand in for a token, as with Glue jobs.
//!
//! 1. The job's name ends in the attempt's id, and `ListJobs` finds a job of a queue by its name, whatever its
//!    state, for a week after its end.
//! 2. The SDK never repeats a start by itself.
//! 3. A start is signed with the time of its intent, and AWS refuses signatures that are older than 15 minutes: a
//!    job that is not listed by then was never submitted and never will be ([`Options::quarantine`]).
//!
//! The attempts of Batch's own retry strategy belong to the one job; only its end is the end.

use std::{collections::BTreeMap, time::Duration};

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    access::{Finding, Needs, Place},
    aws::{SignedAt, console_host, error::Trouble, exact_body, merge, url_part},
    clients::{Clients, Purpose},
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

#[cfg(test)]
mod tests;

/// Batch has no limit for jobs on EC2; on Fargate a job may be ended after 14 days.
const JOB_TIME_MAX: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// The shortest limit that Batch takes for an attempt.
const LIMIT_MIN: u64 = 60;

/// The longest name of a job.
const NAME_MAX: usize = 128;

/// Elements of an array job.
const ARRAY_SIZES: std::ops::RangeInclusive<u32> = 2..=10_000;

/// Jobs of one `DescribeJobs`.
const BATCH_MAX: usize = 100;

/// Why Trunkline ends a job; Batch shows it as the job's reason.
const REASON: &str = "Trunkline was asked to stop this job, or its time was up";

/// The operator.
#[derive(Clone, Debug)]
pub struct BatchJob {
    quarantine: Duration,
}

/// Settings of a `batch_job` task.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchJobConfig {
    /// The job queue, by name or ARN.
    pub queue: String,
    /// The job definition: a name (its newest revision), `name:revision`, or an ARN.
    pub job_definition: String,
    /// What the job's name begins with, instead of the pipeline's and the task's names; the attempt's id follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name_prefix: Option<String>,
    /// Values for the `Ref::name` words of the definition's command.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    #[schemars(with = "BTreeMap<String, Scalar>")]
    pub parameters: IndexMap<String, Scalar>,
    /// The container's command, instead of the definition's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<Scalar>,
    /// Variables of the container, laid over the definition's. They can be read by everybody who may describe the
    /// job: no secrets.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    #[schemars(with = "BTreeMap<String, Scalar>")]
    pub environment: IndexMap<String, Scalar>,
    /// Makes it an array job of so many elements, 2 to 10,000; each finds its number in
    /// `AWS_BATCH_JOB_ARRAY_INDEX`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub array_size: Option<u32>,
    /// How often Batch itself tries a job that fails, instead of what the definition says; 1 to 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_attempts: Option<u32>,
    /// More of `SubmitJob`, in the words of the API; laid over everything above.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub request: Map<String, Value>,
}

impl BatchJob {
    /// Takes the quarantine of the options.
    pub fn new(options: &Options) -> Self {
        Self { quarantine: options.quarantine }
    }
}

impl Operator for BatchJob {
    const TYPE: &'static str = "batch_job";
    const EXAMPLE: &'static str = "\
type: batch_job
queue: etl
job_definition: cdr-export
parameters: { date: \"2026-11-19\" }
array_size: 24
timeout: 3h
";
    const GUARANTEE: &'static str = "Jobs are named after the attempt and starts are signed with the time of their \
         intent: a start is found again by its name, or proved never made after 16 minutes.";
    type Config = BatchJobConfig;

    fn default_timeout(&self) -> Duration {
        JOB_TIME_MAX
    }

    fn prepare(&self, config: &BatchJobConfig, cx: &PrepareContext<'_>) -> Result<Request, Failure> {
        let call = submit_job(config, cx)?;
        let token = call["jobName"].as_str().unwrap_or_default().to_owned();
        Ok(Request { token, connection: cx.connection.to_owned(), body: json!({ "SubmitJob": call }) })
    }

    async fn send(&self, clients: &Clients, intent: &Intent<'_>) -> Sent {
        let request = intent.request;
        let batch = match clients.batch(&request.connection, Purpose::Start).await {
            Ok(batch) => batch,
            Err(failure) => return Sent::Refused(failure),
        };
        let answer = batch
            .submit_job()
            .job_name(&request.token)
            .job_queue(queue_of(request))
            .job_definition(definition_of(request))
            .customize()
            .config_override(aws_sdk_batch::config::Builder::new().time_source(SignedAt(intent.intent_at)))
            .mutate_request(exact_body(&request.body["SubmitJob"]))
            .send()
            .await;
        match answer.map_err(Trouble::from) {
            Ok(answer) => match answer.job_id.filter(|id| !id.is_empty()) {
                Some(id) => Sent::Accepted(handle(request, id)),
                None => Sent::Unknown(Failure::new(
                    ErrorClass::System,
                    "Batch accepted the job but gave it no id",
                )),
            },
            Err(trouble) => match trouble.into_sent() {
                Sent::Refused(failure) => {
                    let region = clients.region_of(&request.connection).await.unwrap_or_default();
                    Sent::Refused(refused(request, &region, failure))
                }
                sent => sent,
            },
        }
    }

    async fn find(&self, clients: &Clients, intent: &Intent<'_>) -> Found {
        find::find(clients, intent, self.quarantine).await
    }

    async fn poll(&self, clients: &Clients, handles: &[Handle]) -> Vec<Status> {
        poll::poll(clients, handles).await
    }

    async fn cancel(&self, clients: &Clients, handle: &Handle) -> Result<(), Failure> {
        let batch = clients.batch(&handle.connection, Purpose::Read).await?;
        // Also ends what has not started, and succeeds where there is nothing left to end.
        let answer = batch.terminate_job().job_id(&handle.id).reason(REASON).send().await;
        answer.map(drop).map_err(|error| Trouble::from(error).into_failure())
    }

    fn batch_size(&self) -> usize {
        BATCH_MAX
    }

    fn rate(&self, call: Call) -> Option<Rate> {
        Some(match call {
            // AWS's quota of 50 a second.
            Call::Start => Rate { api: "batch:SubmitJob".into(), per_second: 50.0, burst: 50.0 },
            // Not published; far below where people are throttled.
            Call::Read => Rate { api: "batch:DescribeJobs".into(), per_second: 10.0, burst: 20.0 },
        })
    }

    fn label(&self, request: &Request) -> String {
        let definition = definition_of(request).rsplit('/').next().unwrap_or_default();
        format!("Batch job {definition}")
    }

    fn handle_of(&self, intent: &Intent<'_>, id: &str) -> Option<Handle> {
        Some(handle(intent.request, id))
    }

    fn console_url(&self, region: &str, handle: &Handle) -> Option<String> {
        let id = url_part(&handle.id);
        Some(format!("https://{}/batch/home?region={region}#jobs/detail/{id}", console_host(region)))
    }

    fn needs(&self, request: &Request, place: &Place) -> Option<Needs> {
        Some(access::needs(request, place))
    }

    async fn check(&self, clients: &Clients, request: &Request, _: &Place) -> Vec<Finding> {
        access::check(clients, request).await
    }
}

/// A refusal with its place: the service's own words do not always name both, the queue and the definition.
fn refused(request: &Request, region: &str, failure: Failure) -> Failure {
    let message = format!(
        "Batch took no job of `{}` for queue `{}` ({region}, connection `{}`): {}",
        definition_of(request),
        queue_of(request),
        request.connection,
        failure.message
    );
    Failure { message, ..failure }
}

/// The body of `SubmitJob`.
fn submit_job(config: &BatchJobConfig, cx: &PrepareContext<'_>) -> Result<Value, Failure> {
    let wrong = |message: String| Err(Failure::new(ErrorClass::Config, message));
    if config.queue.is_empty() {
        return wrong("queue: the name of a job queue is missing".to_owned());
    }
    if config.job_definition.is_empty() {
        return wrong("job_definition: the name of a job definition is missing".to_owned());
    }
    if let Some(size) = config.array_size.filter(|size| !ARRAY_SIZES.contains(size)) {
        return wrong(format!(
            "array_size: {size} is not from {} to {}",
            ARRAY_SIZES.start(),
            ARRAY_SIZES.end()
        ));
    }
    if let Some(tries) = config.job_attempts.filter(|tries| !(1..=10).contains(tries)) {
        return wrong(format!("job_attempts: {tries} is not from 1 to 10"));
    }
    let mut call = json!({
        "jobQueue": config.queue, "jobDefinition": config.job_definition,
    });
    if !config.parameters.is_empty() {
        let pairs = config.parameters.iter().map(|(name, Scalar(value))| (name.clone(), json!(value)));
        call["parameters"] = Value::Object(pairs.collect());
    }
    if !config.command.is_empty() {
        call["containerOverrides"]["command"] =
            config.command.iter().map(|Scalar(word)| json!(word)).collect();
    }
    if !config.environment.is_empty() {
        let pairs =
            config.environment.iter().map(|(name, Scalar(value))| json!({ "name": name, "value": value }));
        call["containerOverrides"]["environment"] = pairs.collect();
    }
    if let Some(size) = config.array_size {
        call["arrayProperties"] = json!({ "size": size });
    }
    if let Some(tries) = config.job_attempts {
        call["retryStrategy"] = json!({ "attempts": tries });
    }
    if cx.timeout < JOB_TIME_MAX {
        // Batch's own limit of an attempt, so that it ends in time even if nobody is there to stop it.
        call["timeout"] = json!({ "attemptDurationSeconds": cx.timeout.as_secs().max(LIMIT_MIN) });
    }
    merge(&mut call, &Value::Object(config.request.clone()));
    // After `request:`, so that nothing can take the marker away.
    call["jobName"] = json!(name_of(config, cx)?);
    Ok(call)
}

/// The job's name: what people read, and the attempt by which it is found.
fn name_of(config: &BatchJobConfig, cx: &PrepareContext<'_>) -> Result<String, Failure> {
    let id = cx.attempt_id.to_string();
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let most = NAME_MAX - id.len() - 1;
    if let Some(prefix) = &config.name_prefix {
        let begins = prefix.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
        if !begins || prefix.len() > most || !prefix.chars().all(legal) {
            return Err(Failure::new(
                ErrorClass::Config,
                format!(
                    "name_prefix: `{prefix}` must begin with a letter or digit and have at most {most} characters of \
                     a-z, A-Z, 0-9, `-` and `_`"
                ),
            ));
        }
        return Ok(format!("{prefix}-{id}"));
    }
    // Names of pipelines and tasks are words; whatever else they may hold becomes a hyphen.
    let words = format!("{}-{}", cx.pipeline, cx.task);
    let words: String = words.chars().map(|c| if legal(c) { c } else { '-' }).take(most).collect();
    Ok(format!("{}-{id}", words.trim_start_matches(['-', '_'])).trim_start_matches('-').to_owned())
}

fn handle(request: &Request, id: impl Into<String>) -> Handle {
    Handle {
        connection: request.connection.clone(),
        id: id.into(),
        detail: json!({ "queue": queue_of(request) }),
    }
}

fn queue_of(request: &Request) -> &str {
    request.body["SubmitJob"]["jobQueue"].as_str().unwrap_or_default()
}

fn definition_of(request: &Request) -> &str {
    request.body["SubmitJob"]["jobDefinition"].as_str().unwrap_or_default()
}
