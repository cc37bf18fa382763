//! Creating runs, owned from their first moment and with their first intents.

use std::collections::HashMap;

use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    Store, StoreError,
    arguments::{AttemptChange, NewRunRow, NewTaskRow, written},
    rows::{at, at_option, position, signed, to_json},
    save::attempt_change,
};
use crate::{
    ids::RunId,
    machine::Delta,
    run::Run,
    words::{RunState, TaskState},
};

/// A run to be created.
#[derive(Debug)]
pub struct NewRun<'a> {
    /// The run, as it stands if it gets its place at once: admitted, and with the intents of
    /// its first tasks. No attempt of it has ended. Or as it was made, `queued`: then it is for
    /// whoever looks for work, and neither placed nor owned.
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
    /// Stored as `queued`, without any intent: whoever goes on with it claims it first.
    Queued,
    /// Its pipeline already has a run of this key, or there is no such pipeline.
    Refused,
}

/// Many runs to be created, ready to be written in one statement.
#[derive(Debug, Default)]
pub struct Births {
    runs: Vec<NewRunRow>,
    tasks: Vec<NewTaskRow>,
    attempts: Vec<AttemptChange>,
}

impl Store {
    /// Creates runs that this replica owns with fence 1, or that nobody owns. Once it returned, each
    /// wanted run
    /// that was not refused exists exactly once, whoever else asked for the same key; a placed
    /// one holds its place and its first intents are committed.
    pub async fn create_runs(&self, births: &Births) -> Result<Vec<Created>, StoreError> {
        let rows = self.retrying(|| self.send_new(births)).await?;
        let placed: HashMap<Uuid, bool> = rows.into_iter().collect();
        Ok(births
            .runs
            .iter()
            .map(|run| match placed.get(&run.run_id) {
                Some(true) => Created::Placed,
                Some(false) => Created::Queued,
                None => Created::Refused,
            })
            .collect())
    }

    async fn send_new(&self, births: &Births) -> Result<Vec<(Uuid, bool)>, sqlx::Error> {
        let sent = async |connection: &mut PgConnection| births.create(connection, self.replica.0).await;
        self.creates.run(&self.link, sent).await
    }

    /// The run that holds a key, if there is one.
    pub async fn run_with_key(&self, pipeline: &str, key: &str) -> Result<Option<RunId>, StoreError> {
        let found =
            sqlx::query_scalar!("select run_id from run where pipeline = $1 and run_key = $2", pipeline, key)
                .fetch_optional(&self.link)
                .await?;
        Ok(found.map(RunId))
    }

    /// Takes a place for a queued run that this replica owns. Once it returned `true`, the
    /// place is held until a commit ends the run, whoever owns it then.
    pub async fn take_place(&self, run: RunId, fence: i64) -> Result<bool, StoreError> {
        let taken = self
            .retrying(|| {
                sqlx::query_file_scalar!("queries/take_place.sql", run.0, fence, self.replica.0)
                    .fetch_optional(&self.link)
            })
            .await?;
        Ok(taken.is_some())
    }
}

impl Births {
    /// Copies one run in.
    pub fn push(&mut self, new: &NewRun<'_>) {
        let ordinal = position(self.runs.len());
        self.runs.push(new_run(new, ordinal));
        self.tasks.extend((0..new.run.tasks.len()).map(|task| new_task(new.run, task)));
        self.attempts.extend(new.delta.attempts.values().map(|change| attempt_change(new.run, change)));
    }

    /// Creates them as part of a transaction. The ids of those that were not refused, and whether each is placed.
    pub(super) async fn create(
        &self,
        tx: &mut PgConnection,
        replica: Uuid,
    ) -> Result<Vec<(Uuid, bool)>, sqlx::Error> {
        let rows = sqlx::query!(
            r#"select created_run as "created_run!", placed as "placed!" from create_runs($1, $2, $3, $4)"#,
            replica,
            &self.runs as _,
            &self.tasks as _,
            &self.attempts as _,
        )
        .fetch_all(tx)
        .await?;
        Ok(rows.into_iter().map(|row| (row.created_run, row.placed)).collect())
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }
}

fn new_run(new: &NewRun<'_>, ordinal: i32) -> NewRunRow {
    let run = new.run;
    let born = json!({"at": run.created_at, "to": "queued"});
    let mut changes = vec![born.clone()];
    changes.extend(new.delta.transitions.iter().map(to_json));
    NewRunRow {
        run_id: run.id.0,
        pipeline: run.definition.pipeline.name.to_string(),
        version: run.definition.version,
        run_key: run.key.clone(),
        logical_date: at(run.logical_date),
        interval_start: at_option(run.interval.map(|interval| interval.start)),
        interval_end: at_option(run.interval.map(|interval| interval.end)),
        fire_at: at_option(run.fire_at),
        params: written(&run.params),
        trigger: run.trigger.word(),
        created_at: at(run.created_at),
        created_by: new.actor.to_owned(),
        placed_states: run.packed_states(),
        waiting_states: vec![b'w'; run.tasks.len()],
        changes: written(&changes),
        changes_if_queued: written(&[born]),
        ordinal,
        left_to_others: run.state == RunState::Queued,
    }
}

fn new_task(run: &Run, task: usize) -> NewTaskRow {
    let entry = &run.tasks[task];
    debug_assert!(!entry.state.is_terminal() && entry.state != TaskState::Retrying);
    NewTaskRow {
        run_id: run.id.0,
        task_position: position(task),
        task: run.task_name(task).into_owned(),
        state: entry.state.word(),
        attempts: signed(entry.attempts),
        started_at: at_option(entry.started_at),
    }
}
