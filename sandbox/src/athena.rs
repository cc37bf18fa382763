//! Athena: queries over the catalog, with tokens, states, results in a bucket, and workgroups.
//!
//! [`Athena`] keeps the records and decides what may start; [`execute`] does the work of one query. A query
//! that was in progress when the sandbox's process died is run again under the same id.

mod api;
mod ddl;
mod execute;
mod parameters;
mod record;
mod results;
mod shape;
mod statement;
mod workgroups;
mod write;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::record::{QueryRecord, QueryState};
use self::workgroups::WorkGroup;
use crate::SandboxError;
use crate::catalog::{entries, file_name};
use crate::files::{read_json, replace_json};
use crate::glue::Glue;
use crate::wire::{ApiError, CallContext};
use crate::world::World;

/// How long a query is QUEUED, before scaling.
const QUEUED: Duration = Duration::from_millis(50);
/// The least time that a query is RUNNING, before scaling, so that pollers see it.
const RUNNING_AT_LEAST: Duration = Duration::from_millis(100);
/// The longest that a query may run, before scaling: the service's own default for DML.
const QUERY_TIMEOUT: Duration = Duration::from_mins(30);
/// How long the shutdown waits for queries to notice.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(5);

/// The Athena service.
#[derive(Debug)]
pub(crate) struct Athena {
    world: Arc<World>,
    glue: Arc<Glue>,
    state: Mutex<State>,
    closing: CancellationToken,
    tracker: TaskTracker,
}

#[derive(Debug, Default)]
struct State {
    queries: HashMap<String, QueryRecord>,
    /// Ids in the order of submission.
    order: Vec<String>,
    /// Ids by client token.
    tokens: HashMap<String, String>,
    workgroups: BTreeMap<String, WorkGroup>,
    live: HashMap<String, CancellationToken>,
}

impl Athena {
    /// Opens the service and continues what an earlier process left running.
    #[expect(clippy::unused_async, reason = "services are opened alike, and others wait while they open")]
    pub(crate) async fn open(world: Arc<World>, glue: Arc<Glue>) -> Result<Arc<Self>, SandboxError> {
        let mut state = State::default();
        let mut queries = Vec::new();
        for path in entries(&world.root.join("athena").join("queries"))? {
            queries.extend(read_json::<QueryRecord>(&path)?);
        }
        queries.sort_by(|a, b| (a.submitted, &a.id).cmp(&(b.submitted, &b.id)));
        for path in entries(&world.root.join("athena").join("workgroups"))? {
            if let Some(group) = read_json::<WorkGroup>(&path)? {
                state.workgroups.insert(group.name.clone(), group);
            }
        }
        let primary = WorkGroup::primary(world.clock.now());
        state.workgroups.entry(primary.name.clone()).or_insert(primary);
        let unfinished: Vec<_> =
            queries.iter().filter(|query| !query.state.is_terminal()).map(|query| query.id.clone()).collect();
        for query in queries {
            state.remember(query);
        }
        let closing = CancellationToken::new();
        let athena =
            Arc::new(Self { world, glue, state: Mutex::new(state), closing, tracker: TaskTracker::new() });
        for id in unfinished {
            tracing::info!(query = id, "running an interrupted query again");
            athena.spawn(id);
        }
        Ok(athena)
    }

    /// Answers one call.
    #[expect(clippy::unused_async, reason = "services answer alike, and others wait while they answer")]
    pub(crate) async fn call(
        self: &Arc<Self>,
        cx: &CallContext,
        operation: &str,
        body: Value,
    ) -> Result<Value, ApiError> {
        self.answer(cx, operation, body)
    }

    /// Ends the queries in progress without recording an end, so that the next start runs them again.
    pub(crate) async fn shutdown(&self) {
        self.closing.cancel();
        self.tracker.close();
        if tokio::time::timeout(SHUTDOWN_WAIT, self.tracker.wait()).await.is_err() {
            tracing::warn!("queries did not end in time");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn query_file(&self, id: &str) -> PathBuf {
        self.world.root.join("athena").join("queries").join(format!("{}.json", file_name(id)))
    }

    fn workgroup_file(&self, name: &str) -> PathBuf {
        self.world.root.join("athena").join("workgroups").join(format!("{}.json", file_name(name)))
    }

    /// Changes a query's record on disk, then in memory.
    fn change(&self, id: &str, change: impl FnOnce(&mut QueryRecord)) -> Result<(), ApiError> {
        let mut state = self.lock();
        let Some(query) = state.queries.get_mut(id) else {
            return Err(ApiError::internal(format!("query {id} is gone")));
        };
        let mut changed = query.clone();
        change(&mut changed);
        replace_json(&self.query_file(id), &changed).map_err(ApiError::internal)?;
        *query = changed;
        Ok(())
    }

    /// Runs a recorded query in the background.
    fn spawn(self: &Arc<Self>, id: String) {
        let stop = self.closing.child_token();
        self.lock().live.insert(id.clone(), stop.clone());
        let athena = Arc::clone(self);
        self.tracker.spawn(async move {
            if let Err(error) = athena.perform(&id, stop).await {
                tracing::error!(query = id, %error, "a query could not be recorded");
            }
            athena.lock().live.remove(&id);
        });
    }

    async fn perform(&self, id: &str, stop: CancellationToken) -> Result<(), ApiError> {
        tokio::select! {
            () = self.world.pause(self.world.scaled(QUEUED)) => {}
            () = stop.cancelled() => {}
        }
        if !stop.is_cancelled() {
            self.change(id, |query| {
                if query.state == QueryState::Queued {
                    query.state = QueryState::Running;
                }
            })?;
        }
        let Some(query) = self.lock().queries.get(id).cloned() else { return Ok(()) };
        let began = self.world.clock.now();
        let visible = self.world.pause(self.world.scaled(RUNNING_AT_LEAST));
        let limit = self.world.pause(self.world.scaled(QUERY_TIMEOUT));
        let done = tokio::select! {
            (done, ()) = async { tokio::join!(execute::execute(&self.world, &self.glue, &query), visible) } => Some(done),
            () = stop.cancelled() => None,
            () = limit => Some(execute::Done::timed_out()),
        };
        // When the sandbox itself ends, the record stays as it is and the query is run again at the next start.
        if self.closing.is_cancelled() {
            return Ok(());
        }
        let now = self.world.clock.now();
        self.change(id, |query| {
            if let Some(done) = done {
                query.finish(done, began, now);
            } else {
                query.cancel(now);
            }
        })
    }
}

impl State {
    fn remember(&mut self, query: QueryRecord) {
        if let Some(token) = &query.token {
            self.tokens.insert(token.clone(), query.id.clone());
        }
        self.order.push(query.id.clone());
        self.queries.insert(query.id.clone(), query);
    }
}
