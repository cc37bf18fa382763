//! Re-attachment: by the token while EMR surely remembers it, then by the run's name.

use std::time::Duration;

use super::{RESEND_WINDOW, application_of, handle, start};
use crate::{
    aws::{ask_again, earlier, error::Trouble, later, next_look, scaled},
    clients::{Clients, Purpose},
    operator::{ErrorClass, Failure, Found, Intent, Sent},
};

/// Pages of fifty runs that one look reads: 5,000 runs of one application since the intent.
const PAGES_MAX: usize = 100;

/// How far EMR's clock may be behind ours.
const CLOCKS_APART: Duration = Duration::from_secs(120);

pub(super) async fn find(clients: &Clients, intent: &Intent<'_>, quarantine: Duration) -> Found {
    if intent.now < later(intent.intent_at, scaled(RESEND_WINDOW, quarantine)) {
        // The same token again is no second run, and the answer is the run itself.
        match start(clients, intent.request, intent.now).await {
            Sent::Accepted(handle) => return Found::Found(handle),
            Sent::Done(outcome) => return Found::Done(outcome),
            Sent::Throttled(failure) | Sent::Unknown(failure) => {
                return ask_again(intent, quarantine, &failure);
            }
            // A refused resend started nothing, but says little about the first send.
            Sent::Refused(_) => {}
        }
    }
    match look(clients, intent, quarantine).await {
        Ok(Some(id)) => Found::Found(handle(intent.request, id)),
        Ok(None) => match next_look(intent, quarantine) {
            Some(again_at) => Found::NotYetKnown {
                again_at,
                reason: format!("application {} does not list the run yet", application_of(intent.request)),
            },
            None => Found::ProvedAbsent,
        },
        Err(failure) if failure.class == ErrorClass::Lost => Found::Lost(failure),
        Err(failure) => ask_again(intent, quarantine, &failure),
    }
}

async fn look(
    clients: &Clients,
    intent: &Intent<'_>,
    quarantine: Duration,
) -> Result<Option<String>, Failure> {
    let emr = clients.emr_serverless(&intent.request.connection, Purpose::Read).await?;
    let name = intent.request.body["StartJobRun"]["name"].as_str().unwrap_or_default();
    let since = earlier(intent.intent_at, scaled(CLOCKS_APART, quarantine));
    let since = aws_smithy_types::DateTime::from_millis(since.as_millisecond());
    let mut token = None;
    for _ in 0..PAGES_MAX {
        let page = emr
            .list_job_runs()
            .application_id(application_of(intent.request))
            .created_at_after(since)
            .set_next_token(token.take())
            .send()
            .await
            .map_err(|error| Trouble::from(error).into_failure())?;
        if let Some(run) = page.job_runs.into_iter().find(|run| run.name.as_deref() == Some(name)) {
            return Ok(Some(run.id));
        }
        token = page.next_token.filter(|token| !token.is_empty());
        if token.is_none() {
            return Ok(None);
        }
    }
    let text =
        format!("the application had more runs since than are looked at: a person must look for `{name}`");
    Err(Failure::new(ErrorClass::Lost, text))
}
