//! Deadlines that have passed into notices, also for runs that were never made. Which fires are late
//! is [`trunkline_state::schedule`]'s; whether their runs are done, the store's.

use std::sync::Arc;

use jiff::Timestamp;
use trunkline_state::{
    pipeline::Pipeline,
    schedule::{Calendar, Passed, interval_of_fire, passed_deadlines, run_key},
    store::{Late, LateRow, StoreError},
    words::RunState,
};

use super::{Shared, prepare};

/// Pipelines handled in one look.
const PIPELINES_MAX: i64 = 100;

/// Writes the notices about whatever is late.
pub(super) async fn tell_late(shared: &Arc<Shared>) -> Result<(), StoreError> {
    for row in shared.store.late_pipelines(PIPELINES_MAX).await? {
        look_at(shared, &row).await?;
    }
    Ok(())
}

async fn look_at(shared: &Arc<Shared>, row: &LateRow) -> Result<(), StoreError> {
    let definition = shared.store.definition(&row.name, row.version).await?;
    let pipeline = &definition.pipeline;
    let now = shared.store.now().await?;
    let decided = row.late_until.unwrap_or(now);
    let (Some(calendar), Some(deadline)) = (&pipeline.calendar, pipeline.deadline) else {
        return shared.store.looked_at_deadlines(&row.name, decided, None, None).await;
    };
    let (passed, again) = passed_deadlines(deadline, calendar, decided, now);
    let until = passed.map_or(decided, |passed| passed.fire);
    let late = match passed.filter(|_| !row.paused) {
        Some(passed) => late(shared, row, (pipeline, calendar), passed).await?,
        None => None,
    };
    if let Some(late) = &late {
        tracing::warn!(pipeline = %row.name, "{}@{} is not done by its deadline", row.name, late.key);
    }
    shared.store.looked_at_deadlines(&row.name, until, again, late.as_ref()).await?;
    if late.is_some() {
        shared.look_now.notify_one();
    }
    Ok(())
}

/// The run of a fire whose deadline has passed, unless it has succeeded or need not exist.
async fn late(
    shared: &Shared,
    row: &LateRow,
    (pipeline, calendar): (&Pipeline, &Calendar),
    passed: Passed,
) -> Result<Option<Late>, StoreError> {
    let zone = prepare::zone_of(pipeline);
    let interval = interval_of_fire(pipeline.data_interval, &zone, passed.fire);
    let logical_date: Timestamp = interval.map_or(passed.fire, |covered| covered.start);
    // Of fires that share an interval the first one has the run, and the deadline.
    let before = calendar.previous_before(passed.fire);
    let repeated = before.and_then(|fire| interval_of_fire(pipeline.data_interval, &zone, fire));
    if pipeline.starts_after(logical_date) || (interval.is_some() && repeated == interval) {
        return Ok(None);
    }
    let key = run_key(pipeline.data_interval, &zone, interval, logical_date);
    if let Some(run) = shared.store.run_with_key(&row.name, &key).await?
        && shared.store.run(run).await?.state == RunState::Succeeded.word()
    {
        return Ok(None);
    }
    Ok(Some(Late {
        version: row.version,
        key,
        fire: passed.fire,
        due: passed.due,
        before: passed.before,
        notices: pipeline.on_late.len(),
    }))
}
