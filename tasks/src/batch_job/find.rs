//! Re-attachment: is there a job of this name?

use std::time::Duration;

use aws_sdk_batch::types::KeyValuesPair;

use super::{handle, queue_of};
use crate::{
    aws::{ask_again, error::Trouble, later, next_look},
    clients::{Clients, Purpose},
    operator::{ErrorClass, Failure, Found, Intent},
};

/// Pages that one look reads; a name with the attempt's id in it has one job.
const PAGES_MAX: usize = 10;

pub(super) async fn find(clients: &Clients, intent: &Intent<'_>, quarantine: Duration) -> Found {
    match look(clients, intent).await {
        Ok(ids) => match (ids.as_slice(), next_look(intent, quarantine)) {
            ([id], _) => Found::Found(handle(intent.request, id.as_str())),
            ([], None) => Found::ProvedAbsent,
            ([], Some(again_at)) => Found::NotYetKnown {
                again_at,
                reason: format!(
                    "queue `{}` lists no job `{}` yet; until {} AWS may still accept the start",
                    queue_of(intent.request),
                    intent.request.token,
                    later(intent.intent_at, quarantine),
                ),
            },
            (ids, _) => Found::Lost(Failure::new(
                ErrorClass::Lost,
                format!(
                    "{} jobs are named `{}` ({}): a person must decide which one is ours",
                    ids.len(),
                    intent.request.token,
                    ids.join(", ")
                ),
            )),
        },
        Err(failure) => ask_again(intent, quarantine, &failure),
    }
}

/// The ids of the jobs of our name in the queue, whatever their states.
async fn look(clients: &Clients, intent: &Intent<'_>) -> Result<Vec<String>, Failure> {
    let batch = clients.batch(&intent.request.connection, Purpose::Read).await?;
    let name = &intent.request.token;
    let filter = KeyValuesPair::builder().name("JOB_NAME").values(name).build();
    let (mut ids, mut token) = (Vec::new(), None);
    for _ in 0..PAGES_MAX {
        let page = batch
            .list_jobs()
            .job_queue(queue_of(intent.request))
            .filters(filter.clone())
            .set_next_token(token.take())
            .send()
            .await
            .map_err(|error| Trouble::from(error).into_failure())?;
        // The filter does not look at case.
        let ours = page.job_summary_list.unwrap_or_default().into_iter();
        ids.extend(
            ours.filter(|job| job.job_name.as_deref() == Some(name.as_str())).filter_map(|job| job.job_id),
        );
        token = page.next_token.filter(|token| !token.is_empty());
        if token.is_none() {
            break;
        }
    }
    Ok(ids)
}
