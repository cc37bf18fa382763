//! What tasks may ask about the runs of other pipelines: [`Pipelines`] over this engine and its
//! store. The operators that ask live with all others; nothing here decides about runs.

use std::sync::{Arc, Weak};

use futures::future::BoxFuture;
use trunkline_state::{
    ids::RunId,
    machine::Command,
    run::Trigger,
    schedule::{Interval, parse_run_key, run_key, select},
    store::{AwaitedRow, Created, OtherRun, StoreError},
    words::TaskState,
};
use trunkline_tasks::{
    operator::{ErrorClass, Failure, Outputs},
    pipelines::{Again, AwaitedRun, Pipelines, PlannedRun, RunEnd, RunStatus, WantedRun},
};
use uuid::Uuid;

use super::{
    EngineHandle, Shared, chain,
    message::{AskError, EngineError, RunRequest},
    prepare,
};
use crate::{
    definition::params::{self, Given},
    service::clear::{ClearChoice, preview},
};

/// This engine, as long as it lives: what it hands out must not keep it alive.
#[derive(Debug)]
pub(super) struct OwnPipelines {
    shared: Weak<Shared>,
}

impl OwnPipelines {
    pub(super) fn new(shared: Weak<Shared>) -> Self {
        Self { shared }
    }

    fn shared(&self) -> Result<Arc<Shared>, Failure> {
        self.shared
            .upgrade()
            .ok_or_else(|| Failure::new(ErrorClass::Throttled, "this process is ending; another one goes on"))
    }

    fn handle(&self) -> Result<EngineHandle, Failure> {
        Ok(EngineHandle { shared: self.shared()? })
    }
}

impl Pipelines for OwnPipelines {
    fn plan<'a>(&'a self, wanted: WantedRun<'a>) -> BoxFuture<'a, Result<PlannedRun, Failure>> {
        Box::pin(async move { plan(&*self.shared()?, wanted).await })
    }

    fn key_of<'a>(&'a self, pipeline: &'a str, date: &'a str) -> BoxFuture<'a, Result<String, Failure>> {
        Box::pin(async move {
            let shared = self.shared()?;
            let definition = current(&shared, pipeline).await?;
            let pipeline = &definition.pipeline;
            let zone = prepare::zone_of(pipeline);
            // A whole key names a run also where there are no intervals.
            if let Ok(parts) = parse_run_key(pipeline.data_interval, &zone, date) {
                return Ok(run_key(pipeline.data_interval, &zone, parts.interval, parts.logical_date));
            }
            let selected =
                select(pipeline.data_interval, &zone, pipeline.calendar.as_ref(), Some(date), shared.now());
            selected.map(|selected| selected.key).map_err(|error| wrong(format!("date: {error}")))
        })
    }

    fn start<'a>(
        &'a self,
        planned: &'a PlannedRun,
        by: &'a str,
    ) -> BoxFuture<'a, Result<RunStatus, Failure>> {
        Box::pin(async move {
            if let Some(run) = self.holder(&planned.pipeline, &planned.key).await? {
                return Ok(run);
            }
            let handle = self.handle()?;
            let request = request(&handle.shared, planned, by).await?;
            let label = format!("{}@{}", planned.pipeline, planned.key);
            match handle.create(request).await {
                Ok((run, Created::Placed | Created::Queued)) => {
                    // A server may have a place for it that this process has not.
                    let _ = handle.shared.store.hint().await;
                    let state = "queued".to_owned();
                    Ok(RunStatus { id: run.0, label, state, generation: 1, ended_at: None })
                }
                Ok((_, Created::Refused)) => {
                    let holder = self.holder(&planned.pipeline, &planned.key).await?;
                    holder.ok_or_else(|| wrong(format!("{label} was refused: there is no such pipeline")))
                }
                Err(EngineError::Closed) => {
                    Err(Failure::new(ErrorClass::Throttled, "this process is ending; another one goes on"))
                }
                Err(EngineError::Store(error)) => Err(unreachable(&error, ErrorClass::System)),
            }
        })
    }

    fn holder<'a>(
        &'a self,
        pipeline: &'a str,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<RunStatus>, Failure>> {
        Box::pin(async move {
            let wanted =
                [AwaitedRun { pipeline: pipeline.to_owned(), key: Some(key.to_owned()), since: None }];
            Ok(self.awaited(&wanted).await?.pop().flatten())
        })
    }

    fn again<'a>(&'a self, run: Uuid, what: Again, by: &'a str) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let handle = self.handle()?;
            let run = RunId(run);
            let stored = handle
                .shared
                .store
                .read_run(run)
                .await
                .map_err(|error| unreachable(&error, ErrorClass::System))?;
            let choice = ClearChoice { failed: what == Again::Failed, ..ClearChoice::default() };
            let preview = preview(&stored, &choice).map_err(|error| wrong(error.to_string()))?;
            let command = Command::Clear { tasks: preview.selected, generation: None, reason: None };
            asked(handle.ask(run, command, by).await)
        })
    }

    fn states<'a>(&'a self, runs: &'a [Uuid]) -> BoxFuture<'a, Result<Vec<Option<RunStatus>>, Failure>> {
        Box::pin(async move {
            let runs: Vec<RunId> = runs.iter().copied().map(RunId).collect();
            let found = self.shared()?.store.other_runs(&runs).await;
            let found = found.map_err(|error| unreachable(&error, ErrorClass::System))?;
            Ok(found.into_iter().map(|run| run.map(status)).collect())
        })
    }

    fn awaited<'a>(
        &'a self,
        wanted: &'a [AwaitedRun],
    ) -> BoxFuture<'a, Result<Vec<Option<RunStatus>>, Failure>> {
        Box::pin(async move {
            let rows: Vec<AwaitedRow> = wanted
                .iter()
                .map(|one| AwaitedRow {
                    pipeline: one.pipeline.clone(),
                    key: one.key.clone(),
                    since: one.since,
                })
                .collect();
            let found = self.shared()?.store.awaited_runs(&rows).await;
            let found = found.map_err(|error| unreachable(&error, ErrorClass::System))?;
            Ok(found.into_iter().map(|run| run.map(status)).collect())
        })
    }

    fn end_of(&self, run: Uuid) -> BoxFuture<'_, Result<RunEnd, Failure>> {
        Box::pin(async move {
            let rows = self.shared()?.store.task_runs(RunId(run)).await;
            let rows = rows.map_err(|error| unreachable(&error, ErrorClass::System))?;
            let mut end = RunEnd { outputs: Outputs::new(), failure: None };
            for row in rows.into_iter().filter(|row| row.element.is_none()) {
                let failed =
                    row.state == TaskState::Failed.word() || row.state == TaskState::Cancelled.word();
                if let Some(failure) = row.failure.filter(|_| failed && end.failure.is_none()) {
                    let first = failure.message.lines().find(|line| !line.trim().is_empty());
                    end.failure = Some(format!("{}: {}", row.task, first.unwrap_or("unknown reason").trim()));
                }
                if let Some(outputs) = row.outputs.filter(|outputs| !outputs.is_null()) {
                    end.outputs.insert(row.task, outputs);
                }
            }
            Ok(end)
        })
    }

    fn cancel<'a>(&'a self, run: Uuid, by: &'a str) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let handle = self.handle()?;
            let rows = self.states(&[run]).await?;
            if rows.into_iter().flatten().all(|row| row.is_over() || row.state == "cancelling") {
                return Ok(());
            }
            let command = Command::Cancel { task: None, reason: Some("the task that runs it".to_owned()) };
            asked(handle.ask(RunId(run), command, by).await)
        })
    }
}

async fn plan(shared: &Shared, wanted: WantedRun<'_>) -> Result<PlannedRun, Failure> {
    let definition = current(shared, wanted.pipeline).await?;
    let pipeline = &definition.pipeline;
    let zone = prepare::zone_of(pipeline);
    let selected =
        select(pipeline.data_interval, &zone, pipeline.calendar.as_ref(), wanted.date, shared.now())
            .map_err(|error| wrong(format!("date: {error}")))?;
    let given = wanted.params.iter().map(|(name, value)| (name.clone(), Given::Json(value.clone())));
    let params = params::resolve(pipeline, given).map_err(|error| wrong(format!("params: {error}")))?;
    // Without intervals nothing but the attempt itself tells one run from another.
    let key = if selected.interval.is_some() { selected.key } else { wanted.own_key.to_owned() };
    if selected.interval.is_some() && pipeline.starts_after(selected.logical_date) {
        return Err(wrong(format!("{}@{key} lies before the pipeline's start_date", pipeline.name)));
    }
    let holder = AwaitedRow { pipeline: wanted.pipeline.to_owned(), key: Some(key.clone()), since: None };
    let existing = shared.store.awaited_runs(&[holder]).await;
    let existing = existing.map_err(|error| unreachable(&error, ErrorClass::Throttled))?;
    Ok(PlannedRun {
        pipeline: pipeline.name.to_string(),
        version: definition.version,
        key,
        logical_date: selected.logical_date,
        interval: selected.interval.map(|covered| (covered.start, covered.end)),
        fire_at: selected.fire,
        params,
        existing: existing.into_iter().flatten().map(status).next(),
    })
}

/// The current version of a pipeline.
async fn current(shared: &Shared, name: &str) -> Result<Arc<trunkline_state::run::Definition>, Failure> {
    let failed = |error: StoreError| unreachable(&error, ErrorClass::Throttled);
    let rows = shared.store.pipelines().await.map_err(failed)?;
    let Some(row) = rows.iter().find(|row| row.name == name && !row.removed) else {
        return Err(wrong(format!(
            "pipeline: the store has no pipeline `{name}`; `trunkline deploy` it first"
        )));
    };
    shared.store.definition(&row.name, row.version).await.map_err(failed)
}

async fn request(shared: &Shared, planned: &PlannedRun, by: &str) -> Result<RunRequest, Failure> {
    let definition = shared.store.definition(&planned.pipeline, planned.version).await;
    Ok(RunRequest {
        definition: definition.map_err(|error| unreachable(&error, ErrorClass::System))?,
        key: planned.key.clone(),
        logical_date: planned.logical_date,
        interval: planned.interval.map(|(start, end)| Interval { start, end }),
        fire_at: planned.fire_at,
        params: planned.params.clone(),
        trigger: Trigger::Task,
        actor: by.to_owned(),
    })
}

fn status(run: OtherRun) -> RunStatus {
    RunStatus {
        id: run.id.0,
        label: format!("{}@{}", run.pipeline, run.key),
        state: run.state,
        generation: run.generation,
        ended_at: run.ended_at,
    }
}

/// What became of a command to another run.
fn asked(result: Result<(), AskError>) -> Result<(), Failure> {
    match result {
        Ok(()) => Ok(()),
        // It stands in the inbox of the owner, or could not be left there: the look tells.
        Err(AskError::Refused(reason)) => Err(wrong(reason)),
        Err(AskError::Store(error)) => Err(unreachable(&error, ErrorClass::System)),
        Err(error) => Err(Failure::new(ErrorClass::System, chain(&error))),
    }
}

fn wrong(message: String) -> Failure {
    Failure::new(ErrorClass::Config, message)
}

fn unreachable(error: &StoreError, class: ErrorClass) -> Failure {
    match error {
        StoreError::NotFound { what } => wrong(format!("there is no {what}")),
        other => Failure::new(class, chain(other)),
    }
}
