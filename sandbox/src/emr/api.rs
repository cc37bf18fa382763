//! Applications and job runs: the operations of the API.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::record::{Application, JobRun, State, application_id};
use super::{Emr, Route, internal, invalid};
use crate::glue::request::page;
use crate::ledger::Accepted;
use crate::wire::query::Form;
use crate::wire::{ApiError, CallContext};

const INVALID: &str = "ValidationException";
/// Entries on a page of a list, as on AWS.
const PAGE: usize = 50;
/// The longest token.
const TOKEN_MAX: usize = 64;
/// Runs that have not ended, of all applications: what this machine has room for. On AWS jobs wait in a queue only
/// where the application says so.
const ACTIVE_MAX: usize = 256;

impl Emr {
    pub(super) fn create_application(&self, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
        let Value::Object(members) = body else { return Err(invalid("the request is no object")) };
        let text = |member: &str| members.get(member).and_then(Value::as_str).unwrap_or_default();
        let name = text("name").to_owned();
        if text("releaseLabel").is_empty() {
            return Err(invalid("releaseLabel is required"));
        }
        if !text("type").eq_ignore_ascii_case("spark") {
            return Err(invalid("the sandbox has applications of type SPARK only"));
        }
        if name.is_empty() {
            return Err(invalid("the sandbox needs a name for an application"));
        }
        let id = application_id(&name);
        let arn = format!("arn:aws:emr-serverless:{}:{}:/applications/{id}", cx.region, cx.account);
        let known = self.applications.get(&id);
        let application = Application {
            id: id.clone(),
            arn: arn.clone(),
            created: known.map_or(cx.now, |known| known.created),
            members,
        };
        self.applications.put(application).map_err(internal)?;
        Ok(json!({ "applicationId": id, "arn": arn, "name": name }))
    }

    pub(super) fn list_applications(&self) -> Value {
        let shown = self.applications.select(|_| true);
        json!({ "applications": shown.iter().map(Application::summary).collect::<Vec<_>>() })
    }

    pub(super) fn get_application(&self, id: &str) -> Result<Value, ApiError> {
        Ok(json!({ "application": self.application(id)?.shape() }))
    }

    pub(super) fn application(&self, id: &str) -> Result<Application, ApiError> {
        self.applications.get(id).ok_or_else(|| {
            ApiError::new(404, "ResourceNotFoundException", format!("Application {id} does not exist"))
        })
    }

    /// Whether provisioning needs to make an application.
    pub(crate) fn has_application(&self, name: &str) -> bool {
        self.applications.get(&application_id(name)).is_some()
    }

    pub(super) fn start_job_run(
        self: &Arc<Self>,
        cx: &CallContext,
        application: &str,
        body: Value,
    ) -> Result<Value, ApiError> {
        let Value::Object(mut request) = body else { return Err(invalid("the request is no object")) };
        let token = request.remove("clientToken").and_then(|token| token.as_str().map(str::to_owned));
        let token = token.unwrap_or_default();
        let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if token.is_empty() || token.len() > TOKEN_MAX || !token.chars().all(legal) {
            return Err(invalid(
                "clientToken must have from 1 to 64 characters of A-Z, a-z, 0-9, '.', '_', '-'",
            ));
        }
        let application = self.application(application)?;
        let known = self.runs.find(|run| run.application == application.id && run.token == token);
        if let Some(known) = known {
            if known.request != request {
                let message = "The client token was used with other parameters";
                return Err(ApiError::new(409, "ConflictException", message));
            }
            return Ok(accepted(&known));
        }
        check(&request)?;
        if self.runs.select(|run| !run.state.is_terminal()).len() >= ACTIVE_MAX {
            return Err(ApiError::new(429, "ThrottlingException", "too many job runs in the sandbox"));
        }
        let run = self.new_run(cx, &application, token, request);
        self.runs.put(run.clone()).map_err(internal)?;
        let marker = Some(run.token.clone());
        let line = Accepted { marker, id: &run.id, subject: application.text("name") };
        self.world.ledger.accepted(cx, line).map_err(internal)?;
        self.start(run.id.clone());
        Ok(accepted(&run))
    }

    fn new_run(
        &self,
        cx: &CallContext,
        application: &Application,
        token: String,
        request: Map<String, Value>,
    ) -> JobRun {
        let id = format!("00f{}", &self.world.new_uuid().simple().to_string()[..13]);
        JobRun {
            application: application.id.clone(),
            arn: format!("{}/jobruns/{id}", application.arn),
            created_by: format!("arn:aws:iam::{}:root", cx.account),
            release: application.text("releaseLabel").to_owned(),
            token,
            request,
            state: State::Submitted,
            details: String::new(),
            created: cx.now,
            updated: cx.now,
            started: None,
            ended: None,
            id,
        }
    }

    fn run_of(&self, route: &Route) -> Result<JobRun, ApiError> {
        self.application(&route.application)?;
        let found = self.runs.get(&route.run).filter(|run| run.application == route.application);
        found.ok_or_else(|| {
            ApiError::new(404, "ResourceNotFoundException", format!("Job run {} does not exist", route.run))
        })
    }

    pub(super) fn get_job_run(&self, cx: &CallContext, route: &Route) -> Result<Value, ApiError> {
        let mut shape = self.run_of(route)?.shape(cx.now);
        if let Some(odd) = self.world.faults.unknown_state(&cx.service, &cx.operation, cx.now) {
            shape["state"] = odd.into();
        }
        Ok(json!({ "jobRun": shape }))
    }

    pub(super) fn list_job_runs(
        &self,
        cx: &CallContext,
        application: &str,
        query: &Form,
    ) -> Result<Value, ApiError> {
        let moment = |name: &str| query.get(name).and_then(|text| text.parse::<Timestamp>().ok());
        let (after, before) = (moment("createdAtAfter"), moment("createdAtBefore"));
        let lag = self.world.faults.list_lag(&cx.service, &cx.operation, cx.now);
        let states: Vec<&str> =
            query.pairs().filter(|(name, _)| *name == "states").map(|(_, state)| state).collect();
        let mut found = self.runs.select(|run| {
            run.application == application
                && after.is_none_or(|after| run.created >= after)
                && before.is_none_or(|before| run.created <= before)
                && (states.is_empty() || states.contains(&run.state.name()))
                && lag.is_none_or(|lag| cx.now.duration_since(run.created).unsigned_abs() >= lag)
        });
        found.sort_by_key(|run| std::cmp::Reverse(run.created));
        let shown = found.iter().map(JobRun::summary).collect();
        let size = query.get("maxResults").and_then(|text| text.parse().ok());
        let (items, next) = page(shown, query.get("nextToken"), size, PAGE, INVALID)?;
        let mut answer = json!({ "jobRuns": items });
        if let Some(next) = next {
            answer["nextToken"] = next.into();
        }
        Ok(answer)
    }

    pub(super) fn cancel_job_run(&self, cx: &CallContext, route: &Route) -> Result<Value, ApiError> {
        let run = self.run_of(route)?;
        if run.state.is_terminal() {
            let message =
                format!("Job run {} is in state {} and cannot be cancelled", run.id, run.state.name());
            return Err(invalid(message));
        }
        let changed = self.runs.change(&run.id, |run| {
            if !run.state.is_terminal() {
                run.state = State::Cancelling;
                run.updated = cx.now;
            }
        });
        changed.map_err(internal)?;
        self.background.stop(&run.id);
        Ok(json!({ "applicationId": run.application, "jobRunId": run.id }))
    }
}

fn accepted(run: &JobRun) -> Value {
    json!({ "applicationId": run.application, "jobRunId": run.id, "arn": run.arn })
}

fn check(request: &Map<String, Value>) -> Result<(), ApiError> {
    if request.get("executionRoleArn").and_then(Value::as_str).is_none_or(str::is_empty) {
        return Err(invalid("executionRoleArn is required"));
    }
    let driver = request.get("jobDriver").and_then(Value::as_object);
    match driver.and_then(|driver| driver.get("sparkSubmit")) {
        Some(spark) if spark.get("entryPoint").and_then(Value::as_str).is_some() => Ok(()),
        Some(_) => Err(invalid("jobDriver.sparkSubmit.entryPoint is required")),
        None => Err(invalid("the sandbox runs jobs with a sparkSubmit driver only")),
    }
}
