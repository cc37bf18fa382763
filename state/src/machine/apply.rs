//! Records one event: the fact itself and nothing beyond its own task run.

use jiff::Timestamp;
use serde_json::Value;

use super::{
    AttemptChange, AttemptKey, Effect, Event, NoticeOutcome, RUN_TIMEOUT_REASON, STOP_REPEAT, Stepper,
    Upcoming, legal, retry,
};
use crate::{
    document::Document,
    run::{Attempt, Failure, StopReason},
    words::{AttemptState, RunState, TaskState},
};

impl Stepper<'_> {
    pub(super) fn apply(&mut self, event: &Event) {
        match event {
            Event::Admitted => self.admitted(),
            Event::Tick => self.tick(),
            Event::TurnGranted { next, round } => self.turn_granted(*next, *round),
            Event::Prepared { next, .. }
            | Event::Expanded { next, .. }
            | Event::PrepareFailed { next, .. }
            | Event::Unwanted { next, .. } => {
                // What was prepared before a pause may have lost its turn since.
                if self.expects(*next) && !self.run.lacks_turn(next.task) {
                    self.prepared(next.task, event);
                }
            }
            Event::Accepted { attempt, handle, external_id, reattached, awaits_person } => {
                if self.is_starting(*attempt) {
                    self.accepted(*attempt, handle, external_id, *reattached);
                    if *awaits_person {
                        self.await_person(*attempt);
                    }
                }
            }
            Event::Deferred { attempt, intent_at, until, reason } => {
                if self.is_under_way(*attempt, *intent_at) {
                    self.deferred(*attempt, *until, reason);
                }
            }
            Event::StartUnknown { attempt, intent_at, reason } => {
                if self.is_under_way(*attempt, *intent_at) {
                    self.start_unknown(*attempt, reason);
                }
            }
            Event::NotYetKnown { attempt, intent_at, again_at, reason } => {
                if self.is_sought(*attempt, *intent_at) {
                    self.touch_attempt(attempt.task, |live| {
                        live.look_at = Some(*again_at);
                        live.note = Some(reason.clone());
                    });
                }
            }
            Event::ProvedAbsent { attempt, intent_at } => {
                if self.is_sought(*attempt, *intent_at) {
                    self.start_again(*attempt);
                }
            }
            Event::Succeeded { attempt, outcome } => {
                if self.is_live(*attempt) {
                    self.finish(attempt.task, AttemptState::Succeeded, None, Some(outcome.clone()));
                }
            }
            Event::Failed { attempt, failure, outcome } => {
                if self.is_live(*attempt) {
                    self.finish(
                        attempt.task,
                        AttemptState::Failed,
                        Some(failure.clone()),
                        Some(outcome.clone()),
                    );
                }
            }
            Event::Stopped { attempt, failure } => {
                if self.is_live(*attempt) {
                    self.stopped(attempt.task, failure);
                }
            }
            Event::Lost { attempt, failure } => {
                if self.is_live(*attempt) {
                    self.finish(attempt.task, AttemptState::Lost, Some(failure.clone()), None);
                }
            }
        }
    }

    fn turn_granted(&mut self, next: Upcoming, round: u32) {
        if self.expects(next) && self.run.lacks_turn(next.task) && round == self.run.round {
            self.run.tasks[next.task].turn = Some(next);
            self.delta.effects.push(Effect::Prepare { next });
        }
    }

    /// What became of preparing a task's next attempt.
    fn prepared(&mut self, task: usize, event: &Event) {
        match event {
            Event::Prepared { request, baseline, .. } => {
                self.begin_attempt(task, request.clone(), baseline.clone());
            }
            Event::Expanded { items, .. } => self.expanded(task, items),
            Event::PrepareFailed { failure, .. } => self.prepare_failed(task, failure),
            Event::Unwanted { reason, .. } => {
                self.set_task_state(task, TaskState::Skipped, Some(reason.clone()));
            }
            _ => {}
        }
    }

    fn is_live(&self, key: AttemptKey) -> bool {
        self.run.live_attempt(key.task, key.number).is_some()
    }

    fn is_starting(&self, key: AttemptKey) -> bool {
        self.run
            .live_attempt(key.task, key.number)
            .is_some_and(|attempt| matches!(attempt.state, AttemptState::Starting | AttemptState::Unknown))
    }

    /// Whether the call for this intent was not answered yet. What a call says twice, or after
    /// its intent was renewed, says nothing of the call that is under way now.
    fn is_under_way(&self, key: AttemptKey, intent_at: Timestamp) -> bool {
        self.is_starting(key)
            && self
                .run
                .live_attempt(key.task, key.number)
                .is_some_and(|attempt| attempt.intent_at == intent_at && attempt.sending)
    }

    /// Whether a look-up for this intent says something about the attempt as it stands: not
    /// when the intent was renewed since, nor while its call is under way.
    fn is_sought(&self, key: AttemptKey, intent_at: Timestamp) -> bool {
        self.is_starting(key)
            && self
                .run
                .live_attempt(key.task, key.number)
                .is_some_and(|attempt| attempt.intent_at == intent_at && !attempt.sending)
    }

    /// Whether this attempt is still the one that is to come: not after a clear, nor twice.
    fn expects(&self, next: Upcoming) -> bool {
        self.run.state == RunState::Running
            && self.run.tasks.get(next.task).is_some_and(|entry| {
                entry.state == TaskState::Queued
                    && entry.elements.is_none()
                    && self.run.upcoming(next.task) == next
            })
    }

    fn admitted(&mut self) {
        if self.run.state != RunState::Queued {
            return;
        }
        self.set_run_state(RunState::Running, None);
        self.run.started_at = Some(self.now);
        for task in 0..self.run.tasks.len() {
            self.evaluate(task);
        }
    }

    fn tick(&mut self) {
        if self.run.deadline_at().is_some_and(|at| at <= self.now) {
            self.cancel_run(RUN_TIMEOUT_REASON.to_owned());
        }
        let due: Vec<usize> =
            self.run.timers.iter().take_while(|(at, _)| *at <= self.now).map(|(_, task)| *task).collect();
        for task in due {
            if self.run.tasks[task].state == TaskState::Retrying {
                self.queue(task, None);
            } else {
                self.attempt_due(task);
            }
        }
    }

    fn attempt_due(&mut self, task: usize) {
        let Some(attempt) = &self.run.tasks[task].attempt else { return };
        let key = AttemptKey { task, number: attempt.number };
        match attempt.state {
            AttemptState::Running => {
                let limit = self.run.task(task).timeout;
                self.stop_attempt(
                    task,
                    StopReason::Timeout,
                    &format!("took longer than {}s", limit.as_secs()),
                );
            }
            AttemptState::Starting if attempt.deferred_until.is_some() => self.start_again(key),
            AttemptState::Starting | AttemptState::Unknown => {
                self.touch_attempt(task, |live| live.look_at = None);
                self.delta.effects.push(Effect::Find { attempt: key });
            }
            AttemptState::Cancelling => {
                let again_at = later(self.now, STOP_REPEAT);
                self.touch_attempt(task, |live| live.look_at = Some(again_at));
                self.delta.effects.push(Effect::Stop { attempt: key });
            }
            _ => {}
        }
    }

    /// Commits an intent; the send follows the commit.
    fn begin_attempt(&mut self, task: usize, request: Document, baseline: Document) {
        let attempt = self.new_attempt(task, request, baseline);
        let key = AttemptKey { task, number: attempt.number };
        self.set_task_state(task, TaskState::Running, None);
        self.insert_attempt(task, attempt);
        self.delta.effects.push(Effect::Send { attempt: key });
    }

    fn prepare_failed(&mut self, task: usize, failure: &Failure) {
        let mut attempt = self.new_attempt(task, Document::null(), Document::null());
        attempt.state = AttemptState::Failed;
        attempt.ended_at = Some(self.now);
        attempt.failure = Some(failure.clone());
        let number = attempt.number;
        self.attempt_transition(task, number, None, AttemptState::Failed, Some(failure.message.clone()));
        self.delta.record_attempt(AttemptChange { task, new: true, attempt });
        self.after_failure(task, number, failure, None);
    }

    fn new_attempt(&mut self, task: usize, request: Document, baseline: Document) -> Attempt {
        let now = self.now;
        let timeout = self.run.task(task).timeout;
        let entry = &mut self.run.tasks[task];
        entry.attempts += 1;
        entry.tries += 1;
        entry.started_at.get_or_insert(now);
        Attempt {
            number: entry.attempts,
            generation: entry.generation,
            state: AttemptState::Starting,
            request,
            baseline,
            intent_at: now,
            deferred_until: None,
            handle: None,
            external_id: None,
            reattached: false,
            remote_state: None,
            deadline_at: now.checked_add(timeout).unwrap_or(Timestamp::MAX),
            stop: None,
            note: None,
            started_at: None,
            ended_at: None,
            failure: None,
            result: None,
            look_at: None,
            sending: true,
        }
    }

    fn insert_attempt(&mut self, task: usize, attempt: Attempt) {
        if !legal::attempt_may(None, attempt.state) {
            self.illegal("a new attempt", "none", attempt.state.word());
            return;
        }
        self.attempt_transition(task, attempt.number, None, attempt.state, None);
        self.delta.record_attempt(AttemptChange { task, new: true, attempt: attempt.clone() });
        let due_before = self.run.tasks[task].due_at();
        self.run.tasks[task].attempt = Some(attempt);
        self.run.set_timer(task, due_before);
    }

    fn accepted(&mut self, key: AttemptKey, handle: &Document, external_id: &str, reattached: bool) {
        let now = self.now;
        let timeout = self.run.task(key.task).timeout;
        let stopping = self.run.tasks[key.task].attempt.as_ref().is_some_and(|live| live.stop.is_some());
        let to = if stopping { AttemptState::Cancelling } else { AttemptState::Running };
        self.change_attempt(key.task, to, |live| {
            live.handle = Some(handle.clone());
            live.external_id = Some(external_id.to_owned());
            live.reattached = reattached;
            live.deferred_until = None;
            live.sending = false;
            live.started_at = Some(now);
            live.deadline_at = now.checked_add(timeout).unwrap_or(Timestamp::MAX);
            live.look_at = stopping.then(|| later(now, STOP_REPEAT));
            live.note = None;
        });
        if stopping {
            self.delta.effects.push(Effect::Stop { attempt: key });
        }
        self.delta.effects.push(Effect::Watch { attempt: key });
    }

    /// Leaves an accepted attempt to a person: nobody outside is asked about it, or told to stop.
    fn await_person(&mut self, key: AttemptKey) {
        let concerns = |effect: &Effect| matches!(effect, Effect::Watch { attempt } | Effect::Stop { attempt } if *attempt == key);
        self.delta.effects.retain(|effect| !concerns(effect));
        let stop = self.run.live_attempt(key.task, key.number).and_then(|attempt| attempt.stop);
        self.set_task_state(key.task, TaskState::AwaitingApproval, None);
        if stop.is_some() {
            self.end_without_answer(key.task, "");
        }
    }

    /// Ends an attempt that waited for a person, at once: nothing is outside that could confirm it.
    fn end_without_answer(&mut self, task: usize, note: &str) {
        let note = if note.is_empty() { String::new() } else { format!(" ({note})") };
        self.stopped(task, &Failure::new("cancelled", format!("nobody had answered{note}")));
    }

    /// Carries out a person's word.
    pub(super) fn decided(&mut self, task: usize, approved: bool, said: &str, answer: Value) {
        if approved {
            self.touch_attempt(task, |live| live.note = Some(said.to_owned()));
            let outcome = serde_json::json!({ "outputs": answer });
            self.finish(task, AttemptState::Succeeded, None, Some(outcome));
        } else {
            // No class that is repeated: a no is an answer.
            let failure = Failure::new("cancelled", said);
            self.finish(task, AttemptState::Failed, Some(failure), None);
        }
    }

    fn start_unknown(&mut self, key: AttemptKey, reason: &str) {
        self.change_attempt(key.task, AttemptState::Unknown, |live| {
            live.note = Some(reason.to_owned());
            live.look_at = None;
            live.sending = false;
        });
        self.delta.effects.push(Effect::Find { attempt: key });
    }

    fn deferred(&mut self, key: AttemptKey, until: Timestamp, reason: &str) {
        if self.end_without_job(key.task) {
            return;
        }
        let state = AttemptState::Starting;
        self.change_attempt(key.task, state, |live| {
            live.deferred_until = Some(until);
            live.sending = false;
            live.note = Some(reason.to_owned());
        });
    }

    /// No job exists: the intent is committed anew, with a new signing time and the same
    /// token, and then sent.
    pub(super) fn start_again(&mut self, key: AttemptKey) {
        if self.end_without_job(key.task) {
            return;
        }
        let now = self.now;
        self.change_attempt(key.task, AttemptState::Starting, |live| {
            live.deferred_until = None;
            live.look_at = None;
            live.sending = true;
            // Never the same twice, whatever the clock does: look-ups are told apart by it.
            live.intent_at = now.max(later(live.intent_at, INTENT_STEP));
        });
        self.delta.effects.push(Effect::Send { attempt: key });
    }

    /// Ends an attempt that certainly has no job and is not wanted any more. Whether it did.
    fn end_without_job(&mut self, task: usize) -> bool {
        let Some(attempt) = &self.run.tasks[task].attempt else { return true };
        if attempt.stop == Some(StopReason::Cancel) {
            let failure = Failure::new("cancelled", "cancelled before it started");
            self.finish(task, AttemptState::Cancelled, Some(failure), None);
            return true;
        }
        if attempt.deadline_at <= self.now {
            let waited = attempt.note.clone().unwrap_or_else(|| "the service never accepted it".to_owned());
            let failure = Failure::new("timeout", format!("not started within the task's timeout: {waited}"));
            self.finish(task, AttemptState::TimedOut, Some(failure), None);
            return true;
        }
        false
    }

    fn stopped(&mut self, task: usize, failure: &Failure) {
        match self.run.tasks[task].attempt.as_ref().and_then(|live| live.stop) {
            Some(StopReason::Timeout) => {
                let limit = self.run.task(task).timeout;
                let failure = Failure {
                    class: "timeout".to_owned(),
                    message: format!(
                        "stopped after {}s, the task's timeout; {}",
                        limit.as_secs(),
                        failure.message
                    ),
                    ..failure.clone()
                };
                self.finish(task, AttemptState::TimedOut, Some(failure), None);
            }
            Some(StopReason::Cancel) | None => {
                self.finish(task, AttemptState::Cancelled, Some(failure.clone()), None);
            }
        }
    }

    /// Asks for an attempt to be stopped; what is starting is stopped once it is known.
    pub(super) fn stop_attempt(&mut self, task: usize, reason: StopReason, note: &str) {
        let Some(attempt) = &self.run.tasks[task].attempt else { return };
        let key = AttemptKey { task, number: attempt.number };
        let again_at = later(self.now, STOP_REPEAT);
        if self.run.tasks[task].state == TaskState::AwaitingApproval {
            self.touch_attempt(task, |live| live.stop = Some(reason));
            self.end_without_answer(task, if reason == StopReason::Cancel { note } else { "" });
            return;
        }
        match attempt.state {
            AttemptState::Running => {
                self.change_attempt(task, AttemptState::Cancelling, |live| {
                    live.stop = Some(reason);
                    live.note = Some(note.to_owned());
                    live.look_at = Some(again_at);
                });
                self.delta.effects.push(Effect::Stop { attempt: key });
            }
            AttemptState::Starting | AttemptState::Unknown => {
                let (state, known_absent) = (attempt.state, attempt.deferred_until.is_some());
                self.change_attempt(
                    task,
                    if known_absent { AttemptState::Starting } else { state },
                    |live| {
                        live.stop = Some(reason);
                    },
                );
                if known_absent {
                    self.end_without_job(task);
                }
            }
            AttemptState::Cancelling => self.change_attempt_stop(task, reason),
            _ => {}
        }
    }

    /// A person's cancel outranks a timeout that is already being carried out.
    fn change_attempt_stop(&mut self, task: usize, reason: StopReason) {
        if reason == StopReason::Cancel {
            self.touch_attempt(task, |live| live.stop = Some(reason));
        }
    }

    /// Ends the live attempt and decides what becomes of its task run.
    fn finish(&mut self, task: usize, to: AttemptState, failure: Option<Failure>, outcome: Option<Value>) {
        let now = self.now;
        self.change_attempt(task, to, |live| {
            live.ended_at = Some(now);
            live.failure.clone_from(&failure);
            live.result.clone_from(&outcome);
            live.deferred_until = None;
            live.look_at = None;
        });
        let due_before = self.run.tasks[task].due_at();
        let ended = self.run.tasks[task].attempt.take();
        self.run.set_timer(task, due_before);
        let Some(ended) = ended else { return };
        match failure {
            None => self.task_succeeded(task, outcome),
            Some(failure) => self.after_failure(task, ended.number, &failure, ended.stop),
        }
    }

    fn task_succeeded(&mut self, task: usize, outcome: Option<Value>) {
        let mut outcome = outcome.unwrap_or(Value::Null);
        let entry = &mut self.run.tasks[task];
        entry.failure = None;
        entry.outputs = outcome.get_mut("outputs").map(Value::take);
        entry.warnings = outcome
            .get("warnings")
            .and_then(Value::as_array)
            .map(|list| list.iter().filter_map(|text| text.as_str().map(str::to_owned)).collect())
            .unwrap_or_default();
        self.set_task_state(task, TaskState::Succeeded, None);
    }

    fn after_failure(&mut self, task: usize, number: u32, failure: &Failure, stop: Option<StopReason>) {
        self.run.tasks[task].failure = Some(failure.clone());
        if stop == Some(StopReason::Cancel) || self.run.state == RunState::Cancelling {
            self.set_task_state(task, TaskState::Cancelled, Some(failure.message.clone()));
            return;
        }
        let policy = &self.run.task(task).retry;
        let tries = self.run.tasks[task].tries;
        if retry::is_repeated(policy, tries, failure) {
            let pause = retry::pause(policy, tries, self.run.attempt_id(task, number));
            let due_before = self.run.tasks[task].due_at();
            self.run.tasks[task].retry_at = Some(self.now.checked_add(pause).unwrap_or(Timestamp::MAX));
            self.run.set_timer(task, due_before);
            self.set_task_state(task, TaskState::Retrying, Some(failure.message.clone()));
            self.ask_notices(NoticeOutcome::Retry, Some(AttemptKey { task, number }));
        } else {
            self.set_task_state(task, TaskState::Failed, Some(failure.message.clone()));
        }
    }
}

/// The least time between two intents of one attempt: what the store's clock can tell apart.
const INTENT_STEP: jiff::SignedDuration = jiff::SignedDuration::from_micros(1);

fn later(now: Timestamp, by: jiff::SignedDuration) -> Timestamp {
    now.checked_add(by).unwrap_or(Timestamp::MAX)
}
