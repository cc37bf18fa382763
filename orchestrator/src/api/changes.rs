//! What a person asks of one run: each with a preview that changes nothing.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline_state::{
    ids::RunId,
    machine::{Command, Mark},
    store::Store,
    versions::Moved,
};

use super::{
    Api,
    pipelines::REASON_MAX,
    problem::Problem,
    routes::{Call, Nothing, Routes, outline},
    runs::{RunPath, TaskPath},
};
use crate::service::{
    Snapshot,
    clear::{self, ClearChoice},
    find,
    foresee::{foresee, foresee_on},
    mark, newest,
    resolve::{self, Fact},
    token::Scope,
};

/// Tasks that one request may name.
const TASKS_MAX: usize = 5_000;

pub(super) fn add(routes: Routes) -> Routes {
    let operate = |path, id, summary| outline(Scope::Operate, path, id, summary);
    routes
        .post(operate("/runs/{run}/clear", "clear_run", "Run tasks of it again"), clear_run)
        .post(operate("/runs/{run}/mark", "mark_run", "Count tasks as succeeded or failed"), mark_run)
        .post(operate("/runs/{run}/cancel", "cancel_run", "Stop it, or one task of it"), cancel)
        .post(operate("/runs/{run}/pause", "pause_run", "Start nothing more of it"), pause)
        .post(operate("/runs/{run}/resume", "resume_run", "Go on with it"), resume)
        .post(
            operate("/runs/{run}/tasks/{task}/retry-now", "retry_now", "Do not wait for its next try"),
            retry_now,
        )
        .post(
            operate("/runs/{run}/tasks/{task}/resolve", "resolve", "Say what became of an unconfirmed start"),
            resolve_start,
        )
        .post(operate("/runs/{run}/tasks/{task}/approve", "approve", "Say yes where it waits"), approve)
        .post(operate("/runs/{run}/tasks/{task}/reject", "reject", "Say no where it waits"), reject)
}

/// Which tasks, and whether it is only a preview.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "switches of a request, each by its name")]
pub(super) struct ClearBody {
    /// Only these tasks, and what did not run because of them; none named means all.
    #[serde(default)]
    #[schemars(length(max = 5_000))]
    tasks: Vec<String>,
    /// What failed, could not run or was cancelled.
    #[serde(default)]
    failed: bool,
    /// And everything that follows.
    #[serde(default)]
    downstream: bool,
    /// And everything before.
    #[serde(default)]
    upstream: bool,
    /// On the version that is current now instead of the one that it began with.
    #[serde(default)]
    newest: bool,
    /// Why, for the history.
    #[schemars(length(max = 2_000))]
    reason: Option<String>,
    /// Only say what would happen.
    #[serde(default)]
    dry_run: bool,
}

/// How a task counts.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum MarkWord {
    Succeeded,
    Failed,
}

impl From<MarkWord> for Mark {
    fn from(word: MarkWord) -> Self {
        match word {
            MarkWord::Succeeded => Self::Succeeded,
            MarkWord::Failed => Self::Failed,
        }
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "switches of a request, each by its name")]
struct MarkBody {
    /// As what they count.
    mark: MarkWord,
    /// Only these tasks; none named means all.
    #[serde(default)]
    #[schemars(length(max = 5_000))]
    tasks: Vec<String>,
    /// What failed, could not run or was cancelled.
    #[serde(default)]
    failed: bool,
    /// And everything that follows.
    #[serde(default)]
    downstream: bool,
    /// And everything before.
    #[serde(default)]
    upstream: bool,
    /// Why, for the history.
    #[schemars(length(max = 2_000))]
    reason: Option<String>,
    /// Only say what would happen.
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CancelBody {
    /// Only this task.
    task: Option<String>,
    /// Why, for the history.
    #[schemars(length(max = 2_000))]
    reason: Option<String>,
    /// Only say what would happen.
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WordBody {
    /// Why, for the history.
    #[schemars(length(max = 2_000))]
    reason: Option<String>,
    /// Only say what would happen.
    #[serde(default)]
    dry_run: bool,
}

/// What is known of a start.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum FactWord {
    /// The job exists and has the id `handle`.
    Handle,
    /// No job exists.
    NotStarted,
    /// It cannot be found out.
    Lost,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ResolveBody {
    /// What is known.
    fact: FactWord,
    /// The job's id at the service, with the fact `handle`.
    #[schemars(length(min = 1, max = 2_000))]
    handle: Option<String>,
    /// The attempt that was looked at: refused if there is another one by now.
    #[schemars(range(min = 1, max = 2_147_483_647))]
    attempt: Option<u32>,
    /// When the start that was looked at was sent: refused if another was sent since.
    sent_at: Option<Timestamp>,
    /// Why, for the history.
    #[schemars(length(max = 2_000))]
    reason: Option<String>,
    /// Only say what would happen.
    #[serde(default)]
    dry_run: bool,
}

/// What a request did, or would do.
#[derive(Serialize, Deserialize, JsonSchema)]
pub(crate) struct ChangeDone {
    /// `pipeline@key`.
    pub(crate) run: String,
    /// Whether this was only a preview.
    pub(crate) dry_run: bool,
    /// What changes at once, one line each, such as `convert: failed → waiting`.
    pub(crate) changes: Vec<String>,
    /// The run's state, now.
    pub(crate) state: String,
    /// Its generation, now.
    pub(crate) generation: u32,
    /// The version that it is on, now.
    pub(crate) version: i32,
    /// The version that it goes on with, where that is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) newest: Option<NewestView>,
}

/// Another version that a run goes on with.
#[derive(Serialize, Deserialize, JsonSchema)]
pub(crate) struct NewestView {
    /// Its number.
    pub(crate) version: i32,
    /// What differs, one line each.
    pub(crate) differences: Vec<String>,
}

/// Foresees a command, and carries it out unless only that is wanted.
async fn change(
    api: &Api,
    store: &Store,
    actor: &str,
    run: RunId,
    command: Command,
    dry_run: bool,
) -> Result<ChangeDone, Problem> {
    let changes = foresee(store, run, actor, &command, api.clock.now()).await?;
    if !dry_run {
        api.engine.ask(run, command, actor).await?;
    }
    done(store, run, changes, dry_run, None).await
}

/// A clear on another version than the run's.
async fn change_on(
    api: &Api,
    store: &Store,
    actor: &str,
    moved: &Moved,
    command: Command,
    dry_run: bool,
) -> Result<ChangeDone, Problem> {
    let (run, now) = (moved.run.id, api.clock.now());
    let changes = foresee_on(moved.run.clone(), actor, &command, now)?;
    let differences = newest::what_differs(store, moved).await?;
    if !dry_run {
        newest::go(store, moved, command.reason(), actor, now).await?;
        api.engine.ask(run, command, actor).await?;
    }
    let newest = NewestView { version: moved.run.definition.version, differences };
    done(store, run, changes, dry_run, Some(newest)).await
}

async fn done(
    store: &Store,
    run: RunId,
    changes: Vec<String>,
    dry_run: bool,
    newest: Option<NewestView>,
) -> Result<ChangeDone, Problem> {
    let row = store.run(run).await?;
    Ok(ChangeDone {
        run: format!("{}@{}", row.pipeline, row.key),
        dry_run,
        changes,
        state: row.state,
        generation: row.generation,
        version: row.version,
        newest,
    })
}

/// A reason that is not longer than a reason is.
pub(super) fn check_reason(reason: Option<&String>) -> Result<(), Problem> {
    if reason.is_some_and(|reason| reason.chars().count() > REASON_MAX) {
        return Err(Problem::invalid(format!("reason has at most {REASON_MAX} characters")));
    }
    Ok(())
}

/// A choice of not too many tasks.
pub(super) fn check_tasks(choice: ClearChoice) -> Result<ClearChoice, Problem> {
    if choice.tasks.len() > TASKS_MAX {
        return Err(Problem::invalid(format!("tasks has at most {TASKS_MAX} names")));
    }
    Ok(choice)
}

async fn clear_run(call: Call<RunPath, Nothing, ClearBody>) -> Result<ChangeDone, Problem> {
    let (api, store, body) = (call.api, call.store, call.body);
    check_reason(body.reason.as_ref())?;
    let ClearBody { tasks, failed, downstream, upstream, newest: on_newest, reason, dry_run } = body;
    let choice = check_tasks(ClearChoice { tasks, failed, downstream, upstream })?;
    let run = store.read_run(find::run(&store, &call.path.run).await?).await?;
    let moved = if on_newest { newest::on_newest(&store, run.clone()).await? } else { None };
    if let Some(moved) = moved {
        let preview = clear::preview(&moved.run, &newest::with_added(&choice, &moved))?;
        let generation = Some(moved.run.generation);
        let command = Command::Clear { tasks: preview.selected, generation, reason };
        return change_on(&api, &store, &call.visitor.actor, &moved, command, dry_run).await;
    }
    let preview = clear::preview(&run, &choice)?;
    if preview.cleared.is_empty() {
        return Err(Problem::refused(format!("nothing of {} matches: no task would run again", run.label())));
    }
    let command = Command::Clear { tasks: preview.selected, generation: Some(run.generation), reason };
    change(&api, &store, &call.visitor.actor, run.id, command, dry_run).await
}

async fn mark_run(call: Call<RunPath, Nothing, MarkBody>) -> Result<ChangeDone, Problem> {
    let (api, store, body) = (call.api, call.store, call.body);
    check_reason(body.reason.as_ref())?;
    let MarkBody { mark: word, tasks, failed, downstream, upstream, reason, dry_run } = body;
    let choice = check_tasks(ClearChoice { tasks, failed, downstream, upstream })?;
    let run = store.read_run(find::run(&store, &call.path.run).await?).await?;
    let Some((command, _)) = mark::wish(&run, &choice, word.into(), reason)? else {
        let (label, word) = (run.label(), Mark::from(word).word());
        return Err(Problem::refused(format!("nothing of {label} matches: no task would change to {word}")));
    };
    change(&api, &store, &call.visitor.actor, run.id, command, dry_run).await
}

async fn cancel(call: Call<RunPath, Nothing, CancelBody>) -> Result<ChangeDone, Problem> {
    let (api, store, body) = (call.api, call.store, call.body);
    check_reason(body.reason.as_ref())?;
    let run = store.read_run(find::run(&store, &call.path.run).await?).await?;
    let task = body.task.as_deref().map(|name| find::task(&run, name)).transpose()?;
    let command = Command::Cancel { task, reason: body.reason };
    change(&api, &store, &call.visitor.actor, run.id, command, body.dry_run).await
}

async fn pause(call: Call<RunPath, Nothing, WordBody>) -> Result<ChangeDone, Problem> {
    check_reason(call.body.reason.as_ref())?;
    let run = find::run(&call.store, &call.path.run).await?;
    let command = Command::Pause { reason: call.body.reason };
    change(&call.api, &call.store, &call.visitor.actor, run, command, call.body.dry_run).await
}

async fn resume(call: Call<RunPath, Nothing, WordBody>) -> Result<ChangeDone, Problem> {
    check_reason(call.body.reason.as_ref())?;
    let run = find::run(&call.store, &call.path.run).await?;
    let command = Command::Resume { reason: call.body.reason };
    change(&call.api, &call.store, &call.visitor.actor, run, command, call.body.dry_run).await
}

async fn found<B>(call: &Call<TaskPath, Nothing, B>) -> Result<(RunId, usize), Problem> {
    let run = find::run(&call.store, &call.path.run).await?;
    let stored = call.store.read_run(run).await?;
    Ok((run, find::task(&stored, &call.path.task)?))
}

async fn retry_now(call: Call<TaskPath, Nothing, WordBody>) -> Result<ChangeDone, Problem> {
    check_reason(call.body.reason.as_ref())?;
    let (run, task) = found(&call).await?;
    let command = Command::RetryNow { task, reason: call.body.reason };
    change(&call.api, &call.store, &call.visitor.actor, run, command, call.body.dry_run).await
}

async fn approve(call: Call<TaskPath, Nothing, WordBody>) -> Result<ChangeDone, Problem> {
    decide(call, true).await
}

async fn reject(call: Call<TaskPath, Nothing, WordBody>) -> Result<ChangeDone, Problem> {
    decide(call, false).await
}

async fn decide(call: Call<TaskPath, Nothing, WordBody>, approved: bool) -> Result<ChangeDone, Problem> {
    check_reason(call.body.reason.as_ref())?;
    let (run, task) = found(&call).await?;
    let command = Command::Decide { task, approved, comment: call.body.reason };
    change(&call.api, &call.store, &call.visitor.actor, run, command, call.body.dry_run).await
}

async fn resolve_start(call: Call<TaskPath, Nothing, ResolveBody>) -> Result<ChangeDone, Problem> {
    check_reason(call.body.reason.as_ref())?;
    let (run, task) = found(&call).await?;
    let fact = match (call.body.fact, call.body.handle) {
        (FactWord::Handle, Some(id)) => Fact::Handle(id),
        (FactWord::Handle, None) => {
            return Err(Problem::invalid("the fact `handle` needs the job's id in the field `handle`"));
        }
        (_, Some(_)) => return Err(Problem::invalid("only the fact `handle` goes with a `handle`")),
        (FactWord::NotStarted, None) => Fact::NotStarted,
        (FactWord::Lost, None) => Fact::Lost,
    };
    let snapshot = Snapshot::read(&call.store, run).await?;
    let now = call.api.clock.now();
    let Some(resolution) = resolve::resolution(&call.api.registry, &snapshot, task, fact, now) else {
        return Err(Problem::refused(format!(
            "{} of {} has no job that an id could name; say `not_started` or `lost`",
            call.path.task,
            snapshot.label()
        )));
    };
    let seen = resolve::seen(&snapshot, task, call.body.attempt, call.body.sent_at);
    let command = Command::Resolve { task, seen, resolution, reason: call.body.reason };
    change(&call.api, &call.store, &call.visitor.actor, run, command, call.body.dry_run).await
}
