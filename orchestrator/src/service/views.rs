//! Runs, tasks, attempts and history as JSON: what `--json` prints and scripts read. Names
//! follow the table of words in `docs/ARCHITECTURE.md`; fields are added, never renamed.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use trunkline_state::{
    machine::Transition,
    run::Failure,
    store::{AttemptRow, BackfillDate, BackfillRow, BudgetRow, HistoryRow, LiveReplica, RunRow, TaskRow},
    words::AttemptState,
};
use uuid::Uuid;

use super::snapshot::Snapshot;

/// A run in a list.
#[derive(Clone, Debug, Serialize, JsonSchema)]
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
}

/// A task run.
#[derive(Clone, Debug, Serialize, JsonSchema)]
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item: Option<Value>,
    /// Of a mapped task: how many elements its list has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elements: Option<u32>,
}

/// An attempt.
#[derive(Clone, Debug, Serialize, JsonSchema)]
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
#[derive(Clone, Debug, Serialize, JsonSchema)]
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
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ChangeView {
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

/// A run with all that belongs to it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RunDetail {
    /// The run.
    #[serde(flatten)]
    pub run: RunView,
    /// Its tasks.
    pub tasks: Vec<TaskView>,
    /// Its attempts.
    pub attempt_list: Vec<AttemptView>,
    /// Its history.
    pub history: Vec<HistoryView>,
    /// What became of its notices, where that was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<NoticeView>,
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

/// How [`BudgetRow`] looks as JSON.
#[derive(JsonSchema)]
#[schemars(rename = "Budget")]
#[expect(dead_code, reason = "only its shape is used")]
struct BudgetShape {
    /// Connection and region.
    scope: String,
    /// The API.
    api: String,
    /// Calls per second that all replicas may make together while nobody throttles.
    nominal_per_second: f64,
    /// Calls per second that this replica may make now.
    allowed_per_second: f64,
    /// Calls that it made since it began.
    calls: u64,
    /// Those that the service refused as too many.
    throttles: u64,
    /// How much later than wanted the next call comes.
    stretch_seconds: f64,
}

/// A live replica.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ReplicaView {
    /// Its id.
    pub id: Uuid,
    /// Its machine.
    pub host: String,
    /// Its process.
    pub pid: i32,
    /// `serve` or `command`.
    pub role: String,
    /// When it began.
    pub started_at: Timestamp,
    /// Runs that it owns.
    pub runs: i64,
    /// Its budgets of calls, as of one of its last heartbeats.
    #[schemars(with = "Vec<BudgetShape>")]
    pub budgets: Vec<BudgetRow>,
}

/// A backfill.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct BackfillView {
    /// Its id.
    pub id: Uuid,
    /// Its pipeline.
    pub pipeline: String,
    /// The version that its new runs are of.
    pub version: i32,
    /// Which dates run: `missing`, `failed` or `all`.
    pub reprocess: String,
    /// How many at once.
    pub max_active: u32,
    /// `running`, `cancelled` or `done`.
    pub state: String,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
    /// Why.
    pub reason: Option<String>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Dates in all.
    pub total: i64,
    /// Dates whose run is under way.
    pub running: i64,
    /// Dates that are over.
    pub over: i64,
    /// Its dates, where one backfill is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dates: Option<Vec<BackfillDateView>>,
}

/// One date of a backfill.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct BackfillDateView {
    /// `pipeline@key`.
    pub run: String,
    /// The start of its interval.
    pub logical_date: Timestamp,
    /// `waiting`, `begun`, `ended` or `left`.
    pub state: String,
    /// How its run ended, or why it was left alone.
    pub outcome: Option<String>,
}

impl BackfillView {
    /// A backfill, with its dates if there are some to show.
    pub fn new(row: &BackfillRow, dates: Option<&[BackfillDate]>) -> Self {
        let date = |date: &BackfillDate| BackfillDateView {
            run: format!("{}@{}", row.pipeline, date.key),
            logical_date: date.logical_date,
            state: date.state.clone(),
            outcome: date.outcome.clone(),
        };
        Self {
            id: row.id,
            pipeline: row.pipeline.clone(),
            version: row.version,
            reprocess: row.reprocess.word().to_owned(),
            max_active: row.max_active,
            state: row.state.clone(),
            created_at: row.created_at,
            created_by: row.created_by.clone(),
            reason: row.reason.clone(),
            ended_at: row.ended_at,
            total: row.total,
            running: row.begun,
            over: row.over,
            dates: dates.map(|dates| dates.iter().map(date).collect()),
        }
    }
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
        }
    }
}

impl From<LiveReplica> for ReplicaView {
    fn from(replica: LiveReplica) -> Self {
        let LiveReplica { id, host, pid, role, started_at, runs, budgets } = replica;
        Self { id, host, pid, role, started_at, runs, budgets }
    }
}

impl RunDetail {
    /// All of a snapshot, with its history.
    pub fn new(snapshot: &Snapshot, history: &[HistoryRow]) -> Self {
        Self {
            run: RunView::from(&snapshot.run),
            tasks: snapshot.tasks.iter().map(|row| task_view(snapshot, row)).collect(),
            attempt_list: snapshot.attempts.iter().map(|row| attempt_view(snapshot, row)).collect(),
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
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct NoticeView {
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
        Self { notice, generation: generation.unwrap_or(1), state, tries, error }
    }
}

pub(crate) fn task_view(snapshot: &Snapshot, row: &TaskRow) -> TaskView {
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
        elements: row.elements,
    }
}

pub(crate) fn attempt_view(snapshot: &Snapshot, row: &AttemptRow) -> AttemptView {
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
    let change = |change: &Transition| ChangeView {
        task: change.task.and_then(|position| task_name(snapshot, position)),
        attempt: change.attempt,
        from: change.from.clone(),
        to: change.to.clone(),
        reason: change.reason.clone(),
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
