//! The engine of one replica: it owns runs, advances them, and tells the world.
//!
//! ```text
//!            ┌──────────── look: heartbeat, claims, letters, fires, notices
//!            ▼
//!  messages ─► owner: step ─► group commit ─► effects ─► perform ─► operators
//!            ▲                                  │                      │
//!            └──────────── events ◄─────────────┴──── polls ◄──────────┘
//! ```
//!
//! | file | what |
//! |---|---|
//! | `owner` | runs in memory, decisions, group commit |
//! | `ask` | one command for each of many runs |
//! | `prepare` | rendering and the exact request; pure |
//! | `perform` | effects into events: baseline, send, find, cancel |
//! | `pipelines` | what tasks may ask about runs of other pipelines |
//! | `polls` | the timer heap of waiting jobs, batches |
//! | `budget`, `alive`, `timing` | call rates, the heartbeat's gate, every time-like setting |
//! | `look` | what an idle replica does: looks for work |
//! | `cron`, `backfill` | due fires into runs, dates of backfills into runs |
//! | `triggers` | messages of queues into runs |
//! | `late`, `retention` | deadlines that have passed into notices; old runs into nothing |
//! | `notices` | the outbox into mails |
//! | `traces` | runs that ended here into traces, for whoever collects them |
//! | `rehearsal` | a run without store and services, for tests of pipelines |
//! | `counts` | what this replica did, for whoever measures it |
//! | `shared` | what all of these use |
//! | `crash`, `mutant` | what fault trials ask for: deaths, stops, planted mistakes |
//!
//! Nothing here knows SQL, AWS or YAML; nothing here decides what may happen to a run.

mod alive;
mod ask;
mod backfill;
mod budget;
mod convert;
mod counts;
pub mod crash;
mod cron;
mod late;
mod look;
mod message;
pub mod mutant;
mod notices;
mod owner;
mod pace;
mod perform;
mod pipelines;
mod polls;
pub(crate) mod prepare;
pub mod rehearsal;
mod retention;
mod shared;
pub mod timing;
mod traces;
mod triggers;

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::sync::{mpsc, oneshot};
use trunkline_state::{
    ids::RunId,
    machine::Command,
    store::{Answer, BudgetRow, Created, Place, Role, Store},
};
use trunkline_tasks::registry::Registry;

use self::message::{Asked, Message};
pub use self::{
    counts::CountsView,
    message::{AskError, EngineError, RunRequest},
    timing::Timing,
};
pub(crate) use self::{
    retention::RUNS_AT_ONCE as RUNS_PURGED_AT_ONCE,
    shared::{Shared, clients_of, clients_with},
};
use crate::{
    clock::{SharedClock, SharedIds},
    trace::Export,
};

/// How long somebody who left a letter for another replica waits for the answer.
const ANSWER_WAIT: Duration = Duration::from_secs(60);
/// How often the answer is looked for; the owner may be on another machine.
const ANSWER_EVERY: Duration = Duration::from_millis(100);
/// How long a graceful end waits for starts that are under way: one start's limit and some.
const DRAIN_WAIT: Duration = Duration::from_secs(30);

/// What an engine needs.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// What kind of process this is. `Serve` claims runs, fires schedules; `Command` advances
    /// only the runs that it was given.
    pub role: Role,
    /// The task types.
    pub registry: Arc<Registry>,
    /// What time it is.
    pub clock: SharedClock,
    /// Where ids come from.
    pub ids: SharedIds,
    /// Where connections with `sandbox: true` lead.
    pub sandbox_endpoint: Option<String>,
    /// The address of the project's private Postgres, where that is the store.
    pub private_postgres: Option<String>,
    /// How often and how long.
    pub timing: Timing,
    /// This machine, for people.
    pub host: String,
    /// Where people find the pages of this server, such as `https://trunkline.example.com`, if it shows any.
    pub pages: Option<String>,
    /// Where the traces of runs go, if anybody wants them.
    pub traces: Option<Arc<dyn Export>>,
}

/// A running engine.
#[derive(Debug)]
pub struct Engine {
    handle: EngineHandle,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    traces: tokio::task::JoinHandle<()>,
}

/// A way to talk to a running engine.
#[derive(Clone, Debug)]
pub struct EngineHandle {
    shared: Arc<Shared>,
}

impl Engine {
    /// Makes this process a replica of the store, alive until [`Engine::shutdown`].
    pub async fn start(store: Store, options: EngineOptions) -> Result<Self, EngineError> {
        let store = store.with_dead_after(options.timing.dead_after);
        let installation = store.installation().await?;
        let sent_at = alive::boot_time();
        let place = Place {
            host: options.host.clone(),
            pid: std::process::id(),
            machine: alive::machine(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        store.bury(&place.machine, alive::is_process_alive).await?;
        store.register(options.role, &place).await?;
        let (owner, owner_inbox) = mpsc::unbounded_channel();
        let (poller, poller_inbox) = mpsc::unbounded_channel();
        let shared = Arc::new_cyclic(|own| Shared::new(own, store, options, place, owner, poller));
        shared.pulse.committed(sent_at);
        let is_server = shared.is_server;
        let mut tasks = vec![
            tokio::spawn(owner::Owner::new(Arc::clone(&shared), installation, owner_inbox).run()),
            tokio::spawn(polls::Poller::new(Arc::clone(&shared), poller_inbox).run()),
            tokio::spawn(look::heartbeats(Arc::clone(&shared))),
            tokio::spawn(look::around(Arc::clone(&shared))),
            tokio::spawn(look::hints(Arc::clone(&shared))),
        ];
        if is_server {
            tasks.push(tokio::spawn(retention::keep_house(Arc::clone(&shared))));
            tasks.push(tokio::spawn(triggers::attend(Arc::clone(&shared))));
        }
        let traces = tokio::spawn(traces::export(Arc::clone(&shared)));
        Ok(Self { handle: EngineHandle { shared }, tasks, traces })
    }

    /// A way to talk to it.
    pub fn handle(&self) -> EngineHandle {
        self.handle.clone()
    }

    /// Ends gracefully: starts nothing more, waits for starts that are under way and for the
    /// last commit, then gives every run back, so that another replica goes on at once.
    pub async fn shutdown(self) -> Result<(), EngineError> {
        let shared = &self.handle.shared;
        shared.stopping.cancel();
        let (reply, drained) = oneshot::channel();
        shared.send(Message::Drain(reply));
        if tokio::time::timeout(DRAIN_WAIT, drained).await.is_err() {
            tracing::warn!("some starts did not end in time; the next owner looks for them");
        }
        // A notice on its way is recorded before this process goes; a stuck one is sent again.
        let _no_notice_under_way = tokio::time::timeout(DRAIN_WAIT, shared.sending.lock()).await;
        for task in &self.tasks {
            task.abort();
        }
        let left = shared.store.leave().await;
        // Last, when others have the runs already.
        flush(shared, self.traces).await;
        Ok(left?)
    }
}

impl EngineHandle {
    /// Creates a run and, if it got its place, begins it. Once it returned, the run exists,
    /// unless its key was taken.
    pub async fn create(&self, request: RunRequest) -> Result<(RunId, Created), EngineError> {
        self.shared.load_usual(&request.definition).await;
        let (reply, answer) = oneshot::channel();
        self.shared.send(Message::Create(Box::new(request), reply));
        answer.await.unwrap_or(Err(EngineError::Closed))
    }

    /// Carries out a person's command on a run: here, if this replica owns it or nobody does,
    /// else through the inbox of its owner. Once it returned `Ok`, the effect is committed.
    pub async fn ask(&self, run: RunId, command: Command, actor: &str) -> Result<(), AskError> {
        loop {
            match self.ask_here(run, &command, actor, None).await {
                Asked::Done => return Ok(()),
                Asked::Refused(reason) => return Err(AskError::Refused(reason)),
                Asked::Unknown => return Err(AskError::Unanswered),
                Asked::NotOwned if self.shared.claim_and_adopt(run).await? => {}
                Asked::NotOwned => break,
            }
        }
        let letter = self.shared.store.post(run, &command, actor).await?;
        self.await_answer(run, letter).await
    }

    async fn await_answer(&self, run: RunId, letter: i64) -> Result<(), AskError> {
        let started = alive::boot_time();
        loop {
            match self.shared.store.answer_to(letter).await? {
                Some(Answer::Done) => return Ok(()),
                Some(Answer::Refused(reason)) => return Err(AskError::Refused(reason)),
                None if alive::boot_time().saturating_sub(started) > ANSWER_WAIT => {
                    return Err(AskError::Unanswered);
                }
                None => pace::pause(ANSWER_EVERY).await,
            }
            // The owner may have ended; its letters then wait for the next one, which may as
            // well be this replica.
            if !self.shared.owns(run).await && self.shared.claim_and_adopt(run).await? {
                self.shared.look_now.notify_one();
            }
        }
    }

    async fn ask_here(&self, run: RunId, command: &Command, actor: &str, letter: Option<i64>) -> Asked {
        self.put(run, command, actor, letter).await.unwrap_or(Asked::Unknown)
    }

    /// Puts a command to the owner loop; its answer comes once it is committed.
    fn put(
        &self,
        run: RunId,
        command: &Command,
        actor: &str,
        letter: Option<i64>,
    ) -> oneshot::Receiver<Asked> {
        let (reply, answer) = oneshot::channel();
        let (command, actor) = (command.clone(), actor.to_owned());
        self.shared.send(Message::Ask { run, actor, command, letter, reply });
        answer
    }

    /// The services' own words for the states of a run's jobs, as the last polls heard them.
    pub async fn remote_states(&self, run: RunId) -> HashMap<usize, String> {
        let (reply, answer) = oneshot::channel();
        self.shared.send(Message::RemoteStates(run, reply));
        answer.await.unwrap_or_default()
    }

    /// Returns when the run is not in hand any more: it ended, and its end is committed, or
    /// another replica has it.
    pub async fn ended(&self, run: RunId) {
        let (reply, gone) = oneshot::channel();
        self.shared.send(Message::WhenGone(run, reply));
        let _ = gone.await;
    }

    /// From now on this process commits what people want and starts nothing: whoever has the
    /// run next goes on with it.
    pub fn leave_runs(&self) {
        self.shared.leaves_runs.store(true, Ordering::Relaxed);
    }

    /// Takes a run over, if nobody alive owns it, and goes on with it. Whether it is in hand now.
    pub async fn adopt(&self, run: RunId) -> Result<bool, EngineError> {
        let left = self.shared.leaves_runs.swap(false, Ordering::Relaxed);
        if self.shared.owns(run).await {
            if !left {
                return Ok(true);
            }
            // What was decided meanwhile has not begun: it follows anew from what is stored.
            self.release(run).await;
        }
        Ok(self.shared.claim_and_adopt(run).await?)
    }

    /// Whether the store heard of this replica lately enough that no other takes its runs.
    pub fn is_alive(&self) -> bool {
        self.shared.pulse.is_fresh(self.shared.timing.dead_after)
    }

    /// How long ago the newest heartbeat was sent that the store confirmed; none yet right after the start.
    pub fn heartbeat_age(&self) -> Option<Duration> {
        self.shared.pulse.age()
    }

    /// What this replica did since it began.
    pub fn counts(&self) -> CountsView {
        self.shared.counts.view()
    }

    /// The budgets of calls of this replica, as they are now.
    pub fn budgets(&self) -> Vec<BudgetRow> {
        self.shared.budget_views()
    }

    /// Looks for work at once rather than in a few seconds.
    pub fn look_soon(&self) {
        self.shared.look_now.notify_one();
    }

    /// How many live runs are in hand.
    pub fn owned(&self) -> usize {
        self.shared.owned.load(Ordering::Relaxed)
    }

    /// Gives a run back, for a server to claim.
    pub async fn release(&self, run: RunId) {
        let (reply, done) = oneshot::channel();
        self.shared.send(Message::Release(run, reply));
        let _ = done.await;
    }

    /// Goes on with a backfill, unless somebody else does at this moment: begins what there is a
    /// place for, and ends it once nothing is left.
    pub async fn advance_backfill(&self, id: uuid::Uuid) -> Result<(), EngineError> {
        Ok(backfill::advance(&self.shared, Some(id)).await?)
    }

    /// Sends whatever notices are due now, and returns once that was tried.
    pub async fn send_notices(&self) {
        notices::send_due(&self.shared).await;
    }
}

/// Waits, not for long, until the traces of what ended here are out.
async fn flush(shared: &Shared, mut exporting: tokio::task::JoinHandle<()>) {
    let Some(traces) = &shared.traces else { return };
    traces.close();
    if tokio::time::timeout(traces::FLUSH_WAIT, &mut exporting).await.is_err() {
        exporting.abort();
        tracing::warn!("some traces could not be exported before this process ends");
    }
}

/// An error with everything that caused it, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
