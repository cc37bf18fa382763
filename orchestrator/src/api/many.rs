//! One request for many runs of a pipeline: by date, by state, or one and all before or after it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline_state::{
    run::Run,
    store::{RunEntry, Store, StoreError},
};

use super::{
    Api,
    changes::{MarkWord, check_reason, check_tasks},
    problem::Problem,
    routes::{Call, Nothing, Routes, outline},
    runs::StateWord,
};
use crate::service::{
    FindError,
    choose::{self, Chosen, RunsWanted},
    clear::{self, ClearChoice},
    many::{Asked, Outcome, Wish, ask_all, wishes},
    mark, newest,
    token::Scope,
};

/// Runs that one request changes: it waits for every one of them.
const RUNS_MAX: usize = 1_000;

pub(super) fn add(routes: Routes) -> Routes {
    let operate = |path, id, summary| outline(Scope::Operate, path, id, summary);
    routes.post(operate("/runs/clear", "clear_runs", "Run tasks of many runs again"), clear_runs).post(
        operate("/runs/mark", "mark_runs", "Count tasks of many runs as succeeded or failed"),
        mark_runs,
    )
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "switches of a request, each by its name")]
pub(super) struct ClearManyBody {
    /// A pipeline, with dates or a state; or a run, with `past` or `future`.
    #[schemars(length(min = 1, max = 1_000))]
    runs: String,
    /// Runs of a pipeline from this date on.
    #[schemars(length(max = 100))]
    from: Option<String>,
    /// Runs of a pipeline up to this date, itself included.
    #[schemars(length(max = 100))]
    to: Option<String>,
    /// And every earlier run of the run's pipeline.
    #[serde(default)]
    past: bool,
    /// And every later run of the run's pipeline.
    #[serde(default)]
    future: bool,
    /// Only runs in this state.
    state: Option<StateWord>,
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
    /// On the version that is current now instead of the one that each began with.
    #[serde(default)]
    newest: bool,
    /// Why, for the history.
    #[schemars(length(max = 2_000))]
    reason: Option<String>,
    /// Only say what would happen.
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct MarkManyBody {
    /// As what they count.
    mark: MarkWord,
    /// A pipeline, with dates or a state; or a run, with `past` or `future`.
    #[schemars(length(min = 1, max = 1_000))]
    runs: String,
    /// Runs of a pipeline from this date on.
    #[schemars(length(max = 100))]
    from: Option<String>,
    /// Runs of a pipeline up to this date, itself included.
    #[schemars(length(max = 100))]
    to: Option<String>,
    /// And every earlier run of the run's pipeline.
    #[serde(default)]
    past: bool,
    /// And every later run of the run's pipeline.
    #[serde(default)]
    future: bool,
    /// Only runs in this state.
    state: Option<StateWord>,
    /// Only these tasks; none named means all.
    #[serde(default)]
    #[schemars(length(max = 5_000))]
    tasks: Vec<String>,
    /// Why, for the history.
    #[schemars(length(max = 2_000))]
    reason: Option<String>,
    /// Only say what would happen.
    #[serde(default)]
    dry_run: bool,
}

/// What became of the runs, or would become.
#[derive(Serialize, Deserialize, JsonSchema)]
pub(crate) struct ManyDone {
    /// Whether this was only a preview.
    pub(crate) dry_run: bool,
    /// One line for each run that changes, oldest first.
    pub(crate) runs: Vec<Outcome>,
}

async fn clear_runs(call: Call<Nothing, Nothing, ClearManyBody>) -> Result<ManyDone, Problem> {
    let ClearManyBody { runs, from, to, past, future, state, tasks, failed, downstream, upstream, .. } =
        call.body;
    let (newest, reason, dry_run) = (call.body.newest, call.body.reason, call.body.dry_run);
    check_reason(reason.as_ref())?;
    let choice = check_tasks(ClearChoice { tasks, failed, downstream, upstream })?;
    let wanted = RunsWanted { name: runs, from, to, past, future, state: state.map(Into::into) };
    let chosen = chosen(&call.store, &wanted).await?;
    let newest = if newest { Some(newest::newest(&call.store, &chosen.0).await?) } else { None };
    let wish = |run: Run| clear::wish(run, newest.as_ref(), &choice, reason.clone());
    carry_out((&call.api, &call.store), &call.visitor.actor, chosen, wish, dry_run).await
}

async fn mark_runs(call: Call<Nothing, Nothing, MarkManyBody>) -> Result<ManyDone, Problem> {
    let MarkManyBody { mark: word, runs, from, to, past, future, state, tasks, reason, dry_run } = call.body;
    check_reason(reason.as_ref())?;
    let choice = check_tasks(ClearChoice { tasks, ..ClearChoice::default() })?;
    let wanted = RunsWanted { name: runs, from, to, past, future, state: state.map(Into::into) };
    let wish = |run: Run| Ok(mark::wish(&run, &choice, word.into(), reason.clone())?.map(Asked::from));
    carry_out(
        (&call.api, &call.store),
        &call.visitor.actor,
        chosen(&call.store, &wanted).await?,
        wish,
        dry_run,
    )
    .await
}

/// The runs that are meant, and their pipeline.
async fn chosen(store: &Store, wanted: &RunsWanted) -> Result<(String, Vec<RunEntry>), Problem> {
    let (pipeline, runs) = match choose::runs(store, wanted).await? {
        Chosen::Many { pipeline, runs } => (pipeline, runs),
        Chosen::One(run) => {
            let run = store.read_run(run).await?;
            let entry = RunEntry {
                id: run.id,
                key: run.key.clone(),
                state: run.state,
                generation: run.generation,
                logical_date: run.logical_date,
            };
            (run.definition.pipeline.name.to_string(), vec![entry])
        }
    };
    if runs.len() > RUNS_MAX {
        return Err(Problem::invalid(format!(
            "{} runs match, and one request changes at most {RUNS_MAX}; name a narrower range",
            runs.len()
        )));
    }
    Ok((pipeline, runs))
}

async fn carry_out(
    (api, store): (&Api, &Store),
    actor: &str,
    (pipeline, runs): (String, Vec<RunEntry>),
    wish: impl Fn(Run) -> Result<Option<Asked>, FindError>,
    dry_run: bool,
) -> Result<ManyDone, Problem> {
    let wishes = wishes(store, &runs, wish).await?;
    if wishes.is_empty() {
        return Err(Problem::refused(format!("nothing matches: no run of {pipeline} would change")));
    }
    let runs = if dry_run {
        let foreseen = |wish: &Wish| Outcome {
            run: format!("{pipeline}@{}", wish.entry.key),
            state: wish.entry.state.word().to_owned(),
            effect: wish.asked.effect.clone(),
            done: false,
            refused: wish.asked.command.as_ref().err().cloned(),
        };
        wishes.iter().map(foreseen).collect()
    } else {
        // In a task of its own: a client that goes away in the middle leaves nothing half done.
        let (store, engine, actor, now) =
            (store.clone(), api.engine.clone(), actor.to_owned(), api.clock.now());
        let asked = async move { ask_all(&store, &engine, (&actor, now), &pipeline, &wishes).await };
        match tokio::spawn(asked).await {
            Ok(outcomes) => outcomes?,
            Err(error) => return Err(StoreError::Broken { message: error.to_string() }.into()),
        }
    };
    Ok(ManyDone { dry_run, runs })
}
