//! The Redshift Data API: statements and batches, with tokens, states, results, over a `PostgreSQL` of the sandbox's own.
//!
//! [`Redshift`] keeps the records and decides what may start; [`execute`] does the work of one call; [`dialect`] says
//! what Redshift writes differently; [`database`] holds all SQL of the sandbox itself. A call that was at work when
//! the sandbox's process died is not run again: it ends as what the database can prove.

mod api;
pub(crate) mod copy;
mod database;
pub(crate) mod dialect;
mod execute;
mod metadata;
mod record;
mod results;
mod server;
mod shape;
pub(crate) mod warehouse;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::database::DatabaseError;
use self::execute::{Broken, Work, note_of};
use self::record::{Done, Ended, Mode, StatementRecord, StatementState};
use self::server::Server;
use self::warehouse::Warehouses;
use crate::SandboxError;
use crate::catalog::{entries, file_name};
use crate::files::{read_json, replace_json};
use crate::wire::{ApiError, CallContext};
use crate::world::World;

/// How long a call is SUBMITTED, before scaling.
const SUBMITTED: Duration = Duration::from_millis(50);
/// The least time that a call is STARTED, before scaling, so that pollers see it.
const STARTED_AT_LEAST: Duration = Duration::from_millis(100);
/// Between two tries to stop a statement: one that is between two statements has nothing to stop.
const STOP_STEP: Duration = Duration::from_millis(50);
/// Calls at work at once; each is a connection of the 100 that `PostgreSQL` takes. The rest stay SUBMITTED.
const AT_WORK_MAX: usize = 40;
/// How long the shutdown waits for calls to notice.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(5);

/// The Redshift Data API.
#[derive(Debug)]
pub(crate) struct Redshift {
    world: Arc<World>,
    /// What was provisioned.
    pub warehouses: Warehouses,
    server: Server,
    state: Mutex<State>,
    slots: Semaphore,
    closing: CancellationToken,
    tracker: TaskTracker,
}

#[derive(Debug, Default)]
struct State {
    records: HashMap<String, StatementRecord>,
    /// Ids in the order of submission.
    order: Vec<String>,
    /// Newest id by client token.
    tokens: HashMap<String, String>,
    live: HashMap<String, CancellationToken>,
}

impl Redshift {
    /// Opens the service and continues what an earlier process left unfinished.
    pub(crate) fn open(world: Arc<World>) -> Result<Arc<Self>, SandboxError> {
        let folder = world.root.join("redshift");
        let warehouses = Warehouses::open(folder.join("warehouses.json"))?;
        let mut records = Vec::new();
        for path in entries(&folder.join("statements"))? {
            records.extend(read_json::<StatementRecord>(&path)?);
        }
        records.sort_by(|a, b| (a.submitted, &a.id).cmp(&(b.submitted, &b.id)));
        let mut state = State::default();
        let unfinished: Vec<_> = records
            .iter()
            .filter(|record| !record.state.is_terminal())
            .map(|record| (record.id.clone(), record.state))
            .collect();
        for record in records {
            state.remember(record);
        }
        let redshift = Arc::new(Self {
            warehouses,
            server: Server::new(folder),
            state: Mutex::new(state),
            slots: Semaphore::new(AT_WORK_MAX),
            closing: CancellationToken::new(),
            tracker: TaskTracker::new(),
            world,
        });
        for (id, state) in unfinished {
            redshift.spawn(id, state);
        }
        Ok(redshift)
    }

    /// Answers one call.
    pub(crate) async fn call(self: &Arc<Self>, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
        self.forget_old(cx).await;
        self.answer(cx, body).await
    }

    /// Leaves the calls at work without recording an end, which the next start finds out; stops `PostgreSQL`.
    pub(crate) async fn shutdown(&self) {
        self.closing.cancel();
        self.tracker.close();
        if tokio::time::timeout(SHUTDOWN_WAIT, self.tracker.wait()).await.is_err() {
            tracing::warn!("statements did not end in time");
        }
        self.server.shutdown().await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, id: &str) -> Option<StatementRecord> {
        self.lock().records.get(id).cloned()
    }

    fn statement_file(&self, id: &str) -> PathBuf {
        self.world.root.join("redshift").join("statements").join(format!("{}.json", file_name(id)))
    }

    /// Changes a record on disk, then in memory.
    fn change(&self, id: &str, change: impl FnOnce(&mut StatementRecord)) -> Result<(), ApiError> {
        let mut state = self.lock();
        let Some(record) = state.records.get_mut(id) else {
            return Err(ApiError::internal(format!("statement {id} is gone")));
        };
        let mut changed = record.clone();
        change(&mut changed);
        replace_json(&self.statement_file(id), &changed).map_err(ApiError::internal)?;
        *record = changed;
        Ok(())
    }

    /// Runs a recorded call in the background, or finds out how it ended.
    fn spawn(self: &Arc<Self>, id: String, state: StatementState) {
        let stop = CancellationToken::new();
        self.lock().live.insert(id.clone(), stop.clone());
        let redshift = Arc::clone(self);
        self.tracker.spawn(async move {
            let work = async {
                match state {
                    StatementState::Submitted => redshift.perform(&id, &stop).await,
                    _ => redshift.find_out(&id).await,
                }
            };
            let recorded = tokio::select! {
                recorded = work => recorded,
                // The record stays as it is.
                () = redshift.closing.cancelled() => return,
            };
            if let Err(error) = recorded {
                tracing::error!(statement = id, %error, "a statement could not be recorded");
            }
            redshift.lock().live.remove(&id);
        });
    }

    async fn perform(&self, id: &str, stop: &CancellationToken) -> Result<(), ApiError> {
        self.world.pause(self.world.scaled(SUBMITTED)).await;
        let Ok(_slot) = self.slots.acquire().await else { return Ok(()) };
        self.change(id, |record| record.advance(StatementState::Picked, self.world.clock.now()))?;
        let Some(record) = self.record(id) else { return Ok(()) };
        let opened = match &record.place {
            Ok(place) => self.server.session(place, id).await,
            Err(error) => Err(DatabaseError { code: None, message: error.clone() }),
        };
        let mut session = match opened {
            Ok(session) => session,
            Err(error) => {
                return self.end(id, Ended::Failed { done: Vec::new(), error: error.message });
            }
        };
        let pid = session.pid;
        self.change(id, |record| {
            record.pid = pid.into();
            record.advance(StatementState::Started, self.world.clock.now());
            for part in &mut record.parts {
                part.state = StatementState::Started;
            }
        })?;
        let work = Work { world: &self.world, record: &record, session: &mut session, stop };
        let visible = self.world.pause(self.world.scaled(STARTED_AT_LEAST));
        let ended = tokio::select! {
            (ended, ()) = async { tokio::join!(work.run(), visible) } => ended,
            () = self.stop_when_told(stop, pid, record.place.as_deref().unwrap_or_default()) => Err(Broken),
        };
        match ended {
            Ok(ended) => self.end(id, ended),
            Err(Broken) => self.find_out(id).await,
        }
    }

    /// Stops what the session does, again and again, once somebody said so. Never returns.
    async fn stop_when_told(&self, stop: &CancellationToken, pid: i32, place: &str) {
        stop.cancelled().await;
        loop {
            if let Ok(mut looking) = self.server.looking(place).await
                && let Err(error) = looking.cancel(pid).await
            {
                tracing::warn!(pid, error = error.message, "a statement could not be stopped");
            }
            self.world.pause(STOP_STEP).await;
        }
    }

    /// Records what the database can prove of a call whose end nobody saw.
    async fn find_out(&self, id: &str) -> Result<(), ApiError> {
        let Some(record) = self.record(id) else { return Ok(()) };
        let Ok(place) = record.place.clone() else { return Ok(()) };
        let ended = match self.proved(&record, &place).await {
            Ok(ended) => ended,
            Err(error) => Ended::Failed { done: Vec::new(), error: error.message },
        };
        self.end(id, ended)
    }

    async fn proved(&self, record: &StatementRecord, place: &str) -> Result<Ended, DatabaseError> {
        let mut looking = self.server.looking(place).await?;
        // Whatever is still at work ends here: after that, a note is there or will never be.
        while looking.end_others(&record.id).await? > 0 {
            self.world.pause(STOP_STEP).await;
        }
        let unproved = "ERROR: the sandbox ended while the statement ran; it was not committed";
        let mut noted = Vec::new();
        for at in 0..record.parts.len() {
            let note = looking.noted(&note_of(record, at)).await?;
            let done: Option<Vec<Done>> = note.and_then(|note| serde_json::from_str(&note).ok());
            match (record.mode, done) {
                (Mode::Transaction, Some(done)) => return Ok(Ended::Finished(done)),
                (Mode::Transaction, None) => break,
                (Mode::AutoCommit, Some(done)) => noted.push(Ok(done.first().copied().unwrap_or_default())),
                (Mode::AutoCommit, None) => noted.push(Err(unproved.to_owned())),
            }
        }
        Ok(match record.mode {
            Mode::Transaction => Ended::Failed { done: Vec::new(), error: unproved.to_owned() },
            Mode::AutoCommit => Ended::Each(noted),
        })
    }

    fn end(&self, id: &str, ended: Ended) -> Result<(), ApiError> {
        self.change(id, |record| record.end(ended, self.world.clock.now()))
    }

    /// Forgets what the service would not know any more: records, results, notes.
    async fn forget_old(&self, cx: &CallContext) {
        let mut notes: HashMap<String, Vec<String>> = HashMap::new();
        {
            let mut state = self.lock();
            let old: Vec<String> = state
                .order
                .iter()
                .filter(|id| state.records.get(*id).is_some_and(|record| record.is_forgotten(cx.now)))
                .cloned()
                .collect();
            for id in &old {
                let Some(record) = state.records.remove(id) else { continue };
                drop(std::fs::remove_file(self.statement_file(id)));
                for at in 0..record.parts.len() {
                    drop(std::fs::remove_file(results::file(&self.world.root, id, at)));
                    if let Ok(place) = &record.place {
                        notes.entry(place.clone()).or_default().push(note_of(&record, at));
                    }
                }
            }
            state.order.retain(|id| !old.contains(id));
        }
        for (place, ids) in notes {
            if let Ok(mut looking) = self.server.looking(&place).await
                && let Err(error) = looking.forget(&ids).await
            {
                // A note that stays is of no harm.
                tracing::debug!(error = error.message, "notes of old statements stay");
            }
        }
    }
}

impl State {
    fn remember(&mut self, record: StatementRecord) {
        if let Some(token) = &record.token {
            self.tokens.insert(token.clone(), record.id.clone());
        }
        self.order.push(record.id.clone());
        self.records.insert(record.id.clone(), record);
    }
}
