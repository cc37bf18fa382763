//! What reaches the owner loop: facts, wishes, answers of the store. One channel, one order.

use std::{collections::HashMap, sync::Arc};

use jiff::Timestamp;
use serde_json::{Map, Value};
use tokio::sync::oneshot;
use trunkline_state::{
    ids::RunId,
    machine::{Command, Event},
    run::{Definition, Trigger},
    schedule::Interval,
    store::{Created, Owned, StoreError},
};

/// A run that somebody wants.
#[derive(Clone, Debug)]
pub struct RunRequest {
    /// The version to run.
    pub definition: Arc<Definition>,
    /// Unique within the pipeline.
    pub key: String,
    /// The start of the interval, or the fire time.
    pub logical_date: Timestamp,
    /// What it covers.
    pub interval: Option<Interval>,
    /// When its schedule fires for it.
    pub fire_at: Option<Timestamp>,
    /// Complete and checked parameters.
    pub params: Map<String, Value>,
    /// What made it.
    pub trigger: Trigger,
    /// Who asked: `user:<name>` or `schedule`.
    pub actor: String,
}

/// Why a command had no effect.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// It cannot be carried out as things stand; nothing changed.
    #[error("{0}")]
    Refused(String),
    /// The owner did not answer in time; it will still read the command.
    #[error("the replica that owns the run did not answer yet; the command stays in its inbox")]
    Unanswered,
    /// The engine is shutting down.
    #[error("the engine is shutting down")]
    Closed,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why the engine could not do something.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The engine is shutting down.
    #[error("the engine is shutting down")]
    Closed,
}

/// One message to the owner loop.
pub(super) enum Message {
    /// Runs that were claimed.
    Adopt(Vec<Owned>),
    /// A run to be created.
    Create(Box<RunRequest>, oneshot::Sender<Result<(RunId, Created), EngineError>>),
    /// Something happened to an attempt or a task of an owned run.
    Report { run: RunId, fence: i64, event: Event },
    /// A queued run got a place, or did not.
    Place { run: RunId, fence: i64, taken: bool },
    /// A person's command for an owned run.
    Ask { run: RunId, actor: String, command: Command, letter: Option<i64>, reply: oneshot::Sender<Asked> },
    /// The service's own words for a job's state.
    RemoteState { run: RunId, task: usize, state: String },
    /// Somebody wants to see those words.
    RemoteStates(RunId, oneshot::Sender<HashMap<usize, String>>),
    /// Whether the run is still in hand.
    IsOwned(RunId, oneshot::Sender<bool>),
    /// Tell when the run is not in hand any more.
    WhenGone(RunId, oneshot::Sender<()>),
    /// Give a run back, if nothing of it is under way.
    Release(RunId, oneshot::Sender<()>),
    /// Start nothing more; answer when no start is under way and everything is committed.
    Drain(oneshot::Sender<()>),
    /// A start that was begun has ended; a drain waits for all of them.
    StartEnded,
}

/// What became of a command.
pub(super) enum Asked {
    /// Committed.
    Done,
    /// Refused, with the reason.
    Refused(String),
    /// This replica does not own the run.
    NotOwned,
    /// The commit failed; nobody knows.
    Unknown,
}
