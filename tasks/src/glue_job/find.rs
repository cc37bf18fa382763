//! Re-attachment: is there a run of this intent?

use std::{collections::HashMap, time::Duration};

use aws_sdk_glue::types::JobRun;
use serde_json::Value;

use super::{CLOCKS_APART, MARKER, PAGE, handle, in_window, job_of};
use crate::{
    aws::{ask_again, earlier, error::Trouble, later, next_look, scaled, timestamp},
    clients::{Clients, Purpose},
    operator::{ErrorClass, Failure, Found, Intent},
};

/// Pages that one look reads at most: 5,000 runs of one job in half an hour are more than Glue
/// starts in a region.
const PAGES_MAX: usize = 25;

/// What the runs of the time in question say.
enum Seen {
    /// A run that carries the attempt's marker.
    Marked(String),
    /// Runs that may be ours and carry nothing that tells.
    Alike(Vec<String>),
    /// There were more runs than are looked at.
    TooMany,
}

pub(super) async fn find(clients: &Clients, intent: &Intent<'_>, quarantine: Duration) -> Found {
    let seen = match look(clients, intent, quarantine).await {
        Ok(seen) => seen,
        Err(failure) if failure.code.as_deref() == Some("EntityNotFoundException") => Seen::Alike(Vec::new()),
        Err(failure) => return ask_again(intent, quarantine, &failure),
    };
    let marked = intent.request.body["StartJobRun"]["Arguments"].get(MARKER).is_some();
    match (seen, next_look(intent, quarantine)) {
        (Seen::Marked(id), _) => Found::Found(handle(intent.request, id)),
        // With `marker: off`, exactly one run that looks like ours is taken for ours.
        (Seen::Alike(ids), _) if !marked && ids.len() == 1 => {
            ids.into_iter().next().map_or(Found::ProvedAbsent, |id| Found::Found(handle(intent.request, id)))
        }
        (Seen::Alike(_), Some(again_at)) => Found::NotYetKnown {
            again_at,
            reason: format!(
                "no run of `{}` carries this attempt yet; until {} AWS may still accept the start",
                job_of(intent.request),
                later(intent.intent_at, quarantine),
            ),
        },
        (Seen::Alike(ids), None) if ids.is_empty() => Found::ProvedAbsent,
        (Seen::Alike(ids), None) => Found::Lost(undecided(&ids)),
        (Seen::TooMany, Some(again_at)) => {
            Found::NotYetKnown { again_at, reason: "more runs than one look can read".to_owned() }
        }
        (Seen::TooMany, None) => Found::Lost(Failure::new(
            ErrorClass::Lost,
            format!(
                "`{}` was started too often since: a person must look for the run",
                job_of(intent.request)
            ),
        )),
    }
}

async fn look(clients: &Clients, intent: &Intent<'_>, quarantine: Duration) -> Result<Seen, Failure> {
    let glue = clients.glue(&intent.request.connection, Purpose::Read).await?;
    let wanted = &intent.request.body["StartJobRun"]["Arguments"];
    let horizon = earlier(intent.intent_at, scaled(CLOCKS_APART * 8, quarantine));
    let mut marked: Vec<JobRun> = Vec::new();
    let mut alike = Vec::new();
    let mut token = None;
    for _ in 0..PAGES_MAX {
        let page = glue
            .get_job_runs()
            .job_name(job_of(intent.request))
            .max_results(PAGE)
            .set_next_token(token.take())
            .send()
            .await
            .map_err(|error| Trouble::from(error).into_failure())?;
        let runs = page.job_runs.unwrap_or_default();
        let past =
            runs.last().and_then(|run| timestamp(run.started_on.as_ref())).is_some_and(|at| at < horizon);
        for run in runs {
            let inside = in_window(timestamp(run.started_on.as_ref()), intent.intent_at, quarantine);
            match resemblance(run.arguments.as_ref(), wanted) {
                Resemblance::Marked => marked.push(run),
                Resemblance::Alike if inside => alike.extend(run.id),
                _ => {}
            }
        }
        token = page.next_token.filter(|token| !token.is_empty());
        if past || token.is_none() {
            return Ok(first_of(marked).map_or(Seen::Alike(alike), Seen::Marked));
        }
    }
    Ok(first_of(marked).map_or(Seen::TooMany, Seen::Marked))
}

enum Resemblance {
    Marked,
    Alike,
    Foreign,
}

/// Compares a run's arguments with those of the request. Runs whose arguments Glue does not
/// tell (seen with some job types) may be anybody's.
fn resemblance(arguments: Option<&HashMap<String, String>>, wanted: &Value) -> Resemblance {
    let marker = wanted.get(MARKER).and_then(Value::as_str);
    match (arguments, marker) {
        (None, _) => Resemblance::Alike,
        (Some(arguments), _) if arguments.is_empty() => Resemblance::Alike,
        (Some(arguments), Some(marker)) => match arguments.get(MARKER) {
            Some(found) if found == marker => Resemblance::Marked,
            _ => Resemblance::Foreign,
        },
        (Some(arguments), None) => {
            let same = wanted.as_object().is_none_or(|wanted| {
                wanted.iter().all(|(name, value)| arguments.get(name).map(String::as_str) == value.as_str())
            });
            if same && !arguments.contains_key(MARKER) { Resemblance::Alike } else { Resemblance::Foreign }
        }
    }
}

/// Glue's own retries carry the marker too; the first of a chain is the one that we started.
fn first_of(mut marked: Vec<JobRun>) -> Option<String> {
    marked.sort_by_key(|run| (run.attempt, timestamp(run.started_on.as_ref())));
    marked.into_iter().find_map(|run| run.id)
}

fn undecided(ids: &[String]) -> Failure {
    let shown = ids.iter().take(5).map(String::as_str).collect::<Vec<_>>().join(", ");
    Failure::new(
        ErrorClass::Lost,
        format!(
            "{} runs began at the time of this start and tell nothing about who started them ({shown}): \
             a person must decide which one is ours",
            ids.len()
        ),
    )
}
