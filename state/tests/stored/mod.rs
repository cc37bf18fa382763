//! What the tests of the store share: a database of their own, pipelines, runs on their way.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use serde_json::{Map, json};
use trunkline_postgres::testing::{self, TestServer};
use trunkline_state::{
    document::Document,
    ids::{PipelineName, ReplicaId, RunId, TaskName},
    machine::{self, AttemptKey, Delta, Event, Upcoming},
    pipeline::{Catchup, Overlap, Pipeline, RetryPolicy, Task, TriggerRule},
    run::{Definition, Run, Trigger},
    schedule::DataInterval,
    store::{Batch, Births, Commit, Created, NewRun, NewVersion, Place, Role, Store, StoreError},
};
use uuid::Uuid;

pub(crate) const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

pub(crate) fn pipeline(name: &str, tasks: usize, max_active_runs: u32, group: Option<&str>) -> Pipeline {
    let tasks = (0..tasks)
        .map(|position| Task {
            name: TaskName::new(format!("t{position}")).unwrap(),
            operator: "noop".into(),
            settings: json!({}),
            depends_on: if position == 0 { vec![] } else { vec![position - 1] },
            trigger_rule: TriggerRule::AllSuccess,
            when: None,
            for_each: None,
            connection: "aws".into(),
            retry: RetryPolicy {
                retries: 0,
                delay: Duration::from_secs(1),
                backoff: 1.0,
                delay_max: Duration::from_secs(1),
                retry_on: vec![],
            },
            timeout: Duration::from_secs(60),
            poll_interval: Duration::from_secs(1),
            pool: None,
            depends_on_past: false,
            outlets: Vec::new(),
        })
        .collect();
    Pipeline {
        name: PipelineName::new(name).unwrap(),
        description: String::new(),
        owner: String::new(),
        tags: vec![],
        environment: "local".into(),
        calendar: None,
        timezone: "UTC".into(),
        start_date: None,
        triggers: vec![],
        data_interval: DataInterval::None,
        catchup: Catchup::Last,
        overlap: Overlap::Queue,
        max_active_runs,
        concurrency_group: group.map(str::to_owned),
        run_timeout: None,
        retention: None,
        params: indexmap::IndexMap::new(),
        vars: indexmap::IndexMap::new(),
        connections: indexmap::IndexMap::new(),
        secrets: indexmap::IndexMap::new(),
        pools: indexmap::IndexMap::new(),
        tasks,
        on_success: vec![],
        on_failure: vec![],
        deadline: None,
        on_late: vec![],
        on_recovery: vec![],
        on_warning: vec![],
        on_retry: vec![],
    }
}

pub(crate) struct Fixture {
    _server: TestServer,
    pub(crate) url: String,
}

impl Fixture {
    pub(crate) async fn new(name: &str) -> Self {
        let server = testing::shared().await.unwrap();
        let url = server.database(name).await.unwrap();
        Self { _server: server, url }
    }

    pub(crate) async fn replica(&self, number: u128) -> Store {
        let store = Store::connect(&self.url, ReplicaId(Uuid::from_u128(number)), true).await.unwrap();
        store.migrate().await.unwrap();
        store.register(Role::Serve, &Place::default()).await.unwrap();
        store
    }
}

pub(crate) async fn deployed(store: &Store, pipeline: Pipeline) -> Arc<Definition> {
    let name = pipeline.name.to_string();
    store
        .deploy(
            vec![NewVersion { pipeline, source: "source".into(), folder: String::new() }],
            false,
            "user:test",
            NOW,
        )
        .await
        .unwrap();
    let version = store.version(&name, None).await.unwrap().version;
    store.definition(&name, version).await.unwrap()
}

/// A run as the engine makes it: admitted, with the intent of its first task.
pub(crate) async fn new_run(
    store: &Store,
    definition: &Arc<Definition>,
    id: u128,
    key: &str,
) -> (Run, Delta) {
    let installation = store.installation().await.unwrap();
    let mut run = Run::new(
        RunId(Uuid::from_u128(id)),
        Arc::clone(definition),
        installation,
        key.into(),
        NOW,
        None,
        None,
        Map::new(),
        Trigger::Manual,
        NOW,
    );
    let mut delta = machine::step(&mut run, &[Event::Admitted], NOW);
    let first = prepared(run.upcoming(0));
    delta.merge(machine::step(&mut run, &[first], NOW));
    (run, delta)
}

pub(crate) fn prepared(next: Upcoming) -> Event {
    Event::Prepared { next, request: json!({"token": "t"}).into(), baseline: Document::null() }
}

pub(crate) async fn create(store: &Store, run: &Run, delta: &Delta) -> Created {
    let mut births = Births::default();
    births.push(&NewRun { run, delta, actor: "user:test" });
    store.create_runs(&births).await.unwrap()[0]
}

pub(crate) async fn save(store: &Store, run: &Run, fence: i64, delta: &Delta) -> Result<bool, StoreError> {
    let mut batch = Batch::default();
    batch.push(&Commit { run, fence, delta, actor: "replica:test", letters: &[], asked: &[] }).unwrap();
    Ok(!store.save(&batch).await?.is_empty())
}

pub(crate) const FIRST: AttemptKey = AttemptKey { task: 0, number: 1 };

pub(crate) fn done(attempt: AttemptKey) -> Event {
    Event::Succeeded { attempt, outcome: json!({"outputs": {"rows": 7}, "warnings": ["odd"]}) }
}
