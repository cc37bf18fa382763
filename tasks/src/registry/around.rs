//! What stands around every operator's calls: secrets go in, and do not come out.
//!
//! Values take the place of marks just before a call, and whatever the call answers is searched
//! for them: handles, outputs, warnings, failures. So no operator can store one by mistake.

use std::time::Duration;

use serde_json::Value;

use crate::{
    clients::Clients,
    operator::{ErrorClass, Failure, Found, Handle, Intent, Operator, Outcome, Request, Sent, Status},
    secrets::mark::has_marks,
};

/// The longest that reading secrets again may hold up a start, whose own time runs meanwhile.
/// Ordinarily they were read a moment ago, when the request was made.
const REVEAL_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) async fn send<O: Operator>(operator: &O, clients: &Clients, intent: &Intent<'_>) -> Sent {
    let sent = match revealed(clients, intent.request).await {
        Ok(None) => operator.send(clients, intent).await,
        Ok(Some(request)) => operator.send(clients, &Intent { request: &request, ..intent.clone() }).await,
        // Nothing was sent: later is as good as now, unless it cannot help.
        Err(failure) if failure.class == ErrorClass::Config => Sent::Refused(failure),
        Err(failure) => Sent::Throttled(failure),
    };
    match sent {
        Sent::Accepted(accepted) => Sent::Accepted(handle(clients, accepted)),
        Sent::Done(done) => Sent::Done(outcome(clients, done)),
        Sent::Refused(refused) => Sent::Refused(failure(clients, refused)),
        Sent::Throttled(throttled) => Sent::Throttled(failure(clients, throttled)),
        Sent::Unknown(unknown) => Sent::Unknown(failure(clients, unknown)),
    }
}

pub(super) async fn find<O: Operator>(operator: &O, clients: &Clients, intent: &Intent<'_>) -> Found {
    // A look does not depend on a secret that cannot be read: most need none.
    let found = match revealed(clients, intent.request).await {
        Ok(Some(request)) => operator.find(clients, &Intent { request: &request, ..intent.clone() }).await,
        Ok(None) | Err(_) => operator.find(clients, intent).await,
    };
    match found {
        Found::Found(found) => Found::Found(handle(clients, found)),
        Found::Done(done) => Found::Done(outcome(clients, done)),
        Found::NotYetKnown { again_at, reason } => {
            Found::NotYetKnown { again_at, reason: text(clients, reason) }
        }
        Found::Lost(lost) => Found::Lost(failure(clients, lost)),
        Found::ProvedAbsent | Found::SafeToRepeat => found,
    }
}

/// The states in the order asked. A handle whose secrets cannot be read now is asked about
/// later; the others are not held up by it.
pub(super) async fn poll<O: Operator>(operator: &O, clients: &Clients, handles: &[Handle]) -> Vec<Status> {
    let statuses = if handles.iter().any(|handle| has_marks(&handle.detail)) {
        let mut ready = Vec::with_capacity(handles.len());
        let mut failures = Vec::with_capacity(handles.len());
        for handle in handles {
            match with_values(clients, handle).await {
                Ok(handle) => {
                    ready.push(handle);
                    failures.push(None);
                }
                Err(failure) => failures.push(Some(failure)),
            }
        }
        let mut answers = operator.poll(clients, &ready).await.into_iter();
        let mut statuses = Vec::with_capacity(handles.len());
        for failure in failures {
            let answer = || answers.next().unwrap_or_else(super::no_answer);
            statuses.push(failure.map_or_else(answer, Status::Unavailable));
        }
        statuses
    } else {
        operator.poll(clients, handles).await
    };
    statuses.into_iter().map(|found| status(clients, found)).collect()
}

pub(super) async fn cancel<O: Operator>(
    operator: &O,
    clients: &Clients,
    handle: &Handle,
) -> Result<(), Failure> {
    let cancelled = match with_values(clients, handle).await {
        Ok(handle) => operator.cancel(clients, &handle).await,
        Err(failure) => Err(failure),
    };
    cancelled.map_err(|refused| failure(clients, refused))
}

/// The request with values in it; `None` where it names no secret.
async fn revealed(clients: &Clients, request: &Request) -> Result<Option<Request>, Failure> {
    if !has_marks(&request.body) {
        return Ok(None);
    }
    let body = values_of(clients, &request.body).await?;
    Ok(Some(Request { body, ..request.clone() }))
}

async fn with_values(clients: &Clients, handle: &Handle) -> Result<Handle, Failure> {
    let detail = if has_marks(&handle.detail) {
        values_of(clients, &handle.detail).await?
    } else {
        handle.detail.clone()
    };
    Ok(Handle { detail, ..handle.clone() })
}

async fn values_of(clients: &Clients, value: &Value) -> Result<Value, Failure> {
    match tokio::time::timeout(REVEAL_TIMEOUT, clients.secrets().reveal(clients, value)).await {
        Ok(revealed) => revealed,
        Err(_) => Err(Failure::new(ErrorClass::System, "its secrets could not be read in time")),
    }
}

/// A failure without secrets.
pub(super) fn failure(clients: &Clients, mut failure: Failure) -> Failure {
    failure.message = text(clients, failure.message);
    failure.code = failure.code.map(|code| text(clients, code));
    failure
}

fn text(clients: &Clients, text: String) -> String {
    clients.secrets().conceal(&text).unwrap_or(text)
}

fn handle(clients: &Clients, mut handle: Handle) -> Handle {
    if !clients.secrets().is_silent() {
        handle.id = text(clients, handle.id);
        clients.secrets().conceal_value(&mut handle.detail);
    }
    handle
}

fn outcome(clients: &Clients, mut outcome: Outcome) -> Outcome {
    if !clients.secrets().is_silent() {
        let mut outputs = Value::Object(std::mem::take(&mut outcome.outputs));
        clients.secrets().conceal_value(&mut outputs);
        if let Value::Object(concealed) = outputs {
            outcome.outputs = concealed;
        }
        outcome.warnings = outcome.warnings.into_iter().map(|warning| text(clients, warning)).collect();
    }
    outcome
}

fn status(clients: &Clients, status: Status) -> Status {
    match status {
        Status::Running { remote_state, poll_at } => {
            Status::Running { remote_state: text(clients, remote_state), poll_at }
        }
        Status::Succeeded(done) => Status::Succeeded(outcome(clients, done)),
        Status::Failed(failed) => Status::Failed(failure(clients, failed)),
        Status::Cancelled(cancelled) => Status::Cancelled(failure(clients, cancelled)),
        Status::Throttled(throttled) => Status::Throttled(failure(clients, throttled)),
        Status::Unavailable(unavailable) => Status::Unavailable(failure(clients, unavailable)),
        Status::Gone(gone) => Status::Gone(failure(clients, gone)),
    }
}
