//! Re-attachment: by the token while Athena surely remembers it, then by the history.

use std::time::Duration;

use aws_sdk_athena::{Client, types::QueryExecution};

use super::{BATCH_MAX, TOKEN_WINDOW, handle, start};
use crate::{
    aws::{ask_again, earlier, error::Trouble, later, scaled, timestamp},
    clients::{Clients, Purpose},
    operator::{ErrorClass, Failure, Found, Intent, Sent},
};

/// Pages of 50 that one search reads: 5,000 queries.
const PAGES_MAX: usize = 100;

/// How far Athena's clock may be behind ours.
const CLOCKS_APART: Duration = Duration::from_secs(120);

pub(super) async fn find(clients: &Clients, intent: &Intent<'_>, quarantine: Duration) -> Found {
    let resend_until = later(intent.intent_at, scaled(TOKEN_WINDOW, quarantine));
    if intent.now < resend_until {
        match start(clients, intent.request, None).await {
            Sent::Accepted(handle) => return Found::Found(handle),
            Sent::Refused(failure) => return after_refusal(clients, intent, quarantine, failure).await,
            Sent::Throttled(failure) | Sent::Unknown(failure) => {
                return ask_again(intent, quarantine, &failure);
            }
            Sent::Done(outcome) => return Found::Done(outcome),
        }
    }
    search(clients, intent, quarantine).await
}

/// A refused resend made no query, but says little about the first send.
async fn after_refusal(
    clients: &Clients,
    intent: &Intent<'_>,
    quarantine: Duration,
    failure: Failure,
) -> Found {
    match search(clients, intent, quarantine).await {
        // Athena knows the token with another request, and the history does not show which.
        Found::ProvedAbsent if failure.message.contains("Idempotent") => {
            Found::Lost(Failure { class: ErrorClass::Lost, ..failure })
        }
        found => found,
    }
}

async fn search(clients: &Clients, intent: &Intent<'_>, quarantine: Duration) -> Found {
    match look(clients, intent, quarantine).await {
        Ok(Some(id)) => Found::Found(handle(intent.request, id)),
        Ok(None) if intent.now < later(intent.intent_at, quarantine) => Found::NotYetKnown {
            again_at: later(intent.intent_at, quarantine),
            reason: "the workgroup's history does not show the query yet".to_owned(),
        },
        Ok(None) => Found::ProvedAbsent,
        Err(failure) if failure.class == ErrorClass::Lost => Found::Lost(failure),
        Err(failure) => ask_again(intent, quarantine, &failure),
    }
}

async fn look(
    clients: &Clients,
    intent: &Intent<'_>,
    quarantine: Duration,
) -> Result<Option<String>, Failure> {
    let athena = clients.athena(&intent.request.connection, Purpose::Read).await?;
    let call = &intent.request.body["StartQueryExecution"];
    let text = call["QueryString"].as_str().unwrap_or_default();
    let horizon = earlier(intent.intent_at, scaled(CLOCKS_APART, quarantine));
    let mut token = None;
    for _ in 0..PAGES_MAX {
        let page = athena
            .list_query_executions()
            .set_work_group(call["WorkGroup"].as_str().map(str::to_owned))
            .max_results(i32::try_from(BATCH_MAX).unwrap_or(i32::MAX))
            .set_next_token(token.take())
            .send()
            .await
            .map_err(|error| Trouble::from(error).into_failure())?;
        let queries = read(athena, page.query_execution_ids.unwrap_or_default()).await?;
        // Athena keeps the query as it was sent; the comment makes it unique to the attempt.
        let ours =
            queries.iter().find(|query| query.query.as_deref().map(str::trim_end) == Some(text.trim_end()));
        if let Some(id) = ours
            .filter(|query| submitted(query) >= Some(horizon))
            .and_then(|query| query.query_execution_id.clone())
        {
            return Ok(Some(id));
        }
        // Newest first: an old page has only older ones behind it.
        let past = queries.iter().filter_map(submitted).min().is_some_and(|oldest| oldest < horizon);
        token = page.next_token.filter(|token| !token.is_empty());
        if past || token.is_none() {
            return Ok(None);
        }
    }
    let text = "the workgroup ran more queries since than are looked at: a person must look for the query";
    Err(Failure::new(ErrorClass::Lost, text))
}

async fn read(athena: &Client, ids: Vec<String>) -> Result<Vec<QueryExecution>, Failure> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let answer = athena.batch_get_query_execution().set_query_execution_ids(Some(ids)).send().await;
    let answer = answer.map_err(|error| Trouble::from(error).into_failure())?;
    if answer.unprocessed_query_execution_ids.is_some_and(|left| !left.is_empty()) {
        return Err(Failure::new(ErrorClass::System, "athena left out a part of the history"));
    }
    Ok(answer.query_executions.unwrap_or_default())
}

fn submitted(query: &QueryExecution) -> Option<jiff::Timestamp> {
    timestamp(query.status.as_ref()?.submission_date_time.as_ref())
}
