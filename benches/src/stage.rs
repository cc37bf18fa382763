//! What every measurement stands on: a Postgres, an engine, pipelines of no-ops.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use serde_json::{Map, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tempfile::TempDir;
use trunkline::{
    clock::{Clock, Ids, RandomIds, SystemClock},
    engine::{Engine, EngineOptions, RunRequest, Timing},
};
use trunkline_postgres::{Options, Server};
use trunkline_state::{
    pipeline::Pipeline,
    run::{Definition, Trigger},
    store::{NewVersion, Role, Store},
};
use trunkline_tasks::registry::{self, Registry};

/// How long the server's flush takes. Many virtual machines answer a flush in less than a tenth
/// of a millisecond; a disk that keeps what it was given, on a network as on AWS, takes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// A millisecond more than this machine's disk says.
    AsMeant,
    /// What this machine's disk says.
    AsItIs,
}

impl Flush {
    /// The name of a row that was measured so.
    pub fn of(self, what: &str) -> String {
        match self {
            Self::AsMeant => format!("{what}, flush + 1 ms"),
            Self::AsItIs => format!("{what}, this disk's flush"),
        }
    }

    /// The name of a pipeline whose runs are measured so.
    pub fn pipeline(self, name: &str) -> String {
        match self {
            Self::AsMeant => format!("{name}_as_meant"),
            Self::AsItIs => format!("{name}_as_it_is"),
        }
    }

    /// Before each flush, in microseconds: Postgres waits so long, whoever else commits.
    /// <https://www.postgresql.org/docs/current/runtime-config-wal.html#GUC-COMMIT-DELAY>
    fn commit_delay(self) -> Option<&'static str> {
        match self {
            Self::AsMeant => Some("1000"),
            Self::AsItIs => None,
        }
    }
}

/// The longest that a server takes to read its settings again.
const PATIENCE: Duration = Duration::from_secs(30);

/// A database to measure on.
pub struct Stage {
    server: Option<Server>,
    _folder: TempDir,
    pub url: String,
}

impl Stage {
    /// The given server, or a private one with full durability.
    pub async fn new(store: Option<&str>) -> Result<Self> {
        let folder = tempfile::tempdir().context("no temporary folder")?;
        if let Some(url) = store {
            return Ok(Self { server: None, _folder: folder, url: url.to_owned() });
        }
        let server = trunkline_postgres::start(&Options::for_folder(folder.path())).await?;
        Ok(Self { url: server.url.clone(), server: Some(server), _folder: folder })
    }

    /// Makes flushes take that time from now on. Asks for a superuser.
    pub async fn set_flush(&self, flush: Flush) -> Result<()> {
        self.set("commit_siblings", flush.commit_delay().map(|_| "0")).await?;
        self.set("commit_delay", flush.commit_delay()).await
    }

    /// Changes a setting of the server, or gives it back what it had without us, for sessions that
    /// start later.
    pub async fn set(&self, name: &str, value: Option<&str>) -> Result<()> {
        let mut connection = PgConnection::connect(&self.url).await?;
        let statement = match value {
            Some(value) => format!("alter system set {name} = {value}"),
            None => format!("alter system reset {name}"),
        };
        sqlx::raw_sql(AssertSqlSafe(statement))
            .execute(&mut connection)
            .await
            .with_context(|| format!("{name} cannot be changed; the benches want a superuser"))?;
        sqlx::query("select pg_reload_conf()").execute(&mut connection).await?;
        let begin = now();
        while !self.has(name, value).await? {
            let waited = Duration::try_from(now().duration_since(begin))?;
            ensure!(waited < PATIENCE, "{name} stays as it is; is it set on the server's command line?");
            tick(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Whether a new session has this value, or, without one, none of ours.
    async fn has(&self, name: &str, value: Option<&str>) -> Result<bool> {
        let mut connection = PgConnection::connect(&self.url).await?;
        Ok(sqlx::query_scalar(
            "select case when $2::text is null then coalesce(sourcefile, '') not like '%postgresql.auto.conf'
                         else setting = $2 end
               from pg_settings where name = $1",
        )
        .bind(name)
        .bind(value)
        .fetch_one(&mut connection)
        .await?)
    }

    /// Stops what was started.
    pub async fn end(self) -> Result<()> {
        if let Some(server) = self.server {
            server.stop().await?;
        }
        Ok(())
    }

    /// A migrated store as a new replica.
    pub async fn store(&self) -> Result<Store> {
        let store = Store::connect(&self.url, RandomIds.replica_id(), false).await?;
        store.migrate().await?;
        Ok(store)
    }

    /// A server's engine with these operators.
    pub async fn engine(&self, registry: Registry) -> Result<Engine> {
        self.engine_as(Role::Serve, registry).await
    }

    /// An engine of a server or of a command.
    pub async fn engine_as(&self, role: Role, registry: Registry) -> Result<Engine> {
        let options = EngineOptions {
            role,
            registry: Arc::new(registry),
            clock: Arc::new(SystemClock),
            ids: Arc::new(RandomIds),
            sandbox_endpoint: None,
            private_postgres: None,
            timing: Timing::default(),
            host: "bench".to_owned(),
            pages: None,
            traces: None,
        };
        Ok(Engine::start(self.store().await?, options).await?)
    }

    /// Deploys a pipeline of no-ops whose task `n` waits for `upstream(n)`.
    pub async fn deploy(
        &self,
        name: &str,
        tasks: usize,
        operator: &str,
        upstream: impl Fn(usize) -> Vec<usize>,
    ) -> Result<Arc<Definition>> {
        let tasks: Vec<_> = (0..tasks).map(|position| (operator, upstream(position))).collect();
        self.deploy_tasks(name, &tasks).await
    }

    /// Deploys a chain of tasks of these types.
    pub async fn deploy_of(&self, name: &str, operators: &[&str]) -> Result<Arc<Definition>> {
        let before = |position: usize| position.checked_sub(1).into_iter().collect();
        let tasks: Vec<_> =
            operators.iter().enumerate().map(|(position, operator)| (*operator, before(position))).collect();
        self.deploy_tasks(name, &tasks).await
    }

    async fn deploy_tasks(&self, name: &str, tasks: &[(&str, Vec<usize>)]) -> Result<Arc<Definition>> {
        let store = self.store().await?;
        let pipeline = pipeline(name, tasks)?;
        store
            .deploy(
                vec![NewVersion { pipeline, source: String::new(), folder: String::new() }],
                false,
                "user:bench",
                now(),
            )
            .await?;
        let version = store.version(name, None).await?.version;
        let definition = store.definition(name, version).await?;
        store.close().await;
        Ok(definition)
    }
}

/// The operators of the product, for looking and for no-ops.
pub fn operators() -> Registry {
    Registry::standard(&registry::Options::for_looking())
}

/// A run of a definition under a key.
pub fn request(definition: &Arc<Definition>, key: String) -> RunRequest {
    RunRequest {
        definition: Arc::clone(definition),
        key,
        logical_date: now(),
        interval: None,
        fire_at: None,
        params: Map::new(),
        trigger: Trigger::Manual,
        actor: "user:bench".to_owned(),
    }
}

/// The present.
pub fn now() -> Timestamp {
    SystemClock.now()
}

/// The only wait of this program.
#[expect(clippy::disallowed_methods, reason = "between two looks at a condition")]
pub async fn tick(pause: Duration) {
    tokio::time::sleep(pause).await;
}

/// A pipeline of tasks without settings: the type of each and what it waits for.
fn pipeline(name: &str, tasks: &[(&str, Vec<usize>)]) -> Result<Pipeline> {
    let tasks: Vec<_> = tasks
        .iter()
        .enumerate()
        .map(|(position, (operator, upstream))| {
            json!({
                "name": format!("t{position}"), "type": operator, "settings": {}, "depends_on": upstream,
                "trigger_rule": "all_success", "connection": "aws",
                "retry": {"retries": 0, "delay": {"secs": 1, "nanos": 0}, "backoff": 1.0, "delay_max": {"secs": 1, "nanos": 0}},
                "timeout": {"secs": 86_400, "nanos": 0}, "poll_interval": {"secs": 100, "nanos": 0},
            })
        })
        .collect();
    Ok(serde_json::from_value(json!({
        "name": name, "environment": "local", "timezone": "UTC", "data_interval": "none", "catchup": "none",
        "max_active_runs": 1_000_000, "tasks": tasks,
    }))?)
}
