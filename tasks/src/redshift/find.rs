//! Re-attachment: by the name that every statement has, among those that the service still knows. Nothing is sent.

use std::time::Duration;

use aws_sdk_redshiftdata::types::{StatementData, StatusString};

use super::{KEPT, TOKEN_WINDOW, call_of, handle, poll::is_terminal};
use crate::{
    aws::{ask_again, error::Trouble, later, next_look, scaled},
    clients::{Clients, Purpose},
    operator::{ErrorClass, Failure, Found, Intent},
};

/// Pages of 100 that one look reads. The name is unique, so one page holds all; the service may give empty ones.
const PAGES_MAX: usize = 20;

/// Statements of one page; the service's own maximum.
const PAGE_SIZE: i32 = 100;

/// How long a list may lag behind an accepted start before the request is sent again with its token. A run that
/// is cancelled meanwhile ends without a statement when the look finds none, so it is not the first look that counts.
const LIST_LAG: Duration = Duration::from_secs(60);

/// Whether there is a statement of this intent.
pub(crate) async fn find(clients: &Clients, intent: &Intent<'_>, quarantine: Duration) -> Found {
    match look(clients, intent).await {
        Ok(Some(id)) => Found::Found(handle(intent.request, id)),
        Ok(None) => absent(intent, quarantine),
        Err(failure) => ask_again(intent, quarantine, &failure),
    }
}

/// What it means that no statement has the name.
fn absent(intent: &Intent<'_>, quarantine: Duration) -> Found {
    let since = |span| later(intent.intent_at, scaled(span, quarantine));
    let next = next_look(intent, quarantine).filter(|_| intent.now < since(LIST_LAG));
    if let Some(again_at) = next {
        let reason = "redshift does not list the statement yet".to_owned();
        Found::NotYetKnown { again_at, reason }
    } else if intent.now < since(TOKEN_WINDOW) {
        // The request as it was stored, with its token: the service gives the statement that it
        // holds, or makes the first one.
        Found::SafeToRepeat
    } else if intent.now < since(KEPT) {
        // Signed with the intent's time, the first request is refused since long ago, and what it
        // had started would still be listed.
        Found::ProvedAbsent
    } else {
        let text = "redshift forgets statements 24 hours after their end, so nobody can tell whether this one ran: \
                    look into the tables that it changes, then resolve the task by hand";
        Found::Lost(Failure::new(ErrorClass::Lost, text))
    }
}

async fn look(clients: &Clients, intent: &Intent<'_>) -> Result<Option<String>, Failure> {
    let redshift = clients.redshift_data(&intent.request.connection, Purpose::Read).await?;
    let call = call_of(intent.request);
    let text = |member: &str| call[member].as_str().map(str::to_owned);
    let name = text("StatementName").unwrap_or_default();
    let mut token = None;
    let mut ours: Vec<StatementData> = Vec::new();
    for _ in 0..PAGES_MAX {
        let page = redshift
            .list_statements()
            .statement_name(&name)
            .status(StatusString::All)
            .set_cluster_identifier(text("ClusterIdentifier"))
            .set_workgroup_name(text("WorkgroupName"))
            .max_results(PAGE_SIZE)
            .set_next_token(token.take())
            .send()
            .await
            .map_err(|error| Trouble::from(error).into_failure())?;
        let named = |found: &StatementData| found.statement_name.as_deref() == Some(name.as_str());
        ours.extend(page.statements.into_iter().filter(named));
        token = page.next_token.filter(|token| !token.is_empty());
        if token.is_none() {
            break;
        }
    }
    if token.is_some() && ours.is_empty() {
        let text = format!("redshift lists more than {PAGES_MAX} pages under one statement name");
        return Err(Failure::new(ErrorClass::System, text));
    }
    // One that still runs before one that has ended; there is more than one only if somebody
    // sent the request by hand.
    let ended =
        |found: &StatementData| found.status.as_ref().is_some_and(|status| is_terminal(status.as_str()));
    ours.sort_by_key(ended);
    Ok(ours.into_iter().next().map(|found| found.id))
}
