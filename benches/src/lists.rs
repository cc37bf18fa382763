//! Pages of runs from a store that has seen a hundred thousand of them.

use std::time::Duration;

use anyhow::{Context, Result};
use sqlx::{Connection, PgConnection};
use trunkline_state::store::RunFilter;

use crate::{
    serve::Project,
    stage::{Stage, now},
    table::Table,
};

/// Pipelines that share the runs.
const PIPELINES: usize = 10;
/// Tasks of each run: 100,000 runs have 1,000,000 task runs.
const TASKS: usize = 10;
/// Rows of a page.
const PAGE: i64 = 100;
/// Times that each page is read, and that the command is called.
const READINGS: usize = 21;
const CALLS: usize = 11;

/// A hundred thousand runs that ended, one in two hundred not well, a minute apart.
const FILL_RUNS: &str = "
    insert into run (run_id, pipeline, version, run_key, state, logical_date, params, trigger, created_at,
                     created_by, started_at, ended_at, task_states, event_seq)
    select gen_random_uuid(), 'list_' || n % 10, 1, 'k-' || n,
           case when n % 200 = 0 then 'failed' else 'succeeded' end,
           now() - n * interval '1 minute', '{}', 'schedule', now() - n * interval '1 minute',
           'schedule', now() - n * interval '1 minute', now() - n * interval '1 minute',
           convert_to(repeat('s', 10), 'UTF8'), 12
      from generate_series(1, 100000) n";
const FILL_TASK_RUNS: &str = "
    insert into task_run (run_id, position, task, state, generation, attempts, tries, started_at, ended_at)
    select r.run_id, p, 't' || p, 'succeeded', 1, 1, 1, r.started_at, r.ended_at
      from run r, generate_series(0, 9) p where r.pipeline like 'list\\_%'";

/// Fills the store, then reads pages.
pub async fn measure(stage: &Stage, table: &mut Table) -> Result<()> {
    for number in 0..PIPELINES {
        stage.deploy(&format!("list_{number}"), TASKS, "noop", |_| vec![]).await?;
    }
    let mut connection = PgConnection::connect(&stage.url).await?;
    for statement in [FILL_RUNS, FILL_TASK_RUNS, "vacuum analyze run", "vacuum analyze task_run"] {
        sqlx::raw_sql(statement).execute(&mut connection).await.context("the store cannot be filled")?;
    }
    let store = stage.store().await?;
    let mut worst = (Duration::ZERO, String::new());
    for (pipeline, state) in [
        (None, None),
        (None, Some("succeeded")),
        (None, Some("failed")),
        (None, Some("running")),
        (Some("list_3"), None),
        (Some("list_3"), Some("succeeded")),
        (Some("list_0"), Some("failed")),
        (Some("list_3"), Some("cancelled")),
    ] {
        let filter =
            RunFilter { pipeline: pipeline.map(str::to_owned), state: state.map(str::to_owned), limit: PAGE };
        let mut times = Vec::with_capacity(READINGS);
        for _ in 0..READINGS {
            let begin = now();
            store.runs(&filter).await?;
            times.push(Duration::try_from(now().duration_since(begin))?);
        }
        times.sort_unstable();
        let middle = times[READINGS / 2];
        if middle >= worst.0 {
            worst = (middle, format!("{} {}", pipeline.unwrap_or("all"), state.unwrap_or("")));
        }
    }
    store.close().await;
    let query = worst.0.as_secs_f64() * 1e3;
    let command = command(stage).await?.as_secs_f64() * 1e3;
    table.add(
        "lists with 100,000 runs and 1,000,000 task runs",
        format!(
            "slowest page of 100 runs ({}): {query:.1} ms; `trunkline runs` with its start: {command:.0} ms",
            worst.1.trim()
        ),
        "≤ 50 ms",
        Some(query <= 50.0 && command <= 50.0),
    );
    Ok(())
}

/// The whole command: process, connection, page.
async fn command(stage: &Stage) -> Result<Duration> {
    let project = Project::new(&stage.url, &[])?;
    let mut times = Vec::with_capacity(CALLS);
    for _ in 0..CALLS {
        let begin = now();
        project.call(&["runs", "list_3", "--limit", "100"]).await?;
        times.push(Duration::try_from(now().duration_since(begin))?);
    }
    times.sort_unstable();
    Ok(times[CALLS / 2])
}
