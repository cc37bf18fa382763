//! Mapped tasks as people see them: how their elements stand, and how some of them are named in one
//! line. Decides nothing.

use std::collections::{BTreeMap, BTreeSet};

use trunkline_state::run::Run;

/// Elements of one task that are named; the rest is counted.
const NAMED_MAX: usize = 5;

/// Task runs in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// How many they are.
    pub count: usize,
    /// `convert[17], convert[40], report`.
    pub words: String,
}

/// Names task runs. A mapped task that runs on only for some of its elements is not named beside them.
pub fn named(run: &Run, positions: &[usize]) -> Named {
    let element_of = |position: usize| run.tasks[position].element.as_ref().map(|element| element.of);
    let carried: BTreeSet<usize> = positions.iter().filter_map(|position| element_of(*position)).collect();
    let shown: Vec<usize> =
        positions.iter().copied().filter(|position| !carried.contains(position)).collect();
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    let mut words = Vec::new();
    // In the order of the pipeline: an element stands where its task does.
    let mut ordered = shown.clone();
    ordered.sort_by_key(|position| (run.home(*position), *position));
    for position in ordered {
        if let Some(of) = element_of(position) {
            let count = counts.entry(of).or_default();
            *count += 1;
            if *count > NAMED_MAX {
                continue;
            }
        }
        words.push(run.task_name(position).into_owned());
    }
    for (of, count) in counts.into_iter().filter(|(_, count)| *count > NAMED_MAX) {
        words.push(format!("{} more of {}", count - NAMED_MAX, run.task_name(of)));
    }
    Named { count: shown.len(), words: words.join(", ") }
}

/// `412 of 1000 elements ended, 3 failed`; none for a task that has no list yet.
pub fn standing(run: &Run, task: usize) -> Option<String> {
    let entry = run.tasks.get(task)?;
    let (count, fan) = (entry.elements?, &entry.fan);
    let mut words = format!("{} of {count} elements ended", fan.ended());
    for (number, word) in [(fan.failed, "failed"), (fan.cancelled, "cancelled"), (fan.active, "under way")] {
        if number > 0 {
            words.push_str(&format!(", {number} {word}"));
        }
    }
    Some(words)
}
