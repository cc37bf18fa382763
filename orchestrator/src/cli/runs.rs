//! `runs`: what ran, what runs.

use trunkline_state::{
    schedule::describe_instant,
    store::{RunFilter, RunRow},
    words::RunState,
};

use super::{choice::run_state, context::Context, exit::Exit, output::Field};
use crate::service::{find, snapshot::duration_text, views::RunView};

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
    let session = cx.open_to_look().await?;
    if let Some(pipeline) = &args.pipeline {
        find::pipeline(&session.store, pipeline).await?;
    }
    let state = args.state.map(|state| state.word().to_owned());
    let filter = RunFilter { pipeline: args.pipeline.clone(), state, limit: args.limit };
    let rows = session.store.runs(&filter).await?;
    if cx.output.json() {
        cx.output.value(&rows.iter().map(RunView::from).collect::<Vec<_>>());
        return Ok(Exit::Done);
    }
    let now = cx.now();
    let table = rows.iter().map(|row| {
        let took = row.started_at.map(|from| row.ended_at.unwrap_or(now).duration_since(from));
        let took = took.and_then(|took| std::time::Duration::try_from(took).ok()).map(duration_text);
        vec![
            Field::from(format!("{}@{}", row.pipeline, row.key)),
            Field::State(row.state.clone()),
            Field::from(tasks_text(row)),
            Field::from(row.started_at.map(clock).unwrap_or_default()),
            Field::from(took.unwrap_or_default()),
            Field::from(format!("{} {}", row.trigger, row.created_by)),
            Field::from(row.id.to_string()),
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

fn clock(at: jiff::Timestamp) -> String {
    describe_instant(&jiff::tz::TimeZone::UTC, at)
}

/// `3/5`, with what failed.
#[expect(clippy::naive_bytecount, reason = "one byte for each task of one run")]
fn tasks_text(row: &RunRow) -> String {
    let count = |letter: u8| row.task_states.iter().filter(|state| **state == letter).count();
    let failed = count(b'f');
    let failed = if failed > 0 { format!(", {failed} failed") } else { String::new() };
    format!("{}/{}{failed}", count(b's'), row.task_states.len())
}
