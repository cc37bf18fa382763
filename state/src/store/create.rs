//! Creating runs, owned from their first moment and with their first intents.

use std::collections::HashMap;

use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    Store, StoreError,
    rows::{at, at_option, position, signed, to_json},
};
use crate::{ids::RunId, machine::Delta, run::Run, words::TaskState};

/// A run to be created.
#[derive(Debug)]
pub struct NewRun<'a> {
    /// The run, as it stands if it gets its place at once: admitted, and with the intents of
    /// its first tasks. No attempt of it has ended.
    pub run: &'a Run,
    /// What was decided on the way there.
    pub delta: &'a Delta,
    /// Who asked for it.
    pub actor: &'a str,
}

/// What became of a wanted run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// Stored as it stands in memory.
    Placed,
    /// Stored as `queued`, without any intent: load it again before going on.
    Queued,
    /// Its pipeline already has a run of this key, or there is no such pipeline.
    Refused,
}

/// Many runs to be created, ready to be written in one statement.
#[derive(Default)]
pub struct Births {
    runs: Runs,
    tasks: Tasks,
    intents: Intents,
}

#[derive(Default)]
struct Runs {
    run_id: Vec<Uuid>,
    pipeline: Vec<String>,
    version: Vec<i32>,
    run_key: Vec<String>,
    logical_date: Vec<jiff_sqlx::Timestamp>,
    interval_start: Vec<Option<jiff_sqlx::Timestamp>>,
    interval_end: Vec<Option<jiff_sqlx::Timestamp>>,
    fire_at: Vec<Option<jiff_sqlx::Timestamp>>,
    params: Vec<Value>,
    trigger: Vec<&'static str>,
    created_at: Vec<jiff_sqlx::Timestamp>,
    created_by: Vec<String>,
    placed_states: Vec<Vec<u8>>,
    waiting_states: Vec<Vec<u8>>,
    changes: Vec<Value>,
    changes_if_queued: Vec<Value>,
}

#[derive(Default)]
struct Tasks {
    run_id: Vec<Uuid>,
    position: Vec<i32>,
    task: Vec<String>,
    state: Vec<&'static str>,
    attempts: Vec<i32>,
    started_at: Vec<Option<jiff_sqlx::Timestamp>>,
}

#[derive(Default)]
struct Intents {
    run_id: Vec<Uuid>,
    position: Vec<i32>,
    number: Vec<i32>,
    attempt_id: Vec<Uuid>,
    operator: Vec<String>,
    request: Vec<Value>,
    baseline: Vec<Value>,
    intent_at: Vec<jiff_sqlx::Timestamp>,
    deadline_at: Vec<jiff_sqlx::Timestamp>,
}

impl Store {
    /// Creates runs that this replica owns with fence 1. Once it returned, each wanted run
    /// that was not refused exists exactly once, whoever else asked for the same key; a placed
    /// one holds its place and its first intents are committed.
    pub async fn create_runs(&self, births: &Births) -> Result<Vec<Created>, StoreError> {
        let rows = self.retrying(|| self.send_new(births)).await?;
        let placed: HashMap<Uuid, bool> = rows.into_iter().collect();
        Ok(births
            .runs
            .run_id
            .iter()
            .map(|id| match placed.get(id) {
                Some(true) => Created::Placed,
                Some(false) => Created::Queued,
                None => Created::Refused,
            })
            .collect())
    }

    async fn send_new(&self, births: &Births) -> Result<Vec<(Uuid, bool)>, sqlx::Error> {
        let Births { runs, tasks, intents } = births;
        let rows = sqlx::query_file!(
            "queries/create.sql",
            self.replica.0,
            &runs.run_id,
            &runs.pipeline,
            &runs.version,
            &runs.run_key,
            &runs.logical_date as _,
            &runs.interval_start as _,
            &runs.interval_end as _,
            &runs.fire_at as _,
            &runs.params,
            &runs.trigger as _,
            &runs.created_at as _,
            &runs.created_by,
            &runs.placed_states,
            &runs.waiting_states,
            &tasks.run_id,
            &tasks.position,
            &tasks.task,
            &tasks.state as _,
            &tasks.attempts,
            &tasks.started_at as _,
            &intents.run_id,
            &intents.position,
            &intents.number,
            &intents.attempt_id,
            &intents.operator,
            &intents.request,
            &intents.baseline,
            &intents.intent_at as _,
            &intents.deadline_at as _,
            &runs.run_id,
            &runs.created_at as _,
            &runs.created_by,
            &runs.changes,
            &runs.changes_if_queued,
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|row| (row.run_id, row.placed)).collect())
    }

    /// The run that holds a key, if there is one.
    pub async fn run_with_key(&self, pipeline: &str, key: &str) -> Result<Option<RunId>, StoreError> {
        let found =
            sqlx::query_scalar!("select run_id from run where pipeline = $1 and run_key = $2", pipeline, key)
                .fetch_optional(&self.pool)
                .await?;
        Ok(found.map(RunId))
    }

    /// Takes a place for a queued run that this replica owns. Once it returned `true`, the
    /// place is held until a commit ends the run, whoever owns it then.
    pub async fn take_place(&self, run: RunId, fence: i64) -> Result<bool, StoreError> {
        let taken = self
            .retrying(|| {
                sqlx::query_file_scalar!("queries/take_place.sql", run.0, fence, self.replica.0)
                    .fetch_optional(&self.pool)
            })
            .await?;
        Ok(taken.is_some())
    }
}

impl Births {
    /// Copies one run in.
    pub fn push(&mut self, new: &NewRun<'_>) {
        self.runs.push(new);
        self.tasks.push(new.run);
        self.intents.push(new);
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.runs.run_id.is_empty()
    }
}

impl Runs {
    fn push(&mut self, new: &NewRun<'_>) {
        let run = new.run;
        self.run_id.push(run.id.0);
        self.pipeline.push(run.definition.pipeline.name.to_string());
        self.version.push(run.definition.version);
        self.run_key.push(run.key.clone());
        self.logical_date.push(at(run.logical_date));
        self.interval_start.push(at_option(run.interval.map(|interval| interval.start)));
        self.interval_end.push(at_option(run.interval.map(|interval| interval.end)));
        self.fire_at.push(at_option(run.fire_at));
        self.params.push(Value::Object(run.params.clone()));
        self.trigger.push(run.trigger.word());
        self.created_at.push(at(run.created_at));
        self.created_by.push(new.actor.to_owned());
        self.placed_states.push(run.packed_states());
        self.waiting_states.push(vec![b'w'; run.tasks.len()]);
        let born = json!({"at": run.created_at, "to": "queued"});
        let mut changes = vec![born.clone()];
        changes.extend(new.delta.transitions.iter().map(to_json));
        self.changes.push(Value::Array(changes));
        self.changes_if_queued.push(json!([born]));
    }
}

impl Tasks {
    fn push(&mut self, run: &Run) {
        for (task, entry) in run.tasks.iter().enumerate() {
            debug_assert!(!entry.state.is_terminal() && entry.state != TaskState::Retrying);
            self.run_id.push(run.id.0);
            self.position.push(position(task));
            self.task.push(run.definition.pipeline.tasks[task].name.to_string());
            self.state.push(entry.state.word());
            self.attempts.push(signed(entry.attempts));
            self.started_at.push(at_option(entry.started_at));
        }
    }
}

impl Intents {
    fn push(&mut self, new: &NewRun<'_>) {
        for change in &new.delta.attempts {
            let attempt = &change.attempt;
            self.run_id.push(new.run.id.0);
            self.position.push(position(change.task));
            self.number.push(signed(attempt.number));
            self.attempt_id.push(new.run.attempt_id(change.task, attempt.number));
            self.operator.push(new.run.definition.pipeline.tasks[change.task].operator.clone());
            self.request.push((*attempt.request).clone());
            self.baseline.push((*attempt.baseline).clone());
            self.intent_at.push(at(attempt.intent_at));
            self.deadline_at.push(at(attempt.deadline_at));
        }
    }
}
