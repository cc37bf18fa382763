//! What people look at. Never decides anything; every list is bounded.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use super::{
    Store, StoreError,
    rows::{at, at_option, position, read_element, read_failure, read_option, unknown_word, unsigned},
};
use crate::{
    document::Document, elements::Element, ids::RunId, machine::Transition, run::Failure, words::RunState,
};

/// Which runs to list.
#[derive(Clone, Debug, Default)]
pub struct RunFilter {
    /// Of this pipeline only.
    pub pipeline: Option<String>,
    /// In this state only.
    pub state: Option<String>,
    /// At most so many.
    pub limit: i64,
}

/// Which page of runs.
#[derive(Clone, Debug, Default)]
pub struct RunPage {
    /// Of this pipeline only.
    pub pipeline: Option<String>,
    /// In one of these states; none named means any.
    pub states: Vec<RunState>,
    /// Whose logical date lies there or later.
    pub from: Option<Timestamp>,
    /// Those that come after this one: its logical date and id.
    pub after: Option<(Timestamp, RunId)>,
    /// At most so many.
    pub limit: i64,
}

/// A run as it is listed and shown.
#[derive(Clone, Debug)]
pub struct RunRow {
    /// Its id.
    pub id: RunId,
    /// Its pipeline.
    pub pipeline: String,
    /// The version that it runs.
    pub version: i32,
    /// Its key.
    pub key: String,
    /// Its state.
    pub state: String,
    /// Its generation.
    pub generation: u32,
    /// The start of its interval, or its fire time.
    pub logical_date: Timestamp,
    /// The start of what it covers.
    pub interval_start: Option<Timestamp>,
    /// The end of what it covers.
    pub interval_end: Option<Timestamp>,
    /// When its schedule fires for it.
    pub fire_at: Option<Timestamp>,
    /// Its parameters.
    pub params: Value,
    /// `schedule` or `manual`.
    pub trigger: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
    /// When it got its place.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Why it was cancelled.
    pub cancel_reason: Option<String>,
    /// One letter per task.
    pub task_states: Vec<u8>,
    /// Whether it holds a place.
    pub has_place: bool,
    /// The replica that owns it.
    pub owner: Option<Uuid>,
    /// Whether that replica lives.
    pub owner_lives: bool,
    /// The number of the newest history row; grows with every commit.
    pub event_seq: i32,
}

/// Which runs of one pipeline a person means.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunRange {
    /// Whose logical date lies there or later.
    pub from: Option<Timestamp>,
    /// Whose logical date lies before.
    pub until: Option<Timestamp>,
    /// In this state only.
    pub state: Option<RunState>,
}

/// A run as one of many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunEntry {
    /// Its id.
    pub id: RunId,
    /// Its key.
    pub key: String,
    /// Its state.
    pub state: RunState,
    /// Its generation.
    pub generation: u32,
    /// The start of its interval, or its fire time.
    pub logical_date: Timestamp,
}

/// A task run as it is shown.
#[derive(Clone, Debug)]
pub struct TaskRow {
    /// Its position.
    pub position: usize,
    /// Its name.
    pub task: String,
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
    /// What it left.
    pub outputs: Option<Value>,
    /// What it warned of.
    pub warnings: Vec<String>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Of an element of a mapped task: which one.
    pub element: Option<Element>,
    /// Of a mapped task: how many elements its list has.
    pub elements: Option<u32>,
}

/// An attempt as it is shown.
#[derive(Clone, Debug)]
pub struct AttemptRow {
    /// The task's position.
    pub position: usize,
    /// Its number.
    pub number: u32,
    /// Its identity.
    pub attempt_id: Uuid,
    /// Its generation.
    pub generation: u32,
    /// Its state.
    pub state: String,
    /// The operator.
    pub operator: String,
    /// The exact request.
    pub request: Document,
    /// What was remembered before.
    pub baseline: Document,
    /// When the intent was committed.
    pub intent_at: Timestamp,
    /// Known not to have started; sent again then.
    pub deferred_until: Option<Timestamp>,
    /// The external job.
    pub handle: Option<Document>,
    /// Its id.
    pub external_id: Option<String>,
    /// Whether it was found again.
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
    pub failure: Option<Failure>,
    /// Outputs, warnings, cost.
    pub result: Option<Value>,
}

/// One commit's worth of history.
#[derive(Clone, Debug)]
pub struct HistoryRow {
    /// Its number.
    pub seq: i32,
    /// When.
    pub at: Timestamp,
    /// Who made it happen.
    pub actor: String,
    /// What changed.
    pub changes: Vec<Transition>,
}

/// Beyond every logical date that a run may have, and what Postgres keeps.
const LAST_DATE: Timestamp = Timestamp::constant(253_402_207_200, 0);
const FIRST_DATE: Timestamp = Timestamp::constant(-62_135_596_800, 0);

/// Attempts of one run that are shown at once: a mapped task of 10,000 elements with some
/// retries.
const ATTEMPTS_MAX: i64 = 40_000;

impl Store {
    /// Runs, newest first.
    pub async fn runs(&self, filter: &RunFilter) -> Result<Vec<RunRow>, StoreError> {
        let rows = sqlx::query_file_as!(
            RunRecord,
            "queries/runs.sql",
            filter.pipeline,
            filter.state,
            None::<Uuid>,
            self.dead_after.as_secs_f64(),
            filter.limit,
            self.seen()
        )
        .fetch_all(&self.link)
        .await?;
        Ok(rows.into_iter().map(RunRecord::into_row).collect())
    }

    /// A page of runs by logical date and id, newest first: pages neither repeat nor lose a run, whatever
    /// is added meanwhile.
    pub async fn run_page(&self, page: &RunPage) -> Result<Vec<RunRow>, StoreError> {
        let states = if page.states.is_empty() { RunState::ALL } else { &page.states };
        let states: Vec<String> = states.iter().map(|state| state.word().to_owned()).collect();
        let (date, run) = page.after.unwrap_or((LAST_DATE, RunId(Uuid::max())));
        let from = page.from.unwrap_or(FIRST_DATE);
        let dead_after = self.dead_after.as_secs_f64();
        let rows = match &page.pipeline {
            None => {
                sqlx::query_file_as!(
                    RunRecord,
                    "queries/run_page.sql",
                    dead_after,
                    &states,
                    at(date) as _,
                    run.0,
                    at(from) as _,
                    page.limit,
                    self.seen()
                )
                .fetch_all(&self.link)
                .await?
            }
            Some(pipeline) => {
                sqlx::query_file_as!(
                    RunRecord,
                    "queries/run_page_of_pipeline.sql",
                    dead_after,
                    &states,
                    at(date) as _,
                    run.0,
                    at(from) as _,
                    page.limit,
                    pipeline,
                    self.seen()
                )
                .fetch_all(&self.link)
                .await?
            }
        };
        Ok(rows.into_iter().map(RunRecord::into_row).collect())
    }

    /// How many runs there are in each state that is not an end.
    pub async fn live_counts(&self) -> Result<Vec<(RunState, i64)>, StoreError> {
        let rows = sqlx::query!(
            r#"select state, count(*) as "runs!" from run
                where state in ('queued','running','paused','cancelling') and ($1::text[] is null or is_seen(pipeline, $1))
                group by state"#,
            self.seen()
        )
        .fetch_all(&self.link)
        .await?;
        let counted = |state: RunState| {
            let row = rows.iter().find(|row| row.state == state.word());
            (state, row.map_or(0, |row| row.runs))
        };
        Ok(RunState::ALL.iter().filter(|state| !state.is_terminal()).map(|state| counted(*state)).collect())
    }

    /// Runs of one pipeline, oldest first.
    pub async fn runs_between(
        &self,
        pipeline: &str,
        range: &RunRange,
        limit: i64,
    ) -> Result<Vec<RunEntry>, StoreError> {
        let rows = sqlx::query_file!(
            "queries/runs_between.sql",
            pipeline,
            at_option(range.from) as _,
            at_option(range.until) as _,
            range.state.map(RunState::word),
            limit
        )
        .fetch_all(&self.link)
        .await?;
        rows.into_iter()
            .map(|row| {
                Ok(RunEntry {
                    id: RunId(row.run_id),
                    key: row.run_key,
                    state: RunState::from_word(&row.state)
                        .ok_or_else(|| unknown_word("the run state", &row.state))?,
                    generation: unsigned(row.generation),
                    logical_date: row.logical_date.to_jiff(),
                })
            })
            .collect()
    }

    /// The runs of a pipeline that have not ended, oldest first.
    pub async fn live_runs(&self, pipeline: &str) -> Result<Vec<(RunId, String)>, StoreError> {
        let rows = sqlx::query!(
            "select run_id, run_key from run
              where pipeline = $1 and state in ('queued','running','paused','cancelling') order by created_at",
            pipeline
        )
        .fetch_all(&self.link)
        .await?;
        Ok(rows.into_iter().map(|row| (RunId(row.run_id), row.run_key)).collect())
    }

    /// One run.
    pub async fn run(&self, run: RunId) -> Result<RunRow, StoreError> {
        let row = sqlx::query_file_as!(
            RunRecord,
            "queries/runs.sql",
            None::<String>,
            None::<String>,
            Some(run.0),
            self.dead_after.as_secs_f64(),
            1,
            self.seen()
        )
        .fetch_optional(&self.link)
        .await?
        .ok_or_else(|| StoreError::NotFound { what: format!("run {run}") })?;
        Ok(row.into_row())
    }

    /// The task runs of a run, by position.
    pub async fn task_runs(&self, run: RunId) -> Result<Vec<TaskRow>, StoreError> {
        let rows = sqlx::query!(
            r#"select position, task, state, generation, attempts, tries, outputs, warnings, failure,
                      retry_at as "retry_at: jiff_sqlx::Timestamp", started_at as "started_at: jiff_sqlx::Timestamp",
                      ended_at as "ended_at: jiff_sqlx::Timestamp", element_of, element_index, item, elements
                 from task_run where run_id = $1 order by position"#,
            run.0
        )
        .fetch_all(&self.link)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| TaskRow {
                position: unsigned(row.position) as usize,
                task: row.task,
                state: row.state,
                generation: unsigned(row.generation),
                attempts: unsigned(row.attempts),
                tries: unsigned(row.tries),
                retry_at: read_option(row.retry_at),
                outputs: row.outputs,
                warnings: row.warnings.and_then(|list| serde_json::from_value(list).ok()).unwrap_or_default(),
                failure: read_failure(row.failure),
                started_at: read_option(row.started_at),
                ended_at: read_option(row.ended_at),
                element: read_element(row.element_of, row.element_index, row.item),
                elements: row.elements.map(unsigned),
            })
            .collect())
    }

    /// The names of some task runs, by run and position.
    pub async fn task_names(
        &self,
        wanted: &BTreeSet<(RunId, usize)>,
    ) -> Result<HashMap<(RunId, usize), String>, StoreError> {
        let (runs, positions): (Vec<Uuid>, Vec<i32>) =
            wanted.iter().map(|(run, task)| (run.0, position(*task))).unzip();
        let rows = sqlx::query!(
            r#"select t.run_id, t.position, t.task
                 from unnest($1::uuid[], $2::integer[]) as w (run_id, place)
                 join task_run t on t.run_id = w.run_id and t.position = w.place"#,
            &runs,
            &positions
        )
        .fetch_all(&self.link)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| ((RunId(row.run_id), unsigned(row.position) as usize), row.task))
            .collect())
    }

    /// The attempts of a run, by position and number.
    pub async fn attempts(&self, run: RunId) -> Result<Vec<AttemptRow>, StoreError> {
        let rows = sqlx::query!(
            r#"select position, number, attempt_id, generation, state, operator,
                      request as "request: Document", baseline as "baseline: Document", handle as "handle: Document",
                      external_id, reattached, note, failure, result, intent_at as "intent_at: jiff_sqlx::Timestamp",
                      deferred_until as "deferred_until: jiff_sqlx::Timestamp",
                      deadline_at as "deadline_at: jiff_sqlx::Timestamp",
                      started_at as "started_at: jiff_sqlx::Timestamp", ended_at as "ended_at: jiff_sqlx::Timestamp"
                 from attempt where run_id = $1 order by position, number limit $2"#,
            run.0,
            ATTEMPTS_MAX
        )
        .fetch_all(&self.link)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| AttemptRow {
                position: unsigned(row.position) as usize,
                number: unsigned(row.number),
                attempt_id: row.attempt_id,
                generation: unsigned(row.generation),
                state: row.state,
                operator: row.operator,
                request: row.request,
                baseline: row.baseline,
                intent_at: row.intent_at.to_jiff(),
                deferred_until: read_option(row.deferred_until),
                handle: row.handle,
                external_id: row.external_id,
                reattached: row.reattached,
                deadline_at: row.deadline_at.to_jiff(),
                note: row.note,
                started_at: read_option(row.started_at),
                ended_at: read_option(row.ended_at),
                failure: read_failure(row.failure),
                result: row.result,
            })
            .collect())
    }

    /// The history of a run, from a number on.
    pub async fn history(&self, run: RunId, from: i32, limit: i64) -> Result<Vec<HistoryRow>, StoreError> {
        let rows = sqlx::query!(
            r#"select seq, at as "at: jiff_sqlx::Timestamp", actor, changes from event
                where run_id = $1 and seq >= $2 order by seq limit $3"#,
            run.0,
            from,
            limit
        )
        .fetch_all(&self.link)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| HistoryRow {
                seq: row.seq,
                at: row.at.to_jiff(),
                actor: row.actor,
                changes: serde_json::from_value(row.changes).unwrap_or_default(),
            })
            .collect())
    }

    /// The median duration of the last `sample` successes of a task's attempts, and of the
    /// whole run under an empty name.
    pub async fn usual_durations(
        &self,
        pipeline: &str,
        sample: i64,
    ) -> Result<Vec<(String, Duration)>, StoreError> {
        let rows =
            sqlx::query_file!("queries/usual_durations.sql", pipeline, sample).fetch_all(&self.link).await?;
        Ok(rows.into_iter().map(|row| (row.task, Duration::from_secs_f64(row.seconds.max(0.0)))).collect())
    }

    /// The newest run of a pipeline that succeeded.
    pub async fn last_success(&self, pipeline: &str) -> Result<Option<RunRow>, StoreError> {
        let filter =
            RunFilter { pipeline: Some(pipeline.to_owned()), state: Some("succeeded".to_owned()), limit: 1 };
        Ok(self.runs(&filter).await?.into_iter().next())
    }
}

struct RunRecord {
    run_id: Uuid,
    pipeline: String,
    version: i32,
    run_key: String,
    state: String,
    generation: i32,
    logical_date: jiff_sqlx::Timestamp,
    interval_start: Option<jiff_sqlx::Timestamp>,
    interval_end: Option<jiff_sqlx::Timestamp>,
    fire_at: Option<jiff_sqlx::Timestamp>,
    params: Value,
    trigger: String,
    created_at: jiff_sqlx::Timestamp,
    created_by: String,
    started_at: Option<jiff_sqlx::Timestamp>,
    ended_at: Option<jiff_sqlx::Timestamp>,
    cancel_reason: Option<String>,
    task_states: Vec<u8>,
    has_place: bool,
    owner: Option<Uuid>,
    owner_lives: bool,
    event_seq: i32,
}

impl RunRecord {
    fn into_row(self) -> RunRow {
        RunRow {
            id: RunId(self.run_id),
            pipeline: self.pipeline,
            version: self.version,
            key: self.run_key,
            state: self.state,
            generation: unsigned(self.generation),
            logical_date: self.logical_date.to_jiff(),
            interval_start: read_option(self.interval_start),
            interval_end: read_option(self.interval_end),
            fire_at: read_option(self.fire_at),
            params: self.params,
            trigger: self.trigger,
            created_at: self.created_at.to_jiff(),
            created_by: self.created_by,
            started_at: read_option(self.started_at),
            ended_at: read_option(self.ended_at),
            cancel_reason: self.cancel_reason,
            task_states: self.task_states,
            has_place: self.has_place,
            owner: self.owner,
            owner_lives: self.owner_lives,
            event_seq: self.event_seq,
        }
    }
}
