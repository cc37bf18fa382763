//! A fire of the schedule that meets a live run: it waits, makes no run, or ends the other one.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use serde_json::{Map, json};
use sqlx::PgPool;
use trunkline::{
    clock::{Ids, RandomIds, SystemClock},
    engine::{Engine, EngineOptions, RunRequest, Timing},
};
use trunkline_postgres::testing;
use trunkline_state::{
    pipeline::Pipeline,
    run::Trigger,
    schedule::{Calendar, DstRule},
    store::{NewVersion, Role, Store},
};
use trunkline_tasks::registry::{Options, Registry};

const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);
/// Some hundred times what anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn pipeline(overlap: &str) -> Pipeline {
    let second = json!({"secs": 1, "nanos": 0});
    let made: Pipeline = serde_json::from_value(json!({
        "name": overlap, "environment": "local", "timezone": "UTC", "data_interval": "none", "catchup": "last",
        "overlap": overlap, "max_active_runs": 1,
        "tasks": [{
            "name": "only", "type": "sleep", "settings": {"for": "1h"}, "depends_on": [],
            "trigger_rule": "all_success", "connection": "aws", "timeout": json!({"secs": 7200, "nanos": 0}),
            "poll_interval": second,
            "retry": {"retries": 0, "delay": second, "backoff": 1.0, "delay_max": second},
        }],
    }))
    .unwrap();
    Pipeline { calendar: Some(Calendar::parse("* * * * *", "UTC", DstRule::default()).unwrap()), ..made }
}

async fn until(pool: &PgPool, what: &str, question: &'static str, wanted: &str) {
    let waiting = async {
        let mut look = tokio::time::interval(Duration::from_millis(20));
        loop {
            look.tick().await;
            let found: Option<String> =
                sqlx::query_scalar(question).bind(what).fetch_one(pool).await.unwrap();
            if found.as_deref() == Some(wanted) {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{what} never became {wanted}"));
}

const STATES: &str = "select string_agg(state::text, ' ' order by created_at) from run where pipeline = $1";

#[tokio::test(flavor = "multi_thread")]
async fn a_fire_that_meets_a_live_run_does_what_the_pipeline_says() {
    let server = testing::shared().await.unwrap();
    let url = server.database("overlap").await.unwrap();
    let store = Store::connect(&url, RandomIds.replica_id(), true).await.unwrap();
    store.migrate().await.unwrap();
    let pool = PgPool::connect(&url).await.unwrap();
    let options = EngineOptions {
        role: Role::Serve,
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
    let engine = Engine::start(store.clone(), options).await.unwrap();
    for (overlap, wanted) in
        [("queue", "running queued"), ("skip", "running"), ("cancel_running", "cancelled running")]
    {
        store
            .deploy(
                vec![NewVersion {
                    pipeline: pipeline(overlap),
                    source: String::new(),
                    folder: String::new(),
                }],
                false,
                "user:test",
                NOW,
            )
            .await
            .unwrap();
        // Nothing fires until it is told to.
        let quiet = "update pipeline set next_fire_at = now() + interval '1 day', fired_until = now() where name = $1";
        sqlx::query(quiet).bind(overlap).execute(&pool).await.unwrap();
        let definition = store.definition(overlap, 1).await.unwrap();
        let request = RunRequest {
            definition,
            key: "by-hand".to_owned(),
            logical_date: NOW,
            interval: None,
            fire_at: None,
            params: Map::new(),
            trigger: Trigger::Manual,
            actor: "user:test".to_owned(),
        };
        engine.handle().create(request).await.unwrap();
        until(&pool, overlap, STATES, "running").await;
        let due = "update pipeline set next_fire_at = now(), fired_until = now() - interval '5 minutes' where name = $1";
        sqlx::query(due).bind(overlap).execute(&pool).await.unwrap();
        let fired = "select (fired_until > now() - interval '2 minutes')::text from pipeline where name = $1";
        until(&pool, overlap, fired, "true").await;
        until(&pool, overlap, STATES, wanted).await;
        store.set_paused(overlap, true, "user:test", None).await.unwrap();
    }
    engine.shutdown().await.unwrap();
}
