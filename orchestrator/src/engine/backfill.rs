//! Dates of backfills into runs: as many at once as the backfill may have and its pipeline has
//! places for, live runs first. Which dates run is decided in [`crate::service::backfill`].
//!
//! Every step can be repeated. That a date is begun is written down first, with the generation that
//! its run is going to have; whoever comes after a crash sees whether that run was made.

use std::{sync::Arc, time::Duration};

use trunkline_state::{
    machine::Command,
    run::{Definition, Trigger},
    store::{BackfillDate, BackfillRow, RunFilter, StoreError},
    words::RunState,
};
use uuid::Uuid;

use super::{
    EngineHandle, Shared,
    message::{AskError, EngineError, RunRequest},
};
use crate::service::{
    backfill::{Action, action, places},
    clear::{ClearChoice, preview},
};

/// How long a replica may take over one look at a backfill before another one goes on.
const HOLD: Duration = Duration::from_secs(60);
/// The pause between two looks at a backfill, so that many ends at once lead to few looks.
const PAUSE: Duration = Duration::from_millis(100);
/// Dates that are looked at in one go.
const DATES_MAX: i64 = 500;
/// Queued runs that are counted; more than any pipeline's places.
const QUEUED_MAX: i64 = 1_000;

/// Goes on with one backfill that nobody works off, or with this one.
pub(super) async fn advance(shared: &Arc<Shared>, only: Option<Uuid>) -> Result<(), StoreError> {
    let Some(id) = shared.store.take_backfill(only, HOLD).await? else { return Ok(()) };
    let worked = work_off(shared, id).await;
    shared.store.release_backfill(id, PAUSE).await?;
    worked
}

async fn work_off(shared: &Arc<Shared>, id: Uuid) -> Result<(), StoreError> {
    let Some(row) = shared.store.backfill(id).await? else { return Ok(()) };
    let definition = shared.store.definition(&row.pipeline, row.version).await?;
    let begun = shared.store.backfill_dates(id, &["begun"], DATES_MAX).await?;
    for date in &begun {
        // Written down, and a crash came before the run.
        let made = date.run.is_some_and(|(_, generation)| Some(generation) >= date.generation);
        if !made {
            make(shared, &row, &definition, date).await?;
        }
    }
    let mut room = room(shared, &row, &definition, begun.len()).await?;
    loop {
        let waiting = shared.store.backfill_dates(id, &["waiting"], DATES_MAX).await?;
        if waiting.is_empty() && begun.is_empty() {
            break;
        }
        let mut left_alone = 0;
        for date in &waiting {
            match action(row.reprocess, date.run.map(|(state, _)| state)) {
                Action::Leave(why) => {
                    shared.store.leave_backfill_date(id, date.ordinal, why).await?;
                    left_alone += 1;
                }
                _ if room == 0 => break,
                Action::Create | Action::ClearFailed | Action::ClearAll => {
                    let generation = date.run.map_or(1, |(_, generation)| generation + 1);
                    shared.store.begin_backfill_date(id, date.ordinal, generation).await?;
                    let date = BackfillDate { generation: Some(generation), ..date.clone() };
                    make(shared, &row, &definition, &date).await?;
                    room -= 1;
                }
            }
        }
        // Only where a whole portion needed no run are the next dates looked at at once.
        if left_alone < waiting.len() || waiting.is_empty() {
            break;
        }
    }
    let notices = (definition.pipeline.on_success.len(), definition.pipeline.on_failure.len());
    if shared.store.finish_backfill(id, notices.0, notices.1).await? {
        tracing::info!("backfill {id} of {} is done", row.pipeline);
        shared.look_now.notify_one();
    }
    Ok(())
}

/// How many more runs may begin: within the backfill's own cap and the places of its pipeline, of
/// which one stays free for the schedule where there are several. A run that waits goes first.
async fn room(
    shared: &Shared,
    row: &BackfillRow,
    definition: &Definition,
    begun: usize,
) -> Result<usize, StoreError> {
    let Some(pipeline) = shared.store.pipelines().await?.into_iter().find(|one| one.name == row.pipeline)
    else {
        return Ok(0);
    };
    if pipeline.paused || pipeline.removed {
        return Ok(0);
    }
    let queued = RunFilter {
        pipeline: Some(row.pipeline.clone()),
        state: Some(RunState::Queued.word().to_owned()),
        limit: QUEUED_MAX,
    };
    let taken = usize::try_from(pipeline.active_runs).unwrap_or(0) + shared.store.runs(&queued).await?.len();
    let all = u32::try_from(pipeline.max_active_runs).unwrap_or(0);
    let places = usize::try_from(places(all, definition.pipeline.calendar.is_some())).unwrap_or(usize::MAX);
    let own = usize::try_from(row.max_active).unwrap_or(usize::MAX).saturating_sub(begun);
    Ok(own.min(places.saturating_sub(taken)))
}

/// Makes the run of a date that was begun, or clears the one that there is.
async fn make(
    shared: &Arc<Shared>,
    row: &BackfillRow,
    definition: &Arc<Definition>,
    date: &BackfillDate,
) -> Result<(), StoreError> {
    let handle = EngineHandle { shared: Arc::clone(shared) };
    let actor = format!("backfill:{}", row.id);
    if date.run.is_none() {
        let request = RunRequest {
            definition: Arc::clone(definition),
            key: date.key.clone(),
            logical_date: date.logical_date,
            interval: Some(date.interval),
            fire_at: date.fire_at,
            params: row.params.clone(),
            trigger: Trigger::Backfill,
            actor,
        };
        // A key that somebody else took meanwhile is a run of that date as well.
        return match handle.create(request).await {
            Ok(_) | Err(EngineError::Closed) => Ok(()),
            Err(EngineError::Store(error)) => Err(error),
        };
    }
    let Some(run) = shared.store.run_with_key(&row.pipeline, &date.key).await? else { return Ok(()) };
    let stored = shared.store.read_run(run).await?;
    let failed = action(row.reprocess, Some(stored.state)) == Action::ClearFailed;
    let choice = ClearChoice { failed, ..ClearChoice::default() };
    let preview =
        preview(&stored, &choice).map_err(|error| StoreError::Broken { message: error.to_string() })?;
    let command = Command::Clear {
        tasks: preview.selected,
        generation: date.generation.map(|generation| generation - 1),
        reason: row.reason.clone(),
    };
    match handle.ask(run, command, &actor).await {
        Ok(()) | Err(AskError::Closed | AskError::Unanswered) => Ok(()),
        Err(AskError::Refused(why)) => shared.store.leave_backfill_date(row.id, date.ordinal, &why).await,
        Err(AskError::Store(error)) => Err(error),
    }
}
