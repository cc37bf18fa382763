//! Runs that go on with another version: whatever the two versions are, what runs again is what the
//! new one says, and nothing of the past is lost or done under its name twice.

#[expect(dead_code, reason = "what the simulations share; only dice and a pipeline are wanted here")]
mod simulated;

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, json};
use trunkline_state::{
    document::Document,
    ids::{RunId, TaskName},
    machine::{self, Command, Delta, Effect, Event},
    pipeline::{Pipeline, Task, TriggerRule},
    run::{Definition, Failure, Installation, Run, Trigger},
    versions,
    words::TaskState,
};
use uuid::Uuid;

use simulated::Chance;

const SEEDS: u64 = 3_000;
const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

/// A version with some of eight tasks, in any order, with any edges from earlier to later ones.
fn version(chance: &mut Chance, number: i32) -> Arc<Definition> {
    let mut names: Vec<char> = "abcdefgh".chars().filter(|_| chance.percent(60)).collect();
    names.push('z');
    for last in (1..names.len()).rev() {
        names.swap(last, chance.below(last + 1));
    }
    let base = simulated::pipeline(chance);
    let tasks = names
        .iter()
        .zip(0..)
        .map(|(name, position)| Task {
            name: TaskName::new(format!("task_{name}")).unwrap(),
            depends_on: (0..position).filter(|_| chance.percent(40)).collect(),
            trigger_rule: TriggerRule::AllSuccess,
            for_each: None,
            pool: None,
            depends_on_past: false,
            outlets: Vec::new(),
            ..base.tasks[0].clone()
        })
        .collect();
    Arc::new(Definition::new(Pipeline { tasks, run_timeout: None, ..base }, number))
}

/// The world around one run: everything is accepted, some of it fails.
struct World<'a> {
    chance: &'a mut Chance,
    now: Timestamp,
    attempts: BTreeSet<Uuid>,
}

impl World<'_> {
    /// Carries a run to its end.
    fn carry(&mut self, run: &mut Run, delta: Delta) {
        let mut open: VecDeque<Effect> = self.taken(run, delta).into();
        while !run.state.is_terminal() {
            let events = if let Some(effect) = open.pop_front() {
                self.answers(run, &effect)
            } else {
                self.now = run.wake_at().expect("a run that goes on waits for something");
                vec![Event::Tick]
            };
            let delta = machine::step(run, &events, self.now);
            open.extend(self.taken(run, delta));
        }
    }

    fn taken(&mut self, run: &Run, delta: Delta) -> Vec<Effect> {
        assert!(delta.illegal.is_none(), "{:?}", delta.illegal);
        for change in delta.attempts.values().filter(|change| change.new) {
            let id = run.attempt_id(change.task, change.attempt.number);
            assert!(self.attempts.insert(id), "{} has had this attempt", run.task_name(change.task));
        }
        delta.effects
    }

    fn answers(&mut self, run: &Run, effect: &Effect) -> Vec<Event> {
        match effect {
            Effect::Admit => vec![Event::Admitted],
            Effect::Prepare { next } => {
                let upstreams = &run.task(next.task).depends_on;
                assert!(!run.definition.gone.contains(&next.task), "a task that is gone runs");
                assert!(upstreams.iter().all(|task| run.tasks[*task].state == TaskState::Succeeded));
                vec![Event::Prepared { next: *next, request: json!({}).into(), baseline: Document::null() }]
            }
            Effect::Send { attempt } => {
                let accepted = Event::Accepted {
                    attempt: *attempt,
                    handle: json!("job").into(),
                    external_id: "job".to_owned(),
                    reattached: false,
                    awaits_person: false,
                };
                let failed = self.chance.percent(25);
                let ended = if failed {
                    let failure = Failure::new("failed", "so it goes");
                    Event::Failed { attempt: *attempt, failure, outcome: json!({}) }
                } else {
                    Event::Succeeded { attempt: *attempt, outcome: json!({}) }
                };
                vec![accepted, ended]
            }
            _ => Vec::new(),
        }
    }
}

fn new_run(definition: &Arc<Definition>) -> Run {
    let installation = Installation { id: Uuid::from_u128(7), incarnation: 1 };
    let (id, key) = (RunId(Uuid::from_u128(1)), "a".to_owned());
    let definition = Arc::clone(definition);
    Run::new(id, definition, installation, key, NOW, None, None, Map::new(), Trigger::Manual, NOW)
}

fn names(run: &Run) -> Vec<String> {
    (0..run.own_tasks().len()).map(|task| run.task_name(task).into_owned()).collect()
}

#[test]
fn a_run_that_ended_goes_on_with_any_other_version() {
    for seed in 0..SEEDS {
        let mut chance = Chance(seed);
        let versions: Vec<Arc<Definition>> = (1..=3).map(|number| version(&mut chance, number)).collect();
        let mut run = new_run(&versions[0]);
        let mut world = World { chance: &mut chance, now: NOW, attempts: BTreeSet::new() };
        let delta = machine::step(&mut run, &[Event::Admitted], NOW);
        world.carry(&mut run, delta);
        for next in &versions[1..] {
            let before = run.clone();
            let moved = versions::moved(run, next, Map::new()).unwrap();
            run = moved.run;
            assert_eq!(
                names(&run)[..before.tasks.len()],
                names(&before),
                "seed {seed}: a place was given away"
            );
            let again = next.laid_over(&names(&run));
            assert_eq!(again.pipeline, run.definition.pipeline, "seed {seed}: read back, it is another");
            let wanted: BTreeSet<&str> = next.pipeline.tasks.iter().map(|task| task.name.as_str()).collect();
            let present: Vec<usize> = run.present().collect();
            let is: BTreeSet<String> = present.iter().map(|task| run.task_name(*task).into_owned()).collect();
            assert!(
                is.iter().map(String::as_str).eq(wanted.iter().copied()),
                "seed {seed}: {is:?} {wanted:?}"
            );

            let ask =
                Command::Clear { tasks: present.clone(), generation: Some(run.generation), reason: None };
            let delta = machine::ask(&mut run, "user:test", &ask, world.now).unwrap();
            world.carry(&mut run, delta);
            for task in 0..run.tasks.len() {
                let (entry, was) = (&run.tasks[task], before.tasks.get(task));
                if present.contains(&task) {
                    assert_eq!(
                        entry.generation,
                        run.generation,
                        "seed {seed}: {} stayed",
                        run.task_name(task)
                    );
                } else {
                    assert_eq!(Some(entry.attempts), was.map(|was| was.attempts), "seed {seed}");
                    assert_eq!(entry.state, TaskState::Skipped);
                }
            }
            world.now = world.now.checked_add(SignedDuration::from_secs(60)).unwrap();
        }
    }
}

#[test]
fn a_run_that_goes_on_is_not_moved() {
    let mut chance = Chance(1);
    let (first, second) = (version(&mut chance, 1), version(&mut chance, 2));
    let run = new_run(&first);
    let refused = versions::moved(run, &second, Map::new()).unwrap_err();
    insta::assert_snapshot!(
        refused.0,
        @"sim@a is queued: it can go on with version 2 once it has ended; `trunkline cancel sim@a` ends it"
    );
}
