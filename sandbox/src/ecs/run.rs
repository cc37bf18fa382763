//! The running of a task: its containers together, until an essential one has ended.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::Ecs;
use super::record::{Definition, State, Task};
use crate::containers::{self, Container, Ended};
use crate::process;

/// How long a task is PENDING, before scaling.
const START_UP: Duration = Duration::from_millis(250);

/// The code of a container that was killed.
const KILLED: i32 = 137;

impl Ecs {
    /// Runs a recorded task in the background.
    pub(super) fn start(self: &Arc<Self>, id: String) {
        let ecs = Arc::clone(self);
        self.background.start(id.clone(), |stop| async move {
            if let Err(error) = ecs.perform(&id, &stop).await {
                tracing::error!(task = id, %error, "a task could not be recorded");
            }
        });
    }

    /// Continues a task that the last process left.
    pub(super) fn resume(self: &Arc<Self>, task: &Task) {
        for container in &task.containers {
            process::end_orphan(&self.work_folder(task, &container.name));
        }
        tracing::info!(task = task.id, "running an interrupted task again");
        self.start(task.id.clone());
    }

    async fn perform(&self, id: &str, stop: &CancellationToken) -> std::io::Result<()> {
        let Some(task) = self.tasks.get(id) else { return Ok(()) };
        let Some(definition) = self.definitions.get(&task.definition) else { return Ok(()) };
        let mut ends: Vec<Option<Ended>> = vec![None; task.containers.len()];
        if !task.desired_stopped {
            tokio::select! {
                () = self.run_containers(&task, &definition, &mut ends) => {}
                () = stop.cancelled() => {}
            }
        }
        // When the sandbox itself ends, the record stays as it is and the task is run again at the next start.
        if self.background.is_closing() {
            return Ok(());
        }
        self.keep_logs(&task, &definition);
        let now = self.world.clock.now();
        self.tasks.change(id, |task| ended(task, &ends, now)).map(drop)
    }

    async fn run_containers(&self, task: &Task, definition: &Definition, ends: &mut [Option<Ended>]) {
        self.world.pause(self.world.scaled(START_UP)).await;
        let Ok(_place) = self.places.acquire().await else { return };
        let now = self.world.clock.now();
        let begun = self.tasks.change(&task.id, |task| {
            // A stop that came meanwhile is not taken back.
            if task.state == State::Pending {
                task.state = State::Running;
                task.started = Some(now);
                task.version += 1;
            }
        });
        if let Err(error) = begun {
            tracing::error!(task = task.id, %error, "a task could not be recorded");
        }
        let mut running = FuturesUnordered::new();
        for (index, about) in definition.containers().iter().enumerate() {
            let script = definition.script.clone().filter(|_| index == 0);
            running.push(async move { (index, self.run_container(task, about, script).await) });
        }
        while let Some((index, end)) = running.next().await {
            ends[index] = Some(end);
            if task.containers[index].essential {
                break;
            }
        }
    }

    async fn run_container(&self, task: &Task, about: &Value, script: Option<process::Script>) -> Ended {
        let name = about.get("name").and_then(Value::as_str).unwrap_or_default();
        if about.get("secrets").and_then(Value::as_array).is_some_and(|secrets| !secrets.is_empty()) {
            let reason = "ResourceInitializationError: unable to pull secrets: the sandbox gives containers no secrets";
            return Ended::NotStarted(reason.to_owned());
        }
        let over = task.request.get("overrides").and_then(|overrides| overrides.get("containerOverrides"));
        let mut over = over.and_then(Value::as_array).into_iter().flatten();
        let over = over.rfind(|over| over.get("name").and_then(Value::as_str) == Some(name));
        let mut environment = containers::environment(about);
        let mut command = containers::texts(about, "command");
        if let Some(over) = over {
            environment.extend(containers::environment(over));
            let given = containers::texts(over, "command");
            if !given.is_empty() {
                command = given;
            }
        }
        let container = Container {
            image: about.get("image").and_then(Value::as_str).unwrap_or_default().to_owned(),
            entry_point: containers::texts(about, "entryPoint"),
            command,
            environment,
            script,
        };
        containers::run(&self.world, &container, &self.work_folder(task, name), &self.log_file(task, name))
            .await
    }

    /// Puts the outputs where the definition's `awslogs` options say; without them nothing is sent, as on AWS.
    fn keep_logs(&self, task: &Task, definition: &Definition) {
        for about in definition.containers() {
            let name = about.get("name").and_then(Value::as_str).unwrap_or_default();
            let configuration = about.get("logConfiguration").filter(|found| found["logDriver"] == "awslogs");
            let Some(options) = configuration.and_then(|found| found.get("options")) else { continue };
            let Some(group) = options.get("awslogs-group").and_then(Value::as_str) else { continue };
            let stream = match options.get("awslogs-stream-prefix").and_then(Value::as_str) {
                Some(prefix) => format!("{prefix}/{name}/{}", task.id),
                None => task.id.clone(),
            };
            let now = self.world.clock.now();
            self.world.logs.append_file(group, &stream, &self.log_file(task, name), 0, now);
        }
    }

    fn work_folder(&self, task: &Task, container: &str) -> PathBuf {
        let name = crate::catalog::file_name(container);
        self.world.root.join("ecs").join("work").join(&task.id).join(name)
    }

    fn log_file(&self, task: &Task, container: &str) -> PathBuf {
        let name = format!("{}.log", crate::catalog::file_name(container));
        self.world.root.join("ecs").join("logs").join(&task.id).join(name)
    }
}

/// What the ends of its containers mean for a task.
fn ended(task: &mut Task, ends: &[Option<Ended>], now: jiff::Timestamp) {
    let was_running = task.started.is_some();
    let mut not_started = None;
    for (container, end) in task.containers.iter_mut().zip(ends) {
        match end {
            Some(Ended::Exited(code)) => container.exit_code = Some(*code),
            Some(Ended::NotStarted(reason)) => {
                container.reason = Some(reason.clone());
                not_started.get_or_insert_with(|| reason.clone());
            }
            None if was_running => container.exit_code = Some(KILLED),
            None => {}
        }
    }
    let (code, reason) = match not_started {
        Some(reason) => ("TaskFailedToStart", reason),
        None => ("EssentialContainerExited", "Essential container in task exited".to_owned()),
    };
    task.stop_code.get_or_insert_with(|| code.to_owned());
    task.stopped_reason.get_or_insert(reason);
    task.desired_stopped = true;
    task.state = State::Stopped;
    task.stopping.get_or_insert(now);
    task.stopped = Some(now);
    task.version += 1;
}
