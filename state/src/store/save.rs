//! The guarded write of what [`crate::machine::step`] decided.

use serde_json::json;
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::{
    Store, StoreError,
    arguments::{
        AttemptChange, ElementRow, ExpansionRow, LetterRow, NoticeRow, RunChange, TaskChange, text, written,
    },
    rows::{at, at_option, position, signed, stop_word, to_json},
};
use crate::{
    ids::RunId,
    machine::{self, Command, Delta, NoticeRequest, legal::IllegalTransition},
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
    /// What it carries out besides, of people who asked the owner itself.
    pub asked: &'a [(String, Command)],
}

/// What people asked the owners of runs, for the audit; a letter is there since it was left.
#[derive(Debug, Default)]
struct Asked {
    runs: Vec<Uuid>,
    actors: Vec<String>,
    commands: Vec<String>,
}

/// Many runs' decisions, ready to be written in one statement: rows are copied out of the runs,
/// so that their owner can go on deciding while the write is under way.
#[derive(Debug, Default)]
pub struct Batch {
    runs: Vec<RunChange>,
    tasks: Vec<TaskChange>,
    new_attempts: Vec<AttemptChange>,
    attempts: Vec<AttemptChange>,
    notices: Vec<NoticeRow>,
    letters: Vec<LetterRow>,
    asked: Asked,
    expansions: Vec<ExpansionRow>,
    elements: Vec<ElementRow>,
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
        self.saves
            .run(&self.link, async |connection| {
                if batch.asked.runs.is_empty() {
                    return self.send_runs(batch, connection).await;
                }
                let mut tx = connection.begin().await?;
                let written = self.send_runs(batch, &mut tx).await?;
                record(&batch.asked, &written, &mut tx).await?;
                tx.commit().await?;
                Ok(written)
            })
            .await
    }

    async fn send_runs(
        &self,
        batch: &Batch,
        connection: &mut PgConnection,
    ) -> Result<Vec<Uuid>, sqlx::Error> {
        if !batch.expansions.is_empty() {
            return self.send_expanding(batch, connection).await;
        }
        sqlx::query_scalar!(
            r#"select save_runs($1, $2, $3, $4, $5, $6, $7) as "written!""#,
            self.replica.0,
            &batch.runs as _,
            &batch.tasks as _,
            &batch.new_attempts as _,
            &batch.attempts as _,
            &batch.notices as _,
            &batch.letters as _,
        )
        .fetch_one(connection)
        .await
    }

    /// The same for a batch in which lists of mapped tasks became known: rare, and not on the hot path.
    async fn send_expanding(
        &self,
        batch: &Batch,
        connection: &mut PgConnection,
    ) -> Result<Vec<Uuid>, sqlx::Error> {
        sqlx::query_scalar!(
            r#"select save_expanding_runs($1, $2, $3, $4, $5, $6, $7, $8, $9) as "written!""#,
            self.replica.0,
            &batch.runs as _,
            &batch.tasks as _,
            &batch.new_attempts as _,
            &batch.attempts as _,
            &batch.notices as _,
            &batch.letters as _,
            &batch.expansions as _,
            &batch.elements as _,
        )
        .fetch_one(connection)
        .await
    }
}

/// Puts on record what was asked of those runs that were written.
async fn record(asked: &Asked, written: &[Uuid], connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "select record_command(a.run_id, a.actor, a.command::jsonb)
           from unnest($1::uuid[], $2::text[], $3::text[]) with ordinality as a (run_id, actor, command, place)
          where a.run_id = any($4) order by a.place",
        &asked.runs,
        &asked.actors,
        &asked.commands,
        written
    )
    .fetch_all(connection)
    .await?;
    Ok(())
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
        self.runs.push(run_change(commit));
        self.tasks.extend(delta.tasks.iter().map(|&task| task_change(run, task)));
        self.expansions.extend(delta.expansions.iter().map(|&task| expansion(run, task)));
        self.elements.extend(delta.elements.iter().filter_map(|&task| element(run, task)));
        for change in delta.attempts.values() {
            let list = if change.new { &mut self.new_attempts } else { &mut self.attempts };
            list.push(attempt_change(run, change));
        }
        for notice in &delta.notices {
            self.notices.push(notice_row(run, notice));
        }
        self.letters.extend(commit.letters.iter().map(|&inbox_id| LetterRow { run_id: run.id.0, inbox_id }));
        for (actor, command) in commit.asked {
            self.asked.runs.push(run.id.0);
            self.asked.actors.push(actor.clone());
            self.asked.commands.push(to_json(command).to_string());
        }
        Ok(())
    }

    /// How many runs are in it.
    pub fn len(&self) -> usize {
        self.runs.len()
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// How many rows it writes, about.
    pub fn rows(&self) -> usize {
        self.runs.len() + self.tasks.len() + self.new_attempts.len() + self.attempts.len()
    }
}

fn run_change(commit: &Commit<'_>) -> RunChange {
    let Commit { run, fence, delta, actor, .. } = commit;
    let last = delta.transitions.last();
    RunChange {
        run_id: run.id.0,
        fence: *fence,
        state: run.state.word(),
        generation: signed(run.generation),
        started_at: at_option(run.started_at),
        ended_at: at_option(run.ended_at),
        cancel_reason: run.cancel_reason.clone(),
        task_states: run.packed_states(),
        at: last.map(|last| at(last.at)),
        actor: (*actor).to_owned(),
        changes: last.and_then(|_| written(&delta.transitions)),
    }
}

fn task_change(run: &Run, task: usize) -> TaskChange {
    let entry = &run.tasks[task];
    TaskChange {
        run_id: run.id.0,
        task_position: position(task),
        state: entry.state.word(),
        generation: signed(entry.generation),
        attempts: signed(entry.attempts),
        tries: signed(entry.tries),
        retry_at: at_option(entry.retry_at),
        outputs: entry.outputs.as_ref().and_then(written),
        warnings: if entry.warnings.is_empty() { None } else { written(&entry.warnings) },
        failure: entry.failure.as_ref().and_then(written),
        started_at: at_option(entry.started_at),
        ended_at: at_option(entry.ended_at),
    }
}

fn expansion(run: &Run, task: usize) -> ExpansionRow {
    ExpansionRow {
        run_id: run.id.0,
        task_position: position(task),
        elements: run.tasks[task].elements.map(signed),
    }
}

fn element(run: &Run, task: usize) -> Option<ElementRow> {
    let element = run.tasks[task].element.as_ref()?;
    Some(ElementRow {
        run_id: run.id.0,
        task_position: position(task),
        task: run.task_name(task).into_owned(),
        element_of: position(element.of),
        element_index: signed(element.index),
        item: written(&element.item),
    })
}

fn notice_row(run: &Run, notice: &NoticeRequest) -> NoticeRow {
    let (outcome, index) = (notice.outcome.word(), notice.index);
    let about = notice.attempt.map(|key| format!(":{}:{}", key.task, key.number)).unwrap_or_default();
    let payload = json!({
        "generation": run.generation, "outcome": outcome, "index": index,
        "task": notice.attempt.map(|key| key.task), "attempt": notice.attempt.map(|key| key.number),
    });
    NoticeRow {
        run_id: run.id.0,
        dedupe_key: format!("{}:g{}:{outcome}:{index}{about}", run.id, run.generation),
        payload: written(&payload),
    }
}

/// The row of an attempt; what its intent fixed for ever only where the row is new.
pub(super) fn attempt_change(run: &Run, change: &machine::AttemptChange) -> AttemptChange {
    let (attempt, task, new) = (&change.attempt, change.task, change.new);
    AttemptChange {
        run_id: run.id.0,
        task_position: position(task),
        number: signed(attempt.number),
        attempt_id: new.then(|| run.attempt_id(task, attempt.number)),
        generation: signed(attempt.generation),
        operator: new.then(|| run.task(task).operator.clone()),
        request: new.then(|| attempt.request.clone()),
        baseline: new.then(|| attempt.baseline.clone()),
        state: attempt.state.word(),
        intent_at: at(attempt.intent_at),
        deferred_until: at_option(attempt.deferred_until),
        handle: attempt.handle.clone(),
        external_id: attempt.external_id.as_deref().map(text),
        reattached: attempt.reattached,
        deadline_at: at(attempt.deadline_at),
        stop_reason: attempt.stop.map(stop_word),
        note: attempt.note.as_deref().map(text),
        started_at: at_option(attempt.started_at),
        ended_at: at_option(attempt.ended_at),
        failure: attempt.failure.as_ref().and_then(written),
        result: attempt.result.as_ref().and_then(written),
    }
}
