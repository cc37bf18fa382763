//! Everything that can happen to a run. Facts only: what follows is decided by
//! [`super::step`].

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{document::Document, run::Failure, words::TaskState};

/// A live attempt, by its natural key. Reports about any other attempt are ignored, because
/// answers are delivered at least once and late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AttemptKey {
    /// The task's position.
    pub task: usize,
    /// The attempt's number.
    pub number: u32,
}

/// The next attempt of a task that is ready, before it exists. What was prepared for any other is
/// ignored: in another generation, its upstreams may have said something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upcoming {
    /// The task's position.
    pub task: usize,
    /// The task run's generation.
    pub generation: u32,
    /// The number that the attempt will have.
    pub number: u32,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The run got its place.
    Admitted,
    /// Time passed, or the run was loaded.
    Tick,
    /// It is the turn of a queued task's next attempt.
    TurnGranted {
        /// For which attempt.
        next: Upcoming,
        /// The run's, when it asked.
        round: u32,
    },
    /// The request of a queued task's next attempt is known.
    Prepared {
        /// For which attempt.
        next: Upcoming,
        /// The exact request.
        request: Document,
        /// What was remembered of the outside.
        baseline: Document,
    },
    /// The list of a queued mapped task is known.
    Expanded {
        /// For which attempt; its elements have attempts in its place.
        next: Upcoming,
        /// The elements.
        items: Vec<Value>,
    },
    /// The request could not be made; nothing was started.
    PrepareFailed {
        /// The attempt that there would have been.
        next: Upcoming,
        /// Why.
        failure: Failure,
    },
    /// The task's own `when` says that it need not run; nothing was started.
    Unwanted {
        /// The attempt that there would have been.
        next: Upcoming,
        /// In the condition's own words.
        reason: String,
    },
    /// The service holds the job.
    Accepted {
        /// Of which attempt.
        attempt: AttemptKey,
        /// The external job.
        handle: Document,
        /// Its id as people see it.
        external_id: String,
        /// Whether it was found again.
        reattached: bool,
        /// Whether only a person's word ends it: nothing is outside.
        awaits_person: bool,
    },
    /// Known not to have started; the same request may be sent again at `until`.
    Deferred {
        /// Of which attempt.
        attempt: AttemptKey,
        /// The intent that was sent.
        intent_at: Timestamp,
        /// When.
        until: Timestamp,
        /// In the service's words.
        reason: String,
    },
    /// Nobody can tell whether the job exists.
    StartUnknown {
        /// Of which attempt.
        attempt: AttemptKey,
        /// The intent that was sent.
        intent_at: Timestamp,
        /// In the service's words.
        reason: String,
    },
    /// The look-up could not tell yet.
    NotYetKnown {
        /// Of which attempt.
        attempt: AttemptKey,
        /// The intent that was looked for.
        intent_at: Timestamp,
        /// When to look again.
        again_at: Timestamp,
        /// Why.
        reason: String,
    },
    /// No job exists and none can come into being from this intent. Proves nothing about a
    /// later one of the same attempt.
    ProvedAbsent {
        /// Of which attempt.
        attempt: AttemptKey,
        /// The intent that was looked for.
        intent_at: Timestamp,
    },
    /// The job ended well.
    Succeeded {
        /// Of which attempt.
        attempt: AttemptKey,
        /// `{outputs, warnings, cost}`.
        outcome: Value,
    },
    /// The job ended badly, or the service refused it.
    Failed {
        /// Of which attempt.
        attempt: AttemptKey,
        /// Why.
        failure: Failure,
        /// `{cost}`, as far as it is known.
        outcome: Value,
    },
    /// The job was stopped.
    Stopped {
        /// Of which attempt.
        attempt: AttemptKey,
        /// In the service's words.
        failure: Failure,
    },
    /// It can never be known how it ended.
    Lost {
        /// Of which attempt.
        attempt: AttemptKey,
        /// Why.
        failure: Failure,
    },
}

/// What a person may ask of a run. Stored as JSON in the owner's inbox.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// Start a new generation of these tasks, and of what follows them by itself.
    Clear {
        /// The tasks, by position.
        tasks: Vec<usize>,
        /// Only if the run is still in this generation: what was decided by looking at it is not
        /// done twice.
        #[serde(default)]
        generation: Option<u32>,
        /// Why, in the person's words.
        #[serde(default)]
        reason: Option<String>,
    },
    /// Take a person's word for how these tasks ended, and go on from there.
    Mark {
        /// The tasks, by position.
        tasks: Vec<usize>,
        /// How they count as ended.
        mark: Mark,
        /// Why, in the person's words.
        #[serde(default)]
        reason: Option<String>,
    },
    /// Stop the run, or one task of it.
    Cancel {
        /// The task; none: the whole run.
        #[serde(default)]
        task: Option<usize>,
        /// Why, in the person's words.
        #[serde(default)]
        reason: Option<String>,
    },
    /// Start nothing more until resumed.
    Pause {
        /// Why, in the person's words.
        #[serde(default)]
        reason: Option<String>,
    },
    /// Go on.
    Resume {
        /// Why, in the person's words.
        #[serde(default)]
        reason: Option<String>,
    },
    /// Do not wait for a retry's or a deferred start's time.
    RetryNow {
        /// The task.
        task: usize,
        /// Why, in the person's words.
        #[serde(default)]
        reason: Option<String>,
    },
    /// A person's word for a task that waits for one.
    Decide {
        /// The task.
        task: usize,
        /// Yes or no.
        approved: bool,
        /// In the person's words.
        #[serde(default)]
        comment: Option<String>,
    },
    /// A person knows what became of an unconfirmed start.
    Resolve {
        /// The task.
        task: usize,
        /// Only if it is still the start that the person looked at: what is true of one says
        /// nothing about the next.
        #[serde(default)]
        seen: Option<SeenStart>,
        /// What is known.
        resolution: Resolution,
        /// Why, in the person's words.
        #[serde(default)]
        reason: Option<String>,
    },
}

impl Command {
    /// Why, in the person's words.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Clear { reason, .. }
            | Self::Mark { reason, .. }
            | Self::Cancel { reason, .. }
            | Self::Pause { reason }
            | Self::Resume { reason }
            | Self::RetryNow { reason, .. }
            | Self::Resolve { reason, .. }
            | Self::Decide { comment: reason, .. } => reason.as_deref(),
        }
    }
}

/// How a task counts as ended because a person says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// What it is there for was done, by whatever means.
    Succeeded,
    /// What it left is of no use.
    Failed,
}

impl Mark {
    /// The word that people type.
    pub fn word(self) -> &'static str {
        self.state().word()
    }

    /// The state that a marked task is in.
    pub fn state(self) -> TaskState {
        match self {
            Self::Succeeded => TaskState::Succeeded,
            Self::Failed => TaskState::Failed,
        }
    }
}

/// The start that a person looked at before saying what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenStart {
    /// The attempt's number.
    pub number: u32,
    /// Its intent; stores keep microseconds of it.
    pub intent_at: Timestamp,
}

/// What a person knows about an unconfirmed start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "resolution", rename_all = "snake_case")]
pub enum Resolution {
    /// The job exists.
    Handle {
        /// Its handle, as the operator makes it.
        handle: Document,
        /// Its id as people see it.
        external_id: String,
    },
    /// No job exists.
    NotStarted,
    /// It cannot be found out: the attempt ends as `lost`.
    Lost,
}
