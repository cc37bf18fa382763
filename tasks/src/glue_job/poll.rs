//! The state of runs: asked for together, with Glue's own retries followed.

use std::{collections::HashMap, time::Duration};

use aws_sdk_glue::{Client, types::JobRun};

use super::{Detail, PAGE, job_named, report};
use crate::{
    aws::{
        error::Trouble,
        later,
        log_lines::{self, LogPlace},
        timestamp,
    },
    clients::{Clients, Purpose},
    clock::Clock,
    operator::{Cost, ErrorClass, Failure, Handle, Outcome, Status},
};

/// Pages of `GetJobRuns` that one poll reads; runs further back are asked for one by one.
const PAGES_MAX: usize = 2;

/// How long after a failure Glue may take to begin its own retry.
const RETRY_LAG: Duration = Duration::from_secs(120);

/// Longest chain of Glue's own retries that is followed; Glue allows 10.
const CHAIN_MAX: usize = 16;

/// The log group of runs that name none.
const LOG_GROUP: &str = "/aws-glue/jobs";

/// What Glue puts between the id of a run and the number of its own retry.
const RETRY_MARK: &str = "_attempt_";

/// States in which a run stays for ever. Every other word, known or not, is on the way.
const ENDED: [&str; 6] = ["SUCCEEDED", "FAILED", "STOPPED", "TIMEOUT", "ERROR", "EXPIRED"];

/// The runs of one job that are known so far.
#[derive(Default)]
struct Runs {
    by_id: HashMap<String, JobRun>,
    /// From a run to the one that Glue started in its place.
    next: HashMap<String, String>,
}

pub(super) async fn poll(clients: &Clients, handles: &[Handle], clock: &Clock) -> Vec<Status> {
    let Some(first) = handles.first() else { return Vec::new() };
    let glue = match clients.glue(&first.connection, Purpose::Read).await {
        Ok(glue) => glue,
        Err(failure) => return handles.iter().map(|_| Status::Unavailable(failure.clone())).collect(),
    };
    let job = job_named(first);
    let mut runs = Runs::default();
    if handles.len() > 1
        && let Err(trouble) = runs.read_recent(glue, &job, handles).await
    {
        return handles.iter().map(|_| trouble.clone().into_status()).collect();
    }
    let (mut statuses, mut places) = (Vec::with_capacity(handles.len()), Vec::with_capacity(handles.len()));
    for handle in handles {
        statuses.push(match status_of(clients, glue, &job, handle, &mut runs, clock).await {
            Ok(status) => status,
            Err(trouble) => trouble.into_status(),
        });
        places.push(runs.last_of(&handle.id).and_then(place_of));
    }
    log_lines::add(clients, &first.connection, &mut statuses, &places).await;
    statuses
}

/// Where the driver of a run writes its errors.
fn place_of(run: &JobRun) -> Option<LogPlace> {
    let group = run.log_group_name.as_deref().filter(|group| !group.is_empty()).unwrap_or(LOG_GROUP);
    Some(LogPlace::new(format!("{group}/error"), run.id.as_deref()?))
}

async fn status_of(
    clients: &Clients,
    glue: &Client,
    job: &str,
    handle: &Handle,
    runs: &mut Runs,
    clock: &Clock,
) -> Result<Status, Trouble> {
    if !runs.by_id.contains_key(&handle.id) {
        runs.read_one(glue, job, &handle.id).await?;
    }
    let mut last = runs.last_of(&handle.id);
    if last.is_some_and(|run| may_be_repeated(state_of(run))) {
        // Only a failure is worth the look for Glue's own retry.
        runs.read_recent(glue, job, &[]).await?;
        last = runs.last_of(&handle.id);
    }
    let Some(run) = last else {
        let text = format!("glue gave an answer without the run `{}`", handle.id);
        return Ok(Status::Unavailable(Failure::new(ErrorClass::System, text)));
    };
    if may_be_repeated(state_of(run)) && is_about_to_be_repeated(glue, job, run, clock).await? {
        return Ok(Status::Running {
            remote_state: format!("{} (Glue repeats it)", state_of(run)),
            poll_at: None,
        });
    }
    Ok(read_state(clients, handle, run).await)
}

/// Stops the newest run of the chain; what has ended already is left as it is.
pub(super) async fn cancel(clients: &Clients, handle: &Handle) -> Result<(), Failure> {
    let glue = clients.glue(&handle.connection, Purpose::Read).await?;
    let job = job_named(handle);
    let mut runs = Runs::default();
    runs.read_recent(glue, &job, &[]).await.map_err(Trouble::into_failure)?;
    let id = runs.last_of(&handle.id).and_then(|run| run.id.clone()).unwrap_or_else(|| handle.id.clone());
    let answer = glue
        .batch_stop_job_run()
        .job_name(&job)
        .job_run_ids(&id)
        .send()
        .await
        .map_err(|error| Trouble::from(error).into_failure())?;
    // One run's refusal comes inside of a good answer.
    for detail in answer.errors.unwrap_or_default().into_iter().filter_map(|error| error.error_detail) {
        let code = detail.error_code.unwrap_or_default();
        let ended = code.contains("State") || code == "EntityNotFoundException";
        if !ended {
            let text = detail.error_message.unwrap_or_else(|| "glue refused to stop the run".to_owned());
            return Err(Failure::new(ErrorClass::System, text).with_code(code));
        }
    }
    Ok(())
}

impl Runs {
    /// Reads the newest runs, until each of these is among them.
    async fn read_recent(&mut self, glue: &Client, job: &str, wanted: &[Handle]) -> Result<(), Trouble> {
        let mut token = None;
        for _ in 0..PAGES_MAX {
            let page = glue
                .get_job_runs()
                .job_name(job)
                .max_results(PAGE)
                .set_next_token(token.take())
                .send()
                .await?;
            page.job_runs.unwrap_or_default().into_iter().for_each(|run| self.insert(run));
            token = page.next_token.filter(|token| !token.is_empty());
            if token.is_none() || wanted.iter().all(|handle| self.by_id.contains_key(&handle.id)) {
                break;
            }
        }
        Ok(())
    }

    async fn read_one(&mut self, glue: &Client, job: &str, id: &str) -> Result<(), Trouble> {
        let answer = glue.get_job_run().job_name(job).run_id(id).send().await?;
        if let Some(run) = answer.job_run {
            self.insert(run);
        }
        Ok(())
    }

    fn insert(&mut self, run: JobRun) {
        let Some(id) = run.id.clone() else { return };
        if let Some(previous) = previous_of(&run, &id) {
            self.next.insert(previous, id.clone());
        }
        self.by_id.insert(id, run);
    }

    /// The run that stands for this one now: itself, or the last of Glue's own retries.
    fn last_of(&self, id: &str) -> Option<&JobRun> {
        let mut id = id;
        for _ in 0..CHAIN_MAX {
            match self.next.get(id) {
                Some(next) => id = next,
                None => break,
            }
        }
        self.by_id.get(id)
    }
}

/// The run that Glue repeats with this one: what it says itself, or what the id says. The first retry of `jr_1` is
/// `jr_1_attempt_1`, the second `jr_1_attempt_2`.
fn previous_of(run: &JobRun, id: &str) -> Option<String> {
    if let Some(previous) = run.previous_run_id.clone().filter(|previous| !previous.is_empty()) {
        return Some(previous);
    }
    let (base, number) = id.rsplit_once(RETRY_MARK)?;
    match number.parse::<u32>().ok()? {
        0 => None,
        1 => Some(base.to_owned()),
        number => Some(format!("{base}{RETRY_MARK}{}", number - 1)),
    }
}

fn state_of(run: &JobRun) -> &str {
    run.job_run_state.as_ref().map_or("", |state| state.as_str())
}

/// Whether Glue starts another run by itself after this state.
fn may_be_repeated(state: &str) -> bool {
    matches!(state, "FAILED" | "TIMEOUT" | "ERROR")
}

/// Whether the job still has retries of Glue's own, and the last one was not too long ago.
async fn is_about_to_be_repeated(
    glue: &Client,
    job: &str,
    run: &JobRun,
    clock: &Clock,
) -> Result<bool, Trouble> {
    let recent = timestamp(run.completed_on.as_ref()).is_some_and(|end| clock.now() < later(end, RETRY_LAG));
    if !recent {
        return Ok(false);
    }
    match glue.get_job().job_name(job).send().await.map_err(Trouble::from) {
        Ok(answer) => Ok(answer.job.is_some_and(|job| job.max_retries > run.attempt)),
        Err(trouble) if trouble.is_throttled() => Err(trouble),
        // Without permission to see the job, its retries are unknown; most jobs have none.
        Err(_) => Ok(false),
    }
}

async fn read_state(clients: &Clients, handle: &Handle, run: &JobRun) -> Status {
    let state = state_of(run);
    if !ENDED.contains(&state) {
        return Status::Running { remote_state: state.to_owned(), poll_at: None };
    }
    let cost = Cost { dpu_seconds: dpu_seconds(run), ..Cost::default() };
    let failure = |class: ErrorClass| {
        let text = run.error_message.clone().filter(|text| !text.trim().is_empty());
        let text = text.unwrap_or_else(|| format!("Glue says {state} and nothing more; the run's log may"));
        Failure { cost, ..Failure::new(class, text).with_code(state) }
    };
    match state {
        "SUCCEEDED" => succeeded(clients, handle, run, cost).await,
        "STOPPED" => Status::Cancelled(failure(ErrorClass::Cancelled)),
        "TIMEOUT" => Status::Failed(failure(ErrorClass::Timeout)),
        "FAILED" => Status::Failed(failure(ErrorClass::Failed)),
        // ERROR and EXPIRED: Glue itself could not run the job, or not in time.
        _ => Status::Failed(failure(ErrorClass::System)),
    }
}

async fn succeeded(clients: &Clients, handle: &Handle, run: &JobRun, cost: Cost) -> Status {
    let mut outcome = Outcome { cost, ..Outcome::default() };
    let id = run.id.clone().unwrap_or_else(|| handle.id.clone());
    outcome.outputs.insert("job_run_id".into(), id.into());
    outcome.outputs.insert("execution_seconds".into(), run.execution_time.into());
    if let Some(seconds) = cost.dpu_seconds {
        outcome.outputs.insert("dpu_seconds".into(), seconds.into());
    }
    let detail = serde_json::from_value::<Detail>(handle.detail.clone()).ok();
    if let Some(address) = detail.and_then(|detail| detail.report) {
        let since = timestamp(run.started_on.as_ref());
        if let Err(failure) = report::merge_into(&mut outcome, clients, handle, &address, since).await {
            return Status::Unavailable(failure);
        }
    }
    Status::Succeeded(outcome)
}

/// What Glue bills: its own figure where it gives one, else capacity times time.
fn dpu_seconds(run: &JobRun) -> Option<f64> {
    run.dpu_seconds.or_else(|| run.max_capacity.map(|capacity| capacity * f64::from(run.execution_time)))
}
