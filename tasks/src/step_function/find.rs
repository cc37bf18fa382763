//! Re-attachment: by sending the same start again, and by describing the execution of its name.

use std::time::Duration;

use aws_sdk_sfn::operation::describe_execution::DescribeExecutionOutput;
use serde_json::Value;

use super::{Baseline, SETTLED, Started, address, baseline_of, handle, start};
use crate::{
    aws::{ask_again, error::Trouble, later, scaled},
    clients::{Clients, Purpose},
    operator::{ErrorClass, Failure, Found, Handle, Intent, Sent},
};

/// How long a name is relied upon. AWS keeps it for 90 days after the execution has ended; an account can
/// have its histories deleted after 30.
const NAME_WINDOW: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What stands under the name of an attempt.
enum Named {
    /// The attempt's own execution.
    Ours(Handle),
    /// Another machine's, or one of another input.
    Foreign(String),
    /// None that can be seen.
    Nothing,
}

pub(super) async fn find(clients: &Clients, intent: &Intent<'_>, quarantine: Duration) -> Found {
    if baseline_of(intent).is_ok_and(|baseline| baseline.express) {
        // The task says that its work may be repeated, or it would not have been started.
        return Found::SafeToRepeat;
    }
    let settled = later(intent.intent_at, scaled(SETTLED, quarantine));
    let is_fresh = intent.now < settled;
    if intent.now >= later(intent.intent_at, NAME_WINDOW) {
        return match look(clients, intent).await {
            Ok(Named::Ours(handle)) => Found::Found(handle),
            Ok(Named::Foreign(text)) => lost(text),
            Ok(Named::Nothing) => {
                lost("Step Functions may have forgotten an execution as old as this".to_owned())
            }
            Err(failure) => ask_again(intent, quarantine, &failure),
        };
    }
    let not_yet = || Found::NotYetKnown {
        again_at: settled,
        reason: "Step Functions does not show the execution yet".to_owned(),
    };
    match start(clients, intent, None).await {
        Started::Sent(Sent::Accepted(handle)) => Found::Found(handle),
        Started::Sent(Sent::Done(outcome)) => Found::Done(outcome),
        Started::Sent(Sent::Throttled(failure) | Sent::Unknown(failure)) => {
            ask_again(intent, quarantine, &failure)
        }
        Started::Exists(_) => match look(clients, intent).await {
            Ok(Named::Ours(handle)) => Found::Found(handle),
            Ok(Named::Foreign(text)) => lost(text),
            Ok(Named::Nothing) if is_fresh => not_yet(),
            Ok(Named::Nothing) => lost(
                "the execution's name is taken, but Step Functions does not show the execution".to_owned(),
            ),
            Err(failure) => ask_again(intent, quarantine, &failure),
        },
        // A refused repetition started nothing, and says little about the first send.
        Started::Sent(Sent::Refused(_)) => match look(clients, intent).await {
            Ok(Named::Ours(handle)) => Found::Found(handle),
            Ok(Named::Foreign(text)) => lost(text),
            Ok(Named::Nothing) if is_fresh => not_yet(),
            // Whatever is sent from now on has the same name: it cannot become a second execution.
            Ok(Named::Nothing) => Found::ProvedAbsent,
            Err(failure) => ask_again(intent, quarantine, &failure),
        },
    }
}

/// What a start means that was refused because its name is taken: an earlier send of it arrived.
pub(super) async fn after_exists(clients: &Clients, intent: &Intent<'_>, failure: Failure) -> Sent {
    match look(clients, intent).await {
        Ok(Named::Ours(handle)) => Sent::Accepted(handle),
        Ok(Named::Foreign(text)) => Sent::Refused(Failure { message: text, ..failure }),
        Ok(Named::Nothing) => Sent::Unknown(failure),
        Err(failure) => Sent::Unknown(failure),
    }
}

fn lost(text: String) -> Found {
    Found::Lost(Failure::new(ErrorClass::Lost, text))
}

/// Looks at the execution that the attempt's name leads to.
async fn look(clients: &Clients, intent: &Intent<'_>) -> Result<Named, Failure> {
    let baseline = baseline_of(intent)?;
    let Some(arn) = address::execution(&baseline.arn, &intent.request.token) else {
        return Ok(Named::Nothing);
    };
    let step_functions = clients.step_functions(&intent.request.connection, Purpose::Read).await?;
    let answer = step_functions.describe_execution().execution_arn(&arn).send().await;
    match answer.map_err(Trouble::from) {
        Ok(execution) => Ok(match difference(intent, &baseline, &execution) {
            None => Named::Ours(handle(intent, &baseline, arn)),
            Some(what) => Named::Foreign(format!(
                "the execution {arn} has this attempt's name, but {what}: a person must look"
            )),
        }),
        Err(trouble) if trouble.is_not_there() => Ok(Named::Nothing),
        Err(trouble) => Err(trouble.into_failure()),
    }
}

/// What makes an execution another one than ours.
fn difference(
    intent: &Intent<'_>,
    baseline: &Baseline,
    execution: &DescribeExecutionOutput,
) -> Option<String> {
    let machine = address::unqualified(execution.state_machine_arn());
    if machine != address::unqualified(&baseline.arn) {
        return Some(format!("is one of {machine}"));
    }
    let ours = intent.request.body["StartExecution"]["input"].as_str().unwrap_or_default();
    // Where the input is not shown, the name alone must do: it holds the attempt's id.
    let theirs = execution.input()?;
    let json = |text: &str| serde_json::from_str::<Value>(text).ok();
    let same = theirs == ours || (json(ours).is_some() && json(ours) == json(theirs));
    (!same).then(|| "was started with another input".to_owned())
}
