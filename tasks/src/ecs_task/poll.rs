//! States of tasks, and what their containers' ends mean.

use std::collections::HashMap;

use aws_sdk_ecs::{
    Client,
    types::{Container, Task, TaskDefinition},
};
use aws_smithy_types::retry::RetryConfig;
use serde_json::{Map, Value, json};

use super::{Detail, cluster_of_handle, last_part};
use crate::{
    aws::{
        error::Trouble,
        log_lines::{self, LogPlace},
    },
    clients::{Clients, Purpose},
    operator::{ErrorClass, Failure, Handle, Outcome, Status},
};

/// Definitions that are read for their logs' places in one poll.
const DEFINITIONS_MAX: usize = 5;

pub(super) async fn poll(clients: &Clients, handles: &[Handle]) -> Vec<Status> {
    let Some(first) = handles.first() else { return Vec::new() };
    let ecs = match clients.ecs(&first.connection, Purpose::Read).await {
        Ok(ecs) => ecs,
        Err(failure) => return handles.iter().map(|_| Status::Unavailable(failure.clone())).collect(),
    };
    let ids: Vec<String> = handles.iter().map(|handle| handle.id.clone()).collect();
    let answer = ecs
        .describe_tasks()
        .set_cluster(cluster_of_handle(first))
        .set_tasks(Some(ids))
        .send()
        .await
        .map_err(Trouble::from);
    let answer = match answer {
        Ok(answer) => answer,
        Err(trouble) => return handles.iter().map(|_| trouble.clone().into_status()).collect(),
    };
    let by_id: HashMap<String, Task> = answer
        .tasks
        .unwrap_or_default()
        .into_iter()
        .filter_map(|task| Some((last_part(task.task_arn.as_deref()?).to_owned(), task)))
        .collect();
    let missing: Vec<String> = answer
        .failures
        .unwrap_or_default()
        .into_iter()
        .filter(|failure| failure.reason.as_deref() == Some("MISSING"))
        .filter_map(|failure| Some(last_part(failure.arn.as_deref()?).to_owned()))
        .collect();
    let tasks: Vec<Option<&Task>> = handles.iter().map(|handle| by_id.get(last_part(&handle.id))).collect();
    let mut statuses: Vec<Status> = handles
        .iter()
        .zip(&tasks)
        .map(|(handle, task)| match task {
            Some(task) => read(handle, task),
            None if missing.iter().any(|id| id == last_part(&handle.id)) => Status::Gone(forgotten(handle)),
            None => Status::Unavailable(Failure::new(
                ErrorClass::System,
                format!("ECS gave an answer without the task `{}`", handle.id),
            )),
        })
        .collect();
    let places = log_places(ecs, &statuses, &tasks).await;
    log_lines::add(clients, &first.connection, &mut statuses, &places).await;
    statuses
}

fn forgotten(handle: &Handle) -> Failure {
    let text = format!(
        "ECS does not know the task `{}` any more: it forgets a task an hour after its end, so the end was not seen",
        handle.id
    );
    Failure::new(ErrorClass::Lost, text)
}

fn read(handle: &Handle, task: &Task) -> Status {
    let state = task.last_status.as_deref().unwrap_or_default();
    // PROVISIONING, PENDING, ACTIVATING, RUNNING, DEACTIVATING, STOPPING, DEPROVISIONING, and words not known.
    if !matches!(state, "STOPPED" | "DELETED") {
        return Status::Running { remote_state: state.to_owned(), poll_at: None };
    }
    let code = task.stop_code.as_ref().map_or("", |code| code.as_str());
    let reason = task.stopped_reason.clone().unwrap_or_else(|| "ECS gives no reason".to_owned());
    let failure = |class: ErrorClass, text: String| {
        let failure = Failure::new(class, text);
        if code.is_empty() { failure } else { failure.with_code(code) }
    };
    let containers = task.containers.as_deref().unwrap_or_default();
    match code {
        "UserInitiated" => Status::Cancelled(failure(ErrorClass::Cancelled, reason)),
        "TaskFailedToStart" => {
            Status::Failed(failure(ErrorClass::System, format!("{reason}{}", reasons(containers, &reason))))
        }
        "SpotInterruption" | "TerminationNotice" | "ServiceSchedulerInitiated" | "InfrastructureHealth" => {
            Status::Failed(failure(ErrorClass::System, reason))
        }
        // EssentialContainerExited, older tasks without a code, and words not known: the exit codes say it.
        _ => match verdict(handle, containers) {
            Ok(()) => Status::Succeeded(outcome(handle, task, containers)),
            Err((class, text)) => Status::Failed(failure(class, format!("{text} ({reason})"))),
        },
    }
}

/// Whether the containers that count ended well; else why not.
fn verdict(handle: &Handle, containers: &[Container]) -> Result<(), (ErrorClass, String)> {
    let detail: Option<Detail> = serde_json::from_value(handle.detail.clone()).ok();
    let wanted = detail.map(|detail| detail.exit_codes_of).unwrap_or_default();
    let name = |container: &Container| container.name.clone().unwrap_or_default();
    if let Some(absent) = wanted.iter().find(|wanted| !containers.iter().any(|found| name(found) == **wanted))
    {
        return Err((ErrorClass::Config, format!("exit_codes_of: the task has no container `{absent}`")));
    }
    let counted: Vec<&Container> =
        containers.iter().filter(|found| wanted.is_empty() || wanted.contains(&name(found))).collect();
    let bad: Vec<String> = counted
        .iter()
        .filter(|container| container.exit_code != Some(0))
        .map(|container| {
            let why = container.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
            match container.exit_code {
                Some(code) => format!("container `{}` ended with exit code {code}{why}", name(container)),
                None => format!("container `{}` has no exit code{why}", name(container)),
            }
        })
        .collect();
    if counted.is_empty() {
        return Err((ErrorClass::Failed, "ECS tells of no container".to_owned()));
    }
    if bad.is_empty() { Ok(()) } else { Err((ErrorClass::Failed, bad.join("; "))) }
}

/// What the containers say beside the task's own reason.
fn reasons(containers: &[Container], said: &str) -> String {
    let others = containers.iter().filter_map(|container| {
        let reason = container.reason.as_deref().filter(|reason| !said.contains(reason))?;
        Some(format!("; container `{}`: {reason}", container.name.as_deref().unwrap_or_default()))
    });
    others.collect()
}

fn outcome(handle: &Handle, task: &Task, containers: &[Container]) -> Outcome {
    let codes: Map<String, Value> = containers
        .iter()
        .filter_map(|container| Some((container.name.clone()?, json!(container.exit_code?))))
        .collect();
    let mut outcome = Outcome::default();
    outcome.outputs.insert("task_arn".into(), handle.id.clone().into());
    outcome.outputs.insert("exit_codes".into(), Value::Object(codes));
    if let Some(definition) = &task.task_definition_arn {
        outcome.outputs.insert("task_definition_arn".into(), definition.clone().into());
    }
    outcome
}

/// Where failed tasks wrote: the `awslogs` options of their definitions. What cannot be read in time is left out.
async fn log_places(ecs: &Client, statuses: &[Status], tasks: &[Option<&Task>]) -> Vec<Option<LogPlace>> {
    let mut definitions: HashMap<String, Option<TaskDefinition>> = HashMap::new();
    let mut places = Vec::with_capacity(statuses.len());
    for (status, task) in statuses.iter().zip(tasks) {
        let place = match (status, task) {
            (Status::Failed(_), Some(task)) => {
                let arn = task.task_definition_arn.clone().unwrap_or_default();
                if !definitions.contains_key(&arn) && definitions.len() < DEFINITIONS_MAX {
                    let once = aws_sdk_ecs::config::Builder::new().retry_config(RetryConfig::disabled());
                    let asked = ecs.describe_task_definition().task_definition(&arn);
                    let asked = asked.customize().config_override(once).send();
                    let found =
                        log_lines::patiently(asked).await.and_then(|answer| answer.ok()?.task_definition);
                    definitions.insert(arn.clone(), found);
                }
                definitions.get(&arn).and_then(|found| place_of(found.as_ref()?, task))
            }
            _ => None,
        };
        places.push(place);
    }
    places
}

/// The log of the container that ended badly, or of the first one.
fn place_of(definition: &TaskDefinition, task: &Task) -> Option<LogPlace> {
    let containers = task.containers.as_deref().unwrap_or_default();
    let bad = containers.iter().find(|container| container.exit_code.is_some_and(|code| code != 0));
    let name = bad.or(containers.first())?.name.clone()?;
    let about = definition.container_definitions.as_deref().unwrap_or_default();
    let about = about.iter().find(|about| about.name.as_deref() == Some(name.as_str()))?;
    let options = about.log_configuration.as_ref().filter(|found| found.log_driver.as_str() == "awslogs")?;
    let options = options.options.as_ref()?;
    let prefix = options.get("awslogs-stream-prefix")?;
    let id = last_part(task.task_arn.as_deref()?);
    Some(LogPlace::new(options.get("awslogs-group")?, format!("{prefix}/{name}/{id}")))
}
