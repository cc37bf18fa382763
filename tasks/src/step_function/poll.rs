//! The state of executions. Step Functions describes one at a time, slowly (10 to 15 a second); where many of
//! one machine are watched, the list of those that run is a hint, and only the rest is described.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use aws_sdk_sfn::{
    Client,
    operation::describe_execution::DescribeExecutionOutput,
    types::{ExecutionStatus, HistoryEvent},
};
use jiff::Timestamp;
use serde_json::Value;

use super::{SETTLED, address};
use crate::{
    aws::{error::Trouble, later, scaled},
    clients::{Clients, Purpose},
    operator::{ErrorClass, Failure, Handle, Outcome, Status},
};

/// From so many executions on, the list is asked first.
const LIST_FROM: usize = 2;

/// Pages of 1,000 that one look reads at most. What is not on them is described.
const LIST_PAGES_MAX: usize = 5;

/// The largest page of `ListExecutions` and `GetExecutionHistory`.
const PAGE: i32 = 1000;

/// Pages of the history, newest first, that are searched for the state that failed.
const HISTORY_PAGES_MAX: usize = 2;

/// The largest output that is kept for later tasks: outputs are values, not data.
const OUTPUT_BYTES_MAX: usize = 256 * 1024;

pub(super) async fn poll(
    clients: &Clients,
    handles: &[Handle],
    now: Timestamp,
    quarantine: Duration,
) -> Vec<Status> {
    let Some(first) = handles.first() else { return Vec::new() };
    let step_functions = match clients.step_functions(&first.connection, Purpose::Read).await {
        Ok(step_functions) => step_functions,
        Err(failure) => return handles.iter().map(|_| Status::Unavailable(failure.clone())).collect(),
    };
    let mut running = HashSet::new();
    if handles.len() >= LIST_FROM {
        match list_running(step_functions, address::machine_of_handle(first)).await {
            Ok(listed) => running = listed,
            Err(trouble) if trouble.is_throttled() => {
                let status = trouble.into_status();
                return handles.iter().map(|_| status.clone()).collect();
            }
            // A hint and no more: who may not list may still describe.
            Err(trouble) => tracing::debug!(code = trouble.code(), "executions could not be listed"),
        }
    }
    let mut statuses = Vec::with_capacity(handles.len());
    for handle in handles {
        statuses.push(if running.contains(&handle.id) {
            Status::Running { remote_state: "RUNNING".to_owned(), poll_at: None }
        } else {
            let may_be_unseen = is_fresh(handle, now, quarantine);
            describe(step_functions, handle, may_be_unseen).await
        });
    }
    statuses
}

async fn list_running(step_functions: &Client, machine: &str) -> Result<HashSet<String>, Trouble> {
    let mut running = HashSet::new();
    let mut token = None;
    for _ in 0..LIST_PAGES_MAX {
        let page = step_functions
            .list_executions()
            .state_machine_arn(machine)
            .status_filter(ExecutionStatus::Running)
            .max_results(PAGE)
            .set_next_token(token.take())
            .send()
            .await
            .map_err(Trouble::from)?;
        running.extend(page.executions.into_iter().map(|execution| execution.execution_arn));
        token = page.next_token.filter(|token| !token.is_empty());
        if token.is_none() {
            break;
        }
    }
    Ok(running)
}

/// Whether an accepted execution may not be shown yet.
fn is_fresh(handle: &Handle, now: Timestamp, quarantine: Duration) -> bool {
    let since = serde_json::from_value::<Timestamp>(handle.detail["since"].clone());
    since.is_ok_and(|since| now < later(since, scaled(SETTLED, quarantine)))
}

async fn describe(step_functions: &Client, handle: &Handle, may_be_unseen: bool) -> Status {
    let answer = step_functions.describe_execution().execution_arn(&handle.id).send().await;
    let execution = match answer.map_err(Trouble::from) {
        Ok(execution) => execution,
        Err(trouble) if trouble.is_not_there() && may_be_unseen => {
            return Status::Unavailable(trouble.into_failure());
        }
        Err(trouble) => return trouble.into_status(),
    };
    // Asked too soon after its redrive, Step Functions may still tell how the execution ended before.
    let wanted = handle.detail["redrives"].as_i64().unwrap_or(0);
    if i64::from(execution.redrive_count().unwrap_or(0)) < wanted {
        return Status::Running { remote_state: "PENDING_REDRIVE".to_owned(), poll_at: None };
    }
    match execution.status().as_str() {
        "SUCCEEDED" => succeeded(handle, &execution),
        "FAILED" => Status::Failed(failure(step_functions, &execution, ErrorClass::Failed).await),
        "TIMED_OUT" => Status::Failed(failure(step_functions, &execution, ErrorClass::Timeout).await),
        "ABORTED" => Status::Cancelled(failure(step_functions, &execution, ErrorClass::Cancelled).await),
        // RUNNING, PENDING_REDRIVE, and every word that is not known.
        other => Status::Running { remote_state: other.to_owned(), poll_at: None },
    }
}

fn succeeded(handle: &Handle, execution: &DescribeExecutionOutput) -> Status {
    let mut outcome = Outcome::default();
    outcome.outputs.insert("execution_arn".into(), handle.id.clone().into());
    let text = execution.output().unwrap_or("null");
    if text.len() > OUTPUT_BYTES_MAX {
        let message = format!(
            "the execution succeeded, but its output has {} bytes and later tasks can read {OUTPUT_BYTES_MAX}: let the \
             state machine put it into S3 and give its address",
            text.len()
        );
        return Status::Failed(Failure::new(ErrorClass::Config, message).with_code("OutputTooLarge"));
    }
    if execution.output_details().is_some_and(|details| !details.included()) {
        outcome.warnings.push("Step Functions left the output out of its answer".to_owned());
    }
    let output = serde_json::from_str(text).unwrap_or_else(|_| Value::from(text));
    outcome.outputs.insert("output".into(), output);
    Status::Succeeded(outcome)
}

/// The execution's own error and cause, and the state in which it ended.
async fn failure(step_functions: &Client, execution: &DescribeExecutionOutput, class: ErrorClass) -> Failure {
    let word = execution.status().as_str();
    let error = execution.error().filter(|text| !text.is_empty());
    let cause = execution.cause().filter(|text| !text.trim().is_empty());
    let told = match (error, cause) {
        (Some(error), Some(cause)) => format!("{error}: {cause}"),
        (Some(text), None) | (None, Some(text)) => text.to_owned(),
        (None, None) => format!("Step Functions says {word} and nothing more"),
    };
    let state = match class {
        ErrorClass::Cancelled => None,
        _ => failed_state(step_functions, execution.execution_arn()).await,
    };
    let message = match state {
        Some(state) => format!("state `{state}`: {told}"),
        None => told,
    };
    Failure::new(class, message).with_code(error.unwrap_or(word))
}

/// The state that failed: from the newest event back along what led to it, up to a state that was entered.
/// `None` if the history cannot be read or says nothing; the failure is told without it then.
async fn failed_state(step_functions: &Client, arn: &str) -> Option<String> {
    let mut events: HashMap<i64, HistoryEvent> = HashMap::new();
    let mut newest = None;
    let mut token = None;
    for _ in 0..HISTORY_PAGES_MAX {
        let page = step_functions
            .get_execution_history()
            .execution_arn(arn)
            .reverse_order(true)
            .include_execution_data(false)
            .max_results(PAGE)
            .set_next_token(token.take())
            .send()
            .await
            .ok()?;
        newest = newest.or_else(|| page.events.first().map(|event| event.id));
        events.extend(page.events.into_iter().map(|event| (event.id, event)));
        let mut at = newest;
        // Each event was led to by an older one, so this ends.
        while let Some(event) = at.and_then(|id| events.get(&id)) {
            if let Some(entered) = &event.state_entered_event_details {
                return Some(entered.name.clone());
            }
            at = Some(event.previous_event_id).filter(|previous| (1..event.id).contains(previous));
        }
        token = page.next_token.filter(|token| !token.is_empty());
        if at.is_none() || token.is_none() {
            return None;
        }
    }
    None
}
