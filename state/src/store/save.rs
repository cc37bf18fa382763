//! The guarded write of what [`crate::machine::step`] decided.

use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    Store, StoreError,
    rows::{at, at_option, position, signed, stop_word, to_json},
};
use crate::{
    ids::RunId,
    machine::{Delta, legal::IllegalTransition},
    run::Run,
};

/// One run's part of a group commit.
#[derive(Debug)]
pub struct Commit<'a> {
    /// The run as it stands after the decision.
    pub run: &'a Run,
    /// The fence under which it is owned.
    pub fence: i64,
    /// What was decided.
    pub delta: &'a Delta,
    /// Who made it happen, for the history.
    pub actor: &'a str,
    /// Letters of the inbox that this commit carries out, and so answers.
    pub letters: &'a [i64],
}

/// The columns of a batch, one vector each, as `unnest` takes them.
#[derive(Default)]
struct Runs {
    run_id: Vec<Uuid>,
    fence: Vec<i64>,
    state: Vec<&'static str>,
    generation: Vec<i32>,
    started_at: Vec<Option<jiff_sqlx::Timestamp>>,
    ended_at: Vec<Option<jiff_sqlx::Timestamp>>,
    cancel_reason: Vec<Option<String>>,
    task_states: Vec<Vec<u8>>,
}

#[derive(Default)]
struct Tasks {
    run_id: Vec<Uuid>,
    position: Vec<i32>,
    state: Vec<&'static str>,
    generation: Vec<i32>,
    attempts: Vec<i32>,
    tries: Vec<i32>,
    retry_at: Vec<Option<jiff_sqlx::Timestamp>>,
    outputs: Vec<Option<Value>>,
    warnings: Vec<Option<Value>>,
    failure: Vec<Option<Value>>,
    started_at: Vec<Option<jiff_sqlx::Timestamp>>,
    ended_at: Vec<Option<jiff_sqlx::Timestamp>>,
}

#[derive(Default)]
struct Attempts {
    run_id: Vec<Uuid>,
    position: Vec<i32>,
    number: Vec<i32>,
    new: Vec<bool>,
    attempt_id: Vec<Uuid>,
    generation: Vec<i32>,
    state: Vec<&'static str>,
    operator: Vec<String>,
    request: Vec<Value>,
    baseline: Vec<Value>,
    intent_at: Vec<jiff_sqlx::Timestamp>,
    deferred_until: Vec<Option<jiff_sqlx::Timestamp>>,
    handle: Vec<Option<Value>>,
    external_id: Vec<Option<String>>,
    reattached: Vec<bool>,
    deadline_at: Vec<jiff_sqlx::Timestamp>,
    stop_reason: Vec<Option<&'static str>>,
    note: Vec<Option<String>>,
    started_at: Vec<Option<jiff_sqlx::Timestamp>>,
    ended_at: Vec<Option<jiff_sqlx::Timestamp>>,
    failure: Vec<Option<Value>>,
    result: Vec<Option<Value>>,
}

#[derive(Default)]
struct History {
    run_id: Vec<Uuid>,
    at: Vec<jiff_sqlx::Timestamp>,
    actor: Vec<String>,
    changes: Vec<Value>,
}

#[derive(Default)]
struct Notices {
    dedupe_key: Vec<String>,
    run_id: Vec<Uuid>,
    payload: Vec<Value>,
}

/// Many runs' decisions, ready to be written in one statement: rows are copied out of the runs,
/// so that their owner can go on deciding while the write is under way.
#[derive(Default)]
pub struct Batch {
    runs: Runs,
    tasks: Tasks,
    attempts: Attempts,
    history: History,
    notices: Notices,
    letter: Vec<i64>,
    letter_run: Vec<Uuid>,
}

impl Store {
    /// Writes what was decided for many runs, all or none of each. Once it returned, the runs
    /// in the answer are stored as they stand in memory; every other run is not owned by this
    /// replica under that fence any more, nothing of it was written, and it must be dropped.
    ///
    /// # Errors
    ///
    /// `Unreachable`: the outcome is unknown; drop all runs and load them again. `Broken`:
    /// nothing was written.
    pub async fn save(&self, batch: &Batch) -> Result<Vec<RunId>, StoreError> {
        let saved = self.retrying(|| self.send_batch(batch)).await?;
        Ok(saved.into_iter().map(RunId).collect())
    }

    async fn send_batch(&self, batch: &Batch) -> Result<Vec<Uuid>, sqlx::Error> {
        let Batch { runs, tasks, attempts, history, notices, letter, letter_run } = batch;
        sqlx::query_file_scalar!(
            "queries/save.sql",
            self.replica.0,
            &runs.run_id,
            &runs.fence,
            &runs.state as _,
            &runs.generation,
            &runs.started_at as _,
            &runs.ended_at as _,
            &runs.cancel_reason as _,
            &runs.task_states,
            &tasks.run_id,
            &tasks.position,
            &tasks.state as _,
            &tasks.generation,
            &tasks.attempts,
            &tasks.tries,
            &tasks.retry_at as _,
            &tasks.outputs as _,
            &tasks.warnings as _,
            &tasks.failure as _,
            &tasks.started_at as _,
            &tasks.ended_at as _,
            &attempts.run_id,
            &attempts.position,
            &attempts.number,
            &attempts.new,
            &attempts.attempt_id,
            &attempts.generation,
            &attempts.state as _,
            &attempts.operator,
            &attempts.request,
            &attempts.baseline,
            &attempts.intent_at as _,
            &attempts.deferred_until as _,
            &attempts.handle as _,
            &attempts.external_id as _,
            &attempts.reattached,
            &attempts.deadline_at as _,
            &attempts.stop_reason as _,
            &attempts.note as _,
            &attempts.started_at as _,
            &attempts.ended_at as _,
            &attempts.failure as _,
            &attempts.result as _,
            &history.run_id,
            &history.at as _,
            &history.actor,
            &history.changes,
            &notices.dedupe_key,
            &notices.run_id,
            &notices.payload,
            letter,
            letter_run,
        )
        .fetch_all(&self.pool)
        .await
    }
}

impl Batch {
    /// Copies one run's part in.
    ///
    /// # Errors
    ///
    /// The delta holds a change that the table of legal transitions does not know: nothing of
    /// it is taken in.
    pub fn push(&mut self, commit: &Commit<'_>) -> Result<(), IllegalTransition> {
        let Commit { run, delta, .. } = commit;
        if let Some(illegal) = &delta.illegal {
            return Err(illegal.clone());
        }
        self.push_run(commit);
        for &task in &delta.tasks {
            self.push_task(run, task);
        }
        for change in &delta.attempts {
            self.push_attempt(run, change);
        }
        if let Some(last) = delta.transitions.last() {
            self.history.run_id.push(run.id.0);
            self.history.at.push(at(last.at));
            self.history.actor.push(commit.actor.to_owned());
            self.history.changes.push(to_json(&delta.transitions));
        }
        for notice in &delta.notices {
            let (outcome, index) = (notice.outcome.word(), notice.index);
            self.notices.dedupe_key.push(format!("{}:g{}:{outcome}:{index}", run.id, run.generation));
            self.notices.run_id.push(run.id.0);
            self.notices.payload.push(json!({
                "generation": run.generation, "outcome": outcome, "index": index,
            }));
        }
        self.letter.extend(commit.letters);
        self.letter_run.extend(commit.letters.iter().map(|_| run.id.0));
        Ok(())
    }

    /// How many runs are in it.
    pub fn len(&self) -> usize {
        self.runs.run_id.len()
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.runs.run_id.is_empty()
    }

    /// How many rows it writes, about.
    pub fn rows(&self) -> usize {
        self.runs.run_id.len() + self.tasks.run_id.len() + self.attempts.run_id.len()
    }

    fn push_run(&mut self, commit: &Commit<'_>) {
        let (run, runs) = (commit.run, &mut self.runs);
        runs.run_id.push(run.id.0);
        runs.fence.push(commit.fence);
        runs.state.push(run.state.word());
        runs.generation.push(signed(run.generation));
        runs.started_at.push(at_option(run.started_at));
        runs.ended_at.push(at_option(run.ended_at));
        runs.cancel_reason.push(run.cancel_reason.clone());
        runs.task_states.push(run.packed_states());
    }

    fn push_task(&mut self, run: &Run, task: usize) {
        let (entry, tasks) = (&run.tasks[task], &mut self.tasks);
        tasks.run_id.push(run.id.0);
        tasks.position.push(position(task));
        tasks.state.push(entry.state.word());
        tasks.generation.push(signed(entry.generation));
        tasks.attempts.push(signed(entry.attempts));
        tasks.tries.push(signed(entry.tries));
        tasks.retry_at.push(at_option(entry.retry_at));
        tasks.outputs.push(entry.outputs.clone());
        tasks.warnings.push((!entry.warnings.is_empty()).then(|| to_json(&entry.warnings)));
        tasks.failure.push(entry.failure.as_ref().map(to_json));
        tasks.started_at.push(at_option(entry.started_at));
        tasks.ended_at.push(at_option(entry.ended_at));
    }

    fn push_attempt(&mut self, run: &Run, change: &crate::machine::AttemptChange) {
        let (attempt, attempts) = (&change.attempt, &mut self.attempts);
        attempts.run_id.push(run.id.0);
        attempts.position.push(position(change.task));
        attempts.number.push(signed(attempt.number));
        attempts.new.push(change.new);
        attempts.attempt_id.push(run.attempt_id(change.task, attempt.number));
        attempts.generation.push(signed(attempt.generation));
        attempts.state.push(attempt.state.word());
        attempts.operator.push(run.definition.pipeline.tasks[change.task].operator.clone());
        // An existing row keeps its request and baseline: they are not sent again.
        attempts.request.push(if change.new { (*attempt.request).clone() } else { Value::Null });
        attempts.baseline.push(if change.new { (*attempt.baseline).clone() } else { Value::Null });
        attempts.intent_at.push(at(attempt.intent_at));
        attempts.deferred_until.push(at_option(attempt.deferred_until));
        attempts.handle.push(attempt.handle.as_deref().cloned());
        attempts.external_id.push(attempt.external_id.clone());
        attempts.reattached.push(attempt.reattached);
        attempts.deadline_at.push(at(attempt.deadline_at));
        attempts.stop_reason.push(attempt.stop.map(stop_word));
        attempts.note.push(attempt.note.clone());
        attempts.started_at.push(at_option(attempt.started_at));
        attempts.ended_at.push(at_option(attempt.ended_at));
        attempts.failure.push(attempt.failure.as_ref().map(to_json));
        attempts.result.push(attempt.result.clone());
    }
}
