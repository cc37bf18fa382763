//! The running of a job: its attempts one after the other; and the state of an array job, which follows from its
//! elements.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::Batch;
use super::record::{Attempt, Definition, Job, State};
use crate::containers::{self, Container, Ended};
use crate::process;

/// How long a job waits before it runs, before scaling.
const START_UP: Duration = Duration::from_millis(250);

/// The log group of all jobs that name no other.
const GROUP: &str = "/aws/batch/job";

/// How one attempt ended.
enum Tried {
    Ended(Ended),
    Stopped,
    TimedOut,
}

impl Batch {
    /// Runs a recorded job in the background.
    pub(super) fn start(self: &Arc<Self>, id: String) {
        let batch = Arc::clone(self);
        self.background.start(id.clone(), |stop| async move {
            if let Err(error) = batch.perform(&id, &stop).await {
                tracing::error!(job = id, %error, "a job could not be recorded");
            }
        });
    }

    /// Continues a job that the last process left.
    pub(super) fn resume(self: &Arc<Self>, job: &Job) {
        process::end_orphan(&self.work_folder(job));
        tracing::info!(job = job.id, "running an interrupted job again");
        self.start(job.id.clone());
    }

    async fn perform(&self, id: &str, stop: &CancellationToken) -> std::io::Result<()> {
        self.enter(id, State::Runnable)?;
        tokio::select! {
            () = self.world.pause(self.world.scaled(START_UP)) => {}
            () = stop.cancelled() => {}
        }
        let place = tokio::select! {
            place = self.places.acquire() => place.ok(),
            () = stop.cancelled() => None,
        };
        loop {
            let Some(job) = self.jobs.get(id) else { return Ok(()) };
            let Some(definition) = self.definitions.get(&job.definition) else { return Ok(()) };
            if self.background.is_closing() {
                return Ok(());
            }
            if job.terminated || job.cancelled || place.is_none() {
                return self.end(id, State::Failed, None);
            }
            self.enter(id, State::Running)?;
            let (attempt, done) = self.attempt(&job, &definition, stop).await;
            if self.background.is_closing() {
                return Ok(());
            }
            let last = attempt.status_reason.clone();
            let changed = self.jobs.change(id, |job| job.attempts.push(attempt))?;
            let tries_left = changed.is_some_and(|job| {
                job.attempts.len() < job.attempts_max && !job.terminated && !job.cancelled
            });
            if done {
                return self.end(id, State::Succeeded, Some(last));
            }
            if !tries_left {
                return self.end(id, State::Failed, Some(last));
            }
        }
    }

    fn enter(&self, id: &str, state: State) -> std::io::Result<()> {
        let now = self.world.clock.now();
        let changed = self.jobs.change(id, |job| {
            job.state = state;
            if state == State::Running {
                job.started.get_or_insert(now);
            }
        })?;
        self.follow(changed.as_ref())
    }

    fn end(&self, id: &str, state: State, reason: Option<String>) -> std::io::Result<()> {
        let now = self.world.clock.now();
        let changed = self.jobs.change(id, |job| {
            job.state = state;
            job.stopped = Some(now);
            // The reason that a person gave stays.
            if job.reason.is_none() {
                job.reason = reason;
            }
        })?;
        self.follow(changed.as_ref())
    }

    /// Brings an array job to the state that its elements say.
    fn follow(&self, element: Option<&Job>) -> std::io::Result<()> {
        let Some((parent, _)) = element.and_then(|element| element.element_of.as_ref()) else {
            return Ok(());
        };
        let elements = self.jobs.select(|job| job.element_of.as_ref().is_some_and(|(of, _)| of == parent));
        let now = self.world.clock.now();
        let ended = elements.iter().all(|job| job.state.is_terminal());
        let failed = elements.iter().filter(|job| job.state == State::Failed).count();
        self.jobs.change(parent, |job| {
            if job.state.is_terminal() {
                return;
            }
            if elements.iter().any(|element| element.started.is_some()) {
                job.started.get_or_insert(now);
            }
            job.state = match (ended, failed) {
                (false, _) => State::Pending,
                (true, 0) => State::Succeeded,
                (true, _) => State::Failed,
            };
            if ended {
                job.stopped = Some(now);
                if failed > 0 && job.reason.is_none() {
                    job.reason = Some("Array Child Job failed".to_owned());
                }
            }
        })?;
        Ok(())
    }

    /// One try, and whether it was a good one.
    async fn attempt(&self, job: &Job, definition: &Definition, stop: &CancellationToken) -> (Attempt, bool) {
        let number = job.attempts.len() + 1;
        let (folder, log) = (self.work_folder(job), self.log_file(job, number));
        let container = container_of(job, definition, number);
        let started = self.world.clock.now();
        let limit =
            self.world.scaled(Duration::from_secs(job.timeout_seconds.unwrap_or(u64::from(u32::MAX))));
        let tried = tokio::select! {
            ended = containers::run(&self.world, &container, &folder, &log) => Tried::Ended(ended),
            () = stop.cancelled() => Tried::Stopped,
            () = self.world.pause(limit) => Tried::TimedOut,
        };
        let stopped = self.world.clock.now();
        let task = self.world.new_uuid().simple().to_string();
        let stream = format!("{}/default/{task}", definition.name);
        let (group, stream) = log_place(definition, stream);
        self.world.logs.append_file(&group, &stream, &log, 0, stopped);
        let (exit_code, reason, status_reason) = match tried {
            Tried::Ended(Ended::Exited(code)) => {
                (Some(code), None, "Essential container in task exited".to_owned())
            }
            Tried::Ended(Ended::NotStarted(reason)) => {
                (None, Some(reason.clone()), format!("Task failed to start: {reason}"))
            }
            Tried::Stopped => (Some(137), None, "Task stopped by user".to_owned()),
            Tried::TimedOut => (Some(137), None, "Job attempt duration exceeded timeout".to_owned()),
        };
        let done = exit_code == Some(0);
        (Attempt { started, stopped, exit_code, reason, status_reason, stream }, done)
    }

    fn work_folder(&self, job: &Job) -> PathBuf {
        self.world.root.join("batch").join("work").join(crate::catalog::file_name(&job.id))
    }

    fn log_file(&self, job: &Job, attempt: usize) -> PathBuf {
        let folder = self.world.root.join("batch").join("logs").join(crate::catalog::file_name(&job.id));
        folder.join(format!("attempt-{attempt}.log"))
    }
}

/// Where a definition's outputs go: to AWS's own group, or where its `awslogs` options say.
fn log_place(definition: &Definition, stream: String) -> (String, String) {
    let options = definition.container().get("logConfiguration").and_then(|found| found.get("options"));
    let option = |name: &str| options.and_then(|options| options.get(name)).and_then(Value::as_str);
    let group = option("awslogs-group").unwrap_or(GROUP).to_owned();
    match option("awslogs-stream-prefix") {
        Some(prefix) => {
            let rest = stream.split_once('/').map_or("", |(_, rest)| rest).to_owned();
            (group, format!("{prefix}/{rest}"))
        }
        None => (group, stream),
    }
}

fn container_of(job: &Job, definition: &Definition, attempt: usize) -> Container {
    let about = definition.container();
    let null = Value::Null;
    let over = job.request.get("containerOverrides").unwrap_or(&null);
    let mut environment = containers::environment(about);
    environment.extend(containers::environment(over));
    let queue = job.queue_arn.rsplit('/').next().unwrap_or_default().to_owned();
    environment.extend([
        ("AWS_BATCH_JOB_ID".to_owned(), job.id.clone()),
        ("AWS_BATCH_JOB_ATTEMPT".to_owned(), attempt.to_string()),
        ("AWS_BATCH_JQ_NAME".to_owned(), queue),
    ]);
    if let Some((_, index)) = &job.element_of {
        environment.push(("AWS_BATCH_JOB_ARRAY_INDEX".to_owned(), index.to_string()));
    }
    let mut command = containers::texts(over, "command");
    if command.is_empty() {
        command = containers::texts(about, "command");
    }
    let parameters = parameters_of(job, definition);
    for word in &mut command {
        if let Some(value) = word.strip_prefix("Ref::").and_then(|name| parameters.get(name)) {
            *word = value.clone();
        }
    }
    Container {
        image: about.get("image").and_then(Value::as_str).unwrap_or_default().to_owned(),
        entry_point: Vec::new(),
        command,
        environment,
        script: definition.script.clone(),
    }
}

/// The job's parameters over those of its definition.
fn parameters_of(job: &Job, definition: &Definition) -> BTreeMap<String, String> {
    let of = |value: Option<&Value>| -> BTreeMap<String, String> {
        let members = value.and_then(Value::as_object).into_iter().flatten();
        members.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
    };
    let mut all = of(definition.members.get("parameters"));
    all.extend(of(job.request.get("parameters")));
    all
}
