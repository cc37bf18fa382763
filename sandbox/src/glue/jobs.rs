//! Glue jobs: their definitions, their runs, and the running of them.
//!
//! [`Jobs`] keeps the records and decides what may start; [`execute`] does the work of one run. A run that
//! was in progress when the sandbox's process died is run again from its script under the same id.

mod api;
mod bookmarks;
mod execute;
mod program;
mod record;
mod script;
mod shape;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::execute::Outcome;
use self::record::{JobRecord, RunRecord, RunState};
use crate::SandboxError;
use crate::catalog::file_name;
use crate::engine::Engine;
use crate::files::{read_json, replace_json};
use crate::wire::ApiError;
use crate::world::World;

/// How long a run is STARTING, before scaling. Glue takes seconds to minutes; pollers only need to see it.
const START_UP: Duration = Duration::from_millis(250);

/// How long the shutdown waits for running work to notice.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(5);

/// All jobs and their runs.
#[derive(Debug)]
pub(crate) struct Jobs {
    world: Arc<World>,
    engine: Arc<Engine>,
    state: Mutex<State>,
    /// Cancelled when the sandbox stops; runs then end without a record, to be continued at the next start.
    closing: CancellationToken,
    tracker: TaskTracker,
}

#[derive(Debug, Default)]
struct State {
    jobs: BTreeMap<String, JobRecord>,
    /// Runs per job, oldest first.
    runs: HashMap<String, Vec<RunRecord>>,
    /// How to stop a run in progress.
    live: HashMap<String, CancellationToken>,
}

impl State {
    fn run(&self, job: &str, id: &str) -> Option<&RunRecord> {
        self.runs.get(job)?.iter().rev().find(|run| run.id == id)
    }
}

impl Jobs {
    /// Reads the records, and starts again what was running when the last process ended.
    pub(crate) fn open(world: Arc<World>, engine: Arc<Engine>) -> Result<Arc<Self>, SandboxError> {
        let mut state = State::default();
        for path in crate::catalog::entries(&world.root.join("glue").join("jobs"))? {
            if let Some(job) = read_json::<JobRecord>(&path)? {
                state.jobs.insert(job.name.clone(), job);
            }
        }
        let mut interrupted = Vec::new();
        for folder in crate::catalog::entries(&world.root.join("glue").join("job-runs"))? {
            for path in crate::catalog::entries(&folder)? {
                if path.extension().is_none_or(|ending| ending != "json") {
                    continue;
                }
                let Some(run) = read_json::<RunRecord>(&path)? else { continue };
                if !run.state.is_terminal() {
                    interrupted.push((run.job.clone(), run.id.clone()));
                }
                state.runs.entry(run.job.clone()).or_default().push(run);
            }
        }
        for runs in state.runs.values_mut() {
            runs.sort_by(|a, b| (a.started, a.attempt, &a.id).cmp(&(b.started, b.attempt, &b.id)));
        }
        let closing = CancellationToken::new();
        let jobs =
            Arc::new(Self { world, engine, state: Mutex::new(state), closing, tracker: TaskTracker::new() });
        for (job, id) in interrupted {
            jobs.resume(&job, &id)?;
        }
        Ok(jobs)
    }

    /// Ends the runs in progress without recording an end, so that the next start continues them.
    pub(crate) async fn shutdown(&self) {
        self.closing.cancel();
        self.tracker.close();
        if tokio::time::timeout(SHUTDOWN_WAIT, self.tracker.wait()).await.is_err() {
            tracing::warn!("job runs did not end in time");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn job_file(&self, name: &str) -> PathBuf {
        self.world.root.join("glue").join("jobs").join(format!("{}.json", file_name(name)))
    }

    fn run_file(&self, job: &str, id: &str) -> PathBuf {
        self.world
            .root
            .join("glue")
            .join("job-runs")
            .join(file_name(job))
            .join(format!("{}.json", file_name(id)))
    }

    /// Continues a run that the last process left unfinished.
    fn resume(self: &Arc<Self>, job: &str, id: &str) -> Result<(), SandboxError> {
        let root = &self.world.root;
        program::end_orphan(root, id);
        let stopping = self.lock().run(job, id).is_some_and(|run| run.state == RunState::Stopping);
        if stopping {
            let now = self.world.clock.now();
            let stopped = self.change(job, id, |run| run.end(RunState::Stopped, None, now));
            return stopped.map_err(|error| {
                SandboxError::files("write", &self.run_file(job, id), std::io::Error::other(error))
            });
        }
        tracing::info!(job, run = id, "running an interrupted job run again");
        self.spawn(job.to_owned(), id.to_owned());
        Ok(())
    }

    /// Changes a run's record on disk, then in memory.
    fn change(&self, job: &str, id: &str, change: impl FnOnce(&mut RunRecord)) -> Result<(), ApiError> {
        let mut state = self.lock();
        let runs = state.runs.get_mut(job);
        let Some(run) = runs.and_then(|runs| runs.iter_mut().rev().find(|run| run.id == id)) else {
            return Err(ApiError::internal(format!("run {id} of job {job} is gone")));
        };
        let mut changed = run.clone();
        change(&mut changed);
        replace_json(&self.run_file(job, id), &changed).map_err(ApiError::internal)?;
        *run = changed;
        Ok(())
    }

    /// Runs a recorded run in the background.
    fn spawn(self: &Arc<Self>, job: String, id: String) {
        let stop = self.closing.child_token();
        self.lock().live.insert(id.clone(), stop.clone());
        let jobs = Arc::clone(self);
        self.tracker.spawn(async move {
            if let Err(error) = jobs.perform(&job, &id, stop).await {
                tracing::error!(job, run = id, %error, "a job run could not be recorded");
            }
            jobs.lock().live.remove(&id);
        });
    }

    async fn perform(self: &Arc<Self>, job: &str, id: &str, stop: CancellationToken) -> Result<(), ApiError> {
        let Some((definition, run)) = self.definition_and_run(job, id) else { return Ok(()) };
        let begun = run.started;
        tokio::select! {
            () = self.world.pause(self.world.scaled(START_UP)) => {}
            () = stop.cancelled() => {}
        }
        if !stop.is_cancelled() {
            let now = self.world.clock.now();
            self.change(job, id, |run| {
                // A stop that came meanwhile is not taken back.
                if run.state == RunState::Starting {
                    run.state = RunState::Running;
                    run.modified = now;
                }
            })?;
        }
        let limit = self.world.scaled(Duration::from_secs(u64::from(run.timeout_minutes) * 60));
        let written = execute::written(&self.world.root, &run.id);
        let work = execute::execute(&self.world, &self.engine, &definition, &run, &stop);
        let outcome = tokio::select! {
            outcome = work => outcome,
            () = stop.cancelled() => Outcome::Stopped,
            () = self.world.pause(limit) => Outcome::TimedOut,
        };
        // When the sandbox itself ends, the record stays as it is and the run is continued at the next start.
        if self.closing.is_cancelled() {
            return Ok(());
        }
        execute::keep_logs(&self.world, &definition, &run, written);
        self.finish(&definition, job, id, outcome, begun)
    }

    fn definition_and_run(&self, job: &str, id: &str) -> Option<(JobRecord, RunRecord)> {
        let state = self.lock();
        let run = state.run(job, id)?.clone();
        let definition = state.jobs.get(job).cloned()?;
        Some((definition, run))
    }

    fn finish(
        self: &Arc<Self>,
        definition: &JobRecord,
        job: &str,
        id: &str,
        outcome: Outcome,
        begun: Timestamp,
    ) -> Result<(), ApiError> {
        let now = self.world.clock.now();
        let (state, message) = match outcome {
            Outcome::Succeeded => (RunState::Succeeded, None),
            Outcome::Failed(message) => (RunState::Failed, Some(message)),
            Outcome::Stopped => (RunState::Stopped, None),
            Outcome::TimedOut => (RunState::Timeout, Some("Job run exceeded its timeout".to_owned())),
        };
        tracing::debug!(job, run = id, state = state.name(), since = %begun, "a job run ended");
        self.change(job, id, |run| run.end(state, message, now))?;
        if state == RunState::Failed {
            self.retry(definition, job, id, now)?;
        }
        Ok(())
    }

    /// Glue's own retry: another run with the same arguments.
    fn retry(
        self: &Arc<Self>,
        definition: &JobRecord,
        job: &str,
        id: &str,
        now: Timestamp,
    ) -> Result<(), ApiError> {
        let next = {
            let mut state = self.lock();
            let Some(failed) = state.run(job, id).cloned() else { return Ok(()) };
            if failed.attempt >= definition.retries_max() {
                return Ok(());
            }
            let next = failed.next_attempt(now);
            replace_json(&self.run_file(job, &next.id), &next).map_err(ApiError::internal)?;
            state.runs.entry(job.to_owned()).or_default().push(next.clone());
            next
        };
        self.spawn(job.to_owned(), next.id);
        Ok(())
    }
}
