//! Every operation of a person, in every state that a run comes to rest in, whoever owns it: the
//! replica that is asked, another one, or nobody. The answer is always the core's own.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use trunkline::{
    clock::{Ids, RandomIds, SystemClock},
    engine::{AskError, Engine, EngineHandle, EngineOptions, RunRequest, Timing},
};
use trunkline_postgres::testing;
use trunkline_state::{
    ids::RunId,
    machine::{self, Command, Mark, Resolution},
    pipeline::Pipeline,
    run::{Definition, Trigger},
    store::{NewVersion, Role, Store},
};
use trunkline_tasks::registry::{Options, Registry};

const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);
/// Some hundred times what anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);
const ASKED: &str = "user:ada";

/// Who owns the run that is asked about.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Owner {
    Here,
    Elsewhere,
    Nobody,
}

/// A pipeline of one task that somebody asks about and one that follows it.
fn pipeline(name: &str, operator: &str, settings: &Value) -> Pipeline {
    let second = json!({"secs": 1, "nanos": 0});
    let hour = json!({"secs": 3600, "nanos": 0});
    let task = |name: &str, operator: &str, settings: &Value, depends_on: &[usize]| {
        json!({
            "name": name, "type": operator, "settings": settings, "depends_on": depends_on,
            "trigger_rule": "all_success", "connection": "aws", "timeout": hour, "poll_interval": second,
            "retry": {"retries": 0, "delay": second, "backoff": 1.0, "delay_max": second},
        })
    };
    serde_json::from_value(json!({
        "name": name, "environment": "local", "timezone": "UTC", "data_interval": "none", "catchup": "none",
        "max_active_runs": 1000,
        "tasks": [task("subject", operator, settings, &[]), task("after", "noop", &json!({}), &[0])],
    }))
    .unwrap()
}

struct World {
    store: Store,
    here: Engine,
    other: Engine,
    definitions: Vec<(&'static str, Arc<Definition>)>,
    runs: u32,
}

impl World {
    async fn new() -> Self {
        let server = testing::shared().await.unwrap();
        let url = server.database("ownership").await.unwrap();
        let connect = async || Store::connect(&url, RandomIds.replica_id(), true).await.unwrap();
        let store = connect().await;
        store.migrate().await.unwrap();
        let mut definitions = Vec::new();
        for (name, operator, settings) in [
            ("sleeper", "sleep", json!({"for": "1h"})),
            ("asker", "approval", json!({"message": "May I?"})),
            ("quick", "noop", json!({})),
            ("held", "noop", json!({})),
        ] {
            let made = pipeline(name, operator, &settings);
            store
                .deploy(
                    vec![NewVersion { pipeline: made, source: String::new(), folder: String::new() }],
                    false,
                    "user:test",
                    NOW,
                )
                .await
                .unwrap();
            let version = store.version(name, None).await.unwrap().version;
            definitions.push((name, store.definition(name, version).await.unwrap()));
        }
        store.set_paused("held", true, "user:test", None).await.unwrap();
        // Commands: neither takes a run that it was not given.
        let options = || EngineOptions {
            role: Role::Command,
            registry: Arc::new(Registry::standard(&Options::for_looking())),
            clock: Arc::new(SystemClock),
            ids: Arc::new(RandomIds),
            sandbox_endpoint: None,
            private_postgres: None,
            timing: Timing::default().scaled(0.02),
            host: "test".to_owned(),
            pages: None,
            traces: None,
        };
        let here = Engine::start(connect().await, options()).await.unwrap();
        let other = Engine::start(connect().await, options()).await.unwrap();
        Self { store, here, other, definitions, runs: 0 }
    }

    async fn create(&mut self, pipeline: &str, by: &EngineHandle) -> RunId {
        self.runs += 1;
        let definition = self.definitions.iter().find(|(name, _)| *name == pipeline).unwrap();
        let request = RunRequest {
            definition: Arc::clone(&definition.1),
            key: format!("run-{}", self.runs),
            logical_date: NOW,
            interval: None,
            fire_at: None,
            params: Map::new(),
            trigger: Trigger::Manual,
            actor: "user:test".to_owned(),
        };
        by.create(request).await.unwrap().0
    }

    /// Waits until a run and its first task are in these states.
    async fn until(&self, run: RunId, run_state: &str, task_state: &str) {
        let waiting = async {
            let mut look = tokio::time::interval(Duration::from_millis(10));
            loop {
                look.tick().await;
                let found = self.store.read_run(run).await.unwrap();
                if (found.state.word(), found.tasks[0].state.word()) == (run_state, task_state) {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, waiting)
            .await
            .unwrap_or_else(|_| panic!("{run} did not become {run_state}, {task_state}"));
    }

    /// A run in a situation, in the hands of `owner`.
    async fn situation(&mut self, situation: &str, owner: Owner) -> RunId {
        let by = if owner == Owner::Elsewhere { self.other.handle() } else { self.here.handle() };
        let say = async |run, command| by.ask(run, command, "user:test").await.unwrap();
        let (pipeline, first) = match situation {
            "queued" => ("held", ("queued", "waiting")),
            "running" | "paused" | "cancelled" => ("sleeper", ("running", "running")),
            "succeeded" => ("quick", ("succeeded", "succeeded")),
            _ => ("asker", ("running", "awaiting_approval")),
        };
        let run = self.create(pipeline, &by).await;
        self.until(run, first.0, first.1).await;
        match situation {
            "paused" => say(run, Command::Pause { reason: None }).await,
            "cancelled" => {
                say(run, Command::Cancel { task: None, reason: None }).await;
                self.until(run, "cancelled", "cancelled").await;
            }
            "failed" => {
                say(run, Command::Decide { task: 0, approved: false, comment: None }).await;
                self.until(run, "failed", "failed").await;
            }
            _ => {}
        }
        if owner == Owner::Nobody {
            by.release(run).await;
        }
        run
    }
}

fn operations() -> Vec<Command> {
    let decide = |approved| Command::Decide { task: 0, approved, comment: None };
    let mark = |mark| Command::Mark { tasks: vec![0], mark, reason: None };
    vec![
        Command::Clear { tasks: vec![0], generation: None, reason: None },
        Command::Clear { tasks: vec![0], generation: Some(9), reason: None },
        mark(Mark::Succeeded),
        mark(Mark::Failed),
        Command::Cancel { task: None, reason: None },
        Command::Cancel { task: Some(0), reason: None },
        Command::Pause { reason: None },
        Command::Resume { reason: None },
        Command::RetryNow { task: 0, reason: None },
        decide(true),
        decide(false),
        Command::Resolve { task: 0, seen: None, resolution: Resolution::NotStarted, reason: None },
        Command::Resolve { task: 0, seen: None, resolution: Resolution::Lost, reason: None },
    ]
}

const SITUATIONS: [&str; 7] = ["queued", "running", "awaiting", "paused", "succeeded", "failed", "cancelled"];

#[tokio::test(flavor = "multi_thread")]
async fn it_does_not_matter_who_owns_the_run() {
    let mut world = World::new().await;
    let mut wrong = Vec::new();
    for situation in SITUATIONS {
        for command in operations() {
            for owner in [Owner::Here, Owner::Elsewhere, Owner::Nobody] {
                let run = world.situation(situation, owner).await;
                let mut stored = world.store.read_run(run).await.unwrap();
                let wanted = machine::ask(&mut stored, ASKED, &command, NOW).map(|_| ()).map_err(|no| no.0);
                let asked = world.here.handle().ask(run, command.clone(), ASKED).await;
                let found = match asked {
                    Ok(()) => Ok(()),
                    Err(AskError::Refused(reason)) => Err(reason),
                    Err(error) => Err(format!("no answer: {error}")),
                };
                if found != wanted {
                    wrong.push(format!(
                        "{situation}, owned {owner:?}: {command:?} is {found:?}, not {wanted:?}"
                    ));
                }
                let told = world.store.history(run, 0, 1_000).await.unwrap();
                let lines = told.iter().filter(|line| line.actor == ASKED).count();
                if lines != usize::from(found.is_ok()) {
                    wrong.push(format!(
                        "{situation}, owned {owner:?}: {command:?} has {lines} lines of history"
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    world.here.shutdown().await.unwrap();
    world.other.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_are_asked_at_once_whoever_owns_them() {
    let mut world = World::new().await;
    let mut wishes = Vec::new();
    for owner in [Owner::Here, Owner::Elsewhere, Owner::Nobody] {
        for situation in ["running", "succeeded"] {
            wishes.push((world.situation(situation, owner).await, Command::Pause { reason: None }));
        }
    }
    let answers = world.here.handle().ask_many(&wishes, ASKED).await.unwrap();
    for (place, ((run, _), answer)) in wishes.iter().zip(answers).enumerate() {
        let told = world.store.history(*run, 0, 1_000).await.unwrap();
        let lines = told.iter().filter(|line| line.actor == ASKED).count();
        match (place % 2, answer) {
            (0, Ok(())) => assert_eq!(lines, 1),
            (1, Err(AskError::Refused(reason))) => {
                assert!(reason.contains("only a running run can be paused"), "{reason}");
                assert_eq!(lines, 0);
            }
            (_, answer) => panic!("wish {place}: {answer:?}"),
        }
    }
    world.here.shutdown().await.unwrap();
    world.other.shutdown().await.unwrap();
}
