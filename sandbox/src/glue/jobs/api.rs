//! Jobs and runs: the operations of the Glue API.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::Jobs;
use super::record::{JobRecord, RunRecord, RunState, Script};
use super::shape::{Sizes, job_shape, run_shape};
use crate::files::replace_json;
use crate::glue::request::{listed, page, parse};
use crate::ledger::Accepted;
use crate::wire::{ApiError, CallContext};

const INVALID: &str = "InvalidInputException";
/// Page size of `GetJobs` and `ListJobs` (the API's own maximum).
const JOBS_PAGE_MAX: usize = 1_000;
/// Page size of `GetJobRuns` (the API's own maximum).
const RUNS_PAGE_MAX: usize = 200;
/// Most runs that one `BatchStopJobRun` takes (the API's own limit).
const STOP_MAX: usize = 25;
/// Most names that one `BatchGetJobs` takes (the API's own limit).
const BATCH_GET_MAX: usize = 25;
/// The argument in which a client marks its attempt; it goes to the ledger.
const MARKER: &str = "--trunkline-attempt";
/// The caller that may give a sandbox script.
const PROVISION: &str = "provision";
/// The member in which provisioning gives it.
const SCRIPT: &str = "TrunklineSandboxScript";

impl Jobs {
    /// Answers the operations on jobs; `None` if the operation is not one of them.
    pub(crate) fn call(
        self: &Arc<Self>,
        cx: &CallContext,
        operation: &str,
        body: &Value,
    ) -> Option<Result<Value, ApiError>> {
        let body = body.clone();
        Some(match operation {
            "CreateJob" => self.create(cx, body),
            "UpdateJob" => self.update(cx, body),
            "GetJob" => self.get(body),
            "GetJobs" => self.get_many(body),
            "ListJobs" => self.list_names(body),
            "BatchGetJobs" => self.batch_get(body),
            "DeleteJob" => self.delete(body),
            "StartJobRun" => self.start(cx, body),
            "GetJobRun" => self.get_run(cx, body),
            "GetJobRuns" => self.get_runs(cx, body),
            "BatchStopJobRun" => self.stop(cx, body),
            "GetJobBookmark" => self.get_bookmark(body),
            "ResetJobBookmark" => self.reset_bookmark(cx, body),
            _ => return None,
        })
    }

    fn create(&self, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
        let (name, definition, script) = definition_of(cx, body, "Name")?;
        let mut state = self.lock();
        if state.jobs.contains_key(&name) {
            return Err(ApiError::new(
                400,
                "AlreadyExistsException",
                format!("Job with name: {name} already exists"),
            ));
        }
        let job = JobRecord { name: name.clone(), created: cx.now, modified: cx.now, definition, script };
        replace_json(&self.job_file(&name), &job).map_err(ApiError::internal)?;
        state.jobs.insert(name.clone(), job);
        Ok(json!({"Name": name}))
    }

    fn update(&self, cx: &CallContext, mut body: Value) -> Result<Value, ApiError> {
        let name = body.get("JobName").and_then(Value::as_str).unwrap_or_default().to_owned();
        let outer_script = body.get(SCRIPT).cloned();
        let mut update = body.get_mut("JobUpdate").map(Value::take).unwrap_or_default();
        if let (Some(update), Some(script)) = (update.as_object_mut(), outer_script) {
            update.insert(SCRIPT.to_owned(), script);
        }
        if let Some(update) = update.as_object_mut() {
            update.insert("Name".to_owned(), name.clone().into());
        }
        let (_, definition, script) = definition_of(cx, update, "Name")?;
        let mut state = self.lock();
        let Some(known) = state.jobs.get(&name) else { return Err(no_job(&name)) };
        let script = if cx.caller == PROVISION { script } else { known.script.clone() };
        let job =
            JobRecord { name: name.clone(), created: known.created, modified: cx.now, definition, script };
        replace_json(&self.job_file(&name), &job).map_err(ApiError::internal)?;
        state.jobs.insert(name.clone(), job);
        Ok(json!({"JobName": name}))
    }

    fn get(&self, body: Value) -> Result<Value, ApiError> {
        let request: JobName = parse(body, INVALID)?;
        let state = self.lock();
        let job = state.jobs.get(&request.job_name).ok_or_else(|| no_job(&request.job_name))?;
        Ok(json!({"Job": job_shape(job)}))
    }

    fn get_many(&self, body: Value) -> Result<Value, ApiError> {
        let request: Paging = parse(body, INVALID)?;
        let shapes = self.lock().jobs.values().map(job_shape).collect();
        let (items, next) =
            page(shapes, request.next_token.as_deref(), request.max_results, JOBS_PAGE_MAX, INVALID)?;
        Ok(listed("Jobs", items, next))
    }

    fn list_names(&self, body: Value) -> Result<Value, ApiError> {
        let request: Paging = parse(body, INVALID)?;
        let names = self.lock().jobs.keys().cloned().map(Value::String).collect();
        let (items, next) =
            page(names, request.next_token.as_deref(), request.max_results, JOBS_PAGE_MAX, INVALID)?;
        Ok(listed("JobNames", items, next))
    }

    fn batch_get(&self, body: Value) -> Result<Value, ApiError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Request {
            job_names: Vec<String>,
        }
        let request: Request = parse(body, INVALID)?;
        if request.job_names.len() > BATCH_GET_MAX {
            return Err(ApiError::new(
                400,
                INVALID,
                format!("at most {BATCH_GET_MAX} jobs can be asked for at once"),
            ));
        }
        let state = self.lock();
        let (found, missing): (Vec<_>, Vec<_>) =
            request.job_names.into_iter().partition(|name| state.jobs.contains_key(name));
        let jobs: Vec<_> = found.iter().filter_map(|name| state.jobs.get(name)).map(job_shape).collect();
        Ok(json!({"Jobs": jobs, "JobsNotFound": missing}))
    }

    fn delete(&self, body: Value) -> Result<Value, ApiError> {
        let request: JobName = parse(body, INVALID)?;
        let mut state = self.lock();
        if state.jobs.contains_key(&request.job_name) {
            std::fs::remove_file(self.job_file(&request.job_name)).map_err(ApiError::internal)?;
            state.jobs.remove(&request.job_name);
        }
        // Deleting a job that is not there succeeds, as on AWS.
        Ok(json!({"JobName": request.job_name}))
    }

    fn start(self: &Arc<Self>, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
        let request: Start = parse(body, INVALID)?;
        request.sizes.check()?;
        let name = request.job_name;
        // Out of the request's id, so that a state machine that makes its call again after a crash, under the
        // same id, is given the run that it had started.
        let id = format!("jr_{}", hex::encode(Sha256::digest(cx.request_id.as_bytes())));
        {
            let mut state = self.lock();
            let Some(job) = state.jobs.get(&name) else {
                let text =
                    format!("Failed to start job run due to missing metadata: job {name} does not exist");
                return Err(ApiError::new(400, "EntityNotFoundException", text));
            };
            let runs = state.runs.get(&name).map_or(&[][..], Vec::as_slice);
            if runs.iter().any(|run| run.id == id) {
                return Ok(json!({"JobRunId": id}));
            }
            let active = runs.iter().filter(|run| !run.state.is_terminal()).count();
            if active >= job.concurrent_runs_max() {
                let text = format!("Concurrent runs exceeded for {name}");
                return Err(ApiError::new(400, "ConcurrentRunsExceededException", text));
            }
            if let Some(previous) = &request.job_run_id
                && !runs.iter().any(|run| run.id == *previous)
            {
                return Err(no_run(previous));
            }
            let run = RunRecord {
                id: id.clone(),
                job: name.clone(),
                attempt: 0,
                previous: request.job_run_id,
                state: RunState::Starting,
                started: cx.now,
                modified: cx.now,
                completed: None,
                capacity: request.sizes.capacity(job),
                timeout_minutes: request.sizes.timeout_minutes(job),
                arguments: request.arguments,
                error: None,
            };
            let marker = run.arguments.get(MARKER).cloned();
            replace_json(&self.run_file(&name, &id), &run).map_err(ApiError::internal)?;
            state.runs.entry(name.clone()).or_default().push(run);
            let accepted = Accepted { marker, id: &id, subject: &name };
            self.world.ledger.accepted(cx, accepted).map_err(ApiError::internal)?;
        }
        self.spawn(name, id.clone());
        Ok(json!({"JobRunId": id}))
    }

    fn get_run(&self, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
        let request: OneRun = parse(body, INVALID)?;
        let state = self.lock();
        let job = state.jobs.get(&request.job_name).ok_or_else(|| no_job(&request.job_name))?;
        let run = state.run(&request.job_name, &request.run_id).ok_or_else(|| no_run(&request.run_id))?;
        let mut shape = run_shape(run, job, cx.now);
        if let Some(odd) = self.world.faults.unknown_state(&cx.service, &cx.operation, cx.now) {
            shape["JobRunState"] = odd.into();
        }
        Ok(json!({"JobRun": shape}))
    }

    fn get_runs(&self, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
        let request: ManyRuns = parse(body, INVALID)?;
        let lag = self.world.faults.list_lag(&cx.service, &cx.operation, cx.now);
        let odd = self.world.faults.unknown_state(&cx.service, &cx.operation, cx.now);
        let state = self.lock();
        let job = state.jobs.get(&request.job_name).ok_or_else(|| no_job(&request.job_name))?;
        let runs = state.runs.get(&request.job_name).map_or(&[][..], Vec::as_slice);
        let visible = |run: &&RunRecord| match lag {
            Some(lag) => cx.now.duration_since(run.started).unsigned_abs() >= lag,
            None => true,
        };
        let newest_first: Vec<_> = runs.iter().rev().filter(visible).collect();
        let (runs, next) =
            page(newest_first, request.next_token.as_deref(), request.max_results, RUNS_PAGE_MAX, INVALID)?;
        let mut shapes: Vec<_> = runs.into_iter().map(|run| run_shape(run, job, cx.now)).collect();
        if let (Some(odd), Some(first)) = (odd, shapes.first_mut()) {
            first["JobRunState"] = odd.into();
        }
        Ok(listed("JobRuns", shapes, next))
    }

    fn stop(&self, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
        let request: Stop = parse(body, INVALID)?;
        let ids = request.job_run_ids;
        if ids.is_empty() || ids.len() > STOP_MAX {
            return Err(ApiError::new(
                400,
                INVALID,
                format!("from 1 to {STOP_MAX} runs can be stopped at once"),
            ));
        }
        let job = request.job_name;
        if !self.lock().jobs.contains_key(&job) {
            return Err(no_job(&job));
        }
        let (mut done, mut errors) = (Vec::new(), Vec::new());
        for id in ids {
            match self.stop_one(cx, &job, &id)? {
                None => done.push(json!({"JobName": job, "JobRunId": id})),
                Some(detail) => errors.push(json!({"JobName": job, "JobRunId": id, "ErrorDetail": detail})),
            }
        }
        Ok(json!({"SuccessfulSubmissions": done, "Errors": errors}))
    }

    /// Asks a run to stop; an answer is why it cannot.
    fn stop_one(&self, cx: &CallContext, job: &str, id: &str) -> Result<Option<Value>, ApiError> {
        let current = self.lock().run(job, id).map(|run| run.state);
        let refused = match current {
            None => Some(("EntityNotFoundException", format!("JobRun not found: {id}"))),
            Some(state) if state.is_terminal() => {
                Some((INVALID, format!("Job run {id} is in state {} and cannot be stopped", state.name())))
            }
            Some(_) => None,
        };
        if let Some((code, message)) = refused {
            return Ok(Some(json!({"ErrorCode": code, "ErrorMessage": message})));
        }
        self.change(job, id, |run| {
            if !run.state.is_terminal() {
                run.state = RunState::Stopping;
                run.modified = cx.now;
            }
        })?;
        if let Some(stop) = self.lock().live.get(id) {
            stop.cancel();
        }
        Ok(None)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct JobName {
    job_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Paging {
    next_token: Option<String>,
    max_results: Option<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Start {
    job_name: String,
    job_run_id: Option<String>,
    #[serde(default)]
    arguments: BTreeMap<String, String>,
    #[serde(flatten)]
    sizes: Sizes,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OneRun {
    job_name: String,
    run_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ManyRuns {
    job_name: String,
    next_token: Option<String>,
    max_results: Option<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Stop {
    job_name: String,
    job_run_ids: Vec<String>,
}

/// A definition's name, its members, and the sandbox's script.
type Definition = (String, Map<String, Value>, Option<Script>);

/// Takes a definition apart: its name, its members, and the sandbox's script if provisioning gives one.
fn definition_of(cx: &CallContext, body: Value, name: &str) -> Result<Definition, ApiError> {
    let Value::Object(mut definition) = body else {
        return Err(ApiError::new(400, INVALID, "a job's definition is an object"));
    };
    let Some(Value::String(name)) = definition.remove(name) else {
        return Err(ApiError::new(400, INVALID, "Name is required"));
    };
    let script = definition.remove(SCRIPT).filter(|_| cx.caller == PROVISION);
    let script = script.map(|script| parse::<Script>(script, INVALID)).transpose()?;
    if !definition.contains_key("Command") {
        return Err(ApiError::new(400, INVALID, "Command is required"));
    }
    let sizes: Sizes = parse(Value::Object(definition.clone()), INVALID)?;
    sizes.check()?;
    Ok((name, definition, script))
}

fn no_job(name: &str) -> ApiError {
    ApiError::new(400, "EntityNotFoundException", format!("Job with name: {name} not found."))
}

fn no_run(id: &str) -> ApiError {
    ApiError::new(400, "EntityNotFoundException", format!("Job Run {id} not found."))
}
