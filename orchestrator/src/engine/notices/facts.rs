//! What the store knows about a run that a notice is about, and the mail that is made of it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use serde_json::{Value, json};
use trunkline_state::{
    ids::RunId,
    machine::{AttemptKey, NoticeOutcome},
    pipeline::Notice,
    run::Run,
    store::{AttemptRow, RunRow, StoreError, TaskRow},
    words::{AttemptState, TaskState},
};
use trunkline_tasks::{Registry, notice::Target};

use super::{
    Shared, convert,
    links::{self, SignedLink},
    prepare::{self, Means},
    target_of,
};
use crate::message::{
    ExternalState, FailedTask, FailureDetail, FailureKind, LastSuccess, Link, Mail, NextFire, Origin,
    OutputValue, RunCost, RunReport, SuccessDetail, failure_mail, recovery_mail, retry_mail, run_page,
    subject_line, success_mail,
};

/// What the link to a service's own page is called.
const LOGS: &str = "Logs";

/// Runs over which a usual duration is taken.
pub(super) const USUAL_SAMPLE: i64 = 10;

/// What the store knows about a run that ended.
pub(in crate::engine) struct Facts {
    pub(super) run: Run,
    pub(super) row: RunRow,
    tasks: Vec<TaskRow>,
    attempts: Vec<AttemptRow>,
    usual: HashMap<String, Duration>,
    last_success: Option<String>,
    next: NextFire,
    pub(super) links: Vec<Link>,
}

/// What makes the next run of a pipeline that does not fire.
fn without_schedule(run: &Run) -> NextFire {
    if run.definition.pipeline.triggers.is_empty() { NextFire::ByHand } else { NextFire::OnEvent }
}

impl Facts {
    pub(super) async fn gather(shared: &Arc<Shared>, id: RunId) -> Result<Self, StoreError> {
        let row = shared.store.run(id).await?;
        let run = shared.store.read_run(id).await?;
        let tasks = shared.store.task_runs(id).await?;
        let attempts = shared.store.attempts(id).await?;
        let usual = shared.store.usual_durations(&row.pipeline, USUAL_SAMPLE).await?.into_iter().collect();
        let last_success = shared.store.last_success(&row.pipeline).await?.map(|success| success.key);
        let next = shared.store.pipelines().await?.into_iter().find(|known| known.name == row.pipeline);
        let next = match next {
            Some(known) if known.paused => NextFire::Paused,
            Some(known) => known.next_fire_at.map_or_else(|| without_schedule(&run), NextFire::At),
            None => NextFire::Unknown,
        };
        let mut links = consoles(shared, &run, &attempts).await;
        let page = shared.pages.as_ref().map(|pages| format!("{pages}{}", run_page(&run.label())));
        links.extend(page.map(|url| Link { label: "Page".to_owned(), url }));
        Ok(Self { run, row, tasks, attempts, usual, last_success, next, links })
    }

    /// The facts of a rehearsal, which has no store: nothing is known of earlier runs.
    pub(in crate::engine) fn rehearsed(
        run: Run,
        row: RunRow,
        tasks: Vec<TaskRow>,
        attempts: Vec<AttemptRow>,
        next: NextFire,
    ) -> Self {
        Self { run, row, tasks, attempts, usual: HashMap::new(), last_success: None, next, links: Vec::new() }
    }

    /// Where one notice goes and its mail: the pipeline's own words where it has some.
    pub(in crate::engine) fn mail(
        &self,
        shared: &impl Means,
        notice: &Notice,
        outcome: NoticeOutcome,
        about: Option<AttemptKey>,
        signed: &[SignedLink],
    ) -> Result<(Target, Mail), String> {
        let report = self.report();
        let mut mail = match (outcome, about) {
            (NoticeOutcome::Failure, _) => failure_mail(&report, &self.failure_detail(shared.registry())),
            (NoticeOutcome::Retry, Some(key)) => self.retry(shared, &report, key)?,
            (NoticeOutcome::Recovery, _) => recovery_mail(&report, &self.success_detail()),
            _ => success_mail(&report, &self.success_detail()),
        };
        let templates = shared.templates(&self.run.definition);
        let mut cx = prepare::render_context(&self.run, None);
        cx.error = match (outcome, about) {
            (NoticeOutcome::Failure, _) => Some(self.error(self.failed_tasks().next())),
            (NoticeOutcome::Retry, Some(key)) => Some(self.error(self.tasks.get(key.task))),
            _ => None,
        };
        let console = self.links.iter().find(|link| link.label == LOGS);
        let console = console.map(|link| link.url.as_str()).unwrap_or_default();
        let zone = prepare::zone_of(&self.run.definition.pipeline);
        cx.links = Some(links::values(console, &zone, signed));
        let render = |text: &String| templates.render_text(text, &cx).map_err(|error| error.to_string());
        // Words of the pipeline's own that cannot be rendered for this run must not keep people
        // from hearing of it: they get the standard words, and what is wrong with theirs.
        match notice.subject.as_ref().map(render).transpose() {
            Ok(subject) => mail.subject = subject.map_or(mail.subject, |subject| subject_line(&subject)),
            Err(error) => write_below(&mut mail.body, "subject", &error),
        }
        match notice.message.as_ref().map(render).transpose() {
            Ok(Some(message)) => mail.body = message,
            Ok(None) => mail.body.push_str(&links::lines(&zone, signed)),
            Err(error) => write_below(&mut mail.body, "message", &error),
        }
        Ok((target_of(notice, &render)?, mail))
    }

    fn report(&self) -> RunReport {
        let pipeline = &self.run.definition.pipeline;
        let by = &self.row.created_by;
        let asked =
            ["user:", "account:", "trigger:", "pipeline:"].iter().find_map(|kind| by.strip_prefix(kind));
        let asked = asked.unwrap_or_default().to_owned();
        RunReport {
            environment: pipeline.environment.clone(),
            pipeline: pipeline.name.to_string(),
            label: self.run.key.clone(),
            zone: prepare::zone_of(pipeline),
            interval: self.run.interval,
            origin: match (self.row.trigger.as_str(), self.run.fire_at) {
                ("schedule", Some(fire)) => Origin::Schedule { fire },
                _ => Origin::Person { name: asked, at: self.row.created_at },
            },
            ended_at: self.row.ended_at.unwrap_or(self.row.created_at),
            usual: self.usual.get("").copied(),
            cost: Some(self.cost()),
            next: self.next,
            links: self.links.clone(),
            owner: pipeline.owner.clone(),
        }
    }

    fn cost(&self) -> RunCost {
        let costs = self
            .attempts
            .iter()
            .filter(|attempt| attempt.generation == self.row.generation)
            .filter_map(|attempt| attempt.result.as_ref()?.get("cost"));
        let mut total = RunCost::default();
        for cost in costs {
            if let Some(seconds) = cost.get("dpu_seconds").and_then(Value::as_f64) {
                *total.dpu_seconds.get_or_insert(0.0) += seconds;
            }
            for (name, sum) in
                [("vcpu_hours", &mut total.vcpu_hours), ("memory_gb_hours", &mut total.memory_gb_hours)]
            {
                if let Some(hours) = cost.get(name).and_then(Value::as_f64) {
                    *sum.get_or_insert(0.0) += hours;
                }
            }
            if let Some(bytes) = cost.get("bytes_scanned").and_then(Value::as_u64) {
                *total.bytes_scanned.get_or_insert(0) += bytes;
            }
        }
        total
    }

    fn failed_tasks(&self) -> impl Iterator<Item = &TaskRow> {
        self.tasks.iter().filter(|task| task.state == "failed" && self.says_why(task.position))
    }

    /// Whether a task's own failure is news: of a mapped task that of its elements is, and those of a
    /// task that tolerates them are not.
    fn says_why(&self, position: usize) -> bool {
        let run = &self.run;
        match run.tasks.get(position).map(|entry| &entry.element) {
            Some(Some(element)) => {
                run.is_present(position) && run.tasks[element.of].state == TaskState::Failed
            }
            Some(None) => run.tasks[position].fan.failed == 0,
            None => false,
        }
    }

    fn last_attempt(&self, task: &TaskRow) -> Option<&AttemptRow> {
        self.attempts
            .iter()
            .filter(|attempt| attempt.position == task.position)
            .max_by_key(|attempt| attempt.number)
    }

    fn failure_detail(&self, registry: &Registry) -> FailureDetail {
        FailureDetail {
            failed: self.failed_tasks().map(|task| self.failed_task(registry, task)).collect(),
            reason: self.row.cancel_reason.clone().unwrap_or_else(|| "the run failed".to_owned()),
            not_run: self
                .tasks
                .iter()
                .filter(|task| task.element.is_none())
                .filter(|task| {
                    task.state == "upstream_failed" || (task.state == "cancelled" && task.attempts == 0)
                })
                .map(|task| task.task.clone())
                .collect(),
            last_success: self.last_success.clone().map_or(LastSuccess::Never, LastSuccess::Run),
            external: self.external(),
        }
    }

    fn failed_task(&self, registry: &Registry, task: &TaskRow) -> FailedTask {
        let definition = self.run.task(task.position);
        let last = self.last_attempt(task);
        let kind = match last.and_then(|attempt| AttemptState::from_word(&attempt.state)) {
            Some(AttemptState::TimedOut) => FailureKind::TimedOut(definition.timeout),
            Some(AttemptState::Cancelled) => FailureKind::Cancelled,
            Some(AttemptState::Lost) => FailureKind::Lost,
            _ => FailureKind::Failed,
        };
        FailedTask {
            name: task.task.clone(),
            label: label(registry, &definition.operator, last),
            kind,
            attempt: task.tries,
            attempts: definition.retry.retries + 1,
            error: task.failure.as_ref().map(|failure| failure.message.clone()).unwrap_or_default(),
            place: last.and_then(|attempt| attempt.external_id.clone()).into_iter().collect(),
        }
    }

    fn external(&self) -> ExternalState {
        let named = |attempt: &AttemptRow| {
            let task = &self.tasks[attempt.position.min(self.tasks.len().saturating_sub(1))].task;
            match &attempt.external_id {
                Some(id) => format!("{task} ({id})"),
                None => task.clone(),
            }
        };
        let with = |state: AttemptState| -> Vec<String> {
            self.attempts.iter().filter(|attempt| attempt.state == state.word()).map(named).collect()
        };
        let (lost, running) = (with(AttemptState::Lost), with(AttemptState::Running));
        if !lost.is_empty() {
            ExternalState::Unknown(lost)
        } else if !running.is_empty() {
            ExternalState::Running(running)
        } else if self.attempts.iter().all(|attempt| attempt.external_id.is_none()) {
            ExternalState::NothingStarted
        } else {
            ExternalState::AllEnded
        }
    }

    fn success_detail(&self) -> SuccessDetail {
        let outputs = self.tasks.iter().filter(|task| task.element.is_none()).flat_map(|task| {
            let values = task.outputs.as_ref().and_then(Value::as_object);
            values.into_iter().flatten().map(|(name, value)| OutputValue {
                task: task.task.clone(),
                name: name.clone(),
                value: value.as_str().map_or_else(|| value.to_string(), str::to_owned),
            })
        });
        let began = self.row.started_at.unwrap_or(self.row.created_at);
        let ended = self.row.ended_at.unwrap_or(began);
        SuccessDetail {
            duration: Duration::try_from(ended.duration_since(began)).unwrap_or_default(),
            outputs: outputs.collect(),
            warnings: self.tasks.iter().flat_map(|task| task.warnings.iter().cloned()).collect(),
        }
    }

    /// The mail about a try that failed.
    fn retry(&self, shared: &impl Means, report: &RunReport, key: AttemptKey) -> Result<Mail, String> {
        let gone = || "the task that was tried again is not there any more".to_owned();
        let task = self.tasks.get(key.task).ok_or_else(gone)?;
        let tried = self
            .attempts
            .iter()
            .find(|attempt| (attempt.position, attempt.number) == (key.task, key.number))
            .ok_or_else(gone)?;
        let failed = FailedTask {
            attempt: tried.number.saturating_sub(task.attempts.saturating_sub(task.tries)),
            error: tried.failure.as_ref().map(|failure| failure.message.clone()).unwrap_or_default(),
            ..self.failed_task(shared.registry(), task)
        };
        Ok(retry_mail(report, &failed, task.retry_at))
    }

    /// `error.…` of a notice's own template.
    fn error(&self, first: Option<&TaskRow>) -> Value {
        let failure = first.and_then(|task| task.failure.as_ref());
        json!({
            "task": first.map(|task| task.task.as_str()).unwrap_or_default(),
            "message": failure.map_or_else(|| self.row.cancel_reason.clone().unwrap_or_default(), |failure| failure.message.clone()),
            "class": failure.map(|failure| failure.class.as_str()).unwrap_or_default(),
            "code": failure.and_then(|failure| failure.code.as_deref()).unwrap_or_default(),
            "attempt": first.map_or(0, |task| task.tries),
        })
    }
}

fn write_below(body: &mut String, part: &str, error: &str) {
    body.push_str(&format!("\nThe notice's own {part} could not be rendered: {error}\n"));
}

/// What a task runs, in people's words: `Glue job cdrDailyETL`.
fn label(registry: &Registry, operator: &str, last: Option<&AttemptRow>) -> String {
    last.and_then(|attempt| Some(registry.get(operator)?.label(&convert::request(&attempt.request)?)))
        .unwrap_or_else(|| operator.to_owned())
}

/// Console pages of what failed last, for those services that have one.
async fn consoles(shared: &Arc<Shared>, run: &Run, attempts: &[AttemptRow]) -> Vec<Link> {
    let clients = shared.clients(&run.definition);
    let mut links = Vec::new();
    for attempt in attempts.iter().rev().filter(|attempt| attempt.failure.is_some()) {
        let Some(handle) = attempt.handle.as_ref().and_then(convert::handle) else { continue };
        let Some(operator) = shared.registry.get(&attempt.operator) else { continue };
        let region = clients.region_of(&handle.connection).await.unwrap_or_default();
        // A local sandbox has no console.
        if clients.has_endpoint(&handle.connection) {
            continue;
        }
        if let Some(url) = operator.console_url(&region, &handle) {
            links.push(Link { label: LOGS.to_owned(), url });
            break;
        }
    }
    links
}
