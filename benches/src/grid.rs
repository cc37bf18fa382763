//! The grid of a pipeline of two thousand tasks over fifty runs: what the server does for it, and what goes
//! over the wire. How it scrolls in a browser is `scripts/bench-pages`'s to say.

use std::time::Duration;

use anyhow::{Context, Result};
use sqlx::{Connection, PgConnection};
use trunkline::service::grid::GridView;
use trunkline_state::store::RunPage;

use crate::{
    stage::{Stage, now},
    table::Table,
};

/// Tasks of the pipeline.
const TASKS: usize = 2_000;
/// Runs of the grid.
const RUNS: i64 = 50;
/// Times that it is read.
const READINGS: usize = 21;

/// Fifty days; every fiftieth task tried twice, every hundredth warned.
const FILL: &str = "
    insert into run (run_id, pipeline, version, run_key, state, logical_date, params, trigger, created_at,
                     created_by, started_at, ended_at, task_states, event_seq)
    select gen_random_uuid(), 'grid', 1, 'k-' || n, 'succeeded', now() - n * interval '1 day', '{}', 'schedule',
           now() - n * interval '1 day', 'schedule', now() - n * interval '1 day', now() - n * interval '1 day',
           convert_to(repeat('s', 2000), 'UTF8'), 12
      from generate_series(1, 50) n;
    insert into task_run (run_id, position, task, state, generation, attempts, tries, warnings, started_at, ended_at)
    select r.run_id, p, 't' || p, 'succeeded', 1, case when p % 50 = 0 then 2 else 1 end, 1,
           case when p % 100 = 0 then '[\"late\"]'::jsonb end, r.started_at, r.ended_at
      from run r, generate_series(0, 1999) p where r.pipeline = 'grid';
    insert into attempt (run_id, position, number, attempt_id, generation, state, operator, request, baseline,
                         intent_at, deadline_at, ended_at, replica_id)
    select k.run_id, k.position, n, gen_random_uuid(), 1, 'succeeded', 'noop', '{}', 'null', k.started_at,
           k.ended_at, k.ended_at, gen_random_uuid()
      from task_run k join run r using (run_id), generate_series(1, k.attempts) n where r.pipeline = 'grid';
    analyze run; analyze task_run; analyze attempt";

/// Fills the store, then reads the grid as the server does for a page.
pub async fn measure(stage: &Stage, table: &mut Table) -> Result<()> {
    stage.deploy("grid", TASKS, "noop", |position| position.checked_sub(1).into_iter().collect()).await?;
    let mut connection = PgConnection::connect(&stage.url).await?;
    sqlx::raw_sql(FILL).execute(&mut connection).await.context("the store cannot be filled")?;
    let store = stage.store().await?;
    let pipeline = store.pipelines().await?.into_iter().find(|row| row.name == "grid");
    let pipeline = pipeline.context("the pipeline is not there")?;
    let page = RunPage { pipeline: Some("grid".to_owned()), limit: RUNS, ..RunPage::default() };
    let (mut times, mut bytes) = (Vec::with_capacity(READINGS), 0);
    for _ in 0..READINGS {
        let begin = now();
        let runs = store.run_page(&page).await?;
        let grid = GridView::read(&store, &pipeline, &runs).await?;
        bytes = serde_json::to_vec(&grid)?.len();
        times.push(Duration::try_from(now().duration_since(begin))?);
    }
    store.close().await;
    times.sort_unstable();
    let middle = times[READINGS / 2].as_secs_f64() * 1e3;
    let kilobytes = bytes / 1_000;
    table.add(
        "grid of 2,000 tasks and 50 runs",
        format!("{middle:.1} ms in the server, {kilobytes} kB"),
        "≤ 50 ms, ≤ 300 kB",
        Some(middle <= 50.0 && bytes <= 300_000),
    );
    Ok(())
}
