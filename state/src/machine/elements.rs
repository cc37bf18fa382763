//! What a mapped task does: it becomes as many task runs as its list has elements, keeps so many of
//! them under way at once, and ends when the last of them has ended.

use serde_json::Value;

use super::Stepper;
use crate::{
    elements::{Element, OUTPUTS_BYTES_MAX},
    pipeline::OnEmpty,
    run::{Failure, TaskRun},
    words::{RunState, TaskState},
};

/// Elements that are named where some failed; the rest is counted.
const NAMED_MAX: usize = 5;

/// What is said of a list without elements.
const NO_ELEMENTS: &str = "`for_each` gave no elements";

impl Stepper<'_> {
    /// Takes the list of a mapped task that may start: from now on it has these elements, until a
    /// clear asks for the task itself.
    pub(super) fn expanded(&mut self, task: usize, items: &[Value]) {
        let generation = self.run.tasks[task].generation;
        let Some(for_each) = self.run.task(task).for_each.clone() else { return };
        if items.is_empty() {
            return self.without_elements(task, for_each.on_empty);
        }
        for (index, item) in (0_u32..).zip(items) {
            let known = self.run.tasks[task].fan.positions.get(index as usize).copied();
            let position = known.unwrap_or(self.run.tasks.len());
            let element = Some(Box::new(Element { of: task, index, item: item.clone() }));
            if known.is_some() {
                // Of an earlier generation: its attempts go on being counted.
                self.set_task_state(position, TaskState::Waiting, None);
                let attempts = self.run.tasks[position].attempts;
                self.run.tasks[position] = TaskRun { attempts, element, ..TaskRun::new(generation) };
            } else {
                self.run.tasks.push(TaskRun { element, ..TaskRun::new(generation) });
            }
            self.delta.tasks.insert(position);
            self.delta.elements.insert(position);
        }
        self.run.tasks[task].elements = u32::try_from(items.len()).ok();
        self.delta.expansions.insert(task);
        self.run.recount();
        self.spread(task);
    }

    fn without_elements(&mut self, task: usize, on_empty: OnEmpty) {
        match on_empty {
            OnEmpty::Skip => self.set_task_state(task, TaskState::Skipped, Some(NO_ELEMENTS.to_owned())),
            OnEmpty::Fail => {
                self.run.tasks[task].failure = Some(Failure::new("failed", NO_ELEMENTS));
                self.set_task_state(task, TaskState::Failed, Some(NO_ELEMENTS.to_owned()));
            }
            OnEmpty::Warn => {
                let entry = &mut self.run.tasks[task];
                entry.outputs = Some(Value::Array(Vec::new()));
                entry.warnings = vec![NO_ELEMENTS.to_owned()];
                self.set_task_state(task, TaskState::Running, None);
                self.set_task_state(task, TaskState::Succeeded, None);
            }
        }
    }

    /// Sets a queued mapped task's elements going.
    pub(super) fn spread(&mut self, task: usize) {
        self.set_task_state(task, TaskState::Running, None);
        self.run.tasks[task].started_at.get_or_insert(self.now);
        self.fill(task);
        self.end_if_over(task);
    }

    /// Starts waiting elements, as many as may be under way at once.
    pub(super) fn fill(&mut self, task: usize) {
        if !matches!(self.run.state, RunState::Running | RunState::Paused) {
            return;
        }
        let most = self.run.task(task).for_each.as_ref().map_or(0, |each| each.max_parallel);
        let count = self.run.elements(task).len();
        loop {
            let fan = &mut self.run.tasks[task].fan;
            if fan.active >= most || fan.next >= count {
                return;
            }
            let position = fan.positions[fan.next];
            fan.next += 1;
            if self.run.tasks[position].state == TaskState::Waiting {
                self.queue(position, None);
            }
        }
    }

    /// An element ended: another one may start, or it was the last.
    pub(super) fn element_ended(&mut self, task: usize) {
        if self.run.tasks[task].state == TaskState::Running {
            self.fill(task);
            self.end_if_over(task);
        }
    }

    /// Gives up elements that never got their turn, where their mapped task ends without them.
    pub(super) fn drop_waiting(&mut self, task: usize) {
        for position in self.run.elements(task).to_vec() {
            if self.run.tasks[position].state == TaskState::Waiting {
                self.set_task_state(position, TaskState::Cancelled, None);
            }
        }
    }

    fn end_if_over(&mut self, task: usize) {
        if self.run.tasks[task].fan.is_over() {
            self.end_mapped(task);
        }
    }

    fn end_mapped(&mut self, task: usize) {
        let (failed, cancelled) = (self.run.tasks[task].fan.failed, self.run.tasks[task].fan.cancelled);
        let tolerated = self.run.task(task).for_each.as_ref().map_or(0, |each| each.tolerated_failures);
        let words = (failed > 0).then(|| self.failed_elements(task));
        if failed > tolerated {
            let failure = Failure { message: words.clone().unwrap_or_default(), ..self.first_failure(task) };
            self.run.tasks[task].failure = Some(failure);
            return self.set_task_state(task, TaskState::Failed, words);
        }
        if cancelled > 0 {
            return self.set_task_state(task, TaskState::Cancelled, None);
        }
        let outputs: Vec<Value> = self
            .run
            .elements(task)
            .iter()
            .map(|position| self.run.tasks[*position].outputs.clone().unwrap_or(Value::Null))
            .collect();
        let outputs = Value::Array(outputs);
        let bytes = outputs.to_string().len();
        let entry = &mut self.run.tasks[task];
        entry.warnings = words.into_iter().collect();
        if bytes > OUTPUTS_BYTES_MAX {
            entry.warnings.push(format!(
                "the outputs of its elements have {bytes} bytes; at most {OUTPUTS_BYTES_MAX} are handed on, so there are none"
            ));
        } else {
            entry.outputs = Some(outputs);
        }
        self.set_task_state(task, TaskState::Succeeded, None);
    }

    /// `3 of 1000 elements failed: convert[17]: …; convert[40]: …`.
    fn failed_elements(&self, task: usize) -> String {
        let all = self.run.elements(task);
        let failed: Vec<usize> = all
            .iter()
            .copied()
            .filter(|position| self.run.tasks[*position].state == TaskState::Failed)
            .collect();
        let named = failed.iter().take(NAMED_MAX).map(|position| {
            let failure = self.run.tasks[*position].failure.as_ref();
            let first =
                failure.and_then(|failure| failure.message.lines().find(|line| !line.trim().is_empty()));
            format!("{}: {}", self.run.task_name(*position), first.unwrap_or("unknown reason").trim())
        });
        let mut words = format!(
            "{} of {} elements failed: {}",
            failed.len(),
            all.len(),
            named.collect::<Vec<_>>().join("; ")
        );
        if failed.len() > NAMED_MAX {
            words.push_str(&format!("; and {} more", failed.len() - NAMED_MAX));
        }
        words
    }

    fn first_failure(&self, task: usize) -> Failure {
        let mut failures = self.run.elements(task).iter().filter_map(|position| {
            let entry = &self.run.tasks[*position];
            entry.failure.clone().filter(|_| entry.state == TaskState::Failed)
        });
        failures.next().unwrap_or_else(|| Failure::new("failed", ""))
    }
}
