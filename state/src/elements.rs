//! Mapped tasks: one task run for each element of a list, in the memory of a run's owner.
//!
//! Elements stand in [`Run::tasks`] behind the pipeline's own task runs, so that attempts, timers,
//! effects and rows know them by position like any other task run. Which elements there are is
//! decided once, when the mapped task's upstreams have settled, and stays until a clear asks for the
//! mapped task itself. Plain data and counting; what follows from it is [`crate::machine`]'s business.

use std::{borrow::Cow, fmt};

use serde_json::Value;

use crate::{
    pipeline::Task,
    run::{Run, TaskRun},
    words::TaskState,
};

/// Elements of one mapped task: more are several pipelines' work.
pub const ELEMENTS_MAX: usize = 10_000;

/// All items of one mapped task as JSON, in bytes: they go into one commit, and stay in memory while
/// the run lives.
pub const ITEMS_BYTES_MAX: usize = 4 * 1024 * 1024;

/// All outputs of one mapped task's elements as JSON, in bytes: later tasks read them from one row.
pub const OUTPUTS_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Which element of which mapped task a task run stands for.
#[derive(Clone, Debug, PartialEq)]
pub struct Element {
    /// The position of the mapped task.
    pub of: usize,
    /// Its place in the list, from 0.
    pub index: u32,
    /// What it stands for.
    pub item: Value,
}

/// The name of an element as people see and type it: `convert[17]`.
#[derive(Clone, Copy, Debug)]
pub struct ElementName<'a> {
    /// The mapped task.
    pub task: &'a str,
    /// Its place in the list.
    pub index: u32,
}

impl fmt::Display for ElementName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.task, self.index)
    }
}

impl<'a> ElementName<'a> {
    /// Reads a name; `None` where it is not one of an element.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (task, rest) = text.split_once('[')?;
        let digits = rest.strip_suffix(']')?;
        let plain = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
        Some(Self { task, index: plain.then(|| digits.parse().ok())?? })
    }
}

/// How the present elements of a mapped task stand; a recount of the run's task runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fan {
    /// Where each element stands, by index; beyond [`TaskRun::elements`] those of earlier generations.
    pub(crate) positions: Vec<usize>,
    /// No element before this index waits for its turn.
    pub(crate) next: usize,
    /// Wait for their turn.
    pub waiting: u32,
    /// Neither wait nor have ended.
    pub active: u32,
    /// Ended well.
    pub succeeded: u32,
    /// Failed.
    pub failed: u32,
    /// Were cancelled.
    pub cancelled: u32,
}

impl Fan {
    /// Elements that have ended.
    pub fn ended(&self) -> u32 {
        self.succeeded + self.failed + self.cancelled
    }

    /// Whether every element has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.waiting == 0 && self.active == 0
    }

    fn counter(&mut self, state: TaskState) -> &mut u32 {
        match state {
            TaskState::Waiting => &mut self.waiting,
            TaskState::Queued | TaskState::Running | TaskState::Retrying | TaskState::AwaitingApproval => {
                &mut self.active
            }
            TaskState::Succeeded | TaskState::Skipped => &mut self.succeeded,
            TaskState::Failed | TaskState::UpstreamFailed => &mut self.failed,
            TaskState::Cancelled => &mut self.cancelled,
        }
    }
}

impl Run {
    /// What the pipeline says of the task run at a position.
    pub fn task(&self, position: usize) -> &Task {
        &self.definition.pipeline.tasks[self.home(position)]
    }

    /// The name of the task run at a position: `convert`, or of an element `convert[17]`.
    pub fn task_name(&self, position: usize) -> Cow<'_, str> {
        let name = self.task(position).name.as_str();
        match &self.tasks[position].element {
            Some(element) => Cow::Owned(ElementName { task: name, index: element.index }.to_string()),
            None => Cow::Borrowed(name),
        }
    }

    /// The pipeline's own task runs, by position; without elements.
    pub fn own_tasks(&self) -> &[TaskRun] {
        &self.tasks[..self.definition.pipeline.tasks.len()]
    }

    /// Positions that mean something now: the pipeline's own task runs, and elements of the present
    /// lists.
    pub fn present(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.tasks.len()).filter(|position| self.is_present(*position))
    }

    /// Whether the task run at a position means something now; an element of an earlier, longer list
    /// does not, nor does a task that the version lacks.
    pub fn is_present(&self, position: usize) -> bool {
        self.tasks.get(position).is_some_and(|entry| match &entry.element {
            Some(element) => self.tasks[element.of].elements.is_some_and(|count| element.index < count),
            None => !self.definition.gone.contains(&position),
        })
    }

    /// The positions of a mapped task's present elements, by index; empty for every other task.
    pub fn elements(&self, task: usize) -> &[usize] {
        let entry = &self.tasks[task];
        let count = entry.elements.map_or(0, |count| count as usize);
        &entry.fan.positions[..count.min(entry.fan.positions.len())]
    }

    /// The position of the task in the pipeline that a task run belongs to.
    pub fn home(&self, position: usize) -> usize {
        self.tasks
            .get(position)
            .and_then(|entry| entry.element.as_ref())
            .map_or(position, |element| element.of)
    }

    /// Counts the elements of every mapped task anew.
    pub(crate) fn recount_elements(&mut self) {
        let own = self.definition.pipeline.tasks.len();
        for entry in &mut self.tasks[..own] {
            entry.fan = Fan::default();
        }
        for position in own..self.tasks.len() {
            let Some(element) = &self.tasks[position].element else { continue };
            let (of, index, state) = (element.of, element.index, self.tasks[position].state);
            let home = &mut self.tasks[of];
            let place = index as usize;
            if home.fan.positions.len() <= place {
                home.fan.positions.resize(place + 1, position);
            }
            home.fan.positions[place] = position;
            if home.elements.is_some_and(|count| index < count) {
                *home.fan.counter(state) += 1;
            }
        }
    }

    /// Takes note of an element's change of state.
    pub(crate) fn count_element(&mut self, position: usize, from: TaskState, to: TaskState) {
        if !self.is_present(position) {
            return;
        }
        let Some(of) = self.tasks[position].element.as_ref().map(|element| element.of) else { return };
        let fan = &mut self.tasks[of].fan;
        let before = fan.counter(from);
        *before = before.saturating_sub(1);
        *fan.counter(to) += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_elements_read_back() {
        let read = |text| ElementName::parse(text).map(|name| (name.task.to_owned(), name.index));
        assert_eq!(read("convert[17]"), Some(("convert".to_owned(), 17)));
        let written = ElementName { task: "convert", index: 17 }.to_string();
        assert_eq!(read(&written), Some(("convert".to_owned(), 17)));
        for text in
            ["convert", "convert[]", "convert[-1]", "convert[1", "convert[+1]", "convert[99999999999]"]
        {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
