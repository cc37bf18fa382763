//! Going on with the failed execution of the attempt before.
//!
//! A redrive has a client token, by which Step Functions knows it for 15 minutes among the last ten; and each one
//! raises the execution's `redriveCount`. The count is read before the intent, so whether a redrive arrived can be
//! told for ever: a higher count is ours, because a task run has one live attempt. (A person who redrives the same
//! execution in the console at the same moment has done what this attempt was about to do.)

use std::time::Duration;

use aws_sdk_sfn::{operation::describe_execution::DescribeExecutionOutput, types::ExecutionRedriveStatus};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Baseline, SETTLED, address, baseline_of};
use crate::{
    aws::{SignedAt, ask_again, error::Trouble, exact_body, later, scaled},
    clients::{Clients, Purpose},
    operator::{ErrorClass, Failure, Found, Handle, Intent, Request, Sent},
};

/// How long a token is relied upon: AWS keeps it for 15 minutes.
const TOKEN_WINDOW: Duration = Duration::from_secs(10 * 60);

/// The execution that is redriven, as it was before.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub(super) struct Before {
    arn: String,
    /// Redrives so far.
    redrives: i32,
}

/// What this attempt redrives, if it does.
pub(super) fn before(intent: &Intent<'_>) -> Option<Before> {
    baseline_of(intent).ok()?.redrive
}

/// Whether the execution of the attempt before can be redriven. `None` where a new one must be started: it was
/// another machine's, it cannot be redriven, or Step Functions has forgotten it.
pub(super) async fn look(
    clients: &Clients,
    request: &Request,
    baseline: &Baseline,
) -> Result<Option<Before>, Failure> {
    let Some(arn) = request.body["RedriveExecution"]["executionArn"].as_str() else { return Ok(None) };
    let step_functions = clients.step_functions(&request.connection, Purpose::Read).await?;
    let answer = step_functions.describe_execution().execution_arn(arn).send().await;
    let execution = match answer.map_err(Trouble::from) {
        Ok(execution) => execution,
        Err(trouble) if trouble.is_not_there() => return Ok(None),
        Err(trouble) => return Err(trouble.into_failure()),
    };
    let same = execution.state_machine_arn() == address::unqualified(&baseline.arn);
    let redrivable = execution.redrive_status() == Some(&ExecutionRedriveStatus::Redrivable);
    Ok((same && redrivable).then(|| Before { arn: arn.to_owned(), redrives: count(&execution) }))
}

/// Sends the stored redrive; within the token's time, again is the same as once.
pub(super) async fn send(
    clients: &Clients,
    intent: &Intent<'_>,
    before: &Before,
    signed: Option<SignedAt>,
) -> Sent {
    let request = intent.request;
    let step_functions = match clients.step_functions(&request.connection, Purpose::Start).await {
        Ok(step_functions) => step_functions,
        Err(failure) => return Sent::Refused(failure),
    };
    let mut config = aws_sdk_sfn::config::Builder::new();
    if let Some(signed) = signed {
        config = config.time_source(signed);
    }
    let answer = step_functions
        .redrive_execution()
        .execution_arn(&before.arn)
        .client_token("-")
        .customize()
        .config_override(config)
        .mutate_request(exact_body(&request.body["RedriveExecution"]))
        .send()
        .await;
    match answer.map_err(Trouble::from) {
        Ok(_) => Sent::Accepted(handle(intent, before)),
        // Ours, when an earlier send of it arrived: the count tells.
        Err(trouble) if trouble.code() == "ExecutionNotRedrivable" => {
            let failure = trouble.into_failure();
            match arrived(clients, intent, before).await {
                Ok(true) => Sent::Accepted(handle(intent, before)),
                Ok(false) => Sent::Refused(failure),
                Err(_) => Sent::Unknown(failure),
            }
        }
        Err(trouble) => trouble.into_sent(),
    }
}

/// Whether the redrive arrived: by its token while Step Functions surely knows it, then by the count.
pub(super) async fn find(
    clients: &Clients,
    intent: &Intent<'_>,
    before: &Before,
    quarantine: Duration,
) -> Found {
    match arrived(clients, intent, before).await {
        Ok(true) => return Found::Found(handle(intent, before)),
        Ok(false) => {}
        Err(failure) if failure.class == ErrorClass::Lost => return Found::Lost(failure),
        Err(failure) => return ask_again(intent, quarantine, &failure),
    }
    if intent.now < later(intent.intent_at, scaled(TOKEN_WINDOW, quarantine)) {
        return match send(clients, intent, before, None).await {
            Sent::Accepted(handle) => Found::Found(handle),
            Sent::Done(outcome) => Found::Done(outcome),
            Sent::Refused(failure) | Sent::Throttled(failure) | Sent::Unknown(failure) => {
                ask_again(intent, quarantine, &failure)
            }
        };
    }
    // What was signed with the intent's time can no longer arrive; what did is shown after a minute.
    let settled = later(later(intent.intent_at, quarantine), scaled(SETTLED, quarantine));
    if intent.now < settled {
        let reason = "Step Functions does not show the redrive yet".to_owned();
        return Found::NotYetKnown { again_at: settled, reason };
    }
    Found::ProvedAbsent
}

/// Whether the execution was redriven since the intent.
async fn arrived(clients: &Clients, intent: &Intent<'_>, before: &Before) -> Result<bool, Failure> {
    let step_functions = clients.step_functions(&intent.request.connection, Purpose::Read).await?;
    let answer = step_functions.describe_execution().execution_arn(&before.arn).send().await;
    match answer.map_err(Trouble::from) {
        Ok(execution) => Ok(count(&execution) > before.redrives),
        Err(trouble) if trouble.is_not_there() => {
            let text =
                format!("Step Functions has forgotten the execution {}: {}", before.arn, trouble.message);
            Err(Failure::new(ErrorClass::Lost, text))
        }
        Err(trouble) => Err(trouble.into_failure()),
    }
}

fn count(execution: &DescribeExecutionOutput) -> i32 {
    execution.redrive_count().unwrap_or(0)
}

fn handle(intent: &Intent<'_>, before: &Before) -> Handle {
    let machine = baseline_of(intent).map(|baseline| address::unqualified(&baseline.arn).to_owned());
    let detail = json!({
        "state_machine": machine.unwrap_or_default(),
        "since": intent.intent_at,
        "redrives": before.redrives + 1,
    });
    Handle { connection: intent.request.connection.clone(), id: before.arn.clone(), detail }
}
