//! Jobs: the operations of the API.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::definitions::check_name;
use super::record::{Definition, Job, Queue, State};
use super::{Batch, internal, refused};
use crate::glue::request::{page, parse};
use crate::ledger::Accepted;
use crate::wire::{ApiError, CallContext};

const INVALID: &str = "ClientException";
/// Jobs of one `DescribeJobs` and of one page of `ListJobs`, as on AWS.
const JOBS_MAX: usize = 100;
/// Elements of an array job; on AWS 10,000, but here each is a process of this machine.
const ARRAY_MAX: u32 = 1_000;
/// Tries of a job, as on AWS.
const ATTEMPTS_MAX: usize = 10;
/// The shortest limit of a try, as on AWS.
const TIMEOUT_MIN: u64 = 60;
/// Members of `SubmitJob` that the sandbox cannot honour.
const NOT_HERE: [&str; 5] =
    ["dependsOn", "nodeOverrides", "eksPropertiesOverride", "ecsPropertiesOverride", "shareIdentifier"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Submit {
    job_name: String,
    job_queue: String,
    job_definition: String,
    array_properties: Option<Array>,
    retry_strategy: Option<Retry>,
    timeout: Option<Limit>,
}

#[derive(Deserialize)]
struct Array {
    size: Option<u32>,
}

#[derive(Default, Deserialize)]
struct Retry {
    attempts: Option<usize>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Limit {
    attempt_duration_seconds: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct List {
    job_queue: Option<String>,
    array_job_id: Option<String>,
    job_status: Option<String>,
    #[serde(default)]
    filters: Vec<Filter>,
    max_results: Option<usize>,
    next_token: Option<String>,
}

#[derive(Deserialize)]
struct Filter {
    name: String,
    values: Vec<String>,
}

impl Batch {
    pub(super) fn submit(self: &Arc<Self>, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
        if let Some(member) = NOT_HERE.into_iter().find(|member| body.get(member).is_some()) {
            return Err(refused(format!("the sandbox does not know {member} of SubmitJob")));
        }
        let request: Submit = parse(body.clone(), INVALID)?;
        check_name(&request.job_name, "jobName")?;
        let queue = self.queue(&request.job_queue)?;
        let definition = self.definition(&request.job_definition)?;
        let size = request.array_properties.as_ref().and_then(|array| array.size);
        if size.is_some_and(|size| !(2..=ARRAY_MAX).contains(&size)) {
            return Err(refused(format!("Array size must be from 2 to {ARRAY_MAX} in the sandbox.")));
        }
        let job = self.new_job(cx, &request, body, &queue, &definition)?;
        let elements: Vec<Job> = (0..size.unwrap_or(0)).map(|index| element(&job, index)).collect();
        let ids: Vec<String> = match size {
            Some(_) => elements.iter().map(|element| element.id.clone()).collect(),
            None => vec![job.id.clone()],
        };
        // The job last: an array job that is there has all its elements.
        for record in elements.into_iter().chain([job.clone()]) {
            self.jobs.put(record).map_err(internal)?;
        }
        let accepted = Accepted { marker: Some(job.name.clone()), id: &job.id, subject: &queue.name };
        self.world.ledger.accepted(cx, accepted).map_err(internal)?;
        for id in ids {
            self.start(id);
        }
        Ok(json!({ "jobId": job.id, "jobArn": job.arn, "jobName": job.name }))
    }

    fn new_job(
        &self,
        cx: &CallContext,
        request: &Submit,
        body: Value,
        queue: &Queue,
        definition: &Definition,
    ) -> Result<Job, ApiError> {
        let of_definition = |member: &str| definition.members.get(member).cloned().unwrap_or_default();
        let retry: Option<Retry> = serde_json::from_value(of_definition("retryStrategy")).unwrap_or_default();
        let limit: Option<Limit> = serde_json::from_value(of_definition("timeout")).unwrap_or_default();
        let attempts = request.retry_strategy.as_ref().or(retry.as_ref()).and_then(|retry| retry.attempts);
        let timeout =
            request.timeout.as_ref().or(limit.as_ref()).and_then(|limit| limit.attempt_duration_seconds);
        if timeout.is_some_and(|seconds| seconds < TIMEOUT_MIN) {
            return Err(refused(format!("the limit of an attempt is at least {TIMEOUT_MIN} seconds")));
        }
        let attempts_max = attempts.unwrap_or(1);
        if !(1..=ATTEMPTS_MAX).contains(&attempts_max) {
            return Err(refused(format!("a job has from 1 to {ATTEMPTS_MAX} attempts")));
        }
        let id = self.world.new_uuid().to_string();
        Ok(Job {
            arn: format!("arn:aws:batch:{}:{}:job/{id}", cx.region, cx.account),
            name: request.job_name.clone(),
            queue_arn: queue.arn.clone(),
            definition: definition.id.clone(),
            definition_arn: definition.arn.clone(),
            request: body,
            state: State::Submitted,
            reason: None,
            created: cx.now,
            started: None,
            stopped: None,
            attempts: Vec::new(),
            attempts_max,
            timeout_seconds: timeout,
            cancelled: false,
            terminated: false,
            array_size: request.array_properties.as_ref().and_then(|array| array.size),
            element_of: None,
            id,
        })
    }

    pub(super) fn describe_jobs(&self, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
        let named = crate::containers::texts(&body, "jobs");
        if named.is_empty() || named.len() > JOBS_MAX {
            return Err(refused(format!("from 1 to {JOBS_MAX} jobs can be described at once")));
        }
        let odd = self.world.faults.unknown_state(&cx.service, &cx.operation, cx.now);
        let mut shown: Vec<Value> = Vec::new();
        for name in named {
            let id = name.rsplit('/').next().unwrap_or(&name);
            // A job that is not there is left out, as on AWS.
            let Some(job) = self.jobs.get(id) else { continue };
            let elements = self.states_of_elements(&job);
            shown.push(job.shape(self.definitions.get(&job.definition).as_ref(), &elements));
        }
        if let (Some(odd), Some(first)) = (odd, shown.first_mut()) {
            first["status"] = odd.into();
        }
        Ok(json!({ "jobs": shown }))
    }

    fn states_of_elements(&self, job: &Job) -> Vec<State> {
        let elements = 0..job.array_size.unwrap_or(0);
        elements.filter_map(|index| Some(self.jobs.get(&format!("{}:{index}", job.id))?.state)).collect()
    }

    pub(super) fn list_jobs(&self, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
        let request: List = parse(body, INVALID)?;
        let lag = self.world.faults.list_lag(&cx.service, &cx.operation, cx.now);
        let filters = request.filters.iter().map(Test::of).collect::<Result<Vec<_>, _>>()?;
        let status = request.job_status.as_deref().or(filters.is_empty().then_some("RUNNING"));
        let queue = request.job_queue.as_deref().map(|name| self.queue(name)).transpose()?;
        if queue.is_none() && request.array_job_id.is_none() {
            return Err(refused("One of jobQueue, arrayJobId or multiNodeJobId is required"));
        }
        let mut found = self.jobs.select(|job| {
            let place = match (&request.array_job_id, &job.element_of) {
                (Some(wanted), Some((parent, _))) => wanted == parent,
                (None, None) => queue.as_ref().is_some_and(|queue| queue.arn == job.queue_arn),
                _ => false,
            };
            place
                && lag.is_none_or(|lag| cx.now.duration_since(job.created).unsigned_abs() >= lag)
                && filters.iter().all(|test| test.fits(job))
                // With a filter the status is ignored.
                && (!filters.is_empty() || status.is_none_or(|status| job.state.name() == status))
        });
        found.sort_by_key(|job| std::cmp::Reverse(job.created));
        let shown = found.iter().map(Job::summary).collect();
        let (items, next) =
            page(shown, request.next_token.as_deref(), request.max_results, JOBS_MAX, INVALID)?;
        let mut answer = json!({ "jobSummaryList": items });
        if let Some(next) = next {
            answer["nextToken"] = next.into();
        }
        Ok(answer)
    }

    /// `TerminateJob`, and `CancelJob`, which leaves alone what has started.
    pub(super) fn terminate(&self, body: Value, also_started: bool) -> Result<Value, ApiError> {
        let text = |member: &str| body.get(member).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (named, reason) = (text("jobId"), text("reason"));
        if reason.is_empty() {
            return Err(refused("reason must not be empty"));
        }
        let id = named.rsplit('/').next().unwrap_or(&named);
        // Ending a job that is not there succeeds, as on AWS.
        let Some(job) = self.jobs.get(id) else { return Ok(json!({})) };
        let ids: Vec<String> = match job.array_size {
            Some(size) => (0..size).map(|index| format!("{}:{index}", job.id)).collect(),
            None => vec![job.id.clone()],
        };
        for id in ids.iter().map(String::as_str).chain([job.id.as_str()]) {
            let changed = self.jobs.change(id, |job| {
                if job.state.is_terminal() || (job.started.is_some() && !also_started) {
                    return;
                }
                job.terminated |= also_started;
                job.cancelled |= !also_started;
                job.reason = Some(reason.clone());
            });
            let changed = changed.map_err(internal)?;
            if changed.is_some_and(|job| job.terminated || job.cancelled) {
                self.background.stop(id);
            }
        }
        Ok(json!({}))
    }
}

/// A filter of `ListJobs`.
enum Test {
    Name(String),
    NameBegins(String),
    After(i64),
    Before(i64),
}

impl Test {
    fn of(filter: &Filter) -> Result<Self, ApiError> {
        let value = filter.values.first().map_or("", String::as_str);
        let moment = || value.parse().map_err(|_| refused(format!("`{value}` is no number of milliseconds")));
        Ok(match filter.name.as_str() {
            "JOB_NAME" => match value.strip_suffix('*') {
                Some(begin) => Self::NameBegins(begin.to_lowercase()),
                None => Self::Name(value.to_lowercase()),
            },
            "AFTER_CREATED_AT" => Self::After(moment()?),
            "BEFORE_CREATED_AT" => Self::Before(moment()?),
            other => return Err(refused(format!("the sandbox does not know the filter {other}"))),
        })
    }

    fn fits(&self, job: &Job) -> bool {
        match self {
            Self::Name(name) => job.name.to_lowercase() == *name,
            Self::NameBegins(begin) => job.name.to_lowercase().starts_with(begin.as_str()),
            Self::After(at) => job.created.as_millisecond() > *at,
            Self::Before(at) => job.created.as_millisecond() < *at,
        }
    }
}

fn element(job: &Job, index: u32) -> Job {
    Job {
        id: format!("{}:{index}", job.id),
        arn: format!("{}:{index}", job.arn),
        array_size: None,
        element_of: Some((job.id.clone(), index)),
        ..job.clone()
    }
}
