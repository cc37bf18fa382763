//! Running again on the newest version of a pipeline instead of the one that a run began with: whether
//! that can be done, what differs, and that it is done.

use std::sync::Arc;

use jiff::Timestamp;
use trunkline_state::{
    machine::{Refusal, said},
    run::{Definition, Run},
    store::{Store, StoreError},
    versions::{self, Moved},
};

use super::{
    clear::ClearChoice,
    deploy::{comparable, differences},
    find::{self, FindError},
};
use crate::definition::params::{Given, resolve};

/// Why a run does not go on with another version.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// As it stands, it cannot; nothing was changed.
    #[error("{0}")]
    Refused(String),
    /// There is no such pipeline, or the store could not be read.
    #[error(transparent)]
    Find(#[from] FindError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Refusal> for MoveError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal.0)
    }
}

/// The version of a pipeline that is current now.
pub async fn newest(store: &Store, pipeline: &str) -> Result<Arc<Definition>, MoveError> {
    let row = find::pipeline(store, pipeline).await?;
    if row.removed {
        return Err(MoveError::Refused(format!(
            "pipeline {pipeline} was removed by a deploy: no version of it is current; deploy it again, or run on \
             the version that the run began with"
        )));
    }
    Ok(store.definition(&row.name, row.version).await?)
}

/// The run on the version that is current now; none where it is on it already.
pub async fn on_newest(store: &Store, run: Run) -> Result<Option<Moved>, MoveError> {
    let newest = newest(store, run.definition.pipeline.name.as_str()).await?;
    Ok(moved(run, &newest)?)
}

/// The run on a version; none where it is on it already.
pub fn moved(run: Run, newest: &Arc<Definition>) -> Result<Option<Moved>, Refusal> {
    let (label, to) = (run.label(), newest.version);
    if run.definition.version == to {
        return Ok(None);
    }
    // What the run was given, as far as the version knows it; its own defaults for the rest.
    let known = run.params.iter().filter(|(name, _)| newest.pipeline.params.contains_key(*name));
    let given: Vec<(String, Given)> =
        known.map(|(name, value)| (name.clone(), Given::Json(value.clone()))).collect();
    let params = resolve(&newest.pipeline, given).map_err(|error| {
        let reasons = error.0.join("; ");
        Refusal(format!(
            "the parameters of {label} do not fit version {to}: {reasons}. Run it as it is, or make a new run"
        ))
    })?;
    versions::moved(run, newest, params).map(Some)
}

/// What differs between the versions, one line each.
pub async fn what_differs(store: &Store, moved: &Moved) -> Result<Vec<String>, StoreError> {
    let (before, now) = (&moved.before.definition, &moved.run.definition);
    let name = now.pipeline.name.as_str();
    let before = store.definition(name, before.version).await?;
    let now = store.definition(name, now.version).await?;
    Ok(differences(&comparable(&before.pipeline), &comparable(&now.pipeline)))
}

/// The choice with the tasks that the version adds: they run in any case.
pub fn with_added(choice: &ClearChoice, moved: &Moved) -> ClearChoice {
    let mut choice = choice.clone();
    if !choice.tasks.is_empty() || choice.failed {
        choice.tasks.extend(moved.added.iter().map(|task| moved.run.task_name(*task).into_owned()));
    }
    choice
}

/// Has a run go on with the version. It stays ended; what runs again is asked for next.
pub async fn go(
    store: &Store,
    moved: &Moved,
    reason: Option<&str>,
    actor: &str,
    now: Timestamp,
) -> Result<(), MoveError> {
    if store.move_run(moved, &said(actor, reason), actor, now).await? {
        return Ok(());
    }
    let label = moved.run.label();
    Err(MoveError::Refused(format!("{label} was changed by somebody else meanwhile: look at it again")))
}
