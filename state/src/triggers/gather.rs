//! Which updates of datasets make a run together: those of one interval, once as many datasets as are needed were
//! updated for it. Runs without an interval take whatever was updated since the run before.

use std::collections::{BTreeMap, BTreeSet};

use super::decide::WaitingEvent;
use crate::schedule::Interval;

/// What an update says to whoever decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitingUpdate<'a> {
    /// The dataset.
    pub dataset: &'a str,
    /// What the run would cover; nothing where runs of the pipeline cover none.
    pub covers: Option<Interval>,
    /// Whether that interval has its run already: then nothing is waited for any more, and no other run made.
    pub settled: bool,
}

/// The events of each run that is due, the oldest first; `own` are the positions of one trigger's events.
pub(super) fn complete(waiting: &[WaitingEvent<'_>], own: &[usize], needed: usize) -> Vec<Vec<usize>> {
    let mut groups: BTreeMap<_, Vec<(usize, WaitingUpdate<'_>)>> = BTreeMap::new();
    for &position in own {
        let Some(update) = waiting[position].update else { continue };
        let covers = update.covers.map(|interval| (interval.start, interval.end));
        groups.entry(covers).or_default().push((position, update));
    }
    let is_due = |group: &Vec<(usize, WaitingUpdate<'_>)>| {
        let updated: BTreeSet<&str> = group.iter().map(|(_, update)| update.dataset).collect();
        updated.len() >= needed || group.iter().any(|(_, update)| update.settled)
    };
    let due = groups.into_values().filter(is_due);
    due.map(|group| group.into_iter().map(|(position, _)| position).collect()).collect()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::triggers::{Gathering, decide};

    const NAMES: [&str; 3] = ["a", "b", "c"];

    /// A day of November.
    fn day(number: i64) -> Interval {
        let start = Timestamp::from_second(number * 86_400).unwrap();
        Interval { start, end: Timestamp::from_second((number + 1) * 86_400).unwrap() }
    }

    /// A dataset, by its position, and the day that was updated.
    type Update = (usize, i64);

    /// A run: what it covers, and its updates.
    type Made = (Option<Interval>, Vec<Update>);

    /// A store in small.
    struct Model {
        needed: usize,
        has_interval: bool,
        waiting: Vec<Update>,
        runs: Vec<Made>,
    }

    impl Model {
        fn has_run(&self, covers: Option<Interval>) -> bool {
            covers.is_some() && self.runs.iter().any(|(covered, _)| *covered == covers)
        }

        /// Makes what is due, and nothing that an interval has already.
        fn look(&mut self, room: usize) {
            let now = Timestamp::UNIX_EPOCH;
            let update = |(dataset, number): &Update| {
                let covers = self.has_interval.then(|| day(*number));
                WaitingUpdate { dataset: NAMES[*dataset], covers, settled: self.has_run(covers) }
            };
            let events: Vec<WaitingEvent<'_>> = self
                .waiting
                .iter()
                .map(|one| WaitingEvent { trigger: 0, received_at: now, update: Some(update(one)) })
                .collect();
            let decided = decide(&events, &[Gathering::Datasets { needed: self.needed }], room, now);
            let mut taken = BTreeSet::new();
            let mut made = Vec::new();
            for (_, positions) in decided.runs {
                let covers = events[positions[0]].update.unwrap().covers;
                assert!(positions.iter().all(|one| events[*one].update.unwrap().covers == covers));
                assert!(positions.iter().all(|one| taken.insert(*one)), "no update is in two runs");
                made.push((covers, positions.iter().map(|one| self.waiting[*one]).collect()));
            }
            for (covers, updates) in made {
                if !self.has_run(covers) {
                    self.runs.push((covers, updates));
                }
            }
            let mut position = 0;
            self.waiting.retain(|_| {
                position += 1;
                !taken.contains(&(position - 1))
            });
        }

        fn after(updates: &[(usize, i64, usize)], needed: usize, has_interval: bool) -> Self {
            let mut model = Self { needed, has_interval, waiting: Vec::new(), runs: Vec::new() };
            for (dataset, number, room) in updates {
                model.waiting.push((*dataset, *number));
                model.look(*room);
            }
            model.look(usize::MAX);
            model
        }
    }

    /// Updates in any order, again and again, with more or less room for runs.
    fn updates() -> impl Strategy<Value = Vec<(usize, i64, usize)>> {
        prop::collection::vec((0..NAMES.len(), 0_i64..4, 0_usize..3), 0..40)
    }

    fn names_of(updates: &[Update]) -> BTreeSet<usize> {
        updates.iter().map(|(dataset, _)| *dataset).collect()
    }

    proptest! {
        #[test]
        fn each_interval_has_one_run_once_all_its_datasets_were_updated(updates in updates(), any: bool) {
            let needed = if any { 1 } else { NAMES.len() };
            let model = Model::after(&updates, needed, true);
            for number in 0..4 {
                let of_day = updates.iter().filter(|(_, other, _)| *other == number);
                let updated: BTreeSet<usize> = of_day.map(|(dataset, _, _)| *dataset).collect();
                let runs = model.runs.iter().filter(|(covers, _)| *covers == Some(day(number))).count();
                prop_assert_eq!(runs, usize::from(updated.len() >= needed), "of day {}", number);
                let waits = model.waiting.iter().any(|(_, other)| *other == number);
                prop_assert_eq!(waits, runs == 0 && !updated.is_empty(), "nothing waits beside its run");
            }
            let told = model.runs.iter().all(|(_, updates)| names_of(updates).len() >= needed);
            prop_assert!(told, "a run knows an update of each");
        }

        #[test]
        fn without_intervals_a_run_takes_all_since_the_one_before(updates in updates()) {
            let model = Model::after(&updates, NAMES.len(), false);
            prop_assert!(model.runs.iter().all(|(_, updates)| names_of(updates).len() == NAMES.len()));
            prop_assert!(names_of(&model.waiting).len() < NAMES.len(), "something is missing of what waits");
            let taken: usize = model.runs.iter().map(|(_, updates)| updates.len()).sum();
            prop_assert_eq!(taken + model.waiting.len(), updates.len(), "none is lost, none counts twice");
        }
    }

    #[test]
    fn an_update_of_an_interval_that_has_its_run_waits_for_nothing() {
        let update = |settled| WaitingUpdate { dataset: "a", covers: Some(day(1)), settled };
        let event = |settled| WaitingEvent {
            trigger: 0,
            received_at: Timestamp::UNIX_EPOCH,
            update: Some(update(settled)),
        };
        assert_eq!(complete(&[event(true)], &[0], 2), [[0]]);
        assert!(complete(&[event(false)], &[0], 2).is_empty());
    }
}
