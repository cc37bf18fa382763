//! Tasks: the operations of the API.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::definitions::{short, small_token};
use super::record::{Cluster, ContainerState, Definition, State, Task};
use super::{Ecs, client_error, internal, invalid};
use crate::glue::request::{listed, page, parse};
use crate::ledger::Accepted;
use crate::wire::{ApiError, CallContext};

const INVALID: &str = "InvalidParameterException";
/// Tasks of one `RunTask`, as on AWS.
const COUNT_MAX: u64 = 10;
/// Tasks of one `DescribeTasks` and of one page of `ListTasks`, as on AWS.
const TASKS_MAX: usize = 100;
/// Tasks that have not stopped, of all clusters: what this machine has room for.
const ACTIVE_MAX: usize = 256;
/// How long stopped tasks are shown, as on AWS.
const SHOWN_SECONDS: i64 = 3_600;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Run {
    cluster: Option<String>,
    task_definition: String,
    count: Option<u64>,
    client_token: Option<String>,
    started_by: Option<String>,
    network_configuration: Option<Value>,
    overrides: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct List {
    cluster: Option<String>,
    family: Option<String>,
    started_by: Option<String>,
    desired_status: Option<String>,
    next_token: Option<String>,
    max_results: Option<usize>,
}

impl Ecs {
    pub(super) fn run_task(self: &Arc<Self>, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
        let mut kept = body.clone();
        if let Some(members) = kept.as_object_mut() {
            members.remove("clientToken");
        }
        let request: Run = parse(body, INVALID)?;
        let cluster = self.cluster(cx, request.cluster.as_deref())?;
        if let Some(token) = &request.client_token
            && let Some(answer) = self.repeated(&cluster, token, &kept)
        {
            return answer;
        }
        let definition = self.definition(&request.task_definition)?;
        check(&request, &definition)?;
        if self.tasks.select(|task| !task.is_stopped()).len() >= ACTIVE_MAX {
            let failure = json!({ "arn": cluster.arn, "reason": "RESOURCE:CPU" });
            return Ok(json!({ "tasks": [], "failures": [failure] }));
        }
        let mut shown = Vec::new();
        for _ in 0..request.count.unwrap_or(1) {
            let task = self.new_task(cx, &cluster, &definition, &request, kept.clone());
            self.tasks.put(task.clone()).map_err(internal)?;
            let accepted =
                Accepted { marker: request.client_token.clone(), id: &task.arn, subject: &definition.family };
            self.world.ledger.accepted(cx, accepted).map_err(internal)?;
            shown.push(task.shape());
            self.start(task.id);
        }
        Ok(json!({ "tasks": shown, "failures": [] }))
    }

    /// What the same token gave before.
    fn repeated(&self, cluster: &Cluster, token: &str, request: &Value) -> Option<Result<Value, ApiError>> {
        let of_token =
            self.tasks.select(|task| task.cluster == cluster.name && task.token.as_deref() == Some(token));
        let first = of_token.first()?;
        if first.request != *request {
            let message = "The provided clientToken is already in use with a different RunTask request.";
            return Some(Err(ApiError::new(400, "ConflictException", message)));
        }
        let shown: Vec<Value> = of_token.iter().map(Task::shape).collect();
        Some(Ok(json!({ "tasks": shown, "failures": [] })))
    }

    fn new_task(
        &self,
        cx: &CallContext,
        cluster: &Cluster,
        definition: &Definition,
        request: &Run,
        kept: Value,
    ) -> Task {
        let id = self.world.new_uuid().simple().to_string();
        let place = format!("arn:aws:ecs:{}:{}", cx.region, cx.account);
        let containers = definition.containers().iter().map(|container| {
            let text =
                |member: &str| container.get(member).and_then(Value::as_str).unwrap_or_default().to_owned();
            ContainerState {
                name: text("name"),
                image: text("image"),
                arn: format!("{place}:container/{}/{id}/{}", cluster.name, self.world.new_uuid()),
                essential: container.get("essential").and_then(Value::as_bool).unwrap_or(true),
                exit_code: None,
                reason: None,
            }
        });
        Task {
            arn: format!("{place}:task/{}/{id}", cluster.name),
            cluster: cluster.name.clone(),
            definition: definition.id.clone(),
            definition_arn: definition.arn.clone(),
            token: request.client_token.clone(),
            request: kept,
            state: State::Pending,
            desired_stopped: false,
            created: cx.now,
            started: None,
            stopping: None,
            stopped: None,
            stop_code: None,
            stopped_reason: None,
            containers: containers.collect(),
            version: 1,
            id,
        }
    }

    pub(super) fn describe_tasks(&self, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
        let named = crate::containers::texts(&body, "tasks");
        if named.is_empty() || named.len() > TASKS_MAX {
            return Err(invalid(format!("from 1 to {TASKS_MAX} tasks can be described at once")));
        }
        let cluster = self.cluster(cx, body.get("cluster").and_then(Value::as_str))?;
        let odd = self.world.faults.unknown_state(&cx.service, &cx.operation, cx.now);
        let (mut tasks, mut failures) = (Vec::new(), Vec::new());
        for name in named {
            if let Some(task) = self.shown(cx, short(&name)).filter(|task| task.cluster == cluster.name) {
                tasks.push(task.shape());
            } else {
                let (region, account) = (&cx.region, &cx.account);
                let arn = format!("arn:aws:ecs:{region}:{account}:task/{}/{}", cluster.name, short(&name));
                failures.push(json!({ "arn": arn, "reason": "MISSING" }));
            }
        }
        if let (Some(odd), Some(first)) = (odd, tasks.first_mut()) {
            first["lastStatus"] = odd.into();
        }
        Ok(json!({ "tasks": tasks, "failures": failures }))
    }

    /// A task, while AWS would show it.
    fn shown(&self, cx: &CallContext, id: &str) -> Option<Task> {
        self.tasks.get(id).filter(|task| is_shown(task, cx))
    }

    pub(super) fn list_tasks(&self, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
        let request: List = parse(body, INVALID)?;
        let cluster = self.cluster(cx, request.cluster.as_deref())?;
        if request.started_by.is_some() && (request.family.is_some() || request.desired_status.is_some()) {
            return Err(invalid("startedBy cannot be combined with other filters."));
        }
        let stopped = request.desired_status.as_deref() == Some("STOPPED");
        let lag = self.world.faults.list_lag(&cx.service, &cx.operation, cx.now);
        let found = self.tasks.select(|task| {
            task.cluster == cluster.name
                && is_shown(task, cx)
                && task.desired_stopped == stopped
                && request.family.as_deref().is_none_or(|family| task.family() == family)
                && request.started_by.as_deref().is_none_or(|by| task.asked("startedBy") == Some(by))
                && lag.is_none_or(|lag| cx.now.duration_since(task.created).unsigned_abs() >= lag)
        });
        let arns = found.into_iter().map(|task| task.arn.into()).collect();
        let (items, next) =
            page(arns, request.next_token.as_deref(), request.max_results, TASKS_MAX, INVALID)?;
        Ok(small_token(listed("taskArns", items, next)))
    }

    pub(super) fn stop_task(&self, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
        let cluster = self.cluster(cx, body.get("cluster").and_then(Value::as_str))?;
        let named = body.get("task").and_then(Value::as_str).unwrap_or_default();
        let task = self.shown(cx, short(named)).filter(|task| task.cluster == cluster.name);
        let task = task.ok_or_else(|| invalid("The referenced task was not found."))?;
        let reason = body.get("reason").and_then(Value::as_str).unwrap_or("Task stopped by user").to_owned();
        let changed = self.tasks.change(&task.id, |task| {
            if !task.desired_stopped && !task.is_stopped() {
                task.desired_stopped = true;
                task.state = State::Stopping;
                task.stopping = Some(cx.now);
                task.stop_code = Some("UserInitiated".to_owned());
                task.stopped_reason = Some(reason);
                task.version += 1;
            }
        });
        self.background.stop(&task.id);
        let changed = changed.map_err(internal)?.unwrap_or(task);
        Ok(json!({ "task": changed.shape() }))
    }
}

fn is_shown(task: &Task, cx: &CallContext) -> bool {
    task.stopped.is_none_or(|stopped| cx.now.as_second() - stopped.as_second() < SHOWN_SECONDS)
}

fn check(request: &Run, definition: &Definition) -> Result<(), ApiError> {
    if !definition.active {
        return Err(client_error("TaskDefinition is inactive"));
    }
    if !(1..=COUNT_MAX).contains(&request.count.unwrap_or(1)) {
        return Err(invalid(format!("Count must be from 1 to {COUNT_MAX}.")));
    }
    if request.client_token.as_ref().is_some_and(|token| token.len() > 64) {
        return Err(invalid("clientToken has more than 64 characters."));
    }
    if request.started_by.as_ref().is_some_and(|by| by.len() > 128) {
        return Err(invalid("startedBy has more than 128 characters."));
    }
    let mode = definition.members.get("networkMode").and_then(Value::as_str);
    if mode == Some("awsvpc") && request.network_configuration.is_none() {
        let message = "Network Configuration must be provided when networkMode 'awsvpc' is specified.";
        return Err(invalid(message));
    }
    let overrides = request.overrides.as_ref().and_then(|overrides| overrides.get("containerOverrides"));
    for over in overrides.and_then(Value::as_array).into_iter().flatten() {
        let name = over.get("name").and_then(Value::as_str).unwrap_or_default();
        let known = |container: &&Value| container.get("name").and_then(Value::as_str) == Some(name);
        if !definition.containers().iter().any(|container| known(&container)) {
            let message =
                format!("Override for container named {name} is not a container in the TaskDefinition.");
            return Err(invalid(message));
        }
    }
    Ok(())
}
