//! Follows the consequences: readiness downstream, and the end of the run. Bounded by the
//! number of task runs, because each settles at most once between two clears.

use super::{AttemptKey, NoticeOutcome, NoticeRequest, RUN_TIMEOUT_REASON, Stepper, next_need, rules};
use crate::{
    pipeline::Notice,
    words::{RunState, TaskState},
};

impl Stepper<'_> {
    pub(super) fn settle(&mut self) {
        while let Some(task) = self.settled.pop() {
            let state = self.run.tasks[task].state;
            if let Some(of) = self.run.tasks[task].element.as_ref().map(|element| element.of) {
                self.element_ended(of);
                continue;
            }
            if self.run.tasks[task].fan.waiting > 0 {
                self.drop_waiting(task);
            }
            let definition = std::sync::Arc::clone(&self.run.definition);
            for &downstream in &definition.downstream[task] {
                self.run.tasks[downstream].upstreams.count(state);
                self.evaluate(downstream);
            }
        }
        if self.run.open_tasks == 0 && self.run.state.is_active() {
            self.end_run();
        }
    }

    /// Applies the trigger rule of a waiting task. Elements have none: their mapped task did.
    pub(super) fn evaluate(&mut self, task: usize) {
        if self.run.tasks[task].state != TaskState::Waiting
            || self.run.tasks[task].element.is_some()
            || !matches!(self.run.state, RunState::Running | RunState::Paused)
        {
            return;
        }
        let rule = self.run.task(task).trigger_rule;
        match rules::verdict(rule, self.run.tasks[task].upstreams) {
            rules::Verdict::Wait => {}
            rules::Verdict::Start => self.queue(task, None),
            rules::Verdict::Skip => self.set_task_state(task, TaskState::Skipped, None),
            rules::Verdict::UpstreamFailed => self.set_task_state(task, TaskState::UpstreamFailed, None),
        }
    }

    /// Makes a task ready; a paused run prepares nothing.
    pub(super) fn queue(&mut self, task: usize, reason: Option<String>) {
        self.set_task_state(task, TaskState::Queued, reason);
        if self.run.state == RunState::Running {
            self.begin(task);
        }
    }

    /// Asks for what a ready task needs next: its turn, its list or its request, or nothing where
    /// its elements are known.
    pub(super) fn begin(&mut self, task: usize) {
        if self.run.tasks[task].elements.is_some() {
            self.spread(task);
        } else {
            self.delta.effects.push(next_need(self.run, task));
        }
    }

    fn end_run(&mut self) {
        let failed = self.run.own_tasks().iter().any(|task| task.state.is_failure());
        let cancelled = self.run.own_tasks().iter().any(|task| task.state == TaskState::Cancelled);
        let timed_out = self.run.cancel_reason.as_deref() == Some(RUN_TIMEOUT_REASON);
        let to = match (self.run.state, failed, cancelled) {
            (RunState::Cancelling, true, _) | (RunState::Cancelling, _, true) if !timed_out => {
                RunState::Cancelled
            }
            (_, true, _) | (_, _, true) => RunState::Failed,
            (_, false, false) => RunState::Succeeded,
        };
        self.set_run_state(to, self.run.cancel_reason.clone());
        let succeeded: &[NoticeOutcome] =
            &[NoticeOutcome::Success, NoticeOutcome::Warning, NoticeOutcome::Recovery];
        let outcomes = match to {
            RunState::Succeeded => succeeded,
            RunState::Failed => &[NoticeOutcome::Failure],
            _ => &[],
        };
        for &outcome in outcomes {
            self.ask_notices(outcome, None);
        }
    }

    /// Asks for the notices of a list; warnings are told only where there are enough of them.
    pub(super) fn ask_notices(&mut self, outcome: NoticeOutcome, attempt: Option<AttemptKey>) {
        let notices = self.run.definition.pipeline.notices(outcome);
        if notices.is_empty() {
            return;
        }
        let about_warnings = outcome == NoticeOutcome::Warning;
        // Counted at the end of a run only: a retry must not look at every task.
        let warnings: usize = if about_warnings {
            self.run.present().map(|task| self.run.tasks[task].warnings.len()).sum()
        } else {
            0
        };
        let wanted = |notice: &Notice| {
            let least = notice.min_count.map_or(1, |count| usize::try_from(count).unwrap_or(usize::MAX));
            !about_warnings || warnings >= least
        };
        let indices: Vec<usize> = (0..notices.len()).filter(|index| wanted(&notices[*index])).collect();
        self.delta.notices.extend(indices.into_iter().map(|index| NoticeRequest { outcome, index, attempt }));
    }
}
