//! A run of what is deployed, asked for by a program: made once, however often the request is sent.

use sha2::{Digest as _, Sha256};
use trunkline_state::{
    ids::RunId,
    run::Trigger,
    store::{Created, RunRequestRow, RunRow, Store, StoreError},
};

use super::request::Wanted;
use crate::engine::{EngineError, EngineHandle, RunRequest};

/// What came of it.
#[derive(Debug)]
pub enum Triggered {
    /// A run was made.
    Created(RunId),
    /// The same request made it before.
    Repeated(RunId),
}

/// Why no run was made.
#[derive(Debug, thiserror::Error)]
pub enum TriggerError {
    /// The key is taken.
    #[error("{label} exists already and is {state}; clear it to run it again, or ask for another date")]
    Exists {
        /// `pipeline@key`.
        label: String,
        /// The run's state.
        state: String,
    },
    /// Another request had this id.
    #[error(
        "request_id `{0}` was used for another request; a request is repeated with the same contents, and a \
         new one has an id of its own"
    )]
    OtherRequest(String),
    /// Somebody is about to make the run at this moment.
    #[error("{0} is being created by somebody else; send the request again")]
    Busy(String),
    /// The engine or the store failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A request that may be sent again.
#[derive(Clone, Debug)]
pub struct Repeatable<'a> {
    /// Its id.
    pub id: &'a str,
    /// Everything that it asks for, in one text.
    pub contents: &'a str,
}

/// Makes a run of a stored version, unless the same request made it before. A run without data interval is
/// named by the request's id.
pub async fn trigger(
    store: &Store,
    handle: &EngineHandle,
    version: i32,
    wanted: Wanted,
    repeatable: Option<Repeatable<'_>>,
    actor: &str,
) -> Result<Triggered, TriggerError> {
    let pipeline = pipeline_of(&wanted.label).to_owned();
    let named = repeatable.as_ref().filter(|_| wanted.selected.interval.is_none());
    let mut key = named.map_or(wanted.selected.key.clone(), |request| request.id.to_owned());
    let mut repeated = false;
    if let Some(request) = &repeatable {
        let mine = RunRequestRow {
            sha256: Sha256::digest(request.contents).to_vec(),
            pipeline: pipeline.clone(),
            key: key.clone(),
        };
        if let Some(settled) = settle(store, request.id, &mine).await? {
            key = settled.key;
            repeated = true;
        }
    }
    if let Some(run) = store.run_with_key(&pipeline, &key).await? {
        return if repeated { Ok(Triggered::Repeated(run)) } else { Err(taken(store.run(run).await?)) };
    }
    if let Some(request) = repeatable.as_ref().filter(|_| !repeated) {
        let row = RunRequestRow {
            sha256: Sha256::digest(request.contents).to_vec(),
            pipeline: pipeline.clone(),
            key: key.clone(),
        };
        if !store.settle_run_request(request.id, &row).await? {
            return Err(TriggerError::Busy(wanted.label));
        }
    }
    let request = RunRequest {
        definition: store.definition(&pipeline, version).await?,
        key: key.clone(),
        logical_date: wanted.selected.logical_date,
        interval: wanted.selected.interval,
        fire_at: wanted.selected.fire,
        params: wanted.params,
        trigger: Trigger::Manual,
        actor: actor.to_owned(),
    };
    let (run, created) = handle.create(request).await?;
    if created != Created::Refused {
        return Ok(Triggered::Created(run));
    }
    match (store.run_with_key(&pipeline, &key).await?, repeatable) {
        (Some(run), Some(_)) if repeated => Ok(Triggered::Repeated(run)),
        (Some(run), request) => {
            if let Some(request) = request {
                store.forget_run_request(request.id).await?;
            }
            Err(taken(store.run(run).await?))
        }
        (None, _) => Err(TriggerError::Busy(format!("{pipeline}@{key}"))),
    }
}

/// What the first request of an id settled, if there was one.
async fn settle(
    store: &Store,
    id: &str,
    mine: &RunRequestRow,
) -> Result<Option<RunRequestRow>, TriggerError> {
    match store.run_request(id).await? {
        Some(settled) if settled.sha256 == mine.sha256 && settled.pipeline == mine.pipeline => {
            Ok(Some(settled))
        }
        Some(_) => Err(TriggerError::OtherRequest(id.to_owned())),
        None => Ok(None),
    }
}

fn taken(run: RunRow) -> TriggerError {
    TriggerError::Exists { label: format!("{}@{}", run.pipeline, run.key), state: run.state }
}

fn pipeline_of(label: &str) -> &str {
    label.split('@').next().unwrap_or(label)
}
