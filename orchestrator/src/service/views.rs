//! Runs, tasks, attempts and history as JSON: what `--json` prints and scripts read. Names
//! follow the table of words in `docs/ARCHITECTURE.md`; fields are added, never renamed.

use std::time::Duration;

use jiff::{Timestamp, tz::TimeZone};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use trunkline_state::{
    machine::Transition,
    run::Failure,
    store::{AttemptRow, HistoryRow, RunRow, TaskRow},
    words::{AttemptState, RunState},
};
use trunkline_tasks::Registry;
use uuid::Uuid;

mod audit;
mod backfills;
mod deployments;
mod diagnostics;
mod graph;
mod people;
mod pipelines;
mod pools;
mod replicas;
mod source;
mod triggers;

pub use self::{
    audit::AuditView,
    backfills::{BackfillDateView, BackfillView},
    deployments::{DeploymentView, VersionChange},
    diagnostics::DiagnosticView,
    graph::GraphTask,
    people::{AccountView, TokenView},
    pipelines::{PipelineDetail, PipelineView, RecentRunView, VersionDetail, VersionView},
    pools::{PoolView, TurnView},
    replicas::ReplicaView,
    source::TaskSourceView,
    triggers::{PoisonView, QueueView, TriggeredView, TriggersView, WaitingEventView},
};
use super::{
    console::console_url,
    elements::standing,
    snapshot::{Snapshot, between},
};

/// A run in a list.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RunView {
    /// Its id.
    pub id: String,
    /// `pipeline@key`.
    pub run: String,
    /// Its pipeline.
    pub pipeline: String,
    /// Its key.
    pub run_key: String,
    /// The version that it runs.
    pub version: i32,
    /// Its state.
    pub state: String,
    /// Its generation.
    pub generation: u32,
    /// The start of its interval, or its fire time.
    pub logical_date: Timestamp,
    /// The start of what it covers.
    pub data_interval_start: Option<Timestamp>,
    /// The end of what it covers.
    pub data_interval_end: Option<Timestamp>,
    /// When its schedule fires for it.
    pub fire_at: Option<Timestamp>,
    /// Its parameters.
    pub params: Value,
    /// What made it.
    pub trigger: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
    /// When it got its place, in this generation.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// The replica that owns it, while it lives.
    pub owner: Option<Uuid>,
    /// How many task runs it has, and how many of them succeeded and failed.
    #[serde(default)]
    pub task_counts: TaskCounts,
    /// Its pipeline's zone; in lists, a run alone says it in any case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
}

/// Task runs of a run, elements of mapped tasks among them.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct TaskCounts {
    /// All of them.
    pub total: usize,
    /// Those that succeeded.
    pub succeeded: usize,
    /// Those that failed.
    pub failed: usize,
}

/// A task run.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TaskView {
    /// Its name.
    pub task: String,
    /// Its type.
    #[serde(rename = "type")]
    pub operator: String,
    /// Its state.
    pub state: String,
    /// The generation in which it last was made to run.
    pub generation: u32,
    /// Attempts over all generations.
    pub attempts: u32,
    /// Attempts in this generation.
    pub tries: u32,
    /// When the next try is due.
    pub retry_at: Option<Timestamp>,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// The newest attempt's external job.
    pub external_id: Option<String>,
    /// What it left.
    pub outputs: Option<Value>,
    /// What it warned of.
    pub warnings: Vec<String>,
    /// Why it failed.
    #[schemars(with = "Option<FailureShape>")]
    pub failure: Option<Failure>,
    /// Of an element of a mapped task: what it stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<Value>,
    /// Of an element: the mapped task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub element_of: Option<String>,
    /// Of a mapped task: how many elements its list has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elements: Option<u32>,
    /// Of a mapped task: what became of them so far, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standing: Option<String>,
}

/// An attempt.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct AttemptView {
    /// Its task.
    pub task: String,
    /// Its number.
    pub number: u32,
    /// Its identity, part of its token at the service.
    pub attempt_id: Uuid,
    /// Its generation.
    pub generation: u32,
    /// Its state.
    pub state: String,
    /// The state in words, where the word alone would puzzle.
    pub meaning: String,
    /// The exact request.
    pub request: Value,
    /// When the intent was committed.
    pub intent_at: Timestamp,
    /// Known not to have started; sent again then.
    pub deferred_until: Option<Timestamp>,
    /// The external job's id.
    pub external_id: Option<String>,
    /// The service's own page about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub console_url: Option<String>,
    /// Whether the job was found again rather than started by the answer.
    pub reattached: bool,
    /// When it has taken too long.
    pub deadline_at: Timestamp,
    /// What is known of its start.
    pub note: Option<String>,
    /// When the job was known to run.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Why it failed.
    #[schemars(with = "Option<FailureShape>")]
    pub failure: Option<Failure>,
    /// Outputs, warnings, cost.
    pub result: Option<Value>,
}

/// One commit of a run's history.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct HistoryView {
    /// Its number.
    pub seq: i32,
    /// When.
    pub at: Timestamp,
    /// Who made it happen.
    pub actor: String,
    /// What changed.
    pub changes: Vec<ChangeView>,
}

/// One change.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ChangeView {
    /// When it was decided.
    pub at: Timestamp,
    /// The task; none for the run itself.
    pub task: Option<String>,
    /// The attempt's number; none for the task run itself.
    pub attempt: Option<u32>,
    /// The state before.
    pub from: Option<String>,
    /// The state after.
    pub to: String,
    /// Why.
    pub reason: Option<String>,
}

/// A run with its tasks.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RunWithTasks {
    /// The run.
    #[serde(flatten)]
    pub run: RunView,
    /// What it covers, in words.
    pub covers: String,
    /// Its pipeline's zone.
    pub timezone: String,
    /// How long runs of its pipeline usually take, in seconds, if that is known.
    pub usual_seconds: Option<f64>,
    /// What its trigger told, by the names that templates read below `trigger`; of runs that events made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<Value>,
    /// Its tasks, upstream before downstream; behind them the elements of mapped ones.
    pub tasks: Vec<TaskView>,
}

/// A run with all that belongs to it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunDetail {
    /// The run and its tasks.
    #[serde(flatten)]
    pub run: RunWithTasks,
    /// Its attempts.
    pub attempt_list: Vec<AttemptView>,
    /// Its history.
    pub history: Vec<HistoryView>,
    /// What became of its notices, where that was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<NoticeView>,
}

/// Why a run or a task is not further.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct WhyView {
    /// `pipeline@key`.
    pub run: String,
    /// The task that was asked about.
    pub task: Option<String>,
    /// The sentence.
    pub why: String,
}

/// What an attempt printed.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct LogView {
    /// `pipeline@key`.
    pub run: String,
    /// The task.
    pub task: String,
    /// The attempt's number.
    pub attempt: u32,
    /// Its state.
    pub state: String,
    /// The output, from where it was asked for.
    pub text: String,
    /// Where the next piece begins: asked again with it, only what is new is answered.
    pub next: u32,
    /// Whether the attempt has ended and all of its output was answered.
    pub complete: bool,
}

/// How [`Failure`] looks as JSON: `state` knows no schemas.
#[derive(JsonSchema)]
#[schemars(rename = "Failure")]
#[expect(dead_code, reason = "only its shape is used")]
struct FailureShape {
    /// The class: `throttled capacity system failed timeout config cancelled lost`.
    class: String,
    /// The service's code.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    /// The service's own words.
    message: String,
    /// The service's request id.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
}

impl From<&RunRow> for RunView {
    fn from(row: &RunRow) -> Self {
        Self {
            id: row.id.to_string(),
            run: format!("{}@{}", row.pipeline, row.key),
            pipeline: row.pipeline.clone(),
            run_key: row.key.clone(),
            version: row.version,
            state: row.state.clone(),
            generation: row.generation,
            logical_date: row.logical_date,
            data_interval_start: row.interval_start,
            data_interval_end: row.interval_end,
            fire_at: row.fire_at,
            params: row.params.clone(),
            trigger: row.trigger.clone(),
            created_at: row.created_at,
            created_by: row.created_by.clone(),
            started_at: row.started_at,
            ended_at: row.ended_at,
            owner: row.owner.filter(|_| row.owner_lives),
            task_counts: TaskCounts::of(&row.task_states),
            timezone: None,
        }
    }
}

impl TaskCounts {
    /// Of one letter for each task run.
    #[expect(clippy::naive_bytecount, reason = "one byte for each task of one run")]
    fn of(states: &[u8]) -> Self {
        let count = |letter: u8| states.iter().filter(|state| **state == letter).count();
        Self { total: states.len(), succeeded: count(b's'), failed: count(b'f') }
    }
}

impl RunWithTasks {
    /// The run of a snapshot and its tasks.
    pub fn new(snapshot: &Snapshot) -> Self {
        let model = snapshot.as_run();
        let task = |row: &TaskRow| TaskView {
            standing: standing(&model, row.position),
            element_of: row.element.as_ref().and_then(|element| task_name(snapshot, element.of)),
            ..task_view(snapshot, row)
        };
        Self {
            run: RunView::from(&snapshot.run),
            covers: snapshot.covers(),
            timezone: snapshot.definition.pipeline.timezone.clone(),
            usual_seconds: snapshot.usual.get("").map(Duration::as_secs_f64),
            told: snapshot.told.clone(),
            // Without elements that a shorter list has left behind.
            tasks: snapshot.tasks.iter().filter(|row| model.is_present(row.position)).map(task).collect(),
        }
    }

    /// `pipeline@key`.
    pub fn label(&self) -> &str {
        &self.run.run
    }

    /// Its state, where this program knows the word.
    pub fn state(&self) -> Option<RunState> {
        RunState::from_word(&self.run.state)
    }

    /// The pipeline's zone; UTC where this machine does not know it.
    pub fn zone(&self) -> TimeZone {
        TimeZone::get(&self.timezone).unwrap_or(TimeZone::UTC)
    }

    /// Its tasks without elements of mapped ones.
    pub fn own_tasks(&self) -> impl Iterator<Item = &TaskView> {
        self.tasks.iter().filter(|task| task.element_of.is_none())
    }

    /// The elements of one of its mapped tasks.
    pub fn elements(&self, task: &str) -> impl Iterator<Item = &TaskView> {
        self.tasks.iter().filter(move |element| element.element_of.as_deref() == Some(task))
    }
}

impl RunView {
    /// Its pipeline's zone; UTC where it is not said, or not known on this machine.
    pub fn zone(&self) -> TimeZone {
        self.timezone.as_deref().and_then(|name| TimeZone::get(name).ok()).unwrap_or(TimeZone::UTC)
    }

    /// How long the run has taken in this generation, so far.
    pub fn elapsed(&self, now: Timestamp) -> Option<Duration> {
        between(self.started_at, self.ended_at.unwrap_or(now))
    }
}

impl ChangeView {
    /// A change, with the name of its task.
    pub fn new(change: &Transition, task: Option<String>) -> Self {
        Self {
            at: change.at,
            task,
            attempt: change.attempt,
            from: change.from.clone(),
            to: change.to.clone(),
            reason: change.reason.clone(),
        }
    }
}

impl TaskView {
    /// How long the task has taken in this generation, so far.
    pub fn elapsed(&self, now: Timestamp) -> Option<Duration> {
        between(self.started_at, self.ended_at.unwrap_or(now))
    }
}

impl RunDetail {
    /// All of a snapshot, with its history.
    pub fn new(snapshot: &Snapshot, history: &[HistoryRow], registry: &Registry) -> Self {
        Self {
            run: RunWithTasks::new(snapshot),
            attempt_list: snapshot.attempts.iter().map(|row| attempt_view(snapshot, row, registry)).collect(),
            history: history.iter().map(|row| history_view(snapshot, row)).collect(),
            notices: Vec::new(),
        }
    }

    /// The same with what became of the run's notices.
    #[must_use]
    pub fn with_notices(self, notices: Vec<NoticeView>) -> Self {
        Self { notices, ..self }
    }
}

/// What became of a notice about a run.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct NoticeView {
    /// Which one it is, as its mail says too.
    #[serde(default)]
    pub id: String,
    /// Its list and its place there: `failure 1`.
    pub notice: String,
    /// The generation of the run that it is about.
    pub generation: u32,
    /// `pending`, `sending`, `sent`, or `dead`: given up.
    pub state: String,
    /// How often it was tried.
    pub tries: i32,
    /// Why it did not arrive the last time.
    pub error: Option<String>,
}

impl NoticeView {
    /// From a row of the outbox: its key is `<run>:g<generation>:<list>:<index>…`.
    pub fn new((key, state, tries, error): (String, String, i32, Option<String>)) -> Self {
        let mut parts = key.split(':').skip(1);
        let generation = parts.next().and_then(|part| part.strip_prefix('g')?.parse().ok());
        let (list, index) =
            (parts.next().unwrap_or_default(), parts.next().and_then(|part| part.parse::<u32>().ok()));
        let notice = format!("{list} {}", index.unwrap_or_default() + 1);
        Self { notice, generation: generation.unwrap_or(1), state, tries, error, id: key }
    }
}

fn task_view(snapshot: &Snapshot, row: &TaskRow) -> TaskView {
    let task = snapshot.task_of(row);
    let external_id = snapshot.newest_attempt(row.position).and_then(|attempt| attempt.external_id.clone());
    TaskView {
        task: row.task.clone(),
        operator: task.map(|task| task.operator.clone()).unwrap_or_default(),
        state: row.state.clone(),
        generation: row.generation,
        attempts: row.attempts,
        tries: row.tries,
        retry_at: row.retry_at,
        started_at: row.started_at,
        ended_at: row.ended_at,
        external_id,
        outputs: row.outputs.clone(),
        warnings: row.warnings.clone(),
        failure: row.failure.clone(),
        item: row.element.as_ref().map(|element| element.item.clone()),
        element_of: None,
        elements: row.elements,
        standing: None,
    }
}

pub(crate) fn attempt_view(snapshot: &Snapshot, row: &AttemptRow, registry: &Registry) -> AttemptView {
    let meaning = match AttemptState::from_word(&row.state) {
        Some(state) => state.meaning(),
        None => row.state.as_str(),
    };
    AttemptView {
        task: task_name(snapshot, row.position).unwrap_or_default(),
        number: row.number,
        attempt_id: row.attempt_id,
        generation: row.generation,
        state: row.state.clone(),
        meaning: meaning.to_owned(),
        request: row.request.read().unwrap_or_default(),
        intent_at: row.intent_at,
        deferred_until: row.deferred_until,
        external_id: row.external_id.clone(),
        console_url: console_url(registry, &snapshot.definition.pipeline, row),
        reattached: row.reattached,
        deadline_at: row.deadline_at,
        note: row.note.clone(),
        started_at: row.started_at,
        ended_at: row.ended_at,
        failure: row.failure.clone(),
        result: row.result.clone(),
    }
}

pub(crate) fn history_view(snapshot: &Snapshot, row: &HistoryRow) -> HistoryView {
    let change = |change: &Transition| {
        ChangeView::new(change, change.task.and_then(|position| task_name(snapshot, position)))
    };
    HistoryView {
        seq: row.seq,
        at: row.at,
        actor: row.actor.clone(),
        changes: row.changes.iter().map(change).collect(),
    }
}

fn task_name(snapshot: &Snapshot, position: usize) -> Option<String> {
    snapshot.tasks.get(position).map(|row| row.task.clone())
}
