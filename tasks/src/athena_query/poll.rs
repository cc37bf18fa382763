//! The state of queries, fifty at a time; and what is left to do when one has ended.

use std::collections::HashMap;

use aws_sdk_athena::types::{AthenaError, QueryExecution};
use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use serde::Deserialize as _;

use super::{BATCH_MAX, MoreRows, leftovers, replace::Plan, repoint, rows};
use crate::{
    aws::error::Trouble,
    clients::{Clients, Purpose},
    operator::{Cost, ErrorClass, Failure, Handle, Outcome, Status},
};

/// Athena's number for errors of its own.
const CATEGORY_SYSTEM: i32 = 1;

/// Queries of one batch that are finished at the same time: a few calls each.
const FINISHING_MAX: usize = 8;

pub(super) async fn poll(clients: &Clients, handles: &[Handle], now: Timestamp) -> Vec<Status> {
    let mut statuses = Vec::with_capacity(handles.len());
    for handles in handles.chunks(BATCH_MAX) {
        match poll_batch(clients, handles).await {
            Ok(batch) => {
                let ended: Vec<_> = handles
                    .iter()
                    .zip(batch)
                    .map(|(handle, status)| finish(clients, handle, status, now))
                    .collect();
                let ended: Vec<Status> = stream::iter(ended).buffered(FINISHING_MAX).collect().await;
                statuses.extend(ended);
            }
            Err(status) => statuses.extend(handles.iter().map(|_| status.clone())),
        }
    }
    statuses
}

/// What the task wants done after its query.
async fn finish(clients: &Clients, handle: &Handle, status: Status, now: Timestamp) -> Status {
    let fetch = handle.detail["fetch_rows"].as_u64().and_then(|limit| usize::try_from(limit).ok());
    let plan = match handle.detail.get("replace").map(Plan::deserialize).transpose() {
        Ok(plan) => plan,
        Err(error) => {
            let text = format!("what was stored of this attempt cannot be read: {error}");
            return Status::Failed(Failure::new(ErrorClass::Config, text));
        }
    };
    match (status, plan, fetch) {
        (Status::Succeeded(outcome), Some(plan), _) => {
            repoint::step(clients, handle, &plan, outcome, now).await
        }
        (Status::Succeeded(mut outcome), None, Some(limit)) => {
            let more = MoreRows::deserialize(&handle.detail["more_rows"]).unwrap_or(MoreRows::Warn);
            match rows::fetch(clients, handle, limit, more, &mut outcome).await {
                Ok(()) => Status::Succeeded(outcome),
                Err(status) => status,
            }
        }
        (status @ (Status::Failed(_) | Status::Cancelled(_)), Some(plan), _) => {
            leftovers::forget(clients, &handle.connection, &plan).await;
            status
        }
        (status, ..) => status,
    }
}

async fn poll_batch(clients: &Clients, handles: &[Handle]) -> Result<Vec<Status>, Status> {
    let Some(first) = handles.first() else { return Ok(Vec::new()) };
    let athena = clients.athena(&first.connection, Purpose::Read).await.map_err(Status::Unavailable)?;
    let ids = handles.iter().map(|handle| handle.id.clone()).collect();
    let answer = athena.batch_get_query_execution().set_query_execution_ids(Some(ids)).send().await;
    let answer = answer.map_err(|error| Trouble::from(error).into_status())?;
    let mut known: HashMap<String, Status> = HashMap::with_capacity(handles.len());
    for query in answer.query_executions.unwrap_or_default() {
        let id = query.query_execution_id.clone().unwrap_or_default();
        known.insert(id, read_state(&query));
    }
    for left in answer.unprocessed_query_execution_ids.unwrap_or_default() {
        let code = left.error_code.unwrap_or_default();
        let text =
            left.error_message.unwrap_or_else(|| "athena left this query out of its answer".to_owned());
        // Left out means "ask again", unless Athena says that there is no such query.
        let gone = text.contains("not found") || code.contains("NOT_FOUND");
        let class = if gone { ErrorClass::Lost } else { ErrorClass::System };
        let failure = Failure::new(class, text).with_code(code);
        let status = if gone { Status::Gone(failure) } else { Status::Unavailable(failure) };
        known.insert(left.query_execution_id.unwrap_or_default(), status);
    }
    let silent = || {
        let text = "athena left this query out of its answer";
        Status::Unavailable(Failure::new(ErrorClass::System, text))
    };
    Ok(handles.iter().map(|handle| known.get(&handle.id).cloned().unwrap_or_else(silent)).collect())
}

fn read_state(query: &QueryExecution) -> Status {
    let status = query.status.as_ref();
    let state = status.and_then(|status| status.state.as_ref()).map_or("", |state| state.as_str());
    let cost = Cost { bytes_scanned: bytes_scanned(query), ..Cost::default() };
    let error = status.and_then(|status| status.athena_error.as_ref());
    let reason = status.and_then(|status| status.state_change_reason.clone());
    let text = reason
        .filter(|text| !text.trim().is_empty())
        .or_else(|| error.and_then(|error| error.error_message.clone()))
        .unwrap_or_else(|| format!("athena says {state} and nothing more"));
    let failure = |class| Failure { cost, ..Failure::new(class, text).with_code(code_of(state, error)) };
    match state {
        "SUCCEEDED" => Status::Succeeded(outcome(query, cost)),
        "FAILED" if is_athenas_fault(error) => Status::Failed(failure(ErrorClass::System)),
        "FAILED" => Status::Failed(failure(ErrorClass::Failed)),
        "CANCELLED" => Status::Cancelled(failure(ErrorClass::Cancelled)),
        // QUEUED, RUNNING (which may go back to QUEUED), and every word that is not known.
        other => Status::Running { remote_state: other.to_owned(), poll_at: None },
    }
}

fn outcome(query: &QueryExecution, cost: Cost) -> Outcome {
    let mut outcome = Outcome { cost, ..Outcome::default() };
    let id = query.query_execution_id.clone().unwrap_or_default();
    outcome.outputs.insert("query_execution_id".into(), id.into());
    if let Some(location) =
        query.result_configuration.as_ref().and_then(|result| result.output_location.clone())
    {
        outcome.outputs.insert("output_location".into(), location.into());
    }
    if let Some(bytes) = cost.bytes_scanned {
        outcome.outputs.insert("bytes_scanned".into(), bytes.into());
    }
    outcome
}

fn bytes_scanned(query: &QueryExecution) -> Option<u64> {
    u64::try_from(query.statistics.as_ref()?.data_scanned_in_bytes?).ok()
}

fn is_athenas_fault(error: Option<&AthenaError>) -> bool {
    error.is_some_and(|error| error.retryable || error.error_category == Some(CATEGORY_SYSTEM))
}

/// Athena's error types are numbers: `FAILED/1301`.
fn code_of(state: &str, error: Option<&AthenaError>) -> String {
    match error.and_then(|error| error.error_type) {
        Some(number) => format!("{state}/{number}"),
        None => state.to_owned(),
    }
}
