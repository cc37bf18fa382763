//! A run that the store refuses to write, for a reason that nobody foresaw, holds up no other.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use serde_json::{Map, json};
use sqlx::PgPool;
use trunkline::{
    clock::{Ids, RandomIds, SystemClock},
    engine::{Engine, EngineHandle, EngineOptions, RunRequest, Timing},
};
use trunkline_postgres::testing;
use trunkline_state::{
    ids::RunId,
    pipeline::Pipeline,
    run::{Definition, Trigger},
    store::{NewVersion, Role, Store},
};
use trunkline_tasks::registry::{Options, Registry};

const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);
/// Some hundred times what it takes.
const PATIENCE: Duration = Duration::from_secs(60);

async fn deployed(store: &Store) -> Arc<Definition> {
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
    store
        .deploy(
            vec![NewVersion { pipeline, source: String::new(), folder: String::new() }],
            false,
            "user:test",
            NOW,
        )
        .await
        .unwrap();
    let version = store.version("p", None).await.unwrap().version;
    store.definition("p", version).await.unwrap()
}

async fn create(engine: EngineHandle, definition: Arc<Definition>, key: &str) -> RunId {
    let request = RunRequest {
        definition,
        key: key.to_owned(),
        logical_date: NOW,
        interval: None,
        fire_at: None,
        params: Map::new(),
        trigger: Trigger::Manual,
        actor: "user:test".to_owned(),
    };
    engine.create(request).await.unwrap().0
}

async fn state(pool: &PgPool, run: RunId) -> String {
    sqlx::query_scalar("select state from run where run_id = $1").bind(run.0).fetch_one(pool).await.unwrap()
}

async fn until_succeeded(pool: &PgPool, run: RunId) {
    let waiting = async {
        let mut look = tokio::time::interval(Duration::from_millis(20));
        while state(pool, run).await != "succeeded" {
            look.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("the run did not end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_run_holds_up_no_other() {
    let server = testing::shared().await.unwrap();
    let url = server.database("refused").await.unwrap();
    let store = Store::connect(&url, RandomIds.replica_id(), true).await.unwrap();
    store.migrate().await.unwrap();
    let definition = deployed(&store).await;
    let pool = PgPool::connect(&url).await.unwrap();
    sqlx::raw_sql(
        "create function refuse() returns trigger language plpgsql as $$ begin raise 'not this one'; end $$;
         create trigger refused before update on run for each row
           when (new.run_key = 'bad' and new.state = 'succeeded') execute function refuse();",
    )
    .execute(&pool)
    .await
    .unwrap();

    let options = EngineOptions {
        role: Role::Serve,
        registry: Arc::new(Registry::standard(&Options::for_looking())),
        clock: Arc::new(SystemClock),
        ids: Arc::new(RandomIds),
        sandbox_endpoint: None,
        private_postgres: None,
        timing: Timing::default().scaled(0.05),
        host: "test".to_owned(),
        pages: None,
        traces: None,
    };
    let engine = Engine::start(store, options).await.unwrap();
    // Wanted in one breath, so that they are born, and end, in one commit.
    let (bad, good) = tokio::join!(
        create(engine.handle(), Arc::clone(&definition), "bad"),
        create(engine.handle(), Arc::clone(&definition), "good")
    );
    until_succeeded(&pool, good).await;
    assert_eq!(state(&pool, bad).await, "running");

    // The reason goes away: nothing was lost.
    sqlx::raw_sql("drop trigger refused on run").execute(&pool).await.unwrap();
    until_succeeded(&pool, bad).await;
    let attempts: i64 = sqlx::query_scalar("select count(*) from attempt").fetch_one(&pool).await.unwrap();
    assert_eq!(attempts, 2, "each task was started once");
    engine.shutdown().await.unwrap();
}
