//! `backfill` and `backfills`: a range of dates, as many at once as there are places for. The table
//! of what would happen comes first; a server works it off, or without one this process.

use std::time::Duration;

use trunkline_state::{
    pipeline::Pipeline,
    store::{NewBackfill, Reprocess},
};
use uuid::Uuid;

use super::{
    carry::command_engine,
    choice::{Consent, ConsentArgs},
    context::{Context, Session},
    exit::{Exit, refuse},
    output::{Field, utc},
    run::deploy_with_others,
    validate::counted,
};
use crate::{
    definition::{params, suggest::did_you_mean},
    service::{
        backfill::{BackfillWanted, DateView, places, plan},
        views::BackfillView,
    },
};

/// How often the store is asked how far a backfill is.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Rows of the preview; the rest is counted.
const ROWS_SHOWN_MAX: usize = 40;
/// Backfills that are listed.
pub(crate) const LISTED_MAX: i64 = 50;
/// Dates of one backfill that are listed.
const DATES_LISTED_MAX: i64 = 20_000;

/// What `backfill` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct BackfillArgs {
    /// The pipeline
    pub(crate) pipeline: String,
    /// The first date, e.g. 2026-10-01, or a month
    #[arg(long, value_name = "DATE")]
    pub(crate) from: String,
    /// The last date, itself included
    #[arg(long, value_name = "DATE")]
    pub(crate) to: String,
    /// Which dates run: those without a run, those too that did not succeed, or all
    #[arg(long, value_name = "missing|failed|all", default_value = "missing", value_parser = reprocess)]
    pub(crate) reprocess: Reprocess,
    /// So many runs at once [default: the pipeline's places but one, which its schedule keeps]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) max_active: Option<u32>,
    /// The newest date first
    #[arg(long)]
    pub(crate) backwards: bool,
    /// A parameter of its new runs, name=value
    #[arg(short, long = "param", value_name = "NAME=VALUE")]
    pub(crate) params: Vec<String>,
    #[command(flatten)]
    pub(crate) consent: ConsentArgs,
    /// Leave it to a server and do not wait
    #[arg(long)]
    pub(crate) detach: bool,
}

/// What `backfills` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct BackfillsArgs {
    /// One of them, with its dates
    pub(crate) id: Option<Uuid>,
    /// Begin nothing more of it; what runs goes on
    #[arg(long, requires = "id")]
    pub(crate) cancel: bool,
    /// Watch it until it is done, and work it off if no server does
    #[arg(long, requires = "id", conflicts_with = "cancel")]
    pub(crate) follow: bool,
}

fn reprocess(word: &str) -> Result<Reprocess, String> {
    Reprocess::from_word(word).ok_or_else(|| {
        did_you_mean(word, Reprocess::ALL.map(Reprocess::word), "it is one of").unwrap_or_default()
    })
}

/// Makes a backfill and watches it.
pub(crate) async fn backfill(cx: &Context, args: &BackfillArgs) -> anyhow::Result<Exit> {
    let (project, loaded, _) = cx.pipelines()?;
    let entry = cx.pipeline(&loaded, &args.pipeline)?;
    let pipeline = &entry.pipeline;
    let given = args.params.iter().map(|text| params::split(text)).collect::<Result<Vec<_>, _>>()?;
    let params = params::resolve(pipeline, given)?;
    let session = cx.open(&project).await?;
    let wanted = BackfillWanted {
        from: &args.from,
        to: &args.to,
        reprocess: args.reprocess,
        backwards: args.backwards,
    };
    let plan = plan(&session.store, pipeline, wanted, cx.now()).await?;
    let consent = args.consent.consent(args.detach)?;
    let dates: Vec<DateView> = plan.dates.iter().map(|date| date.view(pipeline.name.as_str())).collect();
    let runs = show_plan(cx, &dates, &plan.warnings, consent);
    if consent == Consent::DryRun || runs == 0 {
        return Ok(Exit::Done);
    }
    if consent == Consent::Ask
        && !cx.agreed(&format!("Run {} of {}?", counted(runs, "date"), pipeline.name)).await?
    {
        cx.output.note("nothing was changed");
        return Ok(Exit::Done);
    }
    let definition = deploy_with_others(cx, &session, &project, &loaded, entry).await?;
    let id = cx.ids.run_id(cx.now()).0;
    let new = NewBackfill {
        id,
        pipeline: pipeline.name.to_string(),
        version: definition.version,
        reprocess: args.reprocess,
        max_active: args
            .max_active
            .unwrap_or_else(|| places(pipeline.max_active_runs, pipeline.calendar.is_some())),
        params,
        actor: cx.actor(),
        reason: args.consent.reason.clone(),
        runs: plan.dates.into_iter().map(|date| date.selected).collect(),
    };
    session.store.create_backfill(&new).await?;
    session.store.hint().await?;
    warn_if_paused(cx, &session, pipeline).await?;
    if consent == Consent::GivenDetached {
        if !session.is_served().await? {
            cx.output.warn("no `trunkline serve` is running: the backfill waits until one is started");
        }
        if cx.output.json() {
            cx.output.value(&serde_json::json!({ "id": id }));
        } else {
            cx.output.data(&id.to_string());
        }
        return Ok(Exit::Done);
    }
    follow(cx, &session, id).await
}

async fn warn_if_paused(cx: &Context, session: &Session, pipeline: &Pipeline) -> anyhow::Result<()> {
    let rows = session.store.pipelines().await?;
    if rows.iter().any(|row| row.name == pipeline.name.as_str() && row.paused) {
        cx.output.warn(&format!("{0} is paused: nothing begins until `trunkline resume {0}`", pipeline.name));
    }
    Ok(())
}

/// Shows what would happen to each date. How many would run.
pub(crate) fn show_plan(cx: &Context, dates: &[DateView], warnings: &[String], consent: Consent) -> usize {
    for warning in warnings {
        cx.output.warn(warning);
    }
    let runs = dates.iter().filter(|date| date.runs).count();
    if cx.output.json() {
        // What becomes of it is the answer where anything does.
        if consent == Consent::DryRun {
            cx.output.value(&dates);
        }
        return runs;
    }
    let rows = dates.iter().take(ROWS_SHOWN_MAX).map(|date| {
        let state = date.state.clone().map_or_else(|| Field::from("-".to_owned()), Field::State);
        vec![Field::from(date.run.clone()), state, Field::from(date.what.clone())]
    });
    cx.output.table(&["run", "state", "what happens"], rows.collect(), "");
    if let Some(rest) = dates.len().checked_sub(ROWS_SHOWN_MAX).filter(|rest| *rest > 0) {
        cx.output.note(&format!("and {}", counted(rest, "more date")));
    }
    cx.output.note(&format!("{runs} of {} run", counted(dates.len(), "date")));
    runs
}

/// Lists backfills, or shows, follows or cancels one.
pub(crate) async fn backfills(cx: &Context, args: &BackfillsArgs) -> anyhow::Result<Exit> {
    let session = if args.follow { cx.open(&cx.project()?).await? } else { cx.open_to_look().await? };
    let Some(id) = args.id else {
        let rows = session.store.backfills(None, LISTED_MAX).await?;
        list(cx, &rows.iter().map(|row| BackfillView::new(row, None)).collect::<Vec<_>>());
        return Ok(Exit::Done);
    };
    let Some(row) = session.store.backfill(id).await? else {
        return refuse(format!("there is no backfill {id}; list them with `trunkline backfills`"));
    };
    if args.follow {
        return follow(cx, &session, id).await;
    }
    if args.cancel {
        if !session.store.cancel_backfill(id, &cx.actor()).await? {
            return refuse(format!("backfill {id} has already ended: {}", row.state));
        }
        cancelled(cx, &BackfillView::new(&row, None));
        return Ok(Exit::Done);
    }
    let dates = session.store.backfill_dates(id, &[], DATES_LISTED_MAX).await?;
    show(cx, &BackfillView::new(&row, Some(&dates)));
    Ok(Exit::Done)
}

/// Says that nothing more of it begins.
pub(crate) fn cancelled(cx: &Context, backfill: &BackfillView) {
    let still =
        if backfill.running > 0 { format!("; {} still run", backfill.running) } else { String::new() };
    cx.output.data(&format!("backfill {} is cancelled{still}", backfill.id));
}

/// Shows one with its dates.
pub(crate) fn show(cx: &Context, backfill: &BackfillView) {
    if cx.output.json() {
        return cx.output.value(backfill);
    }
    cx.output.note(&summary(backfill));
    let rows = backfill.dates.iter().flatten().map(|date| {
        let state = date.run_state.clone().map_or_else(|| Field::from("-".to_owned()), Field::State);
        let outcome = date.outcome.clone().unwrap_or_default();
        vec![Field::from(date.run.clone()), state, Field::from(date.state.clone()), Field::from(outcome)]
    });
    cx.output.table(&["run", "state", "in the backfill", "outcome"], rows.collect(), "it has no dates");
}

/// Lists backfills.
pub(crate) fn list(cx: &Context, backfills: &[BackfillView]) {
    if cx.output.json() {
        return cx.output.value(&backfills);
    }
    let table = backfills.iter().map(|backfill| {
        vec![
            Field::from(backfill.id.to_string()),
            Field::from(backfill.pipeline.clone()),
            Field::from(backfill.state.clone()),
            Field::from(format!("{}/{}", backfill.over, backfill.total)),
            Field::from(backfill.reprocess.clone()),
            Field::from(utc(backfill.created_at)),
            Field::from(backfill.created_by.clone()),
        ]
    });
    let header = ["id", "pipeline", "state", "dates", "reprocess", "since", "by"];
    cx.output.table(
        &header,
        table.collect(),
        "no backfills yet; `trunkline backfill PIPELINE --from DATE --to DATE`",
    );
}

/// How far it is.
pub(crate) fn summary(backfill: &BackfillView) -> String {
    format!(
        "backfill {} of {}: {}, {} of {} over, {} running",
        backfill.id,
        backfill.pipeline,
        backfill.state,
        backfill.over,
        counted(usize::try_from(backfill.total).unwrap_or_default(), "date"),
        backfill.running
    )
}

/// Watches a backfill until it is done; where no server is, works it off.
async fn follow(cx: &Context, session: &Session, id: Uuid) -> anyhow::Result<Exit> {
    let engine = command_engine(cx, session).await?;
    let mut interrupted = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?;
    let mut looks = tokio::time::interval(LOOK_EVERY);
    let mut shown = String::new();
    let ended = loop {
        tokio::select! {
            _ = looks.tick() => {}
            _ = interrupted.recv() => break None,
        }
        if !session.is_served().await? {
            engine.handle().advance_backfill(id).await?;
        }
        let Some(row) = session.store.backfill(id).await? else { break None };
        let now = summary(&BackfillView::new(&row, None));
        if now != shown {
            cx.output.note(&now);
            shown = now;
        }
        if row.state != "running" {
            break Some(row);
        }
    };
    engine.handle().send_notices().await;
    engine.shutdown().await?;
    let Some(row) = ended else {
        cx.output
            .note(&format!("detached; go on with `trunkline backfills {id} --follow`, or `trunkline serve`"));
        return Ok(Exit::Done);
    };
    let dates = session.store.backfill_dates(id, &["ended"], DATES_LISTED_MAX).await?;
    Ok(ended_well(cx, &BackfillView::new(&row, Some(&dates))))
}

/// Says how it ended: which of its dates did not succeed.
pub(crate) fn ended_well(cx: &Context, backfill: &BackfillView) -> Exit {
    let ended = || backfill.dates.iter().flatten().filter(|date| date.state == "ended");
    let bad: Vec<_> = ended().filter(|date| date.outcome.as_deref() != Some("succeeded")).collect();
    if cx.output.json() {
        cx.output.value(backfill);
    } else {
        for date in &bad {
            cx.output.data(&format!("{} {}", date.run, date.outcome.as_deref().unwrap_or("unknown")));
        }
    }
    cx.output.note(&format!("{} succeeded, {} did not", ended().count() - bad.len(), bad.len()));
    if bad.is_empty() && backfill.state == "done" { Exit::Done } else { Exit::RunFailed }
}
