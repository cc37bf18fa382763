//! Due fires into runs. The rule (catch-up, intervals, DST) is [`trunkline_state::schedule`]'s;
//! run keys make a fire that two replicas saw one run.

use std::sync::Arc;

use futures::{TryStreamExt as _, stream};
use trunkline_state::{
    ids::RunId,
    machine::Command,
    pipeline::{Overlap, Pipeline},
    run::Trigger,
    schedule::{Fire, due_fires, run_key},
    store::{Due, StoreError},
};

use super::{
    EngineHandle, Shared,
    message::{AskError, Message, RunRequest},
    prepare,
};

/// Pipelines handled in one look.
const PIPELINES_MAX: i64 = 100;
/// Of these, so many at once: many schedules are due at a full hour, and their commits go together.
const FIRED_AT_ONCE: usize = 16;
/// Runs made for one pipeline in one look; `catchup: all` over years takes several.
const FIRES_MAX: usize = 50;

/// Makes the runs of every schedule that is due, and moves the schedules on. The runs come
/// first: a crash in between finds their keys taken and only moves on.
pub(super) async fn fire_due(shared: &Arc<Shared>) -> Result<(), StoreError> {
    let due = shared.store.due_pipelines(PIPELINES_MAX).await?;
    stream::iter(due.into_iter().map(Ok))
        .try_for_each_concurrent(FIRED_AT_ONCE, |due| async move { fire_one(shared, &due).await })
        .await
}

async fn fire_one(shared: &Arc<Shared>, due: &Due) -> Result<(), StoreError> {
    let definition = shared.store.definition(&due.name, due.version).await?;
    let pipeline = &definition.pipeline;
    // The schedule's moments are compared on the database's clock, like everything that
    // several replicas must agree on.
    let now = shared.store.now().await?;
    let Some(calendar) = &pipeline.calendar else {
        shared.store.fired(due, now, None).await?;
        return Ok(());
    };
    let decided = due_fires(
        calendar,
        pipeline.catchup,
        pipeline.data_interval,
        pipeline.start_date,
        due.fired_until,
        now,
        FIRES_MAX,
    );
    let params = match crate::definition::params::resolve(pipeline, []) {
        Ok(params) => params,
        Err(missing) => {
            tracing::error!(pipeline = %due.name, "{} cannot fire: {missing}", due.name);
            shared.store.fired(due, decided.watermark, calendar.next_after(decided.watermark)).await?;
            return Ok(());
        }
    };
    shared.load_usual(&definition).await;
    for Fire { fire, interval } in decided.fires {
        let logical_date = interval.map_or(fire, |covered| covered.start);
        let key = run_key(pipeline.data_interval, &prepare::zone_of(pipeline), interval, logical_date);
        if !makes_room(shared, pipeline, &key).await? {
            tracing::info!("{}@{key} is skipped: another run is live", due.name);
            continue;
        }
        let (reply, created) = tokio::sync::oneshot::channel();
        let request = RunRequest {
            definition: Arc::clone(&definition),
            key: key.clone(),
            logical_date,
            interval,
            fire_at: Some(fire),
            params: params.clone(),
            trigger: Trigger::Schedule,
            actor: "schedule".to_owned(),
        };
        shared.send(Message::Create(Box::new(request), reply));
        match created.await {
            Ok(Ok((run, _))) => tracing::info!(run.id = %run, "fired {}@{key}", due.name),
            Ok(Err(error)) => {
                tracing::warn!("could not create {}@{key}: {}", due.name, super::chain(&error));
                return Ok(());
            }
            Err(_) => return Ok(()),
        }
    }
    shared.store.fired(due, decided.watermark, calendar.next_after(decided.watermark)).await?;
    Ok(())
}

/// Deals with the live runs that a fire meets, as the pipeline's `overlap` says. Whether it makes a run.
async fn makes_room(shared: &Arc<Shared>, pipeline: &Pipeline, key: &str) -> Result<bool, StoreError> {
    if pipeline.overlap == Overlap::Queue {
        return Ok(true);
    }
    let live = shared.store.live_runs(pipeline.name.as_str()).await?;
    let others: Vec<RunId> = live.into_iter().filter(|(_, other)| other != key).map(|(run, _)| run).collect();
    if pipeline.overlap == Overlap::Skip {
        return Ok(others.is_empty());
    }
    let handle = EngineHandle { shared: Arc::clone(shared) };
    let command = Command::Cancel { task: None, reason: Some(format!("overlap: {key} fired")) };
    for run in others {
        match handle.ask(run, command.clone(), "schedule").await {
            // It ended, or was cancelled, by itself meanwhile.
            Ok(()) | Err(AskError::Refused(_) | AskError::Closed) => {}
            Err(AskError::Unanswered) => {
                tracing::warn!("{run} was asked to end for {key}, and its owner did not answer");
            }
            Err(AskError::Store(error)) => return Err(error),
        }
    }
    Ok(true)
}
