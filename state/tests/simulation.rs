//! A seeded simulation of the pure core: random graphs, a service that loses answers and
//! repeats and delays them, crashes between the commit and the deed, cancels and clears at
//! any moment. A failing seed is printed; `SIMULATION_SEED` runs one, `SIMULATION_SEEDS` many.

mod simulated;

use std::{collections::BTreeMap, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};
use trunkline_state::{
    document::Document,
    ids::RunId,
    machine::{self, AttemptKey, Command, Delta, Effect, Event, Mark, NoticeOutcome, Resolution, Upcoming},
    pipeline::TriggerRule,
    run::{Attempt, Definition, Failure, Installation, Run, Trigger},
    words::{AttemptState, RunState, TaskState},
};
use uuid::Uuid;

use simulated::{Chance, Job, accepted, items, pipeline, pool::Pool, report};

/// Steps after which a run must have ended once the world stops being hostile.
const STEPS_MAX: usize = 3_000;
const SEEDS_IN_TESTS: u64 = 5_000;

/// What stands in the store: rows, not the run in memory.
struct Stored {
    run: Run,
    ended_attempts: BTreeMap<(usize, u32), Attempt>,
    notices: Vec<(u32, NoticeOutcome)>,
}

struct World {
    chance: Chance,
    now: Timestamp,
    run: Run,
    stored: Stored,
    jobs: Vec<Job>,
    effects: Vec<Effect>,
    late: Vec<(Timestamp, Event)>,
    pool: Pool,
    /// One more for each crash.
    fence: i64,
    hostile: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut chance = Chance(seed);
        let definition = Arc::new(Definition::new(pipeline(&mut chance), 1));
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let installation = Installation { id: Uuid::from_u128(1), incarnation: 1 };
        let run = Run::new(
            RunId(Uuid::from_u128(u128::from(seed))),
            definition,
            installation,
            "k".into(),
            now,
            None,
            None,
            Map::new(),
            Trigger::Manual,
            now,
        );
        let stored = Stored { run: run.clone(), ended_attempts: BTreeMap::new(), notices: Vec::new() };
        let effects = machine::due(&run);
        let (jobs, late, pool) = (Vec::new(), Vec::new(), Pool::default());
        Self { chance, now, run, stored, jobs, effects, late, pool, fence: 1, hostile: true }
    }

    /// Commits a decision, or crashes before or after the commit.
    fn commit(&mut self, delta: Delta) {
        assert_eq!(delta.illegal, None);
        self.check_delta(&delta);
        if self.hostile && self.chance.percent(3) {
            self.crash();
            return;
        }
        self.store(&delta);
        self.effects.extend(delta.effects);
        if self.hostile && self.chance.percent(3) {
            self.crash();
        }
    }

    fn store(&mut self, delta: &Delta) {
        for change in delta.attempts.values() {
            let key = (change.task, change.attempt.number);
            assert!(!self.stored.ended_attempts.contains_key(&key), "an ended attempt changed");
            if change.attempt.state.is_terminal() {
                self.stored.ended_attempts.insert(key, change.attempt.clone());
            }
        }
        self.stored.notices.extend(delta.notices.iter().map(|notice| (self.run.generation, notice.outcome)));
        self.stored.run = self.run.clone();
    }

    /// Memory is gone; the store is what the next owner loads.
    fn crash(&mut self) {
        self.run = self.stored.run.clone();
        self.run.forget();
        self.fence += 1;
        // What is told under an earlier fence is heard by nobody.
        self.late.retain(|(_, event)| !matches!(event, Event::TurnGranted { .. }));
        self.effects = machine::due(&self.run);
        self.decide(Event::Tick);
    }

    fn decide(&mut self, event: Event) {
        let delta = machine::step(&mut self.run, &[event], self.now);
        if delta.is_clean() {
            self.effects.extend(delta.effects);
        } else {
            self.commit(delta);
        }
    }

    fn check_delta(&self, delta: &Delta) {
        for change in delta.attempts.values() {
            let task = self.run.task(change.task);
            if change.new && task.trigger_rule == TriggerRule::AllSuccess {
                // An upstream that a person cleared meanwhile runs again by itself; what was
                // ready by then goes on.
                let own = self.run.tasks[self.run.home(change.task)].generation;
                let early = task
                    .depends_on
                    .iter()
                    .map(|up| &self.run.tasks[*up])
                    .any(|up| up.state != TaskState::Succeeded && up.generation <= own);
                assert!(!early, "{} started before its upstreams succeeded", task.name);
            }
        }
    }

    fn turn(&mut self) {
        if !self.late.is_empty() && self.chance.percent(40) {
            let (_, event) = self.late.swap_remove(0);
            self.decide(event);
        }
        if self.hostile && self.chance.percent(2) {
            self.person();
        }
        if self.chance.percent(3) {
            let takes = self.hostile && self.chance.percent(60);
            self.pool.rival(&self.stored.run, takes);
        }
        if !self.hostile || self.chance.percent(20) {
            self.grant();
        }
        let asked =
            (0..self.run.tasks.len()).find(|task| self.run.tasks[*task].state == TaskState::AwaitingApproval);
        if let Some(task) = asked.filter(|_| self.chance.percent(30)) {
            let approved = self.chance.percent(70);
            self.say(&Command::Decide { task, approved, comment: None });
        }
        if self.effects.is_empty() {
            self.pass_time();
        } else {
            let position = self.chance.below(self.effects.len());
            let effect = self.effects.swap_remove(position);
            self.perform(effect);
        }
        self.check();
    }

    /// The pool gives what is free; what it says may arrive late.
    fn grant(&mut self) {
        for (next, round) in self.pool.share_out(&self.stored.run, self.fence) {
            let event = Event::TurnGranted { next, round };
            if self.hostile && self.chance.percent(20) {
                self.late.push((self.now, event));
            } else {
                self.decide(event);
            }
        }
    }

    fn person(&mut self) {
        let task = self.chance.below(self.run.tasks.len());
        let command = match self.chance.below(10) {
            0 => Command::Cancel { task: None, reason: None },
            1 => Command::Cancel { task: Some(task), reason: None },
            2 => Command::Pause { reason: None },
            3 => Command::Resume { reason: None },
            4 => Command::RetryNow { task, reason: None },
            // A person who is right: there never was a job of this attempt.
            8 => Command::Mark { tasks: vec![task], mark: Mark::Succeeded, reason: None },
            9 => Command::Mark { tasks: vec![task], mark: Mark::Failed, reason: None },
            5 | 6 if !self.was_started(task) => {
                Command::Resolve { task, seen: None, resolution: Resolution::NotStarted, reason: None }
            }
            _ => Command::Clear { tasks: vec![task], generation: None, reason: None },
        };
        self.say(&command);
    }

    fn say(&mut self, command: &Command) {
        let before = self.run.clone();
        match machine::ask(&mut self.run, "user:sim", command, self.now) {
            Ok(delta) => self.commit(delta),
            Err(_) => {
                assert_eq!(before.packed_states(), self.run.packed_states(), "a refusal changed something");
            }
        }
    }

    fn was_started(&self, task: usize) -> bool {
        let key = AttemptKey { task, number: self.run.tasks[task].attempts };
        self.jobs.iter().any(|job| job.key == key)
    }

    fn pass_time(&mut self) {
        let next_job = self.jobs.iter().filter(|job| !job.ended).map(|job| job.ends_at).min();
        let next = [self.run.wake_at(), next_job].into_iter().flatten().min();
        let Some(next) = next else { return };
        self.now = self.now.max(next) + SignedDuration::from_millis(1);
        let mut events = vec![Event::Tick];
        for job in &mut self.jobs {
            if !job.ended && job.ends_at <= self.now {
                job.ended = true;
                events.push(report(job));
            }
        }
        for event in events {
            // A poll may be seen twice, or late, when the attempt is over.
            if self.hostile && event != Event::Tick && self.chance.percent(20) {
                self.late.push((self.now, event.clone()));
            }
            self.decide(event);
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Admit => self.decide(Event::Admitted),
            Effect::WantTurn { next, round } => self.pool.want(&self.stored.run, next, (self.fence, round)),
            Effect::TurnEnded => {}
            Effect::Prepare { next } => {
                if self.hostile && self.chance.percent(5) {
                    self.prepare_late(next);
                }
                let event = self.prepared(next);
                self.decide(event);
            }
            Effect::Send { attempt } => self.send(attempt),
            Effect::Find { attempt } => self.find(attempt),
            Effect::Watch { attempt } => self.watch(attempt),
            Effect::Stop { attempt } => self.stop(attempt),
        }
    }

    fn prepared(&mut self, next: Upcoming) -> Event {
        if self.wants_elements(next.task) {
            return Event::Expanded { next, items: items(&mut self.chance) };
        }
        let rolls = if self.is_mapped(next.task) { 2 } else { 30 };
        match if self.hostile { self.chance.below(rolls) } else { 29 } {
            0 => Event::PrepareFailed { next, failure: Failure::new("system", "no baseline") },
            1 => Event::Unwanted { next, reason: "`when` says no".into() },
            _ => {
                let request = json!({"n": next.number}).into();
                Event::Prepared { next, request, baseline: Document::null() }
            }
        }
    }

    /// What was prepared for a generation that is over arrives now: nothing follows from it.
    fn prepare_late(&mut self, next: Upcoming) {
        let ready = |run: &Run| {
            let task = &run.tasks[next.task];
            (run.tasks.len(), task.state, task.attempts)
        };
        let before = ready(&self.run);
        let late = self.prepared(Upcoming { generation: next.generation - 1, ..next });
        self.decide(late);
        assert_eq!(before, ready(&self.run), "a request from before a clear");
    }

    fn is_mapped(&self, task: usize) -> bool {
        self.run.task(task).for_each.is_some() && self.run.tasks[task].element.is_none()
    }

    /// Whether the list of a task is to be made; sometimes that fails, or its `when` says no.
    fn wants_elements(&mut self, task: usize) -> bool {
        self.is_mapped(task) && !(self.hostile && self.chance.percent(5))
    }

    /// Whoever sends twice for one attempt loses here: the ledger of accepted starts.
    fn send(&mut self, key: AttemptKey) {
        let attempt = key;
        if is_approval(key.task) {
            if self.hostile && self.chance.percent(10) {
                return self.crash();
            }
            return self.decide(accepted(key, false, is_approval(key.task)));
        }
        let Some(intent_at) = self.run.live_attempt(key.task, key.number).map(|live| live.intent_at) else {
            return;
        };
        match if self.hostile { self.chance.below(10) } else { 9 } {
            0 => self.decide(Event::Deferred {
                attempt,
                intent_at,
                until: self.now + SignedDuration::from_secs(30),
                reason: "throttled".into(),
            }),
            1 => self.decide(Event::StartUnknown { attempt, intent_at, reason: "never arrived".into() }),
            2 => {
                self.accept(key);
                self.decide(Event::StartUnknown { attempt, intent_at, reason: "answer lost".into() });
            }
            3 => {
                self.accept(key);
                self.crash();
            }
            4 => self.decide(Event::Failed {
                attempt,
                failure: Failure::new("failed", "refused"),
                outcome: Value::Null,
            }),
            _ => {
                self.accept(key);
                self.decide(accepted(key, false, is_approval(key.task)));
            }
        }
    }

    fn accept(&mut self, key: AttemptKey) {
        assert!(!self.jobs.iter().any(|job| job.key == key), "{key:?} was started twice");
        let live_elsewhere = self.jobs.iter().any(|job| job.key.task == key.task && !job.ended);
        assert!(!live_elsewhere, "two jobs of one task run at once");
        let seconds = 1 + self.chance.below(5_000);
        let ends_at = self.now + SignedDuration::from_secs(i64::try_from(seconds).unwrap());
        let fails = self.chance.percent(25);
        self.jobs.push(Job { key, ends_at, fails, stopped: false, ended: false });
    }

    fn find(&mut self, attempt: AttemptKey) {
        let Some(live) = self.run.live_attempt(attempt.task, attempt.number) else { return };
        if live.is_sending() {
            return;
        }
        let intent_at = live.intent_at;
        let event = if is_approval(attempt.task) || self.jobs.iter().any(|job| job.key == attempt) {
            accepted(attempt, true, is_approval(attempt.task))
        } else if self.hostile && self.chance.percent(30) {
            Event::NotYetKnown {
                attempt,
                intent_at,
                again_at: self.now + SignedDuration::from_secs(5),
                reason: "quarantine".into(),
            }
        } else {
            Event::ProvedAbsent { attempt, intent_at }
        };
        // The answer may take its time, and a person or another look may be faster.
        if self.hostile && self.chance.percent(30) {
            self.late.push((self.now, event.clone()));
            if self.chance.percent(50) {
                return;
            }
        }
        self.decide(event);
    }

    fn watch(&mut self, key: AttemptKey) {
        if let Some(job) = self.jobs.iter().find(|job| job.key == key && job.ended) {
            let event = report(job);
            self.decide(event);
        }
    }

    fn stop(&mut self, key: AttemptKey) {
        let now = self.now;
        if let Some(job) = self.jobs.iter_mut().find(|job| job.key == key && !job.ended) {
            job.stopped = true;
            job.ends_at = job.ends_at.min(now + SignedDuration::from_secs(2));
        }
    }

    fn check(&self) {
        let run = &self.run;
        self.pool.check(&self.stored.run);
        let open = run.tasks.iter().filter(|task| !task.state.is_terminal()).count();
        assert_eq!(run.open_tasks(), open, "the counter of open tasks is wrong");
        for (position, task) in run.tasks.iter().enumerate() {
            let is_fan = task.elements.is_some();
            assert_eq!(task.attempt.is_some(), task.state.has_attempt() && !is_fan);
            if is_fan {
                self.check_elements(position);
            }
            assert!(task.attempt.as_ref().is_none_or(|attempt| !attempt.state.is_terminal()));
        }
        if run.state.is_terminal() {
            assert_eq!(open, 0);
            let unwatched = self.jobs.iter().any(|job| !job.ended && !self.is_lost(job.key));
            assert!(!unwatched, "the run ended and a job goes on");
        }
    }

    /// The counts of a mapped task are those of its elements, and no more of them than allowed are
    /// under way.
    fn check_elements(&self, task: usize) {
        let entry = &self.run.tasks[task];
        let states: Vec<TaskState> =
            self.run.elements(task).iter().map(|position| self.run.tasks[*position].state).collect();
        let count = |wanted: fn(TaskState) -> bool| {
            u32::try_from(states.iter().filter(|state| wanted(**state)).count()).unwrap()
        };
        assert_eq!(states.len(), entry.elements.unwrap() as usize);
        assert_eq!(entry.fan.waiting, count(|state| state == TaskState::Waiting));
        assert_eq!(entry.fan.failed, count(|state| state == TaskState::Failed));
        assert_eq!(entry.fan.ended(), count(TaskState::is_terminal));
        let most = self.run.task(task).for_each.as_ref().unwrap().max_parallel;
        assert!(entry.fan.active <= most, "{} elements under way, at most {most}", entry.fan.active);
        if entry.state.is_terminal() {
            assert_eq!(entry.fan.ended() as usize, states.len(), "a mapped task ended before its elements");
        }
        if let Some(outputs) = entry.outputs.as_ref().filter(|_| entry.state == TaskState::Succeeded) {
            assert_eq!(outputs.as_array().unwrap().len(), states.len());
        }
    }

    fn is_lost(&self, key: AttemptKey) -> bool {
        self.stored
            .ended_attempts
            .get(&(key.task, key.number))
            .is_some_and(|attempt| attempt.state == AttemptState::Lost)
    }
}

/// Every fourth task waits for a person.
fn is_approval(task: usize) -> bool {
    task % 4 == 3
}

fn simulate(seed: u64) {
    let mut world = World::new(seed);
    for step in 0..STEPS_MAX {
        if step == 300 {
            world.hostile = false;
            // Whatever a person left undone.
            if world.run.state == RunState::Paused {
                let delta =
                    machine::ask(&mut world.run, "user:sim", &Command::Resume { reason: None }, world.now)
                        .unwrap();
                world.commit(delta);
            }
        }
        world.turn();
        if world.run.state.is_terminal() && world.effects.is_empty() && world.late.is_empty() && step > 300 {
            break;
        }
    }
    assert!(world.run.state.is_terminal(), "the run never ended: {:?}", world.run.state);
    assert_eq!(world.stored.run.packed_states(), world.run.packed_states());
    let told =
        world.stored.notices.iter().filter(|(generation, _)| *generation == world.run.generation).count();
    let wanted = usize::from(world.run.state != RunState::Cancelled);
    assert_eq!(told, wanted, "notices of the last generation");
}

#[test]
fn every_seed_ends_well() {
    simulated::each_seed("SIMULATION", SEEDS_IN_TESTS, simulate);
}
