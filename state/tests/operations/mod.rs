//! Every operation of a person on every state that a run and a task can be in, tried on the core:
//! the table of `docs/state-machine.md`.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};
use trunkline_state::{
    ids::RunId,
    machine::{self, AttemptKey, Command, Event, Mark, Resolution, SeenStart},
    pipeline::Pipeline,
    run::{Definition, Failure, Installation, Run, Trigger},
    words::{AttemptState, RunState, TaskState},
};
use uuid::Uuid;

const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);
/// The task that is asked about. `after` follows it, `beside` does not.
const SUBJECT: usize = 0;

fn definition() -> Arc<Definition> {
    let task = |name: &str, depends_on: &[usize]| {
        json!({
            "name": name, "type": "noop", "settings": {}, "depends_on": depends_on, "trigger_rule": "all_success",
            "connection": "aws", "timeout": Duration::from_secs(60), "poll_interval": Duration::from_secs(1),
            "retry": {"retries": 1, "delay": Duration::from_secs(60), "backoff": 1.0, "delay_max": Duration::from_secs(60)},
        })
    };
    let pipeline: Pipeline = serde_json::from_value(json!({
        "name": "p", "environment": "local", "timezone": "UTC", "data_interval": "none", "catchup": "none",
        "max_active_runs": 1, "tasks": [task("subject", &[]), task("beside", &[]), task("after", &[0])],
    }))
    .unwrap();
    Arc::new(Definition::new(pipeline, 1))
}

/// A run on its way, and the time that passes for it.
struct Way {
    run: Run,
    now: Timestamp,
}

impl Way {
    fn new() -> Self {
        let installation = Installation { id: Uuid::from_u128(1), incarnation: 1 };
        let run = Run::new(
            RunId(Uuid::from_u128(2)),
            definition(),
            installation,
            "k".into(),
            NOW,
            None,
            None,
            Map::new(),
            Trigger::Manual,
            NOW,
        );
        Self { run, now: NOW }
    }

    fn feel(&mut self, event: Event) -> &mut Self {
        self.now += SignedDuration::from_secs(1);
        let delta = machine::step(&mut self.run, &[event], self.now);
        assert_eq!(delta.illegal, None);
        self
    }

    fn ask(&mut self, command: &Command) -> &mut Self {
        self.now += SignedDuration::from_secs(1);
        let delta = machine::ask(&mut self.run, "user:test", command, self.now).unwrap();
        assert_eq!(delta.illegal, None);
        self
    }

    fn prepare(&mut self, task: usize) -> &mut Self {
        let next = self.run.upcoming(task);
        self.feel(Event::Prepared { next, request: json!({}).into(), baseline: json!({}).into() })
    }

    fn key(&self, task: usize) -> AttemptKey {
        AttemptKey { task, number: self.run.tasks[task].attempts }
    }

    fn accept(&mut self, task: usize, awaits_person: bool) -> &mut Self {
        let attempt = self.key(task);
        let (handle, external_id) = (json!({"id": "x"}).into(), "x".to_owned());
        self.feel(Event::Accepted { attempt, handle, external_id, reattached: false, awaits_person })
    }

    fn start(&mut self, task: usize) -> &mut Self {
        self.prepare(task).accept(task, false)
    }

    fn intent_at(&self) -> Timestamp {
        self.run.tasks[SUBJECT].attempt.as_ref().unwrap().intent_at
    }

    fn succeed(&mut self, task: usize) -> &mut Self {
        let attempt = self.key(task);
        self.feel(Event::Succeeded { attempt, outcome: json!({}) })
    }

    fn fail(&mut self, task: usize, class: &str) -> &mut Self {
        let attempt = self.key(task);
        self.feel(Event::Failed { attempt, failure: Failure::new(class, "broke"), outcome: Value::Null })
    }
}

type Go = fn(&mut Way);

/// Ways to the states of a task whose run goes on.
fn task_states() -> Vec<(&'static str, Way)> {
    let make = |go: Go| {
        let mut way = Way::new();
        way.feel(Event::Admitted);
        go(&mut way);
        way
    };
    let ways: [(&str, Go); 12] = [
        ("queued", |_| {}),
        ("running, just being sent", |way| {
            way.prepare(SUBJECT);
        }),
        ("running, start put off", put_off),
        ("running, start unconfirmed", unconfirmed),
        ("running", |way| {
            way.start(SUBJECT);
        }),
        ("running, being stopped", |way| {
            way.start(SUBJECT).ask(&Command::Cancel { task: Some(SUBJECT), reason: None });
        }),
        ("awaiting_approval", |way| {
            way.prepare(SUBJECT).accept(SUBJECT, true);
        }),
        ("retrying", |way| {
            way.start(SUBJECT).fail(SUBJECT, "failed");
        }),
        ("succeeded", |way| {
            way.start(SUBJECT).succeed(SUBJECT);
        }),
        ("failed", |way| {
            way.start(SUBJECT).fail(SUBJECT, "config");
        }),
        ("skipped", |way| {
            let next = way.run.upcoming(SUBJECT);
            way.feel(Event::Unwanted { next, reason: "no".into() });
        }),
        ("cancelled", |way| {
            way.ask(&Command::Cancel { task: Some(SUBJECT), reason: None });
        }),
    ];
    ways.into_iter().map(|(name, go)| (name, make(go))).collect()
}

fn put_off(way: &mut Way) {
    way.prepare(SUBJECT);
    let (attempt, intent_at) = (way.key(SUBJECT), way.intent_at());
    let until = way.now + SignedDuration::from_hours(1);
    way.feel(Event::Deferred { attempt, intent_at, until, reason: "throttled".into() });
}

fn unconfirmed(way: &mut Way) {
    way.prepare(SUBJECT);
    let (attempt, intent_at) = (way.key(SUBJECT), way.intent_at());
    way.feel(Event::StartUnknown { attempt, intent_at, reason: "answer lost".into() });
}

/// Every situation, by its name.
fn situations() -> Vec<(String, Run)> {
    let mut all = vec![("queued, waiting".to_owned(), Way::new().run)];
    for (name, mut way) in task_states() {
        all.push((format!("running, {name}"), way.run.clone()));
        way.ask(&Command::Pause { reason: None });
        all.push((format!("paused, {name}"), way.run.clone()));
        let mut cancelled = way;
        cancelled.ask(&Command::Cancel { task: None, reason: None });
        let word = cancelled.run.state.word();
        all.push((format!("{word}, {name} before"), cancelled.run));
    }
    let ended = |go: &dyn Fn(&mut Way)| {
        let mut way = Way::new();
        way.feel(Event::Admitted).start(1).succeed(1);
        go(&mut way);
        assert!(way.run.state.is_terminal());
        way.run
    };
    all.push((
        "succeeded, succeeded".to_owned(),
        ended(&|way| {
            way.start(0).succeed(0).start(2).succeed(2);
        }),
    ));
    all.push((
        "succeeded, skipped".to_owned(),
        ended(&|way| {
            let next = way.run.upcoming(SUBJECT);
            way.feel(Event::Unwanted { next, reason: "no".into() });
        }),
    ));
    all.push((
        "failed, failed".to_owned(),
        ended(&|way| {
            way.start(0).fail(0, "config");
        }),
    ));
    all.push((
        "failed, cancelled".to_owned(),
        ended(&|way| {
            way.ask(&Command::Cancel { task: Some(SUBJECT), reason: None });
        }),
    ));
    all
}

fn operations(reason: Option<&str>) -> Vec<(&'static str, Command)> {
    let reason = || reason.map(str::to_owned);
    let resolve = |resolution| Command::Resolve { task: SUBJECT, seen: None, resolution, reason: reason() };
    let decide = |approved| Command::Decide { task: SUBJECT, approved, comment: reason() };
    let mark = |mark| Command::Mark { tasks: vec![SUBJECT], mark, reason: reason() };
    let handle = Resolution::Handle { handle: json!({"id": "y"}).into(), external_id: "y".into() };
    vec![
        ("clear", Command::Clear { tasks: vec![SUBJECT], generation: None, reason: reason() }),
        ("mark succeeded", mark(Mark::Succeeded)),
        ("mark failed", mark(Mark::Failed)),
        ("cancel run", Command::Cancel { task: None, reason: reason() }),
        ("cancel task", Command::Cancel { task: Some(SUBJECT), reason: reason() }),
        ("pause", Command::Pause { reason: reason() }),
        ("resume", Command::Resume { reason: reason() }),
        ("retry-now", Command::RetryNow { task: SUBJECT, reason: reason() }),
        ("approve", decide(true)),
        ("reject", decide(false)),
        ("resolve --handle", resolve(handle)),
        ("resolve --not-started", resolve(Resolution::NotStarted)),
        ("resolve --lost", resolve(Resolution::Lost)),
    ]
}

fn words(run: &Run) -> String {
    let task = &run.tasks[SUBJECT];
    let attempt =
        task.attempt.as_ref().map(|attempt| attempt.state).filter(|state| *state != AttemptState::Running);
    let attempt = attempt.map(|state| format!(" ({})", state.word())).unwrap_or_default();
    format!("{} / {}{attempt}", run.state, task.state)
}

/// What each operation does in each situation, as a table; and in which words it is refused.
pub(crate) fn table() -> (String, String) {
    let operations = operations(None);
    let names: Vec<&str> = operations.iter().map(|(name, _)| *name).collect();
    let mut text = format!("| run, task | {} |\n|---|{}\n", names.join(" | "), "---|".repeat(names.len()));
    let mut refusals: BTreeMap<(usize, String), Vec<String>> = BTreeMap::new();
    for (situation, run) in situations() {
        let mut cells = Vec::new();
        for (place, (name, command)) in operations.iter().enumerate() {
            let mut after = run.clone();
            let now = NOW + SignedDuration::from_mins(1);
            match machine::ask(&mut after, "user:test", command, now) {
                Ok(delta) => {
                    assert_eq!(delta.illegal, None, "{situation}: {name}");
                    assert!(!delta.transitions.is_empty(), "{situation}: {name} has no line of history");
                    let (before, now) = (words(&run), words(&after));
                    cells.push(if before == now { "done".to_owned() } else { now });
                }
                Err(refusal) => {
                    assert_eq!(words(&run), words(&after), "{situation}: a refused {name} changed something");
                    refusals.entry((place, refusal.0)).or_default().push(situation.clone());
                    cells.push(String::new());
                }
            }
        }
        let _ = writeln!(text, "| {situation} | {} |", cells.join(" | "));
    }
    let mut refused = String::new();
    for ((place, reason), situations) in refusals {
        let _ = writeln!(refused, "{}: {reason}\n    {}", names[place], situations.join("; "));
    }
    (text, refused)
}

/// That the table leaves out no state.
pub(crate) fn missing() -> Vec<String> {
    let situations = situations();
    let runs = RunState::ALL.iter().filter(|state| !situations.iter().any(|(_, run)| run.state == **state));
    // Only what follows the subject is ever upstream_failed; it is asked about like skipped.
    let tasks = TaskState::ALL.iter().filter(|state| **state != TaskState::UpstreamFailed);
    let tasks = tasks.filter(|state| !situations.iter().any(|(_, run)| run.tasks[SUBJECT].state == **state));
    runs.map(|state| state.word().to_owned()).chain(tasks.map(|state| state.word().to_owned())).collect()
}

#[test]
fn what_was_true_of_one_start_is_not_taken_for_the_next() {
    let mut way = Way::new();
    way.feel(Event::Admitted);
    unconfirmed(&mut way);
    let seen = SeenStart { number: 1, intent_at: way.intent_at() };
    let resolve = |seen| Command::Resolve {
        task: SUBJECT,
        seen: Some(seen),
        resolution: Resolution::NotStarted,
        reason: None,
    };
    let asked = |run: &Run, seen| {
        let (mut run, later) = (run.clone(), NOW + SignedDuration::from_mins(1));
        machine::ask(&mut run, "user:test", &resolve(seen), later).map(drop).map_err(|refusal| refusal.0)
    };
    assert_eq!(asked(&way.run, seen), Ok(()));
    let refused =
        Err("task subject of p@k was started again meanwhile, as attempt 1: look at it again".into());
    assert_eq!(asked(&way.run, SeenStart { number: 2, ..seen }), refused);
    // The engine found out by itself that nothing had started, and sent it again: nobody knows of that yet.
    let attempt = way.key(SUBJECT);
    way.feel(Event::ProvedAbsent { attempt, intent_at: seen.intent_at });
    let intent_at = way.intent_at();
    way.feel(Event::StartUnknown { attempt, intent_at, reason: "answer lost".into() });
    assert_eq!(asked(&way.run, seen), refused);
    assert_eq!(asked(&way.run, SeenStart { number: 1, intent_at }), Ok(()));
}

#[test]
fn what_was_prepared_before_a_clear_is_not_sent_after_it() {
    let mut way = Way::new();
    way.feel(Event::Admitted);
    let (before, nothing) = (way.run.upcoming(SUBJECT), || json!({}).into());
    way.ask(&Command::Clear { tasks: vec![SUBJECT], generation: None, reason: None });
    let after = way.run.upcoming(SUBJECT);
    // The number alone does not tell them apart.
    assert_eq!((before.number, before.generation + 1), (after.number, after.generation));
    let late = [
        Event::Prepared { next: before, request: nothing(), baseline: nothing() },
        Event::PrepareFailed { next: before, failure: Failure::new("config", "of before") },
        Event::Unwanted { next: before, reason: "of before".into() },
    ];
    for event in late {
        way.feel(event);
        assert_eq!((way.run.tasks[SUBJECT].state, way.run.tasks[SUBJECT].attempts), (TaskState::Queued, 0));
    }
    way.feel(Event::Prepared { next: after, request: nothing(), baseline: nothing() });
    assert_eq!(way.run.tasks[SUBJECT].attempts, 1);
}

#[test]
fn whatever_a_person_does_stands_in_the_history_with_the_reason() {
    for (situation, run) in situations() {
        for (name, command) in operations(Some("because of the holiday")) {
            let Ok(delta) = machine::ask(&mut run.clone(), "user:test", &command, NOW) else { continue };
            let told = |change: &machine::Transition| {
                change
                    .reason
                    .as_ref()
                    .is_some_and(|reason| reason.contains("user:test: because of the holiday"))
            };
            assert!(delta.transitions.iter().any(told), "{situation}: {name}: {:?}", delta.transitions);
        }
    }
}
