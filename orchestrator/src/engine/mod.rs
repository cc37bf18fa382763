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
//! | `prepare` | rendering and the exact request; pure |
//! | `perform` | effects into events: baseline, send, find, cancel |
//! | `pipelines` | what tasks may ask about runs of other pipelines |
//! | `polls` | the timer heap of waiting jobs, batches |
//! | `budget`, `alive`, `timing` | call rates, the heartbeat's gate, every time-like setting |
//! | `look` | what an idle replica does: looks for work |
//! | `cron` | due fires into runs |
//! | `notices` | the outbox into mails |
//! | `crash`, `mutant` | what fault trials ask for: deaths, stops, planted mistakes |
//!
//! Nothing here knows SQL, AWS or YAML; nothing here decides what may happen to a run.

mod alive;
mod budget;
mod convert;
pub mod crash;
mod cron;
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
pub mod timing;

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};

use indexmap::IndexMap;
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::{Notify, mpsc, oneshot};
use trunkline_state::{
    ids::RunId,
    machine::{AttemptKey, Command, Event},
    pipeline::Pipeline,
    run::Definition,
    store::{Answer, BudgetRow, Created, Place, Role, Store},
};
use trunkline_tasks::{
    clients::{Clients, ConnectionConfig},
    operator::Rate,
    registry::Registry,
};

use self::{
    budget::Budgets,
    message::{Asked, Message},
    polls::{PollMessage, Watch, Watched},
};
pub use self::{
    message::{AskError, EngineError, RunRequest},
    timing::Timing,
};
use crate::{
    clock::{SharedClock, SharedIds},
    definition::template::Templates,
};

/// How long somebody who left a letter for another replica waits for the answer.
const ANSWER_WAIT: Duration = Duration::from_secs(60);
/// How often the answer is looked for; the owner may be on another machine.
const ANSWER_EVERY: Duration = Duration::from_millis(100);
/// How long a graceful end waits for starts that are under way: one start's limit and some.
const DRAIN_WAIT: Duration = Duration::from_secs(30);
/// Versions whose templates and clients are kept; more are made again.
const VERSIONS_MAX: usize = 512;
/// Runs over which usual durations are taken.
const USUAL_SAMPLE: i64 = 10;

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
    /// How often and how long.
    pub timing: Timing,
    /// This machine, for people.
    pub host: String,
}

/// A running engine.
#[derive(Debug)]
pub struct Engine {
    handle: EngineHandle,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

/// A way to talk to a running engine.
#[derive(Clone, Debug)]
pub struct EngineHandle {
    shared: Arc<Shared>,
}

/// What all parts of one engine use.
pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) registry: Arc<Registry>,
    pub(crate) clock: SharedClock,
    pub(crate) ids: SharedIds,
    pub(crate) timing: Timing,
    pub(crate) is_server: bool,
    role: Role,
    place: Place,
    pub(crate) actor: String,
    sandbox_endpoint: Option<String>,
    owner: mpsc::UnboundedSender<Message>,
    poller: mpsc::UnboundedSender<PollMessage>,
    budgets: Mutex<Budgets>,
    /// The budgets as the store was last told of them.
    told_budgets: Mutex<Vec<BudgetRow>>,
    /// Itself, for tasks that run other pipelines.
    own: std::sync::Weak<Shared>,
    replicas: AtomicU32,
    /// Runs in hand, for people.
    owned: AtomicUsize,
    pulse: alive::Pulse,
    versions: Mutex<VersionCache>,
    /// Runs to be claimed again, one by one.
    reclaim: Mutex<VecDeque<RunId>>,
    /// A claim or a release was not answered: this replica may own runs that it does not hold,
    /// and nobody else takes them as long as it lives.
    claims_unknown: AtomicBool,
    look_now: Notify,
    hint_due: AtomicBool,
    stopping: AtomicBool,
    /// Held while notices are sent: one at a time, and never cut off by a graceful end.
    sending: tokio::sync::Mutex<()>,
}

/// What is derived from a version once, by its identity in memory.
#[derive(Default)]
struct VersionCache {
    known: HashMap<(String, i32), VersionParts>,
}

#[derive(Clone)]
struct VersionParts {
    templates: Arc<Templates>,
    clients: Arc<Clients>,
    usual: Arc<HashMap<String, Duration>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("replica", &self.store.replica()).finish_non_exhaustive()
    }
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
        let tasks = vec![
            tokio::spawn(owner::Owner::new(Arc::clone(&shared), installation, owner_inbox).run()),
            tokio::spawn(polls::Poller::new(Arc::clone(&shared), poller_inbox).run()),
            tokio::spawn(look::heartbeats(Arc::clone(&shared))),
            tokio::spawn(look::around(Arc::clone(&shared))),
            tokio::spawn(look::hints(Arc::clone(&shared))),
        ];
        Ok(Self { handle: EngineHandle { shared }, tasks })
    }

    /// A way to talk to it.
    pub fn handle(&self) -> EngineHandle {
        self.handle.clone()
    }

    /// Ends gracefully: starts nothing more, waits for starts that are under way and for the
    /// last commit, then gives every run back, so that another replica goes on at once.
    pub async fn shutdown(self) -> Result<(), EngineError> {
        let shared = &self.handle.shared;
        shared.stopping.store(true, Ordering::SeqCst);
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
        shared.store.leave().await?;
        Ok(())
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
        let (reply, answer) = oneshot::channel();
        let (command, actor) = (command.clone(), actor.to_owned());
        self.shared.send(Message::Ask { run, actor, command, letter, reply });
        answer.await.unwrap_or(Asked::Unknown)
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

    /// Takes a run over, if nobody alive owns it. Whether it is in hand now.
    pub async fn adopt(&self, run: RunId) -> Result<bool, EngineError> {
        if self.shared.owns(run).await {
            return Ok(true);
        }
        Ok(self.shared.claim_and_adopt(run).await?)
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

    /// Sends whatever notices are due now, and returns once that was tried.
    pub async fn send_notices(&self) {
        notices::send_due(&self.shared).await;
    }
}

impl Shared {
    fn new(
        own: &std::sync::Weak<Self>,
        store: Store,
        options: EngineOptions,
        place: Place,
        owner: mpsc::UnboundedSender<Message>,
        poller: mpsc::UnboundedSender<PollMessage>,
    ) -> Self {
        let replica = store.replica().0.simple().to_string();
        Self {
            store,
            registry: options.registry,
            clock: options.clock,
            ids: options.ids,
            timing: options.timing,
            is_server: options.role == Role::Serve,
            role: options.role,
            place,
            actor: format!("replica:{}", &replica[..8]),
            sandbox_endpoint: options.sandbox_endpoint,
            owner,
            poller,
            budgets: Mutex::default(),
            told_budgets: Mutex::default(),
            own: own.clone(),
            replicas: AtomicU32::new(1),
            owned: AtomicUsize::new(0),
            pulse: alive::Pulse::default(),
            versions: Mutex::default(),
            reclaim: Mutex::default(),
            claims_unknown: AtomicBool::new(false),
            look_now: Notify::new(),
            hint_due: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            sending: tokio::sync::Mutex::new(()),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn send(&self, message: Message) {
        // The owner only goes away at the very end, when nothing is to be told any more.
        let _ = self.owner.send(message);
    }

    fn report(&self, run: RunId, fence: i64, event: Event) {
        self.send(Message::Report { run, fence, event });
    }

    fn watch(&self, watch: Watch) {
        let _ = self.poller.send(PollMessage::Watch(Box::new(watch)));
    }

    fn watch_again(&self, list: Vec<(Watched, Timestamp)>) {
        let _ = self.poller.send(PollMessage::Again(list));
    }

    fn poll_soon(&self, run: RunId, fence: i64, attempt: AttemptKey) {
        let _ = self.poller.send(PollMessage::Soon(run, fence, attempt));
    }

    async fn owns(&self, run: RunId) -> bool {
        let (reply, answer) = oneshot::channel();
        self.send(Message::IsOwned(run, reply));
        answer.await.unwrap_or(false)
    }

    /// Whether a start may go out: only while this replica is certainly alive for the others.
    async fn may_start(&self) -> bool {
        if self.pulse.is_fresh(self.timing.start_gate()) {
            return true;
        }
        look::beat(self).await;
        self.pulse.is_fresh(self.timing.start_gate())
    }

    /// Runs whose memory was dropped: claimed again, one by one, as soon as the store answers.
    fn claim_again(&self, runs: Vec<RunId>, store_is_gone: bool) {
        self.reclaim.lock().unwrap_or_else(PoisonError::into_inner).extend(runs);
        if !store_is_gone {
            self.look_now.notify_one();
        }
    }

    /// Nobody knows whether a claim or a release was carried out.
    fn claim_was_lost(&self) {
        self.claims_unknown.store(true, Ordering::SeqCst);
    }

    async fn claim_and_adopt(&self, run: RunId) -> Result<bool, trunkline_state::store::StoreError> {
        let claimed = self.store.claim_one(run).await.inspect_err(|_| self.claim_was_lost())?;
        let Some(owned) = claimed else { return Ok(false) };
        self.load_usual(&owned.run.definition).await;
        self.send(Message::Adopt(vec![owned]));
        Ok(true)
    }

    /// A run ended and a place is free: others may want it.
    fn run_ended(&self) {
        self.hint_due.store(true, Ordering::Relaxed);
        self.look_now.notify_one();
    }

    async fn budget(&self, rate: Option<Rate>, clients: &Clients, connection: &str) {
        if let Some(rate) = rate {
            pace::pause(self.take_budget(&rate, clients, connection).await).await;
        }
    }

    async fn take_budget(&self, rate: &Rate, clients: &Clients, connection: &str) -> Duration {
        let scope = self.scope(clients, connection).await;
        let replicas = self.replicas.load(Ordering::Relaxed);
        let now = self.now();
        self.budgets.lock().unwrap_or_else(PoisonError::into_inner).take(&scope, rate, replicas, now)
    }

    /// Keeps the token of a start that is put off for so long.
    fn book(&self, run: RunId, attempt: AttemptKey, wait: Duration) {
        let now = self.now();
        let until = now.checked_add(wait).unwrap_or(Timestamp::MAX);
        self.budgets.lock().unwrap_or_else(PoisonError::into_inner).book(run, attempt, until, now);
    }

    fn use_booked(&self, run: RunId, attempt: AttemptKey) -> bool {
        self.budgets.lock().unwrap_or_else(PoisonError::into_inner).use_booked(run, attempt, self.now())
    }

    async fn budget_answered(&self, rate: &Rate, clients: &Clients, connection: &str, throttled: bool) {
        let scope = self.scope(clients, connection).await;
        self.budgets.lock().unwrap_or_else(PoisonError::into_inner).answered(&scope, rate, throttled);
    }

    /// The budgets, if they changed since the store was told.
    fn changed_budgets(&self) -> Option<Vec<BudgetRow>> {
        let (replicas, now) = (self.replicas.load(Ordering::Relaxed), self.now());
        let views = self.budgets.lock().unwrap_or_else(PoisonError::into_inner).views(replicas, now);
        let told = self.told_budgets.lock().unwrap_or_else(PoisonError::into_inner);
        (*told != views).then_some(views)
    }

    /// The store knows these now.
    fn told_budgets(&self, budgets: Option<Vec<BudgetRow>>) {
        if let Some(budgets) = budgets {
            *self.told_budgets.lock().unwrap_or_else(PoisonError::into_inner) = budgets;
        }
    }

    /// What a budget belongs to: connections to one region through one name share it.
    async fn scope(&self, clients: &Clients, connection: &str) -> String {
        let region = clients.region_of(connection).await.unwrap_or_default();
        format!("{connection}/{region}")
    }

    fn templates(&self, definition: &Definition) -> Arc<Templates> {
        self.parts(definition).templates
    }

    pub(crate) fn clients(&self, definition: &Definition) -> Arc<Clients> {
        self.parts(definition).clients
    }

    fn connections_of(&self, definition: &Definition) -> Arc<Clients> {
        self.parts(definition).clients
    }

    fn usual(&self, definition: &Definition, task: usize) -> Option<Duration> {
        let name = definition.pipeline.tasks[task].name.as_str();
        self.parts(definition).usual.get(name).copied()
    }

    fn parts(&self, definition: &Definition) -> VersionParts {
        let key = (definition.pipeline.name.to_string(), definition.version);
        let mut cache = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(parts) = cache.known.get(&key) {
            return parts.clone();
        }
        if cache.known.len() >= VERSIONS_MAX {
            cache.known.clear();
        }
        let parts = VersionParts {
            templates: Arc::new(Templates::for_pipeline(&definition.pipeline)),
            clients: Arc::new(
                clients_of(&definition.pipeline, self.sandbox_endpoint.as_deref())
                    .with_pipelines(Arc::new(pipelines::OwnPipelines::new(self.own.clone()))),
            ),
            usual: Arc::default(),
        };
        cache.known.insert(key, parts.clone());
        parts
    }

    /// Reads how long the tasks of a pipeline usually take, once per version. Only makes polls
    /// cheaper: without it they follow the job's age.
    async fn load_usual(&self, definition: &Definition) {
        let known = self.parts(definition);
        if !known.usual.is_empty() {
            return;
        }
        let name = definition.pipeline.name.to_string();
        let Ok(list) = self.store.usual_durations(&name, USUAL_SAMPLE).await else { return };
        let mut usual: HashMap<String, Duration> = list.into_iter().collect();
        // Marks the version as looked up even if nothing is known yet.
        usual.entry(String::new()).or_default();
        let mut cache = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        cache.known.insert((name, definition.version), VersionParts { usual: Arc::new(usual), ..known });
    }
}

/// The connections and secrets of a version, for the operators.
pub(crate) fn clients_of(pipeline: &Pipeline, sandbox: Option<&str>) -> Clients {
    let sources = pipeline
        .secrets
        .iter()
        .filter_map(|(name, source)| Some((name.clone(), serde_json::from_value(source.clone()).ok()?)))
        .collect();
    Clients::new(connections(pipeline, sandbox)).with_secrets(sources, crate::config::variable)
}

/// The connections of a version as the operators take them: `sandbox: true` becomes the
/// sandbox's endpoint; what cannot be read is left out, and tasks that name it say so.
fn connections(pipeline: &Pipeline, sandbox: Option<&str>) -> IndexMap<String, ConnectionConfig> {
    pipeline
        .connections
        .iter()
        .filter_map(|(name, settings)| Some((name.clone(), connection(settings, sandbox)?)))
        .collect()
}

fn connection(settings: &Value, sandbox: Option<&str>) -> Option<ConnectionConfig> {
    if settings.get("sandbox").and_then(Value::as_bool) == Some(true) {
        let text = |key: &str| settings.get(key).and_then(Value::as_str).map(str::to_owned);
        return Some(ConnectionConfig::Aws {
            region: text("region"),
            profile: None,
            role_arn: text("role_arn"),
            external_id: text("external_id"),
            endpoint: sandbox.map(str::to_owned),
            access_key: None,
        });
    }
    serde_json::from_value(settings.clone()).ok()
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
