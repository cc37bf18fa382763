//! What a replica does with the answer to a commit that comes when it holds a newer copy of the
//! run already: driven by hand, one message at a time.

use serde_json::{Map, json};
use trunkline_postgres::testing;
use trunkline_state::{
    pipeline::Pipeline,
    run::{Definition, Trigger},
    store::{Place, Role, Store},
};
use trunkline_tasks::registry::{Options, Registry};

use super::*;
use crate::{
    clock::{Ids, RandomIds, SystemClock},
    engine::{EngineOptions, Timing},
};

const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

/// An owner that nobody talks to. Its store answers, and is asked nothing.
async fn owner() -> Owner {
    let server = testing::shared().await.unwrap();
    let url = server.database("owner").await.unwrap();
    let store = Store::connect(&url, RandomIds.replica_id(), true).await.unwrap();
    let options = EngineOptions {
        role: Role::Serve,
        registry: Arc::new(Registry::standard(&Options::for_looking())),
        clock: Arc::new(SystemClock),
        ids: Arc::new(RandomIds),
        sandbox_endpoint: None,
        private_postgres: None,
        timing: Timing::default(),
        host: "test".to_owned(),
        pages: None,
        traces: None,
    };
    let place = Place { host: "test".into(), pid: 1, machine: String::new(), version: String::new() };
    let (to_owner, inbox) = mpsc::unbounded_channel();
    let (to_poller, _) = mpsc::unbounded_channel();
    let shared = Arc::new_cyclic(|own| Shared::new(own, store, options, place, to_owner, to_poller));
    let installation = Installation { id: uuid::Uuid::nil(), incarnation: 1 };
    Owner::new(shared, installation, inbox)
}

fn run() -> Run {
    let second = json!({"secs": 1, "nanos": 0});
    let pipeline: Pipeline = serde_json::from_value(json!({
        "name": "p", "environment": "local", "timezone": "UTC", "data_interval": "none", "catchup": "none",
        "max_active_runs": 10, "tasks": [{
            "name": "only", "type": "noop", "settings": {}, "depends_on": [], "trigger_rule": "all_success",
            "connection": "aws", "timeout": second, "poll_interval": second,
            "retry": {"retries": 0, "delay": second, "backoff": 1.0, "delay_max": second},
        }],
    }))
    .unwrap();
    let mut run = Run::new(
        RandomIds.run_id(NOW),
        Arc::new(Definition::new(pipeline, 1)),
        Installation { id: uuid::Uuid::nil(), incarnation: 1 },
        "key".to_owned(),
        NOW,
        None,
        None,
        Map::new(),
        Trigger::Manual,
        NOW,
    );
    let _ = machine::step(&mut run, &[Event::Admitted], NOW);
    run
}

/// An owner whose commit under fence 3 is under way while it claimed the run again, under 5.
async fn overtaken() -> (Owner, RunId) {
    let (mut owner, run) = (owner().await, run());
    let id = run.id;
    owner.hold(run.clone(), 3);
    owner.flights.push(Flight { run: id, fence: 3, effects: vec![], waiting: vec![], ended: None });
    owner.adopt(Owned { run, fence: 5, has_place: true });
    (owner, id)
}

#[tokio::test]
async fn a_late_miss_of_the_old_copy_leaves_the_new_one_in_hand() {
    let (mut owner, id) = overtaken().await;
    owner.saved(Ok(vec![]));
    assert!(owner.holds(id, 5), "nobody would ever advance the run again: it is ours, and forgotten");
}

#[tokio::test]
async fn a_late_failure_of_the_old_copy_leaves_the_new_one_in_hand() {
    let (mut owner, id) = overtaken().await;
    owner.saved(Err(StoreError::Broken { message: "gone".to_owned() }));
    assert!(owner.holds(id, 5));
}

#[tokio::test]
async fn a_miss_of_the_copy_in_hand_drops_it() {
    let (mut owner, run) = (owner().await, run());
    let id = run.id;
    owner.hold(run, 3);
    owner.flights.push(Flight { run: id, fence: 3, effects: vec![], waiting: vec![], ended: None });
    owner.saved(Ok(vec![]));
    assert!(!owner.held.contains_key(&id));
}

#[tokio::test]
async fn an_ended_run_that_refuses_is_given_back_unless_a_commit_of_it_is_under_way() {
    let (mut owner, mut run) = (owner().await, run());
    let id = run.id;
    let cancel = machine::Command::Cancel { task: None, reason: None };
    let _ = machine::ask(&mut run, "user:test", &cancel, NOW).unwrap();
    assert!(run.state.is_terminal());
    owner.hold(run.clone(), 3);
    owner.flights.push(Flight {
        run: id,
        fence: 3,
        effects: vec![],
        waiting: vec![],
        ended: commits::end_of(&run),
    });
    let refused = |owner: &mut Owner| {
        let (reply, mut answer) = oneshot::channel();
        owner.ask(id, "user:test", &cancel, None, reply);
        assert!(matches!(answer.try_recv(), Ok(Asked::Refused(_))));
    };
    refused(&mut owner);
    assert!(owner.holds(id, 3));
    owner.flights.clear();
    refused(&mut owner);
    assert!(!owner.held.contains_key(&id));
}

#[tokio::test]
async fn who_asked_the_old_copy_and_was_not_written_yet_asks_the_new_one() {
    let (mut owner, run) = (owner().await, run());
    let id = run.id;
    owner.hold(run.clone(), 3);
    let (reply, mut answer) = oneshot::channel();
    owner.ask(id, "user:test", &machine::Command::Pause { reason: None }, None, reply);
    assert!(answer.try_recv().is_err(), "not before it is committed");
    owner.adopt(Owned { run, fence: 5, has_place: true });
    assert!(matches!(answer.try_recv(), Ok(Asked::NotOwned)), "nothing of it was sent");
}
