//! `runs`: what ran, what runs.

use trunkline_state::{schedule::describe_instant, store::RunFilter, words::RunState};

use super::{choice::run_state, context::Context, exit::Exit, output::Field};
use crate::service::{
    find,
    snapshot::duration_text,
    views::{RunView, TaskCounts},
    zones::Zones,
};

/// Rows where nobody says how many.
const LIMIT_DEFAULT: i64 = 20;

/// Rows at most.
const LIMIT_MAX: i64 = 10_000;

/// What `runs` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct RunsArgs {
    /// Of this pipeline only
    pipeline: Option<String>,
    /// In this state only
    #[arg(long, value_name = "STATE", value_parser = run_state)]
    state: Option<RunState>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = LIMIT_DEFAULT, value_parser = clap::value_parser!(i64).range(1..=LIMIT_MAX))]
    limit: i64,
}

/// Lists runs, newest first.
pub(crate) async fn runs(cx: &Context, args: &RunsArgs) -> anyhow::Result<Exit> {
    let state = args.state.map(|state| state.word().to_owned());
    let filter = RunFilter { pipeline: args.pipeline.clone(), state, limit: args.limit };
    let runs = match cx.server()? {
        Some(server) => server.runs(&filter).await?,
        None => here(cx, &filter).await?,
    };
    if cx.output.json() {
        cx.output.value(&runs);
        return Ok(Exit::Done);
    }
    let now = cx.now();
    let table = runs.into_iter().map(|run| {
        let took = run.elapsed(now).map(duration_text);
        let started = run.started_at.map(|at| describe_instant(&run.zone(), at));
        vec![
            Field::from(run.run),
            Field::State(run.state),
            Field::from(tasks_text(run.task_counts)),
            Field::from(started.unwrap_or_default()),
            Field::from(took.unwrap_or_default()),
            Field::from(format!("{} {}", run.trigger, run.created_by)),
            Field::from(run.id),
        ]
    });
    let header = ["run", "state", "tasks", "started", "took", "by", "id"];
    cx.output.table(
        &header,
        table.collect(),
        "no runs yet; start one with `trunkline run PIPELINE --date DATE`",
    );
    Ok(Exit::Done)
}

async fn here(cx: &Context, filter: &RunFilter) -> anyhow::Result<Vec<RunView>> {
    let session = cx.open_to_look().await?;
    if let Some(pipeline) = &filter.pipeline {
        find::pipeline(&session.store, pipeline).await?;
    }
    let mut runs: Vec<RunView> = session.store.runs(filter).await?.iter().map(RunView::from).collect();
    Zones::default().say(&session.store, &mut runs).await?;
    Ok(runs)
}

/// `3/5`, with what failed.
fn tasks_text(counts: TaskCounts) -> String {
    let TaskCounts { total, succeeded, failed } = counts;
    let failed = if failed > 0 { format!(", {failed} failed") } else { String::new() };
    format!("{succeeded}/{total}{failed}")
}
