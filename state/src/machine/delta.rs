//! What follows from an event, as data: what to write, and what to do once it is written.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    machine::{
        event::{AttemptKey, Upcoming},
        legal::IllegalTransition,
    },
    run::Attempt,
};

/// Everything that one or more steps changed in one run. The store writes it in one
/// transaction; effects begin only after that transaction committed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delta {
    /// Whether the run's own row changed.
    pub run_changed: bool,
    /// A change that the table of legal transitions does not know: a bug of ours. Nothing of
    /// the delta may be written; the run is parked for a person.
    pub illegal: Option<IllegalTransition>,
    /// Task runs whose rows changed.
    pub tasks: BTreeSet<usize>,
    /// Elements of mapped tasks that are new, or stand for something else now.
    pub elements: BTreeSet<usize>,
    /// Mapped tasks whose number of elements changed.
    pub expansions: BTreeSet<usize>,
    /// Attempts that are new or changed, as they stand after the last step, by task and number.
    pub attempts: BTreeMap<(usize, u32), AttemptChange>,
    /// What changed, in order, for the history.
    pub transitions: Vec<Transition>,
    /// What must be done outside.
    pub effects: Vec<Effect>,
    /// Which notices the changes ask for.
    pub notices: Vec<NoticeRequest>,
}

/// An attempt to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptChange {
    /// The task's position.
    pub task: usize,
    /// Whether its row does not exist yet.
    pub new: bool,
    /// The attempt.
    pub attempt: Attempt,
}

/// One line of a run's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// When it was decided.
    pub at: Timestamp,
    /// The task's position; none for the run itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<usize>,
    /// The attempt's number; none for the task run itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// The state before; none for a beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The state after.
    pub to: String,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Something to be done outside, once the delta is committed. Always derivable from the run
/// ([`super::due`]), so that a crash between the commit and the deed costs nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Ask the store for a place.
    Admit,
    /// Ask for the turn of a queued task's next attempt: for slots of its pool, for a past that did well.
    WantTurn {
        /// Which attempt.
        next: Upcoming,
        /// The run's: see [`crate::run::Run::round`].
        round: u32,
    },
    /// Somebody who waits for a turn may get it now: a hint, which nothing depends on.
    TurnEnded,
    /// Render and prepare a queued task's next attempt.
    Prepare {
        /// Which attempt.
        next: Upcoming,
    },
    /// Send a start whose intent is committed by this very delta.
    Send {
        /// Of which attempt.
        attempt: AttemptKey,
    },
    /// Look for the job of an unconfirmed start. Never sends.
    Find {
        /// Of which attempt.
        attempt: AttemptKey,
    },
    /// Poll from now on.
    Watch {
        /// Of which attempt.
        attempt: AttemptKey,
    },
    /// Ask the service to stop the job; polling goes on until it is confirmed.
    Stop {
        /// Of which attempt.
        attempt: AttemptKey,
    },
}

/// A notice that a change of a run asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoticeRequest {
    /// Which list of the pipeline.
    pub outcome: NoticeOutcome,
    /// Which entry of that list.
    pub index: usize,
    /// The attempt that it is about, where it is about one.
    pub attempt: Option<AttemptKey>,
}

/// Which list of notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeOutcome {
    /// `on_success`.
    Success,
    /// `on_failure`.
    Failure,
    /// `on_late`.
    Late,
    /// `on_recovery`.
    Recovery,
    /// `on_warning`.
    Warning,
    /// `on_retry`.
    Retry,
}

impl NoticeOutcome {
    /// Every list.
    pub const ALL: [Self; 6] =
        [Self::Success, Self::Failure, Self::Late, Self::Recovery, Self::Warning, Self::Retry];

    /// The stored word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Late => "late",
            Self::Recovery => "recovery",
            Self::Warning => "warning",
            Self::Retry => "retry",
        }
    }

    /// The list that this word stands for.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.word() == word)
    }

    /// The key of the pipeline file.
    pub fn key(self) -> String {
        format!("on_{}", self.word())
    }
}

impl Delta {
    /// Whether there is nothing to write.
    pub fn is_clean(&self) -> bool {
        !self.run_changed
            && self.tasks.is_empty()
            && self.expansions.is_empty()
            && self.attempts.is_empty()
            && self.transitions.is_empty()
            && self.notices.is_empty()
    }

    /// Adds what a later step changed in the same run.
    pub fn merge(&mut self, later: Delta) {
        self.run_changed |= later.run_changed;
        self.illegal = self.illegal.take().or(later.illegal);
        self.tasks.extend(later.tasks);
        self.elements.extend(later.elements);
        self.expansions.extend(later.expansions);
        for change in later.attempts.into_values() {
            self.record_attempt(change);
        }
        self.transitions.extend(later.transitions);
        self.effects.extend(later.effects);
        self.notices.extend(later.notices);
    }

    /// Keeps the last state of an attempt, and that its row is new if it was new at first.
    pub(crate) fn record_attempt(&mut self, change: AttemptChange) {
        match self.attempts.entry((change.task, change.attempt.number)) {
            Entry::Occupied(mut known) => known.get_mut().attempt = change.attempt,
            Entry::Vacant(place) => {
                place.insert(change);
            }
        }
    }
}
