//! Runs to look at: lists, one with its tasks, its attempts, its history, what it printed, and why it is
//! not further.

use schemars::JsonSchema;
use serde::Deserialize;
use trunkline_state::{ids::RunId, machine::AttemptKey, store::RunPage, words::RunState};

use super::{
    pages::{self, Items, Page},
    pipelines::PageQuery,
    problem::Problem,
    routes::{Call, Nothing, Routes, outline},
};
use crate::service::{
    Snapshot, find, source,
    token::Scope,
    views::{
        AttemptView, HistoryView, LogView, NoticeView, RunView, RunWithTasks, TaskSourceView, WhyView,
        attempt_view, history_view,
    },
    why::Situation,
};

/// Pieces of output in one answer.
const PIECES_MAX: i64 = 100;

pub(super) fn add(routes: Routes) -> Routes {
    routes
        .get(outline(Scope::Read, "/runs", "list_runs", "Runs, the newest logical date first"), list)
        .get(outline(Scope::Read, "/runs/{run}", "show_run", "One run with its tasks"), show)
        .get(outline(Scope::Read, "/runs/{run}/attempts", "list_attempts", "Its attempts"), attempts)
        .get(outline(Scope::Read, "/runs/{run}/history", "list_history", "What happened to it"), history)
        .get(
            outline(Scope::Read, "/runs/{run}/notices", "list_notices", "What became of its notices"),
            notices,
        )
        .get(outline(Scope::Read, "/runs/{run}/why", "why", "Why it is not further, in a sentence"), why)
        .get(
            outline(
                Scope::Read,
                "/runs/{run}/tasks/{task}/source",
                "show_task_source",
                "Where a task stands in its version's YAML, and what was said of it",
            ),
            task_source,
        )
        .get(
            outline(
                Scope::Read,
                "/runs/{run}/tasks/{task}/attempts/{attempt}/log",
                "show_log",
                "What an attempt printed",
            ),
            log,
        )
}

/// A run in a path.
#[derive(Deserialize, JsonSchema)]
pub(super) struct RunPath {
    /// Its id, `pipeline@date` or `pipeline@latest`.
    #[schemars(length(min = 1))]
    pub(super) run: String,
}

/// A task of a run in a path.
#[derive(Deserialize, JsonSchema)]
pub(super) struct TaskPath {
    /// The run: its id, `pipeline@date` or `pipeline@latest`.
    #[schemars(length(min = 1))]
    pub(super) run: String,
    /// The task's name.
    #[schemars(length(min = 1))]
    pub(super) task: String,
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct LogPath {
    /// The run: its id, `pipeline@date` or `pipeline@latest`.
    #[schemars(length(min = 1))]
    pub(super) run: String,
    /// The task's name.
    #[schemars(length(min = 1))]
    pub(super) task: String,
    /// The attempt's number.
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub(super) attempt: u32,
}

/// A state of a run.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum StateWord {
    Queued,
    Running,
    Paused,
    Cancelling,
    Succeeded,
    Failed,
    Cancelled,
}

impl From<StateWord> for RunState {
    fn from(word: StateWord) -> Self {
        match word {
            StateWord::Queued => Self::Queued,
            StateWord::Running => Self::Running,
            StateWord::Paused => Self::Paused,
            StateWord::Cancelling => Self::Cancelling,
            StateWord::Succeeded => Self::Succeeded,
            StateWord::Failed => Self::Failed,
            StateWord::Cancelled => Self::Cancelled,
        }
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RunsQuery {
    /// Of this pipeline only.
    pub(super) pipeline: Option<String>,
    /// In this state only.
    pub(super) state: Option<StateWord>,
    /// `next` of the page before.
    pub(super) cursor: Option<String>,
    /// At most so many.
    #[schemars(range(min = 1, max = 200))]
    pub(super) limit: Option<u32>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AttemptsQuery {
    /// Of this task only.
    pub(super) task: Option<String>,
    /// `next` of the page before.
    pub(super) cursor: Option<String>,
    /// At most so many.
    #[schemars(range(min = 1, max = 200))]
    pub(super) limit: Option<u32>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WhyQuery {
    /// One of its tasks.
    pub(super) task: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LogQuery {
    /// `next` of the answer before.
    #[schemars(range(max = 2_147_483_647))]
    pub(super) from: Option<u32>,
}

pub(super) async fn list(call: Call<Nothing, RunsQuery, Nothing>) -> Result<Page<RunView>, Problem> {
    let query = call.query;
    let limit = pages::limit(query.limit)?;
    if let Some(pipeline) = &query.pipeline {
        find::pipeline(&call.store, pipeline).await?;
    }
    let after = query.cursor.as_deref().map(pages::read_moment_cursor).transpose()?;
    let page = RunPage {
        pipeline: query.pipeline,
        states: query.state.map(RunState::from).into_iter().collect(),
        from: None,
        after: after.map(|(date, run)| (date, RunId(run))),
        limit: limit + 1,
    };
    let rows = call.store.run_page(&page).await?;
    let cursor = |row: &trunkline_state::store::RunRow| pages::moment_cursor(row.logical_date, row.id.0);
    let mut page = pages::page(rows, limit, cursor, |row| RunView::from(&row));
    call.api.zones.say(&call.store, &mut page.items).await?;
    Ok(page)
}

async fn snapshot<Q>(call: &Call<RunPath, Q, Nothing>) -> Result<Snapshot, Problem> {
    let run = find::run(&call.store, &call.path.run).await?;
    Ok(Snapshot::read(&call.store, run).await?)
}

pub(super) async fn show(call: Call<RunPath, Nothing, Nothing>) -> Result<RunWithTasks, Problem> {
    let snapshot = snapshot(&call).await?;
    Ok(RunWithTasks::new(&snapshot))
}

pub(super) async fn attempts(
    call: Call<RunPath, AttemptsQuery, Nothing>,
) -> Result<Page<AttemptView>, Problem> {
    let limit = pages::limit(call.query.limit)?;
    let from: usize = pages::read_number(call.query.cursor.as_deref())?.unwrap_or(0);
    let snapshot = snapshot(&call).await?;
    let model = snapshot.as_run();
    let task = call.query.task.as_deref().map(|name| find::task(&model, name)).transpose()?;
    // Attempts are only added: what stands at a place stays there, but for those of other tasks.
    let wanted = snapshot.attempts.iter().filter(|row| task.is_none_or(|task| row.position == task));
    let rows: Vec<_> = wanted.enumerate().skip(from).take(usize::try_from(limit).unwrap_or(0) + 1).collect();
    let cursor = |(place, _): &(usize, _)| (place + 1).to_string();
    Ok(pages::page(rows, limit, cursor, |(_, row)| attempt_view(&snapshot, row, &call.api.registry)))
}

pub(super) async fn history(call: Call<RunPath, PageQuery, Nothing>) -> Result<Page<HistoryView>, Problem> {
    let limit = pages::limit(call.query.limit)?;
    let from: i32 = pages::read_number(call.query.cursor.as_deref())?.unwrap_or(0);
    let snapshot = snapshot(&call).await?;
    let rows = call.store.history(snapshot.run.id, from, limit + 1).await?;
    let cursor = |row: &trunkline_state::store::HistoryRow| row.seq.saturating_add(1).to_string();
    Ok(pages::page(rows, limit, cursor, |row| history_view(&snapshot, &row)))
}

pub(super) async fn notices(call: Call<RunPath, Nothing, Nothing>) -> Result<Items<NoticeView>, Problem> {
    let run = find::run(&call.store, &call.path.run).await?;
    let parcels = call.store.parcels_of(run).await?;
    Ok(Items { items: parcels.into_iter().map(NoticeView::new).collect() })
}

pub(super) async fn why(call: Call<RunPath, WhyQuery, Nothing>) -> Result<WhyView, Problem> {
    let snapshot = snapshot(&call).await?;
    let model = snapshot.as_run();
    let task = call.query.task.as_deref().map(|name| find::task(&model, name)).transpose()?;
    let run = snapshot.label();
    let situation = Situation::read(&call.store, snapshot, call.api.clock.now()).await?;
    let why = task.map_or_else(|| situation.run(), |task| situation.task(task));
    Ok(WhyView { run, task: call.query.task, why })
}

pub(super) async fn task_source(call: Call<TaskPath, Nothing, Nothing>) -> Result<TaskSourceView, Problem> {
    Ok(source::of_task(&call.store, &call.path.run, &call.path.task).await?)
}

pub(super) async fn log(call: Call<LogPath, LogQuery, Nothing>) -> Result<LogView, Problem> {
    let store = &call.store;
    let run = find::run(store, &call.path.run).await?;
    let snapshot = Snapshot::read(store, run).await?;
    let task = find::task(&snapshot.as_run(), &call.path.task)?;
    let number = call.path.attempt;
    let found = snapshot.attempts.iter().find(|row| row.position == task && row.number == number);
    let Some(attempt) = found else {
        let (task, label) = (&call.path.task, snapshot.label());
        return Err(Problem::not_found(format!("{task} of {label} has no attempt {number}")));
    };
    let from = call.query.from.unwrap_or(0);
    let pieces = store.log_pieces(run, AttemptKey { task, number }, from, PIECES_MAX).await?;
    let full = pieces.len() == usize::try_from(PIECES_MAX).unwrap_or(usize::MAX);
    Ok(LogView {
        run: snapshot.label(),
        task: call.path.task,
        attempt: number,
        state: attempt.state.clone(),
        next: pieces.last().map_or(from, |piece| piece.chunk.saturating_add(1)),
        text: pieces.into_iter().map(|piece| piece.body).collect(),
        complete: attempt.ended_at.is_some() && !full,
    })
}
