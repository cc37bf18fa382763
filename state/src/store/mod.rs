//! The store on Postgres: the only SQL of the product.
//!
//! One method is one transaction, and its doc says what is true once it returned. Statements
//! over some 25 lines stand in `queries/`. There is no trait and no second store: everything
//! that decides is in [`crate::machine`] and needs none.
//!
//! | file | what |
//! |---|---|
//! | `create`, `save` | the two writes of the hot path |
//! | `arguments`, `lane` | the rows that they take, the connection that each keeps |
//! | `link` | the way to the server, and how long it may say nothing |
//! | `own` | claiming, loading, releasing; replicas and their heartbeats |
//! | `pipelines` | versions, deploys, schedules, pausing |
//! | `backfills` | lists of dates that are worked off |
//! | `late` | deadlines that have passed |
//! | `inbox`, `outbox`, `logs` | commands to owners, notices, output of attempts |
//! | `moves` | runs that go on with another version |
//! | `triggers`, `waiting`, `trigger_reads` | events that make runs; how they are read; what people see of them |
//! | `datasets` | who updates datasets, who waits for them, when each was updated last |
//! | `turns` | pools and pasts: who waits for a turn, whose it is |
//! | `others` | how runs are that other runs wait for |
//! | `reads` | what people look at |
//! | `follow` | what was committed of all runs, in order |
//! | `grid` | the marks of many runs' task runs |
//! | `tokens` | tokens of the API, requests that may come twice |
//! | `accounts`, `sessions` | people, browsers that are signed in |
//! | `audit` | what people and programs asked for |
//! | `purge` | what is forgotten |

mod accounts;
mod arguments;
mod audit;
mod backfills;
mod create;
mod datasets;
mod error;
mod follow;
mod grid;
mod inbox;
mod lane;
mod late;
mod link;
mod logs;
mod moves;
mod others;
mod outbox;
mod own;
mod pipelines;
mod purge;
mod reads;
mod rows;
mod save;
mod sessions;
mod tokens;
mod trigger_reads;
mod triggers;
mod turns;
mod waiting;

use std::{future::Future, str::FromStr, sync::Arc, time::Duration};

use jiff::Timestamp;
use sqlx::{
    Connection, PgConnection, PgPool,
    migrate::{MigrateError, Migrator},
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};
use tokio::sync::OnceCell;

pub use self::{
    accounts::{AccountChange, AccountRow, Vouched, Welcome},
    audit::AuditRow,
    backfills::{BackfillDate, BackfillRow, NewBackfill, Reprocess},
    create::{Births, Created, NewRun},
    error::StoreError,
    follow::{FollowPlace, FollowRow},
    grid::{GridMark, RecentRun},
    inbox::{Answer, Letter},
    late::{Late, LateRow},
    logs::LogPiece,
    others::{AwaitedRow, OtherRun},
    outbox::{FirstFailure, Lately, Parcel},
    own::{BudgetRow, LiveReplica, Owned, Place, Role, Work},
    pipelines::{Deployed, Deployment, Due, NewVersion, PipelineRow, StoredVersion, VersionRow},
    reads::{AttemptRow, HistoryRow, RunEntry, RunFilter, RunPage, RunRange, RunRow, TaskRow},
    save::{Batch, Commit},
    sessions::{GoodSession, SESSION_AGE, SESSION_IDLE, SessionOwner},
    tokens::{GoodToken, NewToken, RunRequestRow, TokenRow},
    trigger_reads::{EventRow, QueueAsked, QueueRow, TriggerRow},
    triggers::{Arrivals, MakeRun, NewEvent, Occasion, PoisonMessage, QueueReport, Taken},
    turns::{Granted, PastRow, PoolRow, TurnRow, TurnWants},
};
use self::{lane::Lane, link::Link};
use crate::{ids::ReplicaId, run::Installation};

/// The schema, embedded; forward-only.
pub static MIGRATOR: Migrator = sqlx::migrate!("./migrations");

/// The newest migration that this binary has.
fn newest_known() -> i64 {
    MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// The channel of the one notification that the store sends: "look again". A hint only.
pub const HINT_CHANNEL: &str = "trunkline";

/// Oldest server that the SQL is written for.
const SERVER_VERSION_MIN: i32 = 140_000;

/// A replica dies for others when its heartbeat is older; on the database's clock.
pub const DEAD_AFTER: Duration = Duration::from_secs(30);

/// Connections of one process: commits, heartbeats, the listener, reads of people. Small, so that many
/// short-lived commands fit into a default server's 100.
const CONNECTIONS_MAX: u32 = 7;

/// Connections of the API: requests wait for one another, never the engine for them.
const API_CONNECTIONS_MAX: u32 = 4;

/// A connection of the API that nobody uses is closed after this time.
const API_CONNECTION_IDLE: Duration = Duration::from_secs(60);

/// How long a method waits for a free connection or a new one before it reports the store as
/// unreachable.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(8);

/// How often a statement that lost a deadlock or a serialisation race is sent again.
const CONFLICT_RETRIES: u32 = 5;

/// The least time after which a silent server is taken for gone, however far trials scale the
/// death limit down: a large commit on a busy machine takes a good part of it.
const SILENCE_MIN: Duration = Duration::from_secs(2);

/// When a server that says nothing is taken for gone: well before others take this replica for
/// dead.
fn silence(dead_after: Duration) -> Duration {
    (dead_after / 2).max(SILENCE_MIN)
}

/// One connection outside the pool, because a pool repeats a refused connection until its time
/// is up and then cannot say why.
async fn try_once(options: &PgConnectOptions) -> Result<(), StoreError> {
    let made = match tokio::time::timeout(CONNECT_TIMEOUT, PgConnection::connect_with(options)).await {
        Ok(Ok(connection)) => return Ok(connection.close().await?),
        Ok(Err(error)) => error,
        Err(_) => sqlx::Error::PoolTimedOut,
    };
    Err(match StoreError::from(made) {
        StoreError::Unreachable { source } => StoreError::NotConnected { place: place_of(options), source },
        other => other,
    })
}

fn place_of(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or("postgres");
    match options.get_socket() {
        Some(folder) => format!("{}/{database}", folder.display()),
        None => format!("{}:{}/{database}", options.get_host(), options.get_port()),
    }
}

/// A connection to the store, acting as one replica.
#[derive(Clone, Debug)]
pub struct Store {
    link: Link,
    replica: ReplicaId,
    dead_after: Duration,
    installation: Arc<OnceCell<Installation>>,
    creates: Arc<Lane>,
    saves: Arc<Lane>,
    /// Heartbeats and looks around.
    rounds: Arc<Lane>,
    /// The folders whose pipelines are seen; none are named where all are.
    seen: Option<Arc<[String]>>,
}

impl Store {
    /// Connects, and checks that the server is one that the guarantees hold on: version 14 or
    /// newer, writable, `fsync`, `full_page_writes` and `synchronous_commit` on unless
    /// `lax_durability` (tests and benches of other things).
    pub async fn connect(url: &str, replica: ReplicaId, lax_durability: bool) -> Result<Self, StoreError> {
        let options = PgConnectOptions::from_str(url)
            .map_err(|source| StoreError::Url { source: Box::new(source) })?
            .application_name("trunkline")
            .options([
                // Statements over arrays look expensive to the planner and touch a few rows:
                // compiling them takes longer than running them.
                ("jit", "off"),
                ("statement_timeout", "30s"),
                ("lock_timeout", "10s"),
                ("idle_in_transaction_session_timeout", "15s"),
            ]);
        try_once(&options).await?;
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(CONNECT_TIMEOUT)
            .connect_with(options)
            .await
            .map_err(StoreError::from)?;
        let store = Self {
            link: Link::new(pool, silence(DEAD_AFTER)),
            replica,
            dead_after: DEAD_AFTER,
            installation: Arc::default(),
            creates: Arc::new(Lane::new(lane::MOMENT)),
            saves: Arc::new(Lane::new(lane::MOMENT)),
            rounds: Arc::new(Lane::new(lane::ROUND)),
            seen: None,
        };
        store.check_server(lax_durability).await?;
        Ok(store)
    }

    /// The same store with another death limit; fault trials scale it down by ratio.
    #[must_use]
    pub fn with_dead_after(mut self, dead_after: Duration) -> Self {
        self.dead_after = dead_after;
        self.link = Link::new(self.link.pool, silence(dead_after));
        self
    }

    /// The same store and replica over connections of its own, which are made when they are first used:
    /// whatever is asked there keeps nothing else waiting. Its statements end after a third of the time.
    #[must_use]
    pub fn apart(&self) -> Self {
        let options = (*self.link.pool.connect_options()).clone().options([("statement_timeout", "10s")]);
        let pool = PgPoolOptions::new()
            .max_connections(API_CONNECTIONS_MAX)
            .idle_timeout(API_CONNECTION_IDLE)
            .acquire_timeout(CONNECT_TIMEOUT)
            .connect_lazy_with(options);
        Self {
            link: Link::new(pool, silence(self.dead_after)),
            replica: self.replica,
            dead_after: self.dead_after,
            installation: Arc::clone(&self.installation),
            creates: Arc::new(Lane::new(lane::MOMENT)),
            saves: Arc::new(Lane::new(lane::MOMENT)),
            rounds: Arc::new(Lane::new(lane::ROUND)),
            seen: None,
        }
    }

    /// The same store as somebody sees it who may see these folders only, and what lies in them: reads that
    /// people ask for find no pipeline of another folder, nor anything of one. `None` sees everything.
    #[must_use]
    pub fn seen_by(&self, folders: Option<Vec<String>>) -> Self {
        Self { seen: folders.map(Arc::from), ..self.clone() }
    }

    /// The folders that are seen, as statements take them.
    fn seen(&self) -> Option<&[String]> {
        self.seen.as_deref()
    }

    /// The replica that this connection acts as.
    pub fn replica(&self) -> ReplicaId {
        self.replica
    }

    /// The pool, for benches that measure the same database's own rate.
    pub fn pool(&self) -> &PgPool {
        &self.link.pool
    }

    async fn check_server(&self, lax_durability: bool) -> Result<(), StoreError> {
        let server = sqlx::query!(
            r#"select current_setting('server_version_num')::int as "version!",
                      current_setting('server_version') as "name!",
                      pg_is_in_recovery() as "standby!",
                      current_setting('fsync') as "fsync!",
                      current_setting('full_page_writes') as "full_page_writes!",
                      current_setting('synchronous_commit') as "synchronous_commit!""#
        )
        .fetch_one(&self.link)
        .await?;
        if server.version < SERVER_VERSION_MIN {
            return Err(StoreError::ServerTooOld { found: server.name });
        }
        if server.standby {
            return Err(StoreError::Standby);
        }
        let unsafe_settings: Vec<&str> = [
            ("fsync", server.fsync.as_str()),
            ("full_page_writes", &server.full_page_writes),
            ("synchronous_commit", &server.synchronous_commit),
        ]
        .into_iter()
        .filter(|(_, value)| *value == "off")
        .map(|(name, _)| name)
        .collect();
        if !lax_durability && !unsafe_settings.is_empty() {
            return Err(StoreError::NotDurable { settings: unsafe_settings.join(", ") });
        }
        Ok(())
    }

    /// Brings the schema up to date. Afterwards every method works; another process may do
    /// the same at the same time.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        // Where there is nothing to do no lock is taken: a session that was cut off in the middle of this may
        // hold it until the server notices.
        match self.check_schema().await {
            Err(StoreError::SchemaTooOld { .. }) => {}
            known => return known,
        }
        MIGRATOR.run(&self.link.pool).await.map_err(|source| match source {
            // The oldest one that this binary lacks: a newer one made the schema.
            MigrateError::VersionMissing(found) => StoreError::SchemaTooNew { found, known: newest_known() },
            source => StoreError::Migration { source: Box::new(source) },
        })
    }

    /// Refuses a schema that this binary does not know, naming what to do.
    pub async fn check_schema(&self) -> Result<(), StoreError> {
        let newest_known = newest_known();
        let found = sqlx::query_scalar!(r#"select to_regclass('_sqlx_migrations') is not null as "exists!""#)
            .fetch_one(&self.link)
            .await?;
        let version = if found {
            sqlx::query_scalar!(
                r#"select coalesce(max(version), 0) as "version!" from _sqlx_migrations where success"#
            )
            .fetch_one(&self.link)
            .await?
        } else {
            0
        };
        match version {
            version if version < newest_known => {
                Err(StoreError::SchemaTooOld { found: version, wanted: newest_known })
            }
            version if version > newest_known => {
                Err(StoreError::SchemaTooNew { found: version, known: newest_known })
            }
            _ => Ok(()),
        }
    }

    /// What identifies this store; read once.
    pub async fn installation(&self) -> Result<Installation, StoreError> {
        self.installation
            .get_or_try_init(|| async {
                let row = sqlx::query!("select installation_id, incarnation from installation")
                    .fetch_one(&self.link)
                    .await?;
                Ok(Installation { id: row.installation_id, incarnation: row.incarnation })
            })
            .await
            .copied()
    }

    /// The database's clock.
    pub async fn now(&self) -> Result<Timestamp, StoreError> {
        let now = sqlx::query_scalar!(r#"select clock_timestamp() as "now!: jiff_sqlx::Timestamp""#)
            .fetch_one(&self.link)
            .await?;
        Ok(now.to_jiff())
    }

    /// Tells every replica to look again. A hint: nothing waits for it to arrive.
    pub async fn hint(&self) -> Result<(), StoreError> {
        sqlx::query!("select pg_notify($1, '')", HINT_CHANNEL).fetch_one(&self.link).await?;
        Ok(())
    }

    /// A connection that hears hints.
    pub async fn listen(&self) -> Result<PgListener, StoreError> {
        let mut listener = PgListener::connect_with(&self.link.pool).await?;
        listener.listen(HINT_CHANNEL).await?;
        Ok(listener)
    }

    /// Closes the connections.
    pub async fn close(&self) {
        drop((self.creates.empty(), self.saves.empty(), self.rounds.empty()));
        self.link.pool.close().await;
    }

    /// Sends a single-statement write again when the database asks for it (deadlock,
    /// serialisation): it was rolled back whole.
    async fn retrying<T, F>(&self, mut statement: impl FnMut() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, sqlx::Error>>,
    {
        let mut tries = 0;
        loop {
            match statement().await {
                Err(error) if error::is_conflict(&error) && tries < CONFLICT_RETRIES => tries += 1,
                other => return other.map_err(StoreError::from),
            }
        }
    }
}

/// Runs a transaction in a task of its own, which nothing cancels: a future that is dropped
/// inside `begin()` would leave an open transaction in the pool (sqlx issue 4385).
async fn uncancelled<T: Send + 'static>(
    transaction: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::spawn(transaction).await {
        Ok(result) => result,
        Err(join) => Err(StoreError::Broken { message: format!("a store task ended unexpectedly: {join}") }),
    }
}
