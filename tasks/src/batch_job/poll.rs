//! States of jobs, what their attempts say, and what they leave behind.

use std::collections::HashMap;

use aws_sdk_batch::{Client, types::JobDetail};
use serde_json::{Value, json};

use super::REASON;
use crate::{
    aws::{
        error::Trouble,
        log_lines::{self, LogPlace},
    },
    clients::{Clients, Purpose},
    operator::{ErrorClass, Failure, Handle, Outcome, Status},
};

/// The log group of jobs whose definition names no other.
const GROUP: &str = "/aws/batch/job";

/// Failed elements of an array job that a message names.
const ELEMENTS_SHOWN: i32 = 5;

/// What Batch says of an attempt that ran too long.
const TOO_LONG: &str = "duration exceeded timeout";

pub(super) async fn poll(clients: &Clients, handles: &[Handle]) -> Vec<Status> {
    let Some(first) = handles.first() else { return Vec::new() };
    let batch = match clients.batch(&first.connection, Purpose::Read).await {
        Ok(batch) => batch,
        Err(failure) => return handles.iter().map(|_| Status::Unavailable(failure.clone())).collect(),
    };
    let ids: Vec<String> = handles.iter().map(|handle| handle.id.clone()).collect();
    let jobs = match batch.describe_jobs().set_jobs(Some(ids)).send().await.map_err(Trouble::from) {
        Ok(answer) => answer.jobs.unwrap_or_default(),
        Err(trouble) => return handles.iter().map(|_| trouble.clone().into_status()).collect(),
    };
    let by_id: HashMap<&str, &JobDetail> =
        jobs.iter().filter_map(|job| Some((job.job_id.as_deref()?, job))).collect();
    let (mut statuses, mut places) = (Vec::with_capacity(handles.len()), Vec::with_capacity(handles.len()));
    for handle in handles {
        let job = by_id.get(handle.id.as_str()).copied();
        let mut status = job.map_or_else(|| Status::Gone(forgotten(handle)), |job| read(handle, job));
        let mut place = job.and_then(place_of);
        if let (Status::Failed(failure), Some(true)) = (&mut status, job.map(is_array)) {
            place = log_lines::patiently(name_elements(batch, handle, failure)).await.flatten();
        }
        statuses.push(status);
        places.push(place);
    }
    log_lines::add(clients, &first.connection, &mut statuses, &places).await;
    statuses
}

fn forgotten(handle: &Handle) -> Failure {
    let text = format!(
        "Batch does not know the job `{}` any more: it keeps a job for a week after its end, so the end was not seen",
        handle.id
    );
    Failure::new(ErrorClass::Lost, text)
}

fn is_array(job: &JobDetail) -> bool {
    job.array_properties.as_ref().is_some_and(|array| array.size.is_some_and(|size| size > 0))
}

fn read(handle: &Handle, job: &JobDetail) -> Status {
    let state = job.status.as_ref().map_or("", |state| state.as_str());
    match state {
        "SUCCEEDED" => Status::Succeeded(outcome(handle, job)),
        "FAILED" => failed(job),
        // SUBMITTED, PENDING, RUNNABLE, STARTING, RUNNING, and words not known.
        other => Status::Running { remote_state: running(other, job), poll_at: None },
    }
}

/// A job that waits says what for, where Batch does.
fn running(state: &str, job: &JobDetail) -> String {
    match job.status_reason.as_deref().filter(|reason| !reason.is_empty()) {
        Some(reason) => format!("{state} ({reason})"),
        None => state.to_owned(),
    }
}

fn failed(job: &JobDetail) -> Status {
    let reason = job.status_reason.clone().unwrap_or_else(|| "Batch gives no reason".to_owned());
    let ended = job.is_terminated.unwrap_or(false) || job.is_cancelled.unwrap_or(false) || reason == REASON;
    if ended {
        return Status::Cancelled(Failure::new(ErrorClass::Cancelled, reason).with_code("FAILED"));
    }
    let mut text = reason.clone();
    let container = job.container.as_ref();
    if let Some(code) = container.and_then(|container| container.exit_code) {
        text.push_str(&format!(", exit code {code}"));
    }
    if let Some(why) = container.and_then(|container| container.reason.as_deref())
        && !text.contains(why)
    {
        text.push_str(&format!(": {why}"));
    }
    text.push_str(&earlier_attempts(job));
    let class = if reason.contains(TOO_LONG) {
        ErrorClass::Timeout
    } else if reason.starts_with("Host EC2") {
        // The instance was taken away, as Spot instances are.
        ErrorClass::System
    } else {
        ErrorClass::Failed
    };
    Status::Failed(Failure::new(class, text).with_code("FAILED"))
}

/// How each of Batch's own tries ended, where there were several.
fn earlier_attempts(job: &JobDetail) -> String {
    let attempts = job.attempts.as_deref().unwrap_or_default();
    if attempts.len() < 2 {
        return String::new();
    }
    let told = attempts.iter().enumerate().map(|(index, attempt)| {
        let container = attempt.container.as_ref();
        let code =
            container.and_then(|container| container.exit_code).map(|code| format!("exit code {code}"));
        let why = container.and_then(|container| container.reason.clone()).or(attempt.status_reason.clone());
        let parts: Vec<String> = code.into_iter().chain(why).collect();
        format!("\nBatch's attempt {}: {}", index + 1, parts.join(", "))
    });
    told.collect()
}

/// Names the elements of an array job that failed, and finds the log of the first.
async fn name_elements(batch: &Client, handle: &Handle, failure: &mut Failure) -> Option<LogPlace> {
    let answer = batch
        .list_jobs()
        .array_job_id(&handle.id)
        .job_status(aws_sdk_batch::types::JobStatus::Failed)
        .max_results(ELEMENTS_SHOWN)
        .send()
        .await
        .ok()?;
    let elements = answer.job_summary_list.unwrap_or_default();
    let told = elements.iter().map(|element| {
        let index = element.array_properties.as_ref().and_then(|array| array.index).unwrap_or_default();
        let reason = element.status_reason.as_deref().unwrap_or("no reason given");
        let code = element.container.as_ref().and_then(|container| container.exit_code);
        let code = code.map(|code| format!(", exit code {code}")).unwrap_or_default();
        format!("\nelement {index}: {reason}{code}")
    });
    failure.message.push_str(&told.collect::<String>());
    let first = elements.into_iter().find_map(|element| element.job_id)?;
    let answer = batch.describe_jobs().jobs(first).send().await.ok()?;
    place_of(answer.jobs.unwrap_or_default().first()?)
}

/// Where a job's last attempt wrote.
fn place_of(job: &JobDetail) -> Option<LogPlace> {
    let container = job.container.as_ref()?;
    let stream = container.log_stream_name.clone().filter(|stream| !stream.is_empty())?;
    let options = container.log_configuration.as_ref().and_then(|found| found.options.as_ref());
    let group = options.and_then(|options| options.get("awslogs-group")).map_or(GROUP, String::as_str);
    Some(LogPlace::new(group, stream))
}

fn outcome(handle: &Handle, job: &JobDetail) -> Outcome {
    let mut outcome = Outcome::default();
    let mut set = |name: &str, value: Value| outcome.outputs.insert(name.to_owned(), value);
    set("job_id", json!(handle.id));
    let attempts = job.attempts.as_deref().unwrap_or_default().len();
    if attempts > 0 {
        set("attempts", json!(attempts));
    }
    if let Some(code) = job.container.as_ref().and_then(|container| container.exit_code) {
        set("exit_code", json!(code));
    }
    if let Some(size) = job.array_properties.as_ref().and_then(|array| array.size).filter(|size| *size > 0) {
        set("array_size", json!(size));
    }
    outcome
}
