//! Backfills: make, list, one, cancel.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use trunkline_state::store::{BackfillRow, NewBackfill, Reprocess};
use uuid::Uuid;

use super::{
    changes::check_reason,
    pages::{self, Page},
    pipelines::{PageQuery, PipelinePath, given},
    problem::Problem,
    routes::{Call, Nothing, Routes, outline},
};
use crate::{
    definition::params,
    service::{
        backfill::{BackfillWanted, DateView, places, plan},
        find,
        token::Scope,
        views::BackfillView,
    },
};

/// Dates of one backfill that are shown; it has no more.
const DATES_MAX: i64 = 20_000;
/// So many runs at once are the most that anybody asks for.
const ACTIVE_MAX: u32 = 1_000;

pub(super) fn add(routes: Routes) -> Routes {
    routes
        .get(outline(Scope::Read, "/backfills", "list_backfills", "Backfills, newest first"), list)
        .get(outline(Scope::Read, "/backfills/{backfill}", "show_backfill", "One, with its dates"), show)
        .post(
            outline(
                Scope::Operate,
                "/pipelines/{pipeline}/backfills",
                "create_backfill",
                "Run a range of dates",
            ),
            create,
        )
        .post(
            outline(
                Scope::Operate,
                "/backfills/{backfill}/cancel",
                "cancel_backfill",
                "Begin nothing more of it; what runs goes on",
            ),
            cancel,
        )
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct BackfillPath {
    /// Its id.
    pub(super) backfill: Uuid,
}

/// Which dates run.
#[derive(Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ReprocessWord {
    /// Those without a run.
    #[default]
    Missing,
    /// Those too that did not succeed.
    Failed,
    /// All of them.
    All,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BackfillBody {
    /// The first date, such as 2026-10-01, or a month.
    #[schemars(length(min = 1, max = 100))]
    from: String,
    /// The last date, itself included.
    #[schemars(length(min = 1, max = 100))]
    to: String,
    /// Which dates run.
    #[serde(default)]
    reprocess: ReprocessWord,
    /// So many runs at once; without it, the pipeline's places but one.
    #[schemars(range(min = 1, max = 1_000))]
    max_active: Option<u32>,
    /// The newest date first.
    #[serde(default)]
    backwards: bool,
    /// The parameters of its new runs.
    #[serde(default)]
    params: Map<String, Value>,
    /// Why.
    #[schemars(length(max = 2_000))]
    reason: Option<String>,
    /// Only say what would happen.
    #[serde(default)]
    dry_run: bool,
}

/// A backfill that was made, or would be.
#[derive(Serialize, Deserialize, JsonSchema)]
pub(crate) struct BackfillMade {
    /// Its id; none for a preview, and where no date would run.
    pub(crate) id: Option<Uuid>,
    /// Its dates in their order, and what happens to each.
    pub(crate) dates: Vec<DateView>,
    /// What a person should know.
    pub(crate) warnings: Vec<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CancelBody {
    /// Only say what would happen.
    #[serde(default)]
    dry_run: bool,
}

pub(super) async fn list(call: Call<Nothing, PageQuery, Nothing>) -> Result<Page<BackfillView>, Problem> {
    let limit = pages::limit(call.query.limit)?;
    let after = call.query.cursor.as_deref().map(pages::read_moment_cursor).transpose()?;
    let rows = call.store.backfills(after, limit + 1).await?;
    let cursor = |row: &BackfillRow| pages::moment_cursor(row.created_at, row.id);
    Ok(pages::page(rows, limit, cursor, |row| BackfillView::new(&row, None)))
}

pub(super) async fn show(call: Call<BackfillPath, Nothing, Nothing>) -> Result<BackfillView, Problem> {
    let id = call.path.backfill;
    let Some(row) = call.store.backfill(id).await? else { return Err(unknown(id)) };
    let dates = call.store.backfill_dates(id, &[], DATES_MAX).await?;
    Ok(BackfillView::new(&row, Some(&dates)))
}

fn unknown(id: Uuid) -> Problem {
    Problem::not_found(format!("there is no backfill {id}; /backfills lists them"))
}

async fn create(call: Call<PipelinePath, Nothing, BackfillBody>) -> Result<BackfillMade, Problem> {
    let (api, store, body) = (call.api, call.store, call.body);
    check_reason(body.reason.as_ref())?;
    if body.max_active.is_some_and(|most| !(1..=ACTIVE_MAX).contains(&most)) {
        return Err(Problem::invalid(format!("max_active must be from 1 to {ACTIVE_MAX}")));
    }
    let row = find::pipeline(&store, &call.path.pipeline).await?;
    if row.removed {
        return Err(Problem::refused(format!("{} was removed; deploy it again to run it", row.name)));
    }
    let definition = store.definition(&row.name, row.version).await?;
    let pipeline = &definition.pipeline;
    let params = params::resolve(pipeline, given(body.params)?)?;
    let reprocess = match body.reprocess {
        ReprocessWord::Missing => Reprocess::Missing,
        ReprocessWord::Failed => Reprocess::Failed,
        ReprocessWord::All => Reprocess::All,
    };
    let wanted = BackfillWanted { from: &body.from, to: &body.to, reprocess, backwards: body.backwards };
    let plan = plan(&store, pipeline, wanted, api.clock.now()).await?;
    let name = pipeline.name.as_str();
    let dates: Vec<DateView> = plan.dates.iter().map(|date| date.view(name)).collect();
    let mut made = BackfillMade { id: None, dates, warnings: plan.warnings };
    if row.paused {
        made.warnings.push(format!("{name} is paused: nothing begins until it is resumed"));
    }
    if body.dry_run || !plan.dates.iter().any(|date| date.action.runs()) {
        return Ok(made);
    }
    let id = api.ids.run_id(api.clock.now()).0;
    let new = NewBackfill {
        id,
        pipeline: name.to_owned(),
        version: definition.version,
        reprocess,
        max_active: body
            .max_active
            .unwrap_or_else(|| places(pipeline.max_active_runs, pipeline.calendar.is_some())),
        params,
        actor: call.visitor.actor,
        reason: body.reason,
        runs: plan.dates.into_iter().map(|date| date.selected).collect(),
    };
    store.create_backfill(&new).await?;
    api.engine.look_soon();
    made.id = Some(id);
    Ok(made)
}

async fn cancel(call: Call<BackfillPath, Nothing, CancelBody>) -> Result<BackfillView, Problem> {
    let (store, id) = (call.store, call.path.backfill);
    let Some(row) = store.backfill(id).await? else { return Err(unknown(id)) };
    let running = if call.body.dry_run {
        row.state == "running"
    } else {
        store.cancel_backfill(id, &call.visitor.actor).await?
    };
    if !running {
        return Err(Problem::refused(format!("backfill {id} has already ended: {}", row.state)));
    }
    let row = store.backfill(id).await?.ok_or_else(|| unknown(id))?;
    Ok(BackfillView::new(&row, None))
}
