//! A run on another version than it began with.
//!
//! A task run keeps its position for as long as its run is kept, because attempts, output and history
//! know it by that. So it is the version that is laid over the run: its tasks take the positions that
//! their names have there, what it lacks keeps its place and runs no more, and what is new comes
//! behind. Who asks for it, and what of it runs again, is decided elsewhere.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::{
    machine::{Refusal, Transition},
    pipeline::{Pipeline, RetryPolicy, Task, TriggerRule},
    run::{Definition, Run, TaskRun},
    words::TaskState,
};

/// A run moved to a version, and what that means for its tasks.
#[derive(Clone, Debug)]
pub struct Moved {
    /// The run, as it was read.
    pub before: Run,
    /// The run, as it stands then.
    pub run: Run,
    /// Tasks that it did not have, or not lately: they count as not run because of what was before them.
    pub added: Vec<usize>,
    /// Tasks that the version does not have: they count as skipped, and never run again.
    pub gone: Vec<usize>,
    /// Tasks that ran once for each element of a list, and are one task now.
    pub unmapped: Vec<usize>,
}

impl Moved {
    /// What history says of it: the tasks that changed, then the run with `words`.
    pub fn transitions(&self, words: &str, now: Timestamp) -> Vec<Transition> {
        let version = self.run.definition.version;
        let line = |task: Option<usize>, from: Option<&str>, to: &str, reason: String| Transition {
            at: now,
            task,
            attempt: None,
            from: from.map(ToOwned::to_owned),
            to: to.to_owned(),
            reason: Some(reason),
        };
        let of_task = |task: &usize, reason: String| {
            let from = self.before.tasks.get(*task).map(|entry| entry.state.word());
            line(Some(*task), from, self.run.tasks[*task].state.word(), reason)
        };
        let gone = self.gone.iter().map(|task| of_task(task, format!("version {version} does not have it")));
        let added = self.added.iter().map(|task| of_task(task, format!("new in version {version}")));
        let state = self.run.state.word();
        let words = format!("version {} → {version} {words}", self.before.definition.version);
        gone.chain(added).chain([line(None, Some(state), state, words)]).collect()
    }
}

impl Definition {
    /// This version for a run whose own tasks have these names, by position; itself, where they are its own.
    #[must_use]
    pub fn laid_over(self: &Arc<Self>, names: &[String]) -> Arc<Self> {
        let own = &self.pipeline.tasks;
        if names.iter().map(String::as_str).eq(own.iter().map(|task| task.name.as_str())) {
            return Arc::clone(self);
        }
        let known: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        let added = own.iter().map(|task| task.name.as_str()).filter(|name| !known.contains(name));
        let order: Vec<&str> = names.iter().map(String::as_str).chain(added).collect();
        let places: HashMap<&str, usize> = order.iter().copied().zip(0..).collect();
        let mut gone = BTreeSet::new();
        let tasks = order
            .iter()
            .zip(0..)
            .filter_map(|(name, position)| {
                let Some((_, task)) = self.pipeline.task(name) else {
                    gone.insert(position);
                    return place_of_gone(name);
                };
                let upstream = |upstream: &usize| places[own[*upstream].name.as_str()];
                Some(Task { depends_on: task.depends_on.iter().map(upstream).collect(), ..task.clone() })
            })
            .collect();
        let pipeline = Pipeline { tasks, ..self.pipeline.clone() };
        Arc::new(Self { gone, ..Self::new(pipeline, self.version) })
    }
}

/// What stands where a task was that the version does not have: nothing depends on it, and it never runs.
fn place_of_gone(name: &str) -> Option<Task> {
    let no_time = std::time::Duration::ZERO;
    Some(Task {
        name: name.parse().ok()?,
        operator: String::new(),
        settings: Value::Null,
        depends_on: Vec::new(),
        trigger_rule: TriggerRule::AllSuccess,
        when: None,
        for_each: None,
        connection: String::new(),
        retry: RetryPolicy {
            retries: 0,
            delay: no_time,
            backoff: 1.0,
            delay_max: no_time,
            retry_on: Vec::new(),
        },
        timeout: no_time,
        poll_interval: no_time,
        pool: None,
        depends_on_past: false,
        outlets: Vec::new(),
    })
}

/// Moves a run to a version, with parameters that are the version's.
///
/// # Errors
///
/// It has not ended, or there is no place for new tasks.
pub fn moved(before: Run, version: &Arc<Definition>, params: Map<String, Value>) -> Result<Moved, Refusal> {
    let (label, to) = (before.label(), version.version);
    if !before.state.is_terminal() {
        return Err(Refusal(format!(
            "{label} is {}: it can go on with version {to} once it has ended; `trunkline cancel {label}` ends it",
            before.state
        )));
    }
    let own = before.own_tasks().len();
    let names: Vec<String> = (0..own).map(|task| before.task_name(task).into_owned()).collect();
    let definition = version.laid_over(&names);
    let new = own..definition.pipeline.tasks.len();
    if let Some(first) = new.clone().next().filter(|_| before.tasks.len() > own) {
        return Err(Refusal(format!(
            "version {to} has tasks that {label} had not ({}), and its mapped tasks have their elements where those \
             would stand: clear it as it is, or make a run of the date under another version",
            definition.pipeline.tasks[first].name
        )));
    }
    let mut run = before.clone();
    let gone: Vec<usize> = definition.gone.difference(&before.definition.gone).copied().collect();
    for &task in &gone {
        run.tasks[task].state = TaskState::Skipped;
    }
    let was_mapped = |task: &usize| {
        run.tasks[*task].elements.is_some() && definition.pipeline.tasks[*task].for_each.is_none()
    };
    let unmapped: Vec<usize> = (0..own).filter(was_mapped).collect();
    for &task in &unmapped {
        run.tasks[task].elements = None;
    }
    run.tasks.extend(new.clone().map(|_| TaskRun::new(run.generation)));
    let added: Vec<usize> = before.definition.gone.difference(&definition.gone).copied().chain(new).collect();
    for &task in &added {
        run.tasks[task].state = TaskState::UpstreamFailed;
    }
    run.definition = definition;
    run.params = params;
    run.recount();
    Ok(Moved { before, run, added, gone, unmapped })
}
