//! A seeded simulation of several owner loops over one store: decisions in memory, group commits
//! under a fence, answers that are lost, replicas that freeze and go on, starts that are under
//! way for longer than anybody waits, people who clear and cancel at every moment.
//!
//! `REPLICAS_SEED` runs one seed, `REPLICAS_SEEDS` many. Planted mistakes show that it finds
//! something: each must make some seed fail.

mod simulated;

use std::{collections::BTreeMap, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};
use trunkline_state::{
    document::Document,
    ids::RunId,
    machine::{self, AttemptKey, Command, Delta, Effect, Event, Mark},
    run::{Attempt, Definition, Failure, Installation, Run, Trigger},
    words::{AttemptState, RunState},
};
use uuid::Uuid;

use simulated::{Chance, Job, accepted, items, pipeline, pool::Pool, report};

const SEEDS_IN_TESTS: u64 = 5_000;
/// Seeds among which a planted mistake must be found.
const SEEDS_PER_MUTANT: u64 = 60_000;
/// Turns in which the world is hostile.
const HOSTILE_TURNS: usize = 400;
/// Turns after which the run must have ended.
const TURNS_MAX: usize = 6_000;
/// The service refuses a start whose signature is older.
const SIGNATURE_AGE_MAX: SignedDuration = SignedDuration::from_secs(900);
/// Looking for a start says "absent" only after this time.
const QUARANTINE: SignedDuration = SignedDuration::from_secs(960);

/// A rule of the owner loop that is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mutant {
    /// The store writes whatever comes.
    NoFence,
    /// A commit that was not written counts as written.
    RowsUnchecked,
    /// An unconfirmed start is sent again instead of being looked for.
    SendForFind,
    /// A start without an answer counts as failed.
    EarlyRetry,
    /// A request is made again before it is sent.
    RenderedAgain,
    /// A look says "absent" at once.
    NoQuarantine,
    /// A turn from before a pause counts.
    OldTurn,
}

/// What stands in the store.
struct Store {
    run: Run,
    owner: usize,
    fence: i64,
    ended_attempts: BTreeMap<(usize, u32), Attempt>,
}

/// A commit under way.
struct Flight {
    run: Run,
    delta: Delta,
}

/// A run in a replica's memory.
struct Held {
    run: Run,
    fence: i64,
    delta: Delta,
    flight: Option<Flight>,
    effects: Vec<Effect>,
    reports: Vec<Event>,
    watched: Vec<AttemptKey>,
}

#[derive(Default)]
struct Replica {
    held: Option<Held>,
    /// Turns for which it stands still.
    frozen: usize,
}

/// A start on its way to the service.
struct Packet {
    from: usize,
    fence: i64,
    key: AttemptKey,
    request: Value,
    signed_at: Timestamp,
    /// The sender has given up waiting.
    given_up: bool,
}

struct World {
    chance: Chance,
    mutant: Option<Mutant>,
    now: Timestamp,
    store: Store,
    replicas: Vec<Replica>,
    packets: Vec<Packet>,
    jobs: Vec<Job>,
    pool: Pool,
    /// Turns that were read from the store and are not heard yet: by whom, under which fence.
    unheard: Vec<(usize, i64, Event)>,
    hostile: bool,
    rendered: u64,
}

impl World {
    fn new(seed: u64, mutant: Option<Mutant>) -> Self {
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
        let count = 2 + chance.below(2);
        let replicas = (0..count).map(|_| Replica::default()).collect();
        let store = Store { run, owner: usize::MAX, fence: 0, ended_attempts: BTreeMap::new() };
        let (packets, jobs, pool, unheard) = (Vec::new(), Vec::new(), Pool::default(), Vec::new());
        Self {
            chance,
            mutant,
            now,
            store,
            replicas,
            packets,
            jobs,
            pool,
            unheard,
            hostile: true,
            rendered: 0,
        }
    }

    fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// Another fence: no write of an earlier owner succeeds any more.
    fn claim(&mut self, by: usize) {
        self.store.fence += 1;
        self.store.owner = by;
        let mut run = self.store.run.clone();
        run.forget();
        let held = Held {
            fence: self.store.fence,
            delta: Delta::default(),
            flight: None,
            effects: machine::due(&run),
            reports: vec![Event::Tick],
            watched: Vec::new(),
            run,
        };
        self.replicas[by].held = Some(held);
    }

    fn turn(&mut self) {
        for replica in &mut self.replicas {
            replica.frozen = replica.frozen.saturating_sub(1);
        }
        if self.hostile {
            self.nemesis();
        }
        let owner = self.store.owner;
        let holds = self.replicas.get(owner).and_then(|replica| replica.held.as_ref());
        let known = holds.is_some_and(|held| held.fence == self.store.fence);
        let dead = self.replicas.get(owner).is_none_or(|replica| replica.frozen > 0);
        if !self.store.run.state.is_terminal() && (!known || (dead && self.chance.percent(20))) {
            let by = self.chance.below(self.replicas.len());
            if self.replicas[by].frozen == 0 {
                self.claim(by);
            }
        }
        let place = self.chance.below(self.replicas.len());
        self.hear();
        if self.chance.percent(3) {
            let takes = self.hostile && self.chance.percent(60);
            self.pool.rival(&self.store.run, takes);
        }
        if self.replicas[place].frozen == 0 && self.chance.percent(if self.hostile { 5 } else { 50 }) {
            self.grant(place);
        }
        let busy = self.replicas[place].frozen == 0 && self.advance(place);
        let delivered = !self.packets.is_empty() && (self.chance.percent(30) || !busy) && self.deliver();
        if !busy && !delivered && self.is_quiet() {
            self.pass_time();
        }
        self.check();
    }

    fn is_quiet(&self) -> bool {
        self.packets.iter().all(|packet| packet.given_up)
            && self.replicas.iter().all(|replica| {
                replica.frozen > 0
                    || replica.held.as_ref().is_none_or(|held| {
                        held.flight.is_none()
                            && held.delta.is_clean()
                            && held.effects.is_empty()
                            && held.reports.is_empty()
                    })
            })
    }

    fn nemesis(&mut self) {
        let place = self.chance.below(self.replicas.len());
        match self.chance.below(100) {
            // kill -9: memory is gone, what is on the wire is not.
            0..2 => self.replicas[place].held = None,
            2..5 => self.replicas[place].frozen = 1 + self.chance.below(60),
            // Somebody took it for dead.
            5 if self.store.owner != place && !self.store.run.state.is_terminal() => self.claim(place),
            6..9 => self.person(),
            // A long pause: frozen processes and packets grow old.
            9 if self.replicas.iter().any(|replica| replica.frozen > 0) => {
                let seconds = i64::try_from(self.chance.below(1_200)).unwrap();
                self.now += SignedDuration::from_secs(seconds);
            }
            _ => {}
        }
    }

    /// One step of one owner loop, chosen from what it could do. Whether there was any.
    fn advance(&mut self, place: usize) -> bool {
        let now = self.now;
        let Some(held) = self.replicas[place].held.as_mut() else { return false };
        if held.run.wake_at().is_some_and(|at| at <= now) && !held.reports.contains(&Event::Tick) {
            held.reports.push(Event::Tick);
        }
        let (flies, dirty) = (held.flight.is_some(), !held.delta.is_clean());
        let (effects, reports) = (held.effects.len(), held.reports.len());
        let kinds = [flies, dirty && !flies, effects > 0, reports > 0];
        let Some(first) = (0..4).find(|kind| kinds[*kind]) else { return false };
        let mut kind = self.chance.below(4);
        while !kinds[kind] {
            kind = if self.chance.percent(50) { first } else { self.chance.below(4) };
        }
        match kind {
            0 => self.land(place),
            1 => {
                let held = self.replicas[place].held.as_mut().unwrap();
                let delta = std::mem::take(&mut held.delta);
                assert_eq!(delta.illegal, None);
                held.flight = Some(Flight { run: held.run.clone(), delta });
            }
            2 => {
                let index = self.chance.below(effects);
                let effect = self.replicas[place].held.as_mut().unwrap().effects.swap_remove(index);
                self.perform(place, effect);
            }
            _ => {
                let index = self.chance.below(reports);
                let forgives = self.is(Mutant::OldTurn);
                let held = self.replicas[place].held.as_mut().unwrap();
                let event = match held.reports.swap_remove(index) {
                    Event::TurnGranted { next, .. } if forgives => {
                        Event::TurnGranted { next, round: held.run.round }
                    }
                    event => event,
                };
                // Whatever is said may be said twice.
                if self.hostile && event != Event::Tick && self.chance.percent(5) {
                    let held = self.replicas[place].held.as_mut().unwrap();
                    held.reports.push(event.clone());
                }
                let held = self.replicas[place].held.as_mut().unwrap();
                let delta = machine::step(&mut held.run, &[event], now);
                held.take(delta);
            }
        }
        true
    }

    /// A commit reaches the store, or not; its answer comes back, or not.
    fn land(&mut self, place: usize) {
        let lost_before = self.hostile && self.chance.percent(3);
        let lost_after = self.hostile && self.chance.percent(4);
        let held = self.replicas[place].held.as_mut().unwrap();
        let fence = held.fence;
        let Flight { run, delta } = held.flight.take().unwrap();
        let mut written = false;
        if !lost_before {
            written = self.save(place, fence, &run, &delta);
        }
        if lost_before || lost_after {
            // The outcome is unknown: memory is not the truth any more.
            self.replicas[place].held = None;
        } else if written || self.is(Mutant::RowsUnchecked) {
            self.replicas[place].held.as_mut().unwrap().effects.extend(delta.effects);
        } else {
            self.replicas[place].held = None;
        }
    }

    fn save(&mut self, place: usize, fence: i64, run: &Run, delta: &Delta) -> bool {
        let ours = self.store.fence == fence && self.store.owner == place;
        if !ours && !self.is(Mutant::NoFence) {
            return false;
        }
        for change in delta.attempts.values() {
            let key = (change.task, change.attempt.number);
            assert!(!self.store.ended_attempts.contains_key(&key), "an ended attempt changed");
            let stored = self.store.run.live_attempt(change.task, change.attempt.number);
            assert!(change.new || stored.is_some(), "an attempt changed that is not live in the store");
            let live = self.store.run.tasks[change.task].attempt.as_ref();
            assert!(!change.new || live.is_none(), "a second live attempt of one task");
            if change.new {
                let request: Value = change.attempt.request.read().unwrap();
                assert_eq!(request["generation"], change.attempt.generation, "a request from before a clear");
            }
            if change.attempt.state.is_terminal() {
                self.store.ended_attempts.insert(key, change.attempt.clone());
            }
        }
        self.store.run = run.clone();
        true
    }

    fn perform(&mut self, place: usize, effect: Effect) {
        match effect {
            Effect::Admit => self.tell(place, Event::Admitted),
            Effect::WantTurn { next, round } => {
                let fence = self.replicas[place].held.as_ref().unwrap().fence;
                if self.store.owner == place && self.store.fence == fence {
                    self.pool.want(&self.store.run, next, (fence, round));
                    self.grant(place);
                }
            }
            Effect::TurnEnded => self.grant(place),
            Effect::Prepare { next } if self.wants_elements(place, next.task) => {
                let items = items(&mut self.chance);
                self.tell(place, Event::Expanded { next, items });
            }
            Effect::Prepare { next } => {
                // Told at once or much later, when the task may have been cleared.
                let request = json!({ "rendering": self.render(), "generation": next.generation }).into();
                self.tell(place, Event::Prepared { next, request, baseline: Document::null() });
            }
            Effect::Send { attempt } => self.send(place, attempt),
            Effect::Find { attempt } if self.is(Mutant::SendForFind) => self.send(place, attempt),
            Effect::Find { attempt } => self.find(place, attempt),
            Effect::Watch { attempt } => {
                let held = self.replicas[place].held.as_mut().unwrap();
                held.watched.push(attempt);
                if let Some(job) = self.jobs.iter().find(|job| job.key == attempt && job.ended) {
                    held.reports.push(report(job));
                }
            }
            Effect::Stop { attempt } => {
                let soon = self.now + SignedDuration::from_secs(2);
                if let Some(job) = self.jobs.iter_mut().find(|job| job.key == attempt && !job.ended) {
                    job.stopped = true;
                    job.ends_at = job.ends_at.min(soon);
                }
            }
        }
    }

    /// One look of a replica: the pool gives what is free, and whoever owns the run hears of its own.
    fn grant(&mut self, place: usize) {
        let (owner, fence) = (self.store.owner, self.store.fence);
        let granted = self.pool.share_out(&self.store.run, fence);
        for (next, round) in granted {
            let event = Event::TurnGranted { next, round };
            if self.hostile && self.chance.percent(40) {
                self.unheard.push((owner, fence, event));
            } else if place == owner {
                self.report_to(place, fence, event);
            }
        }
    }

    /// What was read of turns is heard some time later, if it still concerns anybody.
    fn hear(&mut self) {
        if !self.unheard.is_empty() && self.chance.percent(5) {
            let index = self.chance.below(self.unheard.len());
            let (place, fence, event) = self.unheard.swap_remove(index);
            self.report_to(place, fence, event);
        }
    }

    fn wants_elements(&self, place: usize, task: usize) -> bool {
        let run = &self.replicas[place].held.as_ref().unwrap().run;
        run.task(task).for_each.is_some() && run.tasks[task].element.is_none()
    }

    /// Whatever a template reads may be another value the next time.
    fn render(&mut self) -> u64 {
        self.rendered += 1;
        self.rendered
    }

    fn tell(&mut self, place: usize, event: Event) {
        self.replicas[place].held.as_mut().unwrap().reports.push(event);
    }

    fn send(&mut self, place: usize, key: AttemptKey) {
        let again = self.is(Mutant::RenderedAgain).then(|| self.render());
        let held = self.replicas[place].held.as_ref().unwrap();
        let Some(live) = held.run.live_attempt(key.task, key.number) else { return };
        let stored: Value = live.request.read().unwrap();
        let request = again.map_or(stored, |rendering| json!({ "rendering": rendering }));
        let (fence, signed_at) = (held.fence, live.intent_at);
        self.packets.push(Packet { from: place, fence, key, request, signed_at, given_up: false });
    }

    /// One packet arrives, is lost, or is waited for no longer. Whether anything happened.
    fn deliver(&mut self) -> bool {
        let index = self.chance.below(self.packets.len());
        let fate = if self.hostile { self.chance.below(20) } else { 19 };
        let attempt = self.packets[index].key;
        let intent_at = self.packets[index].signed_at;
        let unknown = |reason: &str| Event::StartUnknown { attempt, intent_at, reason: reason.into() };
        match fate {
            0 => {
                let packet = self.packets.swap_remove(index);
                self.answer(&packet, unknown("never arrived"));
            }
            1..4 if !self.packets[index].given_up => {
                let packet = &mut self.packets[index];
                packet.given_up = true;
                let (from, fence) = (packet.from, packet.fence);
                self.report_to(from, fence, unknown("no answer in time"));
            }
            4 => {
                let packet = self.packets.swap_remove(index);
                let until = self.now + SignedDuration::from_secs(30);
                self.answer(
                    &packet,
                    Event::Deferred { attempt, intent_at, until, reason: "throttled".into() },
                );
            }
            // What nobody waits for any more takes its time.
            5..17 if self.packets[index].given_up => return false,
            _ => {
                let packet = self.packets.swap_remove(index);
                let event = self.accept(&packet);
                let lost = self.hostile && self.chance.percent(15);
                self.answer(&packet, if lost { unknown("answer lost") } else { event });
            }
        }
        true
    }

    fn answer(&mut self, packet: &Packet, event: Event) {
        if !packet.given_up {
            self.report_to(packet.from, packet.fence, event);
        }
    }

    /// Reports of a call under an earlier fence concern nobody.
    fn report_to(&mut self, place: usize, fence: i64, event: Event) {
        let event = match event {
            Event::StartUnknown { attempt, reason, .. } if self.is(Mutant::EarlyRetry) => {
                Event::Failed { attempt, failure: Failure::new("failed", reason), outcome: Value::Null }
            }
            event => event,
        };
        if let Some(held) = self.replicas[place].held.as_mut().filter(|held| held.fence == fence) {
            held.reports.push(event);
        }
    }

    /// The service, which knows nothing of attempts and refuses old signatures.
    fn accept(&mut self, packet: &Packet) -> Event {
        let attempt = packet.key;
        if self.now.duration_since(packet.signed_at) > SIGNATURE_AGE_MAX {
            let until = self.now + SignedDuration::from_secs(30);
            let (intent_at, reason) = (packet.signed_at, "signature expired".into());
            return Event::Deferred { attempt, intent_at, until, reason };
        }
        let key = attempt;
        assert!(!self.jobs.iter().any(|job| job.key == key), "{key:?} was started twice");
        let live_elsewhere = self.jobs.iter().any(|job| job.key.task == key.task && !job.ended);
        assert!(!live_elsewhere, "two jobs of one task run at once");
        let ended = self.store.ended_attempts.get(&(key.task, key.number));
        assert!(ended.is_none(), "a job of an attempt that has ended: {key:?}");
        let intent = self.store.run.live_attempt(key.task, key.number);
        let stored: Value = intent.expect("a start without an intent").request.read().unwrap();
        assert_eq!(stored, packet.request, "the request is not the stored one");
        let seconds = i64::try_from(1 + self.chance.below(3_000)).unwrap();
        let ends_at = self.now + SignedDuration::from_secs(seconds);
        let fails = self.chance.percent(25);
        self.jobs.push(Job { key, ends_at, fails, stopped: false, ended: false });
        accepted(key, false, false)
    }

    fn find(&mut self, place: usize, attempt: AttemptKey) {
        let held = self.replicas[place].held.as_ref().unwrap();
        let Some(live) = held.run.live_attempt(attempt.task, attempt.number) else { return };
        if live.is_sending() {
            return;
        }
        let intent_at = live.intent_at;
        let over = intent_at + QUARANTINE;
        let event = if self.jobs.iter().any(|job| job.key == attempt) {
            accepted(attempt, true, false)
        } else if self.now < over && !self.is(Mutant::NoQuarantine) {
            let again_at = over.min(self.now + SignedDuration::from_secs(120));
            Event::NotYetKnown { attempt, intent_at, again_at, reason: "quarantine".into() }
        } else {
            Event::ProvedAbsent { attempt, intent_at }
        };
        self.tell(place, event);
    }

    /// A person asks whoever holds the run, who may be a zombie.
    fn person(&mut self) {
        let (now, place) = (self.now, self.chance.below(self.replicas.len()));
        let Some(held) = self.replicas[place].held.as_mut() else { return };
        let task = self.chance.below(held.run.tasks.len());
        let command = match self.chance.below(9) {
            0 => Command::Cancel { task: None, reason: None },
            1 => Command::Cancel { task: Some(task), reason: None },
            2 => Command::Pause { reason: None },
            3 => Command::Resume { reason: None },
            4 => Command::RetryNow { task, reason: None },
            5 => Command::Mark { tasks: vec![task], mark: Mark::Succeeded, reason: None },
            6 => Command::Mark { tasks: vec![task], mark: Mark::Failed, reason: None },
            _ => Command::Clear { tasks: vec![task], generation: None, reason: None },
        };
        if let Ok(delta) = machine::ask(&mut held.run, "user:sim", &command, now) {
            held.take(delta);
        }
    }

    fn pass_time(&mut self) {
        let wakes = self.replicas.iter().filter_map(|replica| replica.held.as_ref()?.run.wake_at());
        let ends = self.jobs.iter().filter(|job| !job.ended).map(|job| job.ends_at);
        let Some(next) = wakes.chain(ends).min() else { return };
        self.now = self.now.max(next) + SignedDuration::from_millis(1);
        for job in self.jobs.iter_mut().filter(|job| !job.ended && job.ends_at <= self.now) {
            job.ended = true;
            for held in self.replicas.iter_mut().filter_map(|replica| replica.held.as_mut()) {
                if held.watched.contains(&job.key) {
                    held.reports.push(report(job));
                }
            }
        }
    }

    fn check(&self) {
        self.pool.check(&self.store.run);
        if !self.store.run.state.is_terminal() {
            return;
        }
        let lost = |key: AttemptKey| {
            let ended = self.store.ended_attempts.get(&(key.task, key.number));
            ended.is_some_and(|attempt| attempt.state == AttemptState::Lost)
        };
        let unwatched = self.jobs.iter().any(|job| !job.ended && !lost(job.key));
        assert!(!unwatched, "the run ended and a job goes on");
    }

    /// Nothing goes wrong any more, and nobody wants anything.
    fn calm(&mut self) {
        self.hostile = false;
        for replica in &mut self.replicas {
            replica.frozen = 0;
        }
        let place = self.chance.below(self.replicas.len());
        self.claim(place);
        let (now, held) = (self.now, self.replicas[place].held.as_mut().unwrap());
        if held.run.state == RunState::Paused {
            let delta =
                machine::ask(&mut held.run, "user:sim", &Command::Resume { reason: None }, now).unwrap();
            held.take(delta);
        }
    }
}

impl Held {
    fn take(&mut self, delta: Delta) {
        if delta.is_clean() && self.delta.is_clean() {
            // Nothing to write: its effects begin at once.
            self.effects.extend(delta.effects);
        } else {
            self.delta.merge(delta);
        }
    }
}

fn simulate(seed: u64, mutant: Option<Mutant>) {
    let mut world = World::new(seed, mutant);
    for turn in 0..TURNS_MAX {
        if turn == HOSTILE_TURNS {
            world.calm();
        }
        world.turn();
        if turn > HOSTILE_TURNS && world.store.run.state.is_terminal() && world.packets.is_empty() {
            break;
        }
    }
    let state = world.store.run.state;
    assert!(state.is_terminal(), "the run never ended: {state:?}");
}

#[test]
fn no_replica_starts_anything_twice() {
    simulated::each_seed("REPLICAS", SEEDS_IN_TESTS, |seed| simulate(seed, None));
}

#[test]
fn every_planted_mistake_is_found() {
    let mutants = [
        Mutant::NoFence,
        Mutant::RowsUnchecked,
        Mutant::SendForFind,
        Mutant::EarlyRetry,
        Mutant::RenderedAgain,
        Mutant::NoQuarantine,
        Mutant::OldTurn,
    ];
    for mutant in mutants {
        let fails = |seed| std::panic::catch_unwind(|| simulate(seed, Some(mutant))).is_err();
        assert!((0..SEEDS_PER_MUTANT).any(fails), "{mutant:?} was not found in {SEEDS_PER_MUTANT} seeds");
    }
}
