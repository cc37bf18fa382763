//! Pipelines: list, one, versions, graph, plan, pause and resume, a run of one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use trunkline_state::{ids::RunId, store::RunPage};

use super::{
    changes::check_reason,
    pages::{self, Page},
    problem::{Kind, Problem},
    routes::{Call, Nothing, Routes, outline},
};
use crate::{
    definition::params::Given,
    service::{
        find,
        grid::GridView,
        pipelines,
        plan::{self, Plan},
        request::wanted_with,
        source,
        token::Scope,
        trigger::{Repeatable, Triggered, trigger},
        views::{GraphTask, PipelineDetail, PipelineView, RunView, VersionDetail, VersionView},
    },
};

/// Runs of a grid where nobody says how many.
const GRID_RUNS: u32 = 30;
/// Parameters of one request.
const PARAMS_MAX: usize = 200;
/// The longest reason.
pub(super) const REASON_MAX: usize = 2_000;

pub(super) fn add(routes: Routes) -> Routes {
    routes
        .get(outline(Scope::Read, "/pipelines", "list_pipelines", "Pipelines by name"), list)
        .get(outline(Scope::Read, "/pipelines/{pipeline}", "show_pipeline", "One pipeline"), show)
        .get(
            outline(
                Scope::Read,
                "/pipelines/{pipeline}/versions",
                "list_versions",
                "Its versions, newest first",
            ),
            versions,
        )
        .get(
            outline(
                Scope::Read,
                "/pipelines/{pipeline}/versions/{version}",
                "show_version",
                "One version, with its YAML",
            ),
            version,
        )
        .get(
            outline(Scope::Read, "/pipelines/{pipeline}/graph", "show_graph", "Its tasks and their order"),
            graph,
        )
        .get(
            outline(
                Scope::Read,
                "/pipelines/{pipeline}/grid",
                "show_grid",
                "The states of its tasks in its newest runs",
            ),
            grid,
        )
        .post(
            outline(
                Scope::Read,
                "/pipelines/{pipeline}/plan",
                "plan_run",
                "The exact requests that a run would make; nothing is started",
            ),
            planned,
        )
        .post(outline(Scope::Operate, "/pipelines/{pipeline}/runs", "create_run", "Make a run"), create_run)
        .post(
            outline(
                Scope::Operate,
                "/pipelines/{pipeline}/pause",
                "pause_pipeline",
                "Fire no more, and let queued runs wait",
            ),
            pause,
        )
        .post(outline(Scope::Operate, "/pipelines/{pipeline}/resume", "resume_pipeline", "Go on"), resume)
}

/// A pipeline in a path.
#[derive(Deserialize, JsonSchema)]
pub(super) struct PipelinePath {
    /// Its name.
    #[schemars(length(min = 1))]
    pub(super) pipeline: String,
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct VersionPath {
    /// The pipeline's name.
    #[schemars(length(min = 1))]
    pub(super) pipeline: String,
    /// The version's number.
    #[schemars(range(min = 1))]
    pub(super) version: i32,
}

/// Which page of a list.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PageQuery {
    /// `next` of the page before.
    pub(super) cursor: Option<String>,
    /// At most so many.
    #[schemars(range(min = 1, max = 200))]
    pub(super) limit: Option<u32>,
}

#[derive(Serialize, JsonSchema)]
struct GraphView {
    /// The pipeline.
    pipeline: String,
    /// The version.
    version: i32,
    /// Its tasks, upstream before downstream.
    tasks: Vec<GraphTask>,
}

/// Which run is wanted.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RunBody {
    /// The date that it covers, such as 2026-11-19; without one, the last complete interval.
    #[schemars(length(max = 100))]
    date: Option<String>,
    /// Its parameters by name.
    #[serde(default)]
    params: Map<String, Value>,
    /// A name for this request: sent again with the same contents, it makes no second run.
    #[schemars(regex(pattern = r"^[A-Za-z0-9_.:-]{1,128}$"))]
    request_id: Option<String>,
    /// Only say what would be made.
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PlanBody {
    /// The date that it covers; without one, the last complete interval.
    #[schemars(length(max = 100))]
    date: Option<String>,
    /// Its parameters by name.
    #[serde(default)]
    params: Map<String, Value>,
}

/// What became of a wanted run.
#[derive(Serialize, Deserialize, JsonSchema)]
pub(crate) struct CreatedView {
    /// `pipeline@key`.
    pub(crate) run: String,
    /// What it covers, and when its schedule fires for it.
    pub(crate) covers: String,
    /// What a person should know first.
    pub(crate) warning: Option<String>,
    /// Whether this request made it: not so in a preview, and when it was sent before.
    pub(crate) created: bool,
    /// The run, if there is one.
    pub(crate) detail: Option<RunView>,
}

/// Only a preview, or the deed.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SwitchBody {
    /// Why.
    #[schemars(length(max = 2_000))]
    reason: Option<String>,
    /// Only say what would happen.
    #[serde(default)]
    dry_run: bool,
}

#[derive(Serialize, Deserialize, JsonSchema)]
pub(crate) struct SwitchView {
    /// The pipeline.
    pub(crate) pipeline: String,
    /// Whether it is paused, or would be.
    pub(crate) paused: bool,
    /// Whether that changes anything.
    pub(crate) changed: bool,
    /// Whether this was only a preview.
    pub(crate) dry_run: bool,
}

pub(super) async fn list(call: Call<Nothing, PageQuery, Nothing>) -> Result<Page<PipelineView>, Problem> {
    let limit = pages::limit(call.query.limit)?;
    let after = call.query.cursor.unwrap_or_default();
    let most = usize::try_from(limit).unwrap_or(0) + 1;
    let rows = pipelines::list(&call.store, &after, most).await?;
    Ok(pages::page(rows, limit, |row| row.pipeline.clone(), |row| row))
}

pub(super) async fn show(call: Call<PipelinePath, Nothing, Nothing>) -> Result<PipelineDetail, Problem> {
    Ok(pipelines::one(&call.store, &call.path.pipeline).await?)
}

pub(super) async fn versions(
    call: Call<PipelinePath, PageQuery, Nothing>,
) -> Result<Page<VersionView>, Problem> {
    let limit = pages::limit(call.query.limit)?;
    let below = pages::read_number(call.query.cursor.as_deref())?;
    let row = find::pipeline(&call.store, &call.path.pipeline).await?;
    let rows = call.store.versions(&row.name, below, limit + 1).await?;
    Ok(pages::page(rows, limit, |row| row.version.to_string(), VersionView::from))
}

pub(super) async fn version(call: Call<VersionPath, Nothing, Nothing>) -> Result<VersionDetail, Problem> {
    let VersionPath { pipeline, version } = &call.path;
    Ok(source::version(&call.store, &call.api.registry, pipeline, Some(*version)).await?)
}

async fn graph(call: Call<PipelinePath, Nothing, Nothing>) -> Result<GraphView, Problem> {
    let row = find::pipeline(&call.store, &call.path.pipeline).await?;
    let definition = call.store.definition(&row.name, row.version).await?;
    Ok(GraphView { pipeline: row.name, version: row.version, tasks: GraphTask::all(&definition.pipeline) })
}

pub(super) async fn grid(call: Call<PipelinePath, PageQuery, Nothing>) -> Result<GridView, Problem> {
    let limit = pages::limit(call.query.limit.or(Some(GRID_RUNS)))?;
    let row = find::pipeline(&call.store, &call.path.pipeline).await?;
    let after = call.query.cursor.as_deref().map(pages::read_moment_cursor).transpose()?;
    let page = RunPage {
        pipeline: Some(row.name.clone()),
        after: after.map(|(date, run)| (date, RunId(run))),
        limit: limit + 1,
        ..RunPage::default()
    };
    let mut runs = call.store.run_page(&page).await?;
    let more = i64::try_from(runs.len()).is_ok_and(|found| found > limit);
    runs.truncate(usize::try_from(limit).unwrap_or(0));
    let last = runs.last().filter(|_| more);
    let next = last.map(|row| pages::moment_cursor(row.logical_date, row.id.0));
    Ok(GridView { next, ..GridView::read(&call.store, &row, &runs).await? })
}

async fn planned(call: Call<PipelinePath, Nothing, PlanBody>) -> Result<Plan, Problem> {
    let row = find::pipeline(&call.store, &call.path.pipeline).await?;
    let definition = call.store.definition(&row.name, row.version).await?;
    let now = call.api.clock.now();
    let given = given(call.body.params)?;
    let wanted = wanted_with(&definition.pipeline, call.body.date.as_deref(), given, now)?;
    Ok(plan::plan(&definition.pipeline, &wanted, &call.api.registry, now))
}

/// Parameters as a program gives them.
pub(super) fn given(params: Map<String, Value>) -> Result<Vec<(String, Given)>, Problem> {
    if params.len() > PARAMS_MAX {
        return Err(Problem::invalid(format!("a run has at most {PARAMS_MAX} params")));
    }
    Ok(params.into_iter().map(|(name, value)| (name, Given::Json(value))).collect())
}

async fn create_run(call: Call<PipelinePath, Nothing, RunBody>) -> Result<CreatedView, Problem> {
    let (api, store, body) = (call.api, call.store, call.body);
    if let Some(id) = &body.request_id {
        check_request_id(id)?;
    }
    let row = find::pipeline(&store, &call.path.pipeline).await?;
    if row.removed {
        return Err(Problem::refused(format!("{} was removed; deploy it again to run it", row.name)));
    }
    let definition = store.definition(&row.name, row.version).await?;
    let contents = serde_json::json!([row.name, body.date, body.params]).to_string();
    let given = given(body.params)?;
    let wanted = wanted_with(&definition.pipeline, body.date.as_deref(), given, api.clock.now())?;
    let (label, covers, warning) = (wanted.label.clone(), wanted.covers.clone(), wanted.warning.clone());
    let (run, created) = if body.dry_run {
        (store.run_with_key(&row.name, &wanted.selected.key).await?, false)
    } else {
        let repeatable = body.request_id.as_deref().map(|id| Repeatable { id, contents: &contents });
        let done = trigger(&store, &api.engine, row.version, wanted, repeatable, &call.visitor.actor).await?;
        match done {
            Triggered::Created(run) => (Some(run), true),
            Triggered::Repeated(run) => (Some(run), false),
        }
    };
    let detail = match run {
        Some(run) => Some(RunView::from(&store.run(run).await?)),
        None => None,
    };
    let run = detail.as_ref().map_or(label, |run| run.run.clone());
    Ok(CreatedView { run, covers, warning, created, detail })
}

fn check_request_id(id: &str) -> Result<(), Problem> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte);
    if (1..=128).contains(&id.len()) && id.bytes().all(fits) {
        return Ok(());
    }
    Err(Problem::new(Kind::Invalid, "request_id has 1 to 128 letters, digits, and of _ . : -"))
}

async fn pause(call: Call<PipelinePath, Nothing, SwitchBody>) -> Result<SwitchView, Problem> {
    switch(call, true).await
}

async fn resume(call: Call<PipelinePath, Nothing, SwitchBody>) -> Result<SwitchView, Problem> {
    switch(call, false).await
}

async fn switch(call: Call<PipelinePath, Nothing, SwitchBody>, paused: bool) -> Result<SwitchView, Problem> {
    check_reason(call.body.reason.as_ref())?;
    let row = find::pipeline(&call.store, &call.path.pipeline).await?;
    let dry_run = call.body.dry_run;
    let changed = if dry_run {
        row.paused != paused
    } else {
        let changed = call
            .store
            .set_paused(&row.name, paused, &call.visitor.actor, call.body.reason.as_deref())
            .await?;
        call.store.hint().await?;
        changed
    };
    Ok(SwitchView { pipeline: row.name, paused, changed, dry_run })
}
