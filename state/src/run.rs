//! A run as it stands in the memory of its owner: the run, its task runs, their live attempts.
//!
//! Plain data and questions about it. What may happen next is [`crate::machine`]'s business.

use std::{collections::BTreeSet, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::{
    document::Document,
    elements::{Element, Fan},
    ids::{RunId, attempt_id},
    machine::Upcoming,
    pipeline::{Pipeline, PoolUse},
    schedule::Interval,
    words::{AttemptState, RunState, TaskState},
};

/// One version of a pipeline with what is derived from it once.
#[derive(Debug)]
pub struct Definition {
    /// The pipeline.
    pub pipeline: Pipeline,
    /// Its number in the store, from 1.
    pub version: i32,
    /// For each task, the tasks that depend on it.
    pub downstream: Vec<Vec<usize>>,
    /// Places of tasks that a run had under an earlier version; empty where it has had no other.
    pub gone: BTreeSet<usize>,
}

impl Definition {
    /// Derives the downstream lists of a version.
    pub fn new(pipeline: Pipeline, version: i32) -> Self {
        let downstream = pipeline.downstream();
        Self { pipeline, version, downstream, gone: BTreeSet::new() }
    }
}

/// What identifies the store that attempts belong to; part of every attempt's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Installation {
    /// Drawn once when the store was made.
    pub id: Uuid,
    /// Raised by a person who wants fresh starts after a restore to an earlier point in time.
    pub incarnation: i32,
}

/// What made a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// Its schedule fired.
    Schedule,
    /// A person asked for it.
    Manual,
    /// A task of another run asked for it.
    Task,
    /// It is one of a backfill's.
    Backfill,
    /// Objects in S3 made it.
    S3,
    /// The end of a run of another pipeline made it.
    Pipeline,
    /// Updates of datasets made it.
    Dataset,
}

impl Trigger {
    /// The stored word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Manual => "manual",
            Self::Task => "task",
            Self::Backfill => "backfill",
            Self::S3 => "s3",
            Self::Pipeline => "pipeline",
            Self::Dataset => "dataset",
        }
    }

    /// The trigger that this word stands for; words of later versions read as a person's.
    pub fn from_word(word: &str) -> Self {
        match word {
            "schedule" => Self::Schedule,
            "task" => Self::Task,
            "backfill" => Self::Backfill,
            "s3" => Self::S3,
            "pipeline" => Self::Pipeline,
            "dataset" => Self::Dataset,
            _ => Self::Manual,
        }
    }
}

/// A failure as it is stored and shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// The class, a word of `retry_on`: `throttled capacity system failed timeout config
    /// cancelled lost`.
    pub class: String,
    /// The service's code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The service's own words.
    pub message: String,
    /// The service's request id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

impl Failure {
    /// A failure of a class with a text.
    pub fn new(class: &str, message: impl Into<String>) -> Self {
        Self { class: class.to_owned(), code: None, message: message.into(), request_id: None }
    }
}

/// Why an attempt is being stopped; decides how it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// A person or the end of the run.
    Cancel,
    /// `timeout` of the task.
    Timeout,
}

/// One execution of one pipeline version.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// The version that it started with; a deploy never changes a live run.
    pub definition: Arc<Definition>,
    /// The store that it lives in.
    pub installation: Installation,
    /// Unique within the pipeline; see [`crate::schedule::run_key`].
    pub key: String,
    /// Its state.
    pub state: RunState,
    /// 1, and one more for each clear.
    pub generation: u32,
    /// The start of the data interval, else the fire time.
    pub logical_date: Timestamp,
    /// What it covers.
    pub interval: Option<Interval>,
    /// When its schedule fired for it, if it did or will.
    pub fire_at: Option<Timestamp>,
    /// Its parameters, complete and checked.
    pub params: Map<String, Value>,
    /// What made it.
    pub trigger: Trigger,
    /// What its trigger told, by the names that templates read below `trigger`; nothing for most runs.
    pub told: Arc<Map<String, Value>>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it got its place, in this generation.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Why it is being cancelled: who, and in what words.
    pub cancel_reason: Option<String>,
    /// Its task runs: by position in the pipeline, then the elements of mapped tasks.
    pub tasks: Vec<TaskRun>,
    /// How often this owner resumed it. Memory only: it tells turns that were granted before a pause,
    /// and may have been taken back since, from those that answer the newest question.
    pub round: u32,
    /// Task runs that are not terminal; a recount of `tasks`.
    pub(crate) open_tasks: usize,
    /// When which task wants to be looked at again.
    pub(crate) timers: BTreeSet<(Timestamp, usize)>,
}

/// One task in one run.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskRun {
    /// Its state.
    pub state: TaskState,
    /// The generation in which it last was made to run.
    pub generation: u32,
    /// The number of the newest attempt over all generations; never reset, so that no token
    /// is ever used twice.
    pub attempts: u32,
    /// Attempts made in this generation.
    pub tries: u32,
    /// When the next attempt is due, while `retrying`.
    pub retry_at: Option<Timestamp>,
    /// The live attempt.
    pub attempt: Option<Attempt>,
    /// What it left for later tasks.
    pub outputs: Option<Value>,
    /// What a person should know although it succeeded.
    pub warnings: Vec<String>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// When its first attempt of this generation began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Of an element of a mapped task: which one.
    pub element: Option<Box<Element>>,
    /// Of a mapped task: how many elements its list has; none while that is not known.
    pub elements: Option<u32>,
    /// How those stand; nothing for every other task.
    pub fan: Fan,
    /// How its upstreams ended so far.
    pub(crate) upstreams: Upstreams,
    /// The attempt whose turn it is. Memory only: whoever takes the run over asks the store again,
    /// which knows what it granted.
    pub(crate) turn: Option<Upcoming>,
}

/// How many upstreams ended in which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Upstreams {
    /// All of them.
    pub total: u32,
    /// Ended well.
    pub succeeded: u32,
    /// Failed, could not run, or were cancelled.
    pub failed: u32,
    /// Skipped.
    pub skipped: u32,
}

impl Upstreams {
    /// How many ended.
    pub fn done(self) -> u32 {
        self.succeeded + self.failed + self.skipped
    }

    pub(crate) fn count(&mut self, state: TaskState) {
        match state {
            TaskState::Succeeded => self.succeeded += 1,
            TaskState::Failed | TaskState::UpstreamFailed | TaskState::Cancelled => self.failed += 1,
            TaskState::Skipped => self.skipped += 1,
            TaskState::Waiting
            | TaskState::Queued
            | TaskState::Running
            | TaskState::Retrying
            | TaskState::AwaitingApproval => {}
        }
    }
}

/// One try of a task run.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// Its number within the task run, from 1.
    pub number: u32,
    /// The generation that it belongs to.
    pub generation: u32,
    /// Its state.
    pub state: AttemptState,
    /// The exact request; set with the intent, then never changed.
    pub request: Document,
    /// What was remembered of the outside before the intent.
    pub baseline: Document,
    /// When the intent was committed; renewed only when no job can exist.
    pub intent_at: Timestamp,
    /// Known not to have started; the next send is due then.
    pub deferred_until: Option<Timestamp>,
    /// The external job.
    pub handle: Option<Document>,
    /// The external job's id as people see it.
    pub external_id: Option<String>,
    /// Whether the job was found again rather than started by the answer to our call.
    pub reattached: bool,
    /// The service's own word for the job's state, for people; not stored by every poll.
    pub remote_state: Option<String>,
    /// When it has taken too long.
    pub deadline_at: Timestamp,
    /// Why it is being stopped, once it is.
    pub stop: Option<StopReason>,
    /// What is known of the last start that did not succeed, for people.
    pub note: Option<String>,
    /// When the external job was known to run.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// Outputs, warnings and cost.
    pub result: Option<Value>,
    /// When to look for an unconfirmed start again, or to repeat a stop; memory only.
    pub(crate) look_at: Option<Timestamp>,
    /// Whether this owner's call for the present intent has not answered yet: nothing that a
    /// look-up or a person says then proves that no job exists. Memory only, because a later
    /// owner knows of no call and waits for the look-up's quarantine instead.
    pub(crate) sending: bool,
}

impl Run {
    /// A new run, not yet admitted.
    #[expect(clippy::too_many_arguments, reason = "a record's fields, named at the only two calls")]
    pub fn new(
        id: RunId,
        definition: Arc<Definition>,
        installation: Installation,
        key: String,
        logical_date: Timestamp,
        interval: Option<Interval>,
        fire_at: Option<Timestamp>,
        params: Map<String, Value>,
        trigger: Trigger,
        now: Timestamp,
    ) -> Self {
        let tasks = definition.pipeline.tasks.iter().map(|_| TaskRun::new(1)).collect();
        let mut run = Self {
            id,
            definition,
            installation,
            key,
            state: RunState::Queued,
            generation: 1,
            logical_date,
            interval,
            fire_at,
            params,
            trigger,
            told: Arc::default(),
            created_at: now,
            started_at: None,
            ended_at: None,
            cancel_reason: None,
            tasks,
            round: 0,
            open_tasks: 0,
            timers: BTreeSet::new(),
        };
        run.recount();
        run
    }

    /// Derives counters and timers from the tasks; after loading and after a clear.
    pub fn recount(&mut self) {
        let definition = Arc::clone(&self.definition);
        self.open_tasks = self.tasks.iter().filter(|task| !task.state.is_terminal()).count();
        for (position, task) in definition.pipeline.tasks.iter().enumerate() {
            let mut upstreams = Upstreams {
                total: u32::try_from(task.depends_on.len()).unwrap_or(u32::MAX),
                ..Upstreams::default()
            };
            for &upstream in &task.depends_on {
                upstreams.count(self.tasks[upstream].state);
            }
            self.tasks[position].upstreams = upstreams;
        }
        self.recount_elements();
        self.timers =
            (0..self.tasks.len()).filter_map(|task| Some((self.tasks[task].due_at()?, task))).collect();
    }

    /// Forgets what only memory keeps: the run as another replica would load it.
    pub fn forget(&mut self) {
        for attempt in self.tasks.iter_mut().filter_map(|task| task.attempt.as_mut()) {
            attempt.remote_state = None;
            attempt.look_at = None;
            attempt.sending = false;
        }
        self.round = 0;
        for task in &mut self.tasks {
            task.turn = None;
        }
        self.recount();
    }

    /// The name that people use: `daily_cdr_etl@2026-11-19`.
    pub fn label(&self) -> String {
        format!("{}@{}", self.definition.pipeline.name, self.key)
    }

    /// The identity of an attempt of one of its tasks.
    pub fn attempt_id(&self, task: usize, number: u32) -> Uuid {
        attempt_id(
            self.installation.id,
            self.installation.incarnation,
            &self.definition.pipeline.name,
            &self.key,
            &self.task_name(task),
            number,
        )
    }

    /// The next attempt of one of its task runs, if it becomes ready as it stands.
    pub fn upcoming(&self, task: usize) -> Upcoming {
        let entry = &self.tasks[task];
        Upcoming { task, generation: entry.generation, number: entry.attempts + 1 }
    }

    /// What attempts of a task run take of a pool. A mapped task's own list takes nothing, its
    /// elements do.
    pub fn pool_of(&self, task: usize) -> Option<&PoolUse> {
        let definition = self.task(task);
        let is_list = definition.for_each.is_some() && self.tasks[task].element.is_none();
        definition.pool.as_ref().filter(|_| !is_list)
    }

    /// Whether attempts of a task run wait for the run before. Elements do not: their mapped task did.
    pub fn waits_for_past(&self, task: usize) -> bool {
        self.task(task).depends_on_past && self.tasks[task].element.is_none()
    }

    /// Whether attempts of a task run wait for their turn.
    pub fn takes_turns(&self, task: usize) -> bool {
        self.pool_of(task).is_some() || self.waits_for_past(task)
    }

    /// Whether the next attempt of a task run must be granted its turn before it is prepared.
    pub fn lacks_turn(&self, task: usize) -> bool {
        self.takes_turns(task) && self.tasks[task].turn != Some(self.upcoming(task))
    }

    /// When the run wants a [`crate::machine::Event::Tick`] next.
    pub fn wake_at(&self) -> Option<Timestamp> {
        let task = self.timers.first().map(|(at, _)| *at);
        match (task, self.deadline_at()) {
            (Some(task), Some(run)) => Some(task.min(run)),
            (task, run) => task.or(run),
        }
    }

    /// When `run_timeout` strikes; none once the run is ending or ended.
    pub fn deadline_at(&self) -> Option<Timestamp> {
        if !matches!(self.state, RunState::Running | RunState::Paused) {
            return None;
        }
        let limit = self.definition.pipeline.run_timeout?;
        self.started_at?.checked_add(limit).ok()
    }

    /// The live attempt with this number, if it is the live one.
    pub fn live_attempt(&self, task: usize, number: u32) -> Option<&Attempt> {
        self.tasks.get(task)?.attempt.as_ref().filter(|attempt| attempt.number == number)
    }

    /// Task runs that have not ended.
    pub fn open_tasks(&self) -> usize {
        self.open_tasks
    }

    /// One letter per task of the pipeline: the packed state vector that the grid reads.
    pub fn packed_states(&self) -> Vec<u8> {
        self.own_tasks()
            .iter()
            .map(|task| match task.state {
                TaskState::Waiting => b'w',
                TaskState::Queued => b'q',
                TaskState::Running => b'r',
                TaskState::Retrying => b't',
                TaskState::AwaitingApproval => b'a',
                TaskState::Succeeded => b's',
                TaskState::Failed => b'f',
                TaskState::Skipped => b'k',
                TaskState::UpstreamFailed => b'u',
                TaskState::Cancelled => b'c',
            })
            .collect()
    }

    pub(crate) fn set_timer(&mut self, task: usize, before: Option<Timestamp>) {
        let after = self.tasks[task].due_at();
        if before == after {
            return;
        }
        if let Some(at) = before {
            self.timers.remove(&(at, task));
        }
        if let Some(at) = after {
            self.timers.insert((at, task));
        }
    }
}

impl TaskRun {
    /// A task run that waits for its upstreams.
    pub fn new(generation: u32) -> Self {
        Self {
            state: TaskState::Waiting,
            generation,
            attempts: 0,
            tries: 0,
            retry_at: None,
            attempt: None,
            outputs: None,
            warnings: Vec::new(),
            failure: None,
            started_at: None,
            ended_at: None,
            element: None,
            elements: None,
            fan: Fan::default(),
            upstreams: Upstreams::default(),
            turn: None,
        }
    }

    /// When time alone changes something about it.
    pub(crate) fn due_at(&self) -> Option<Timestamp> {
        if self.state == TaskState::Retrying {
            return self.retry_at;
        }
        self.attempt.as_ref().and_then(Attempt::due_at)
    }
}

impl Attempt {
    /// Whether this owner's call for the present intent is under way: a look-up begun now would
    /// see nothing, and prove nothing.
    pub fn is_sending(&self) -> bool {
        self.sending
    }

    /// When time alone changes something about it.
    fn due_at(&self) -> Option<Timestamp> {
        match self.state {
            AttemptState::Running => Some(self.deadline_at),
            AttemptState::Starting if self.deferred_until.is_some() => self.deferred_until,
            AttemptState::Starting | AttemptState::Unknown | AttemptState::Cancelling => self.look_at,
            _ => None,
        }
    }
}
