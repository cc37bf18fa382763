//! Re-attachment: by the token while ECS surely remembers it, then by `startedBy`.

use std::time::Duration;

use aws_sdk_ecs::{Client, types::DesiredStatus};

use super::{BATCH_MAX, RESEND_WINDOW, STOPPED_SHOWN, family_of, handle, start, started_by};
use crate::{
    aws::{ask_again, error::Trouble, later, scaled},
    clients::{Clients, Purpose},
    operator::{ErrorClass, Failure, Found, Intent, Sent},
};

/// Pages of a hundred tasks that one search reads: 5,000 tasks of one family that stopped within an hour.
const PAGES_MAX: usize = 50;

pub(super) async fn find(clients: &Clients, intent: &Intent<'_>, quarantine: Duration) -> Found {
    if intent.now < later(intent.intent_at, scaled(RESEND_WINDOW, quarantine)) {
        // The same token again is no second task, and the answer is the task itself.
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
    match search(clients, intent).await {
        Ok(Some(arn)) => Found::Found(handle(intent.request, arn)),
        Ok(None) if intent.now < later(intent.intent_at, quarantine) => Found::NotYetKnown {
            again_at: later(intent.intent_at, quarantine),
            reason: "the cluster does not show the task yet".to_owned(),
        },
        Ok(None) if intent.now < later(intent.intent_at, scaled(STOPPED_SHOWN, quarantine)) => {
            Found::ProvedAbsent
        }
        Ok(None) => Found::Lost(forgotten(intent)),
        Err(failure) if failure.class == ErrorClass::Lost => Found::Lost(failure),
        Err(failure) => ask_again(intent, quarantine, &failure),
    }
}

async fn search(clients: &Clients, intent: &Intent<'_>) -> Result<Option<String>, Failure> {
    let ecs = clients.ecs(&intent.request.connection, Purpose::Read).await?;
    let cluster = intent.request.body["RunTask"]["cluster"].as_str().map(str::to_owned);
    let wanted = started_by(&intent.request.token);
    let answer = ecs.list_tasks().set_cluster(cluster.clone()).started_by(&wanted).send().await;
    let running = answer.map_err(|error| Trouble::from(error).into_failure())?.task_arns.unwrap_or_default();
    if let Some(arn) = running.into_iter().next() {
        return Ok(Some(arn));
    }
    // `startedBy` goes with no other filter, and without one only what shall run is listed.
    let mut token = None;
    for _ in 0..PAGES_MAX {
        let page = ecs
            .list_tasks()
            .set_cluster(cluster.clone())
            .family(family_of(intent.request))
            .desired_status(DesiredStatus::Stopped)
            .set_next_token(token.take())
            .send()
            .await
            .map_err(|error| Trouble::from(error).into_failure())?;
        let arns = page.task_arns.unwrap_or_default();
        if let Some(arn) = started_with(ecs, cluster.as_deref(), &arns, &wanted).await? {
            return Ok(Some(arn));
        }
        token = page.next_token.filter(|token| !token.is_empty());
        if token.is_none() {
            return Ok(None);
        }
    }
    let text = format!(
        "more tasks of `{}` stopped since than are looked at: a person must look for the task with startedBy `{wanted}`",
        family_of(intent.request)
    );
    Err(Failure::new(ErrorClass::Lost, text))
}

async fn started_with(
    ecs: &Client,
    cluster: Option<&str>,
    arns: &[String],
    wanted: &str,
) -> Result<Option<String>, Failure> {
    for arns in arns.chunks(BATCH_MAX) {
        let answer = ecs
            .describe_tasks()
            .set_cluster(cluster.map(str::to_owned))
            .set_tasks(Some(arns.to_vec()))
            .send()
            .await
            .map_err(|error| Trouble::from(error).into_failure())?;
        let mut tasks = answer.tasks.unwrap_or_default().into_iter();
        if let Some(task) = tasks.find(|task| task.started_by.as_deref() == Some(wanted)) {
            return Ok(task.task_arn);
        }
    }
    Ok(None)
}

fn forgotten(intent: &Intent<'_>) -> Failure {
    let text = format!(
        "nobody can tell whether a task of `{}` was started: its start was not confirmed, and ECS forgets a task an hour \
         after its end. Look for what it does, or in CloudTrail for startedBy `{}`",
        family_of(intent.request),
        started_by(&intent.request.token)
    );
    Failure::new(ErrorClass::Lost, text)
}
