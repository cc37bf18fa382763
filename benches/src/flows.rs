//! No-op flows through the whole operator path: intents committed before they start, every
//! attempt and every transition in the history.

use std::{sync::Arc, time::Duration};

use anyhow::{Result, ensure};
use futures::{StreamExt, stream};
use trunkline::engine::EngineHandle;
use trunkline_state::{ids::RunId, run::Definition, store::Store};

use crate::{
    baseline::Baseline,
    set_based::SetBased,
    stage::{Stage, now, operators, request},
    table::Table,
};

/// Commits of a flow of three tasks: each task's intent is committed before it starts, and the
/// end of the run after the last; what ends goes with what begins next.
const FLOW_COMMITS: f64 = 4.0;
/// Flows at once for the throughput.
const FLOWS_AT_ONCE: usize = 256;
/// Tasks of the fan-out.
const FAN: usize = 10_000;

/// A flow of three tasks, one after the other.
pub async fn three_tasks(stage: &Stage, base: &Baseline, effort: f64, table: &mut Table) -> Result<()> {
    let name = base.flush.pipeline("flow3");
    let definition = stage.deploy(&name, 3, "noop", |n| if n == 0 { vec![] } else { vec![n - 1] }).await?;
    let engine = stage.engine(operators()).await?;
    let store = stage.store().await?;
    let median = median_alone(&engine.handle(), &store, &definition, scaled(200, effort)).await?;
    let ratio = median.as_secs_f64() / (FLOW_COMMITS * base.commit.as_secs_f64());
    let measured = format!("{:.2} ms = {ratio:.2} × {FLOW_COMMITS} commits", median.as_secs_f64() * 1e3);
    base.add("3-task no-op flow, median", measured, "≤ 1.5 × 4 single-row commits", ratio <= 1.5, table);

    let flows = scaled(8_000, effort);
    let begin = now();
    let runs: Vec<RunId> = stream::iter(0..flows)
        .map(|number| finish(engine.handle(), Arc::clone(&definition), format!("many-{number}")))
        .buffer_unordered(FLOWS_AT_ONCE)
        .filter_map(|run| async { run.ok() })
        .collect()
        .await;
    let seconds = now().duration_since(begin).as_secs_f64();
    ensure!(runs.len() == flows, "{} of {flows} flows ended", runs.len());
    check_history(&store, runs[0], 3).await?;
    #[expect(clippy::cast_precision_loss, reason = "a count of flows")]
    let rate = flows as f64 / seconds;
    let wanted = 2_000.0 / 9_000.0;
    let share = rate / base.commits_per_second;
    base.add(
        "3-task no-op flows, throughput",
        format!("{rate:.0}/s = {share:.2} per single-row commit"),
        &format!("≥ {wanted:.2} per single-row commit of 8 clients"),
        share >= wanted,
        table,
    );
    engine.shutdown().await?;
    Ok(())
}

/// A chain of forty tasks.
pub async fn chain_of_forty(stage: &Stage, base: &Baseline, effort: f64, table: &mut Table) -> Result<()> {
    let name = base.flush.pipeline("chain40");
    let definition = stage.deploy(&name, 40, "noop", |n| if n == 0 { vec![] } else { vec![n - 1] }).await?;
    let engine = stage.engine(operators()).await?;
    let store = stage.store().await?;
    let median = median_alone(&engine.handle(), &store, &definition, scaled(30, effort)).await?;
    let ratio = median.as_secs_f64() / (40.0 * base.commit.as_secs_f64());
    let measured = format!("{:.1} ms = {ratio:.2} × 40 commits", median.as_secs_f64() * 1e3);
    base.add("chain of 40 no-ops", measured, "≤ 1.5 × 40 single-row commits", ratio <= 1.5, table);
    engine.shutdown().await?;
    Ok(())
}

/// Ten thousand tasks that may all start at once.
pub async fn fan_out(stage: &Stage, table: &mut Table) -> Result<()> {
    let definition = stage.deploy("fan", FAN, "noop", |_| vec![]).await?;
    let engine = stage.engine(operators()).await?;
    let store = stage.store().await?;
    let begin = now();
    let run = finish(engine.handle(), definition, "fan".to_owned()).await?;
    let ours = now().duration_since(begin).as_secs_f64();
    check_history(&store, run, FAN).await?;
    let plain = SetBased::read(&store, run).await?.write(&store).await?.as_secs_f64();
    let share = plain / ours;
    table.add(
        "fan-out of 10,000 tasks in one run",
        format!("{ours:.2} s, {:.0} % of the rate of set-based statements ({plain:.2} s)", share * 100.0),
        "≥ 50 %",
        Some(share >= 0.5),
    );
    engine.shutdown().await?;
    Ok(())
}

/// Every attempt, and its end, is in the history.
async fn check_history(store: &Store, run: RunId, tasks: usize) -> Result<()> {
    let attempts = store.attempts(run).await?;
    ensure!(attempts.len() == tasks, "{} attempts of {tasks} tasks", attempts.len());
    let mut ends = 0;
    for row in store.history(run, 0, 100_000).await? {
        ends +=
            row.changes.iter().filter(|change| change.attempt.is_some() && change.to == "succeeded").count();
    }
    ensure!(ends == tasks, "{ends} ends of {tasks} attempts in the history");
    Ok(())
}

async fn median_alone(
    handle: &EngineHandle,
    store: &Store,
    definition: &Arc<Definition>,
    count: usize,
) -> Result<Duration> {
    let mut times = Vec::with_capacity(count);
    let mut last = None;
    for number in 0..count + 10 {
        let begin = now();
        last = Some(finish(handle.clone(), Arc::clone(definition), format!("alone-{number}")).await?);
        // The first ones plan statements and fill caches.
        if number >= 10 {
            times.push(Duration::try_from(now().duration_since(begin))?);
        }
    }
    if let Some(run) = last {
        check_history(store, run, definition.pipeline.tasks.len()).await?;
    }
    times.sort_unstable();
    Ok(times[times.len() / 2])
}

/// Makes a run and waits for its end.
pub async fn finish(handle: EngineHandle, definition: Arc<Definition>, key: String) -> Result<RunId> {
    let (run, _) = handle.create(request(&definition, key)).await?;
    handle.ended(run).await;
    Ok(run)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a count of repetitions"
)]
fn scaled(count: usize, effort: f64) -> usize {
    (count as f64 * effort).max(1.0) as usize
}
