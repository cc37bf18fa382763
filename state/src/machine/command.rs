//! What a person may ask of a run: clear, mark, cancel, pause, resume, retry now, resolve. Each is
//! done whole or refused with the reason and what to do instead.

use std::collections::BTreeSet;

use super::{AttemptKey, Command, Effect, Event, Mark, Refusal, Resolution, SeenStart, Stepper, Transition};
use crate::{
    run::{Failure, Run, StopReason, TaskRun},
    words::{AttemptState, RunState, TaskState},
};

impl Stepper<'_> {
    pub(super) fn command(&mut self, actor: &str, command: &Command) -> Result<(), Refusal> {
        match command {
            Command::Clear { tasks, generation, reason } => {
                self.clear(tasks, *generation, &said(actor, reason.as_deref()))
            }
            Command::Mark { tasks, mark, reason } => self.mark(tasks, *mark, actor, reason.as_deref()),
            Command::Cancel { task: None, reason } => self.ask_cancel_run(said(actor, reason.as_deref())),
            Command::Cancel { task: Some(task), reason } => {
                self.cancel_task(*task, &said(actor, reason.as_deref()))
            }
            Command::Pause { reason } => self.pause(said(actor, reason.as_deref())),
            Command::Resume { reason } => self.resume(said(actor, reason.as_deref())),
            Command::RetryNow { task, reason } => self.retry_now(*task, &said(actor, reason.as_deref())),
            Command::Decide { task, approved, comment } => {
                self.decide(*task, *approved, comment.as_deref(), actor)
            }
            Command::Resolve { task, seen, resolution, .. } => self.resolve(*task, *seen, resolution, actor),
        }
    }

    /// Sees to it that history has a line with what a person did and why, also where no state changed by it,
    /// or what changed has words of its own.
    pub(super) fn remark(&mut self, command: &Command, actor: &str) {
        let said = said(actor, command.reason());
        let changes = &self.delta.transitions;
        let tells = |change: &Transition| {
            command.reason().is_none() || change.reason.as_ref().is_some_and(|told| told.contains(&said))
        };
        if changes.iter().any(tells) {
            return;
        }
        let word = match command {
            Command::Clear { .. } => "cleared",
            Command::Mark { .. } => "marked",
            Command::Cancel { .. } => "cancel asked for",
            Command::Pause { .. } => "paused",
            Command::Resume { .. } => "resumed",
            Command::RetryNow { .. } => "retried",
            Command::Decide { approved: true, .. } => "approved",
            Command::Decide { approved: false, .. } => "rejected",
            Command::Resolve { .. } => "resolved",
        };
        let state = self.run.state.word().to_owned();
        self.delta.transitions.push(Transition {
            at: self.now,
            task: None,
            attempt: None,
            from: Some(state.clone()),
            to: state,
            reason: Some(format!("{word} {said}")),
        });
    }

    fn clear(&mut self, tasks: &[usize], generation: Option<u32>, reason: &str) -> Result<(), Refusal> {
        let label = self.run.label();
        if generation.is_some_and(|generation| generation != self.run.generation) {
            return refuse(format!("{label} was cleared by somebody else meanwhile: look at it again"));
        }
        match self.run.state {
            RunState::Queued => return refuse(format!("{label} has not started: there is nothing to clear")),
            RunState::Cancelling => {
                return refuse(format!("{label} is being cancelled: wait until it has ended, then clear"));
            }
            _ => {}
        }
        let cleared = clear_set(self.run, tasks);
        if cleared.is_empty() {
            return refuse(format!("nothing of {label} matches: no task would be cleared"));
        }
        self.reopen(&cleared, reason)?;
        self.go_on(&cleared, reason);
        Ok(())
    }

    /// Takes a person's word for how tasks ended. What did not run because of them follows.
    fn mark(
        &mut self,
        tasks: &[usize],
        mark: Mark,
        actor: &str,
        reason: Option<&str>,
    ) -> Result<(), Refusal> {
        let (label, state) = (self.run.label(), mark.state());
        if self.run.state == RunState::Cancelling {
            return refuse(format!("{label} is being cancelled: wait until it has ended, then mark"));
        }
        let known = |task: &usize| self.run.is_present(*task) && self.run.tasks[*task].state != state;
        let changed: Vec<usize> = tasks.iter().copied().filter(known).collect();
        if changed.is_empty() {
            return refuse(format!("nothing of {label} matches: no task would change to {state}"));
        }
        let words = format!("marked {state} {}", said(actor, reason));
        let reopened = clear_set(self.run, &changed);
        self.reopen(&reopened, &words)?;
        // The word for a mapped task covers its elements.
        for &task in changed.iter().filter(|task| reopened.contains(task)) {
            if mark == Mark::Failed {
                self.run.tasks[task].failure = Some(Failure::new("cancelled", words.as_str()));
            }
            self.set_task_state(task, state, Some(words.clone()));
        }
        self.go_on(&reopened, &words);
        Ok(())
    }

    /// Begins a new generation of these tasks: each waits for its upstreams.
    fn reopen(&mut self, tasks: &BTreeSet<usize>, reason: &str) -> Result<(), Refusal> {
        let label = self.run.label();
        let kept = mapped_that_stay(self.run, tasks);
        for &task in tasks {
            let name = self.task_name(task)?;
            let entry = &self.run.tasks[task];
            if entry.elements.is_some() && entry.state == TaskState::Running && !kept.contains(&task) {
                return refuse(format!(
                    "elements of task {name} of {label} are still running: `trunkline cancel {label} --task {name}` first"
                ));
            }
            if entry.state == TaskState::AwaitingApproval {
                return refuse(format!(
                    "task {name} of {label} waits for a person: `trunkline approve {label} {name}`, with --reject for a no"
                ));
            }
            if entry.attempt.is_some() {
                return refuse(format!(
                    "task {name} of {label} is still running: `trunkline cancel {label} --task {name}` first"
                ));
            }
        }
        self.run.generation += 1;
        for &task in tasks {
            let stays = kept.contains(&task);
            if stays && self.run.tasks[task].state == TaskState::Running {
                continue;
            }
            if !stays {
                self.drop_waiting(task);
            }
            if self.run.tasks[task].state != TaskState::Waiting {
                self.set_task_state(task, TaskState::Waiting, Some(reason.to_owned()));
            }
            let entry = &mut self.run.tasks[task];
            let (attempts, element) = (entry.attempts, entry.element.take());
            let elements = entry.elements.filter(|_| stays);
            if entry.elements != elements {
                self.delta.expansions.insert(task);
            }
            *entry = TaskRun { attempts, element, elements, ..TaskRun::new(self.run.generation) };
            self.delta.tasks.insert(task);
        }
        self.settled.clear();
        self.run.recount();
        self.delta.run_changed = true;
        Ok(())
    }

    /// Goes on after tasks were reopened: a run that had ended asks for a place again.
    fn go_on(&mut self, reopened: &BTreeSet<usize>, reason: &str) {
        if self.run.state.is_terminal() {
            self.set_run_state(RunState::Queued, Some(reason.to_owned()));
            self.run.started_at = None;
            self.run.ended_at = None;
            self.run.cancel_reason = None;
            self.delta.effects.push(Effect::Admit);
        } else {
            for &task in reopened {
                match self.run.tasks[task].element.as_ref().map(|element| element.of) {
                    Some(of) if self.run.tasks[of].state == TaskState::Running => self.fill(of),
                    Some(_) => {}
                    None => self.evaluate(task),
                }
            }
        }
    }

    fn ask_cancel_run(&mut self, reason: String) -> Result<(), Refusal> {
        match self.run.state {
            RunState::Queued | RunState::Running | RunState::Paused => {
                self.cancel_run(reason);
                Ok(())
            }
            RunState::Cancelling => refuse(format!("{} is already being cancelled", self.run.label())),
            state => refuse(format!("{} has already ended: {state}", self.run.label())),
        }
    }

    /// Cancels everything that has not ended; what runs outside is stopped and confirmed.
    pub(super) fn cancel_run(&mut self, reason: String) {
        let was_queued = self.run.state == RunState::Queued;
        if !was_queued {
            self.set_run_state(RunState::Cancelling, Some(reason.clone()));
        }
        for task in 0..self.run.tasks.len() {
            self.cancel_open(task, &reason, None);
        }
        if was_queued {
            self.set_run_state(RunState::Cancelled, Some(reason.clone()));
        }
        self.run.cancel_reason = Some(reason);
        self.delta.run_changed = true;
    }

    fn cancel_task(&mut self, task: usize, reason: &str) -> Result<(), Refusal> {
        let name = self.task_name(task)?;
        let state = self.run.tasks[task].state;
        if state.is_terminal() {
            return refuse(format!("task {name} of {} has already ended: {state}", self.run.label()));
        }
        if state == TaskState::Running {
            for element in self.run.elements(task).to_vec() {
                self.cancel_open(element, reason, Some(reason));
            }
        }
        self.cancel_open(task, reason, Some(reason));
        Ok(())
    }

    /// Cancels what has not ended: what runs outside is stopped, and a mapped task ends with the last
    /// of its elements.
    fn cancel_open(&mut self, task: usize, note: &str, said: Option<&str>) {
        match self.run.tasks[task].state {
            state if state.is_terminal() => {}
            state if state.has_attempt() => self.stop_attempt(task, StopReason::Cancel, note),
            _ => self.set_task_state(task, TaskState::Cancelled, said.map(ToOwned::to_owned)),
        }
    }

    fn pause(&mut self, said: String) -> Result<(), Refusal> {
        match self.run.state {
            RunState::Running => {
                self.set_run_state(RunState::Paused, Some(said));
                Ok(())
            }
            state => refuse(format!("{} is {state}: only a running run can be paused", self.run.label())),
        }
    }

    fn resume(&mut self, said: String) -> Result<(), Refusal> {
        if self.run.state != RunState::Paused {
            return refuse(format!("{} is {}, not paused", self.run.label(), self.run.state));
        }
        self.set_run_state(RunState::Running, Some(said));
        self.run.round += 1;
        for task in 0..self.run.tasks.len() {
            if self.run.tasks[task].state == TaskState::Queued {
                // While it was paused, its pool may have given its slots to others.
                self.run.tasks[task].turn = None;
                self.begin(task);
            }
        }
        Ok(())
    }

    fn retry_now(&mut self, task: usize, said: &str) -> Result<(), Refusal> {
        let name = self.task_name(task)?;
        let entry = &self.run.tasks[task];
        if entry.state == TaskState::Retrying {
            self.queue(task, Some(format!("retried {said}")));
            return Ok(());
        }
        match &entry.attempt {
            Some(attempt) if attempt.state == AttemptState::Starting && attempt.deferred_until.is_some() => {
                self.start_again(AttemptKey { task, number: attempt.number });
                Ok(())
            }
            _ => refuse(format!(
                "task {name} of {} is {}: only a task that waits for its next try can be retried now",
                self.run.label(),
                entry.state
            )),
        }
    }

    fn decide(
        &mut self,
        task: usize,
        approved: bool,
        comment: Option<&str>,
        actor: &str,
    ) -> Result<(), Refusal> {
        let name = self.task_name(task)?;
        let state = self.run.tasks[task].state;
        if state != TaskState::AwaitingApproval {
            return refuse(format!(
                "task {name} of {} is {state}: only a task in awaiting_approval can be approved or rejected",
                self.run.label()
            ));
        }
        let word = if approved { "approved" } else { "rejected" };
        let said = format!("{word} {}", said(actor, comment));
        let answer = serde_json::json!({ "approved_by": actor, "approved_at": self.now, "comment": comment });
        self.decided(task, approved, &said, answer);
        Ok(())
    }

    fn resolve(
        &mut self,
        task: usize,
        seen: Option<SeenStart>,
        resolution: &Resolution,
        actor: &str,
    ) -> Result<(), Refusal> {
        let name = self.task_name(task)?;
        let unconfirmed = self.run.tasks[task]
            .attempt
            .as_ref()
            .filter(|attempt| matches!(attempt.state, AttemptState::Starting | AttemptState::Unknown));
        let Some(attempt) = unconfirmed else {
            return refuse(format!(
                "task {name} of {} has no unconfirmed start: there is nothing to resolve",
                self.run.label()
            ));
        };
        let is_another = |seen: SeenStart| {
            seen.number != attempt.number
                || seen.intent_at.as_microsecond() != attempt.intent_at.as_microsecond()
        };
        if seen.is_some_and(is_another) {
            return refuse(format!(
                "task {name} of {} was started again meanwhile, as attempt {}: look at it again",
                self.run.label(),
                attempt.number
            ));
        }
        if attempt.sending {
            return refuse(format!(
                "task {name} of {} is being started at this moment: ask again in some seconds",
                self.run.label()
            ));
        }
        let (key, intent_at) = (AttemptKey { task, number: attempt.number }, attempt.intent_at);
        let event = match resolution {
            Resolution::Handle { handle, external_id } => Event::Accepted {
                attempt: key,
                handle: handle.clone(),
                external_id: external_id.clone(),
                reattached: true,
                awaits_person: false,
            },
            Resolution::NotStarted => Event::ProvedAbsent { attempt: key, intent_at },
            Resolution::Lost => Event::Lost {
                attempt: key,
                failure: Failure::new("lost", format!("declared lost by {actor}")),
            },
        };
        self.apply(&event);
        Ok(())
    }

    fn task_name(&self, task: usize) -> Result<String, Refusal> {
        if self.run.is_present(task) {
            return Ok(self.run.task_name(task).into_owned());
        }
        let (label, version) = (self.run.label(), self.run.definition.version);
        match self.run.tasks.get(task) {
            Some(_) => {
                refuse(format!("task {} of {label} is not in version {version}", self.run.task_name(task)))
            }
            None => refuse(format!("{label} has no task at position {task}")),
        }
    }
}

/// The tasks that a clear of `selected` makes run again: the selected ones, and everything
/// downstream of them that never ran because of them.
///
/// An element brings its mapped task along, which then waits for it with its list as it is. Where
/// the mapped task itself is selected, or anything before it runs again, its list is made anew: it
/// stands in the answer without elements.
pub fn clear_set(run: &Run, selected: &[usize]) -> BTreeSet<usize> {
    let mut cleared: BTreeSet<usize> =
        selected.iter().copied().filter(|task| run.is_present(*task)).collect();
    let mut open: Vec<usize> = cleared.iter().copied().collect();
    while let Some(task) = open.pop() {
        if let Some(element) = &run.tasks[task].element {
            if cleared.insert(element.of) {
                open.push(element.of);
            }
            continue;
        }
        for &downstream in &run.definition.downstream[task] {
            let state = run.tasks[downstream].state;
            let follows =
                matches!(state, TaskState::UpstreamFailed | TaskState::Skipped | TaskState::Cancelled);
            if follows && cleared.insert(downstream) {
                open.push(downstream);
            }
        }
    }
    for task in mapped_that_stay(run, &cleared) {
        if selected.contains(&task) || runs_again_before(run, task, &cleared) {
            cleared
                .retain(|entry| run.tasks[*entry].element.as_ref().is_none_or(|element| element.of != task));
        } else {
            let stopped = |entry: &&usize| run.tasks[**entry].state == TaskState::Cancelled;
            cleared.extend(run.elements(task).iter().filter(stopped));
        }
    }
    cleared
}

/// The mapped tasks that run again only because elements of theirs do: their lists stay.
fn mapped_that_stay(run: &Run, cleared: &BTreeSet<usize>) -> BTreeSet<usize> {
    let own = run.definition.pipeline.tasks.len();
    let elements = cleared.range(own..);
    elements.filter_map(|task| Some(run.tasks.get(*task)?.element.as_ref()?.of)).collect()
}

/// Whether anything upstream of a task is among those that run again.
fn runs_again_before(run: &Run, task: usize, cleared: &BTreeSet<usize>) -> bool {
    let mut open = vec![task];
    let mut seen = BTreeSet::new();
    while let Some(position) = open.pop() {
        for &upstream in &run.definition.pipeline.tasks[position].depends_on {
            if cleared.contains(&upstream) {
                return true;
            }
            if seen.insert(upstream) {
                open.push(upstream);
            }
        }
    }
    false
}

/// Who asked for something, and why: the words that history keeps.
pub fn said(actor: &str, reason: Option<&str>) -> String {
    match reason {
        Some(reason) => format!("by {actor}: {reason}"),
        None => format!("by {actor}"),
    }
}

fn refuse<T>(message: String) -> Result<T, Refusal> {
    Err(Refusal(message))
}
