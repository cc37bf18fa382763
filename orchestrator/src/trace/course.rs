//! What a run's history says of one stretch of it: from where it was made or cleared to where it ended.
//!
//! History is folded commit by commit, so that what is kept grows with the tasks of a run and not with its
//! commits. It is asked rather than the run's row because a run may have been cleared again before anybody
//! reads it: the row then speaks of what came after, and history still has both.

use std::collections::BTreeMap;

use jiff::Timestamp;
use trunkline_state::{
    machine::Transition,
    words::{AttemptState, RunState, TaskState},
};

/// One stretch of a run.
#[derive(Clone, Debug)]
pub struct Course {
    wanted: Timestamp,
    /// When it asked for a place again; none for the first stretch, which asked when it was made.
    pub(super) queued_at: Option<Timestamp>,
    /// When it got its place.
    pub(super) started_at: Option<Timestamp>,
    /// How it ended.
    pub(super) end: Option<End>,
    /// What became of its tasks, by position.
    pub(super) tasks: BTreeMap<usize, TaskCourse>,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub(super) struct End {
    pub(super) at: Timestamp,
    pub(super) state: RunState,
    pub(super) reason: Option<String>,
}

/// What became of one task.
#[derive(Clone, Debug, Default)]
pub(super) struct TaskCourse {
    /// When it was ready, or was decided about.
    pub(super) began: Option<Timestamp>,
    /// When, how and why it ended.
    pub(super) end: Option<(Timestamp, TaskState, Option<String>)>,
    /// Its attempts, by number: when each began, and when it ended.
    pub(super) attempts: BTreeMap<u32, (Timestamp, Option<Timestamp>)>,
}

impl Course {
    /// The stretch that ended at this moment.
    pub fn until(ended_at: Timestamp) -> Self {
        Self { wanted: ended_at, queued_at: None, started_at: None, end: None, tasks: BTreeMap::new() }
    }

    /// Whether its end was seen: whatever comes later belongs to the next one.
    pub fn is_over(&self) -> bool {
        self.end.is_some()
    }

    /// Takes the next line of the history.
    pub fn take(&mut self, line: &Transition) {
        if self.is_over() {
            return;
        }
        match (line.task, line.attempt) {
            (None, _) => self.run_line(line),
            (Some(task), None) => self.tasks.entry(task).or_default().line(line),
            (Some(task), Some(number)) => {
                let entry = self.tasks.entry(task).or_default();
                let attempt = entry.attempts.entry(number).or_insert((line.at, None));
                if AttemptState::from_word(&line.to).is_some_and(AttemptState::is_terminal) {
                    attempt.1 = Some(line.at);
                }
            }
        }
    }

    fn run_line(&mut self, line: &Transition) {
        // A person's word about the run that did not change its state.
        if line.from.as_deref() == Some(line.to.as_str()) {
            return;
        }
        match RunState::from_word(&line.to) {
            Some(state) if state.is_terminal() && line.at == self.wanted => {
                self.end = Some(End { at: line.at, state, reason: line.reason.clone() });
            }
            // An earlier stretch. Begun anew here and not at the next `queued`: what a clear or a mark
            // does to tasks stands before that.
            Some(state) if state.is_terminal() => *self = Self::until(self.wanted),
            Some(RunState::Queued) => self.queued_at = Some(line.at),
            Some(RunState::Running) => {
                self.started_at.get_or_insert(line.at);
            }
            _ => {}
        }
    }
}

impl TaskCourse {
    fn line(&mut self, line: &Transition) {
        match TaskState::from_word(&line.to) {
            // Cleared while the run was live: it goes on under the same parent.
            Some(TaskState::Waiting) => self.end = None,
            Some(state) => {
                self.began.get_or_insert(line.at);
                self.end = state.is_terminal().then(|| (line.at, state, line.reason.clone()));
            }
            None => {}
        }
    }
}
