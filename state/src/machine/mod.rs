//! The one place that decides. [`step`] takes what happened and says what follows; [`ask`]
//! does the same for what a person wants, and may refuse.
//!
//! ```text
//!  events ──► apply ──► settle ──► Delta { rows, history, effects, notices }
//!             (the fact)  (what follows downstream, to a fixed point)
//! ```
//!
//! Neither reads a clock, draws a random number or performs IO; the cost is proportional to
//! what changes, not to the size of the run. Effects are derived from state ([`due`] computes
//! them anew after a crash), so recovery is the ordinary path.
//!
//! The run is changed in place: if its delta cannot be committed, the owner drops the run
//! from memory and loads it again.

mod apply;
mod command;
mod delta;
mod elements;
mod event;
pub mod legal;
pub mod retry;
pub mod rules;
mod settle;

use jiff::{SignedDuration, Timestamp};

pub use self::{
    command::{clear_set, said},
    delta::{AttemptChange, Delta, Effect, NoticeOutcome, NoticeRequest, Transition},
    event::{AttemptKey, Command, Event, Mark, Resolution, SeenStart, Upcoming},
};
use crate::{
    machine::legal::IllegalTransition,
    run::{Attempt, Run},
    words::{AttemptState, RunState, TaskState},
};

/// A stop that nobody confirmed is asked for again after this time.
const STOP_REPEAT: SignedDuration = SignedDuration::from_secs(30);

/// The reason that a run shows when its own `run_timeout` ended it.
pub const RUN_TIMEOUT_REASON: &str = "run_timeout exceeded";

/// Why a person's command was not carried out; nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub String);

/// Decides everything that follows from `events`. The same run, events and time give the
/// same delta. Reports about attempts that are not live are ignored.
pub fn step(run: &mut Run, events: &[Event], now: Timestamp) -> Delta {
    let mut stepper = Stepper::new(run, now);
    for event in events {
        stepper.apply(event);
        stepper.settle();
    }
    stepper.delta
}

/// Decides what follows from a person's command, or refuses it with the reason and what to
/// do instead.
pub fn ask(run: &mut Run, actor: &str, command: &Command, now: Timestamp) -> Result<Delta, Refusal> {
    let mut stepper = Stepper::new(run, now);
    stepper.command(actor, command)?;
    stepper.remark(command, actor);
    stepper.settle();
    Ok(stepper.delta)
}

/// The effects that a freshly loaded run wants, whoever owned it before.
pub fn due(run: &Run) -> Vec<Effect> {
    let mut effects = Vec::new();
    if run.state == RunState::Queued {
        effects.push(Effect::Admit);
    }
    for (position, task) in run.tasks.iter().enumerate() {
        let wants_elements = task.elements.is_none();
        if task.state == TaskState::Queued && run.state == RunState::Running && wants_elements {
            effects.push(next_need(run, position));
        }
        let Some(attempt) = &task.attempt else { continue };
        let key = AttemptKey { task: position, number: attempt.number };
        match attempt.state {
            AttemptState::Starting if attempt.deferred_until.is_some() => {}
            AttemptState::Starting | AttemptState::Unknown => effects.push(Effect::Find { attempt: key }),
            AttemptState::Running if task.state == TaskState::AwaitingApproval => {}
            AttemptState::Running => effects.push(Effect::Watch { attempt: key }),
            AttemptState::Cancelling => {
                effects.extend([Effect::Stop { attempt: key }, Effect::Watch { attempt: key }]);
            }
            _ => {}
        }
    }
    effects
}

/// What the next attempt of a ready task needs first.
fn next_need(run: &Run, task: usize) -> Effect {
    let next = run.upcoming(task);
    if run.lacks_turn(task) { Effect::WantTurn { next, round: run.round } } else { Effect::Prepare { next } }
}

/// Whether it is, or is to be, the turn of a task run in this state.
fn has_turn(state: TaskState) -> bool {
    matches!(state, TaskState::Queued | TaskState::Running | TaskState::AwaitingApproval)
}

/// One decision in progress.
struct Stepper<'a> {
    run: &'a mut Run,
    now: Timestamp,
    delta: Delta,
    /// Task runs that ended and whose downstream has not been told.
    settled: Vec<usize>,
}

impl<'a> Stepper<'a> {
    fn new(run: &'a mut Run, now: Timestamp) -> Self {
        Self { run, now, delta: Delta::default(), settled: Vec::new() }
    }

    fn set_run_state(&mut self, to: RunState, reason: Option<String>) {
        let from = self.run.state;
        if !legal::run_may(from, to) {
            self.illegal("run", from.word(), to.word());
            return;
        }
        self.run.state = to;
        if to.is_terminal() {
            self.run.ended_at = Some(self.now);
        }
        self.delta.run_changed = true;
        self.delta.transitions.push(Transition {
            at: self.now,
            task: None,
            attempt: None,
            from: Some(from.word().to_owned()),
            to: to.word().to_owned(),
            reason,
        });
    }

    fn set_task_state(&mut self, task: usize, to: TaskState, reason: Option<String>) {
        let due_before = self.run.tasks[task].due_at();
        let from = self.run.tasks[task].state;
        if !legal::task_may(from, to) {
            let name = format!("task {}", self.run.task_name(task));
            self.illegal(&name, from.word(), to.word());
            return;
        }
        let entry = &mut self.run.tasks[task];
        entry.state = to;
        if to != TaskState::Retrying {
            entry.retry_at = None;
        }
        if to.is_terminal() {
            entry.ended_at = Some(self.now);
            self.run.open_tasks -= 1;
            self.settled.push(task);
        }
        if !has_turn(to) && self.run.takes_turns(task) {
            self.run.tasks[task].turn = None;
            self.delta.effects.push(Effect::TurnEnded);
        }
        self.run.count_element(task, from, to);
        self.run.set_timer(task, due_before);
        self.delta.tasks.insert(task);
        self.delta.transitions.push(Transition {
            at: self.now,
            task: Some(task),
            attempt: None,
            from: Some(from.word().to_owned()),
            to: to.word().to_owned(),
            reason,
        });
    }

    /// Changes the live attempt of a task, and records it.
    fn change_attempt(&mut self, task: usize, to: AttemptState, change: impl FnOnce(&mut Attempt)) {
        let due_before = self.run.tasks[task].due_at();
        let Some(attempt) = self.run.tasks[task].attempt.as_mut() else { return };
        let (from, number) = (attempt.state, attempt.number);
        if !legal::attempt_may(Some(from), to) {
            let name = format!("attempt {number} of task {}", self.run.task_name(task));
            self.illegal(&name, from.word(), to.word());
            return;
        }
        change(attempt);
        attempt.state = to;
        let recorded = attempt.clone();
        let reason =
            recorded.failure.as_ref().map(|failure| failure.message.clone()).or(recorded.note.clone());
        self.run.set_timer(task, due_before);
        self.delta.record_attempt(AttemptChange { task, new: false, attempt: recorded });
        if from != to {
            self.attempt_transition(task, number, Some(from), to, reason);
        }
    }

    /// Changes what only memory keeps of the live attempt of a task.
    fn touch_attempt(&mut self, task: usize, change: impl FnOnce(&mut Attempt)) {
        let due_before = self.run.tasks[task].due_at();
        if let Some(attempt) = self.run.tasks[task].attempt.as_mut() {
            change(attempt);
            self.run.set_timer(task, due_before);
        }
    }

    fn attempt_transition(
        &mut self,
        task: usize,
        number: u32,
        from: Option<AttemptState>,
        to: AttemptState,
        reason: Option<String>,
    ) {
        self.delta.transitions.push(Transition {
            at: self.now,
            task: Some(task),
            attempt: Some(number),
            from: from.map(|state| state.word().to_owned()),
            to: to.word().to_owned(),
            reason,
        });
    }

    fn illegal(&mut self, what: &str, from: &str, to: &str) {
        self.delta.illegal.get_or_insert_with(|| IllegalTransition {
            what: format!("{what} in {}", self.run.label()),
            from: from.to_owned(),
            to: to.to_owned(),
        });
    }
}
