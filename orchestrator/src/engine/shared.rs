//! What all parts of one engine use, and what is derived from a version once: templates, clients,
//! usual durations.
//!
//! Questions and notes only: nothing here decides, waits for work or begins a call.

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
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use trunkline_state::{
    ids::RunId,
    machine::{AttemptKey, Event},
    pipeline::Pipeline,
    run::{Definition, Run},
    store::{BudgetRow, Place, Role, Store, StoreError},
};
use trunkline_tasks::{
    clients::{AwsConnection, Clients, ConnectionConfig},
    operator::Rate,
    registry::Registry,
};

use super::{
    EngineOptions, alive,
    budget::{Budgets, Start},
    counts::Counts,
    look,
    message::Message,
    pace, pipelines,
    polls::{PollMessage, Watch, Watched},
    timing::Timing,
    traces::Traces,
};
use crate::{
    clock::{SharedClock, SharedIds},
    definition::template::Templates,
    trace::Ended,
};

/// Versions whose templates and clients are kept; more are made again.
const VERSIONS_MAX: usize = 512;
/// Runs over which usual durations are taken.
const USUAL_SAMPLE: i64 = 10;
/// How long they are taken for true: a server lives for months, and its jobs grow.
const USUAL_FRESH: Duration = Duration::from_secs(600);

/// What all parts of one engine use.
pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) registry: Arc<Registry>,
    pub(crate) clock: SharedClock,
    pub(crate) ids: SharedIds,
    pub(crate) timing: Timing,
    pub(crate) is_server: bool,
    pub(super) role: Role,
    pub(super) place: Place,
    pub(crate) actor: String,
    pub(super) sandbox_endpoint: Option<String>,
    pub(super) private_postgres: Option<String>,
    pub(super) owner: mpsc::UnboundedSender<Message>,
    pub(super) poller: mpsc::UnboundedSender<PollMessage>,
    pub(super) budgets: Mutex<Budgets>,
    /// The budgets as the store was last told of them.
    pub(super) told_budgets: Mutex<Vec<BudgetRow>>,
    /// Itself, for tasks that run other pipelines.
    pub(super) own: std::sync::Weak<Shared>,
    pub(super) replicas: AtomicU32,
    /// Runs in hand, for people.
    pub(super) owned: AtomicUsize,
    pub(super) pulse: alive::Pulse,
    pub(super) counts: Counts,
    versions: Mutex<VersionCache>,
    /// Runs to be claimed again, one by one.
    pub(super) reclaim: Mutex<VecDeque<RunId>>,
    /// A claim or a release was not answered: this replica may own runs that it does not hold,
    /// and nobody else takes them as long as it lives.
    pub(super) claims_unknown: AtomicBool,
    pub(super) look_now: Notify,
    pub(super) hint_due: AtomicBool,
    /// The engine ends: nothing new is begun.
    pub(super) stopping: CancellationToken,
    /// Runs are left to others: decisions are committed, and nothing is started.
    pub(super) leaves_runs: AtomicBool,
    /// Held while notices are sent: one at a time, and never cut off by a graceful end.
    pub(super) sending: tokio::sync::Mutex<()>,
    /// Who is told of runs that ended here.
    pub(super) traces: Option<Traces>,
    /// Where people find the pages, if there are any.
    pub(super) pages: Option<String>,
    /// Pipelines with triggers and their versions, as the last look saw them.
    pub(super) triggered: watch::Sender<String>,
}

/// What is derived from a version once, by its identity in memory.
#[derive(Default)]
struct VersionCache {
    pub(super) known: HashMap<(String, i32), VersionParts>,
}

#[derive(Clone)]
struct VersionParts {
    pub(super) templates: Arc<Templates>,
    pub(super) clients: Arc<Clients>,
    pub(super) usual: Arc<HashMap<String, Duration>>,
    usual_read_at: Option<Timestamp>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("replica", &self.store.replica()).finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn new(
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
            private_postgres: options.private_postgres,
            owner,
            poller,
            budgets: Mutex::default(),
            told_budgets: Mutex::default(),
            own: own.clone(),
            replicas: AtomicU32::new(1),
            owned: AtomicUsize::new(0),
            pulse: alive::Pulse::default(),
            counts: Counts::default(),
            versions: Mutex::default(),
            reclaim: Mutex::default(),
            claims_unknown: AtomicBool::new(false),
            look_now: Notify::new(),
            hint_due: AtomicBool::new(false),
            stopping: CancellationToken::new(),
            leaves_runs: AtomicBool::new(false),
            sending: tokio::sync::Mutex::new(()),
            traces: options.traces.map(Traces::new),
            pages: options.pages,
            triggered: watch::Sender::default(),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn leaves_runs(&self) -> bool {
        self.leaves_runs.load(Ordering::Relaxed)
    }

    pub(super) fn send(&self, message: Message) {
        // The owner only goes away at the very end, when nothing is to be told any more.
        let _ = self.owner.send(message);
    }

    pub(super) fn report(&self, run: RunId, fence: i64, event: Event) {
        self.send(Message::Report { run, fence, event });
    }

    pub(super) fn watch(&self, watch: Watch) {
        let _ = self.poller.send(PollMessage::Watch(Box::new(watch)));
    }

    pub(super) fn watch_again(&self, list: Vec<(Watched, Timestamp)>) {
        let _ = self.poller.send(PollMessage::Again(list));
    }

    pub(super) fn poll_soon(&self, run: RunId, fence: i64, attempt: AttemptKey) {
        let _ = self.poller.send(PollMessage::Soon(run, fence, attempt));
    }

    pub(super) async fn owns(&self, run: RunId) -> bool {
        let (reply, answer) = oneshot::channel();
        self.send(Message::IsOwned(run, reply));
        answer.await.unwrap_or(false)
    }

    /// Whether a start may go out: only while this replica is certainly alive for the others.
    pub(super) async fn may_start(&self) -> bool {
        if self.pulse.is_fresh(self.timing.start_gate()) {
            return true;
        }
        look::beat(self).await;
        self.pulse.is_fresh(self.timing.start_gate())
    }

    /// Runs whose memory was dropped: claimed again, one by one, as soon as the store answers.
    pub(super) fn claim_again(&self, runs: Vec<RunId>, store_is_gone: bool) {
        self.reclaim.lock().unwrap_or_else(PoisonError::into_inner).extend(runs);
        if !store_is_gone {
            self.look_now.notify_one();
        }
    }

    /// Nobody knows whether a claim or a release was carried out.
    pub(super) fn claim_was_lost(&self) {
        self.claims_unknown.store(true, Ordering::SeqCst);
    }

    pub(super) async fn claim_and_adopt(&self, run: RunId) -> Result<bool, StoreError> {
        let claimed = self.store.claim_one(run).await.inspect_err(|_| self.claim_was_lost())?;
        let Some(owned) = claimed else { return Ok(false) };
        self.load_usual(&owned.run.definition).await;
        self.send(Message::Adopt(vec![owned]));
        Ok(true)
    }

    /// The same for many at once. How many are in hand now.
    pub(super) async fn claim_and_adopt_these(&self, runs: &[RunId]) -> Result<usize, StoreError> {
        let claimed = self.store.claim_these(runs).await.inspect_err(|_| self.claim_was_lost())?;
        for owned in &claimed {
            self.load_usual(&owned.run.definition).await;
        }
        let count = claimed.len();
        if count > 0 {
            self.send(Message::Adopt(claimed));
        }
        Ok(count)
    }

    /// The end of a run was committed here.
    pub(super) fn trace(&self, ended: Ended) {
        if let Some(traces) = &self.traces {
            traces.want(ended);
        }
    }

    /// A run ended and a place is free: others may want it.
    pub(super) fn run_ended(&self) {
        self.hint_due.store(true, Ordering::Relaxed);
        self.look_now.notify_one();
    }

    pub(super) async fn budget(&self, rate: Option<Rate>, clients: &Clients, connection: &str) {
        if let Some(rate) = rate {
            pace::pause(self.take_budget(&rate, clients, connection).await).await;
        }
    }

    pub(super) async fn take_budget(&self, rate: &Rate, clients: &Clients, connection: &str) -> Duration {
        let scope = self.scope(clients, connection).await;
        let replicas = self.replicas.load(Ordering::Relaxed);
        let now = self.now();
        self.budgets.lock().unwrap_or_else(PoisonError::into_inner).take(&scope, rate, replicas, now)
    }

    /// The wait of a start for its turn; see [`Budgets::turn`].
    pub(super) async fn turn(
        &self,
        start: Start,
        rate: &Rate,
        clients: &Clients,
        connection: &str,
    ) -> Duration {
        let scope = self.scope(clients, connection).await;
        let replicas = self.replicas.load(Ordering::Relaxed);
        let (now, longest) = (self.now(), self.timing.budget_wait_max);
        let mut budgets = self.budgets.lock().unwrap_or_else(PoisonError::into_inner);
        budgets.turn(start, &scope, rate, replicas, now, longest)
    }

    pub(super) async fn budget_answered(
        &self,
        rate: &Rate,
        clients: &Clients,
        connection: &str,
        throttled: bool,
    ) {
        let scope = self.scope(clients, connection).await;
        self.budgets.lock().unwrap_or_else(PoisonError::into_inner).answered(&scope, rate, throttled);
    }

    /// The budgets as they are now.
    pub(super) fn budget_views(&self) -> Vec<BudgetRow> {
        let (replicas, now) = (self.replicas.load(Ordering::Relaxed), self.now());
        self.budgets.lock().unwrap_or_else(PoisonError::into_inner).views(replicas, now)
    }

    /// The budgets, if they changed since the store was told.
    pub(super) fn changed_budgets(&self) -> Option<Vec<BudgetRow>> {
        let views = self.budget_views();
        let told = self.told_budgets.lock().unwrap_or_else(PoisonError::into_inner);
        (*told != views).then_some(views)
    }

    /// The store knows these now.
    pub(super) fn told_budgets(&self, budgets: Option<Vec<BudgetRow>>) {
        if let Some(budgets) = budgets {
            *self.told_budgets.lock().unwrap_or_else(PoisonError::into_inner) = budgets;
        }
    }

    /// What a budget belongs to: connections to one region through one name share it.
    pub(super) async fn scope(&self, clients: &Clients, connection: &str) -> String {
        let region = clients.region_of(connection).await.unwrap_or_default();
        format!("{connection}/{region}")
    }

    pub(super) fn templates(&self, definition: &Definition) -> Arc<Templates> {
        self.parts(definition).templates
    }

    pub(crate) fn clients(&self, definition: &Definition) -> Arc<Clients> {
        self.parts(definition).clients
    }

    pub(super) fn connections_of(&self, definition: &Definition) -> Arc<Clients> {
        self.parts(definition).clients
    }

    /// How long a task usually takes; of a mapped task's element, how long one of them does.
    pub(super) fn usual(&self, run: &Run, task: usize) -> Option<Duration> {
        let name = run.task(task).name.as_str();
        let name = if run.tasks[task].element.is_some() { format!("{name}[]") } else { name.to_owned() };
        self.parts(&run.definition).usual.get(&name).copied()
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
                    .with_private_postgres(self.private_postgres.clone())
                    .with_pipelines(Arc::new(pipelines::OwnPipelines::new(self.own.clone()))),
            ),
            usual: Arc::default(),
            usual_read_at: None,
        };
        cache.known.insert(key, parts.clone());
        parts
    }

    /// Reads how long the tasks of a pipeline usually take, unless that was done a while ago.
    /// Only makes polls cheaper: without it they follow the job's age.
    pub(super) async fn load_usual(&self, definition: &Definition) {
        let now = self.now();
        let known = self.parts(definition);
        let fresh = |read_at: Timestamp| {
            Duration::try_from(now.duration_since(read_at)).is_ok_and(|age| age < USUAL_FRESH)
        };
        if known.usual_read_at.is_some_and(fresh) {
            return;
        }
        let name = definition.pipeline.name.to_string();
        // Noted before the answer: of many runs that begin at once, one asks.
        let known = VersionParts { usual_read_at: Some(now), ..known };
        let remember = |parts: VersionParts| {
            let mut cache = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
            cache.known.insert((name.clone(), definition.version), parts);
        };
        remember(known.clone());
        if let Ok(list) = self.store.usual_durations(&name, USUAL_SAMPLE).await {
            remember(VersionParts { usual: Arc::new(list.into_iter().collect()), ..known });
        }
    }
}

/// The connections and secrets of a version, for the operators.
pub(crate) fn clients_of(pipeline: &Pipeline, sandbox: Option<&str>) -> Clients {
    clients_with(&pipeline.connections, &pipeline.secrets, sandbox)
}

/// Connections and secrets as the operators take them: `sandbox: true` becomes the sandbox's endpoint; what cannot
/// be read is left out, and whatever names it says so.
pub(crate) fn clients_with(
    connections: &IndexMap<String, Value>,
    secrets: &IndexMap<String, Value>,
    sandbox: Option<&str>,
) -> Clients {
    let connections = connections
        .iter()
        .filter_map(|(name, settings)| Some((name.clone(), connection(settings, sandbox)?)));
    let secrets = secrets
        .iter()
        .filter_map(|(name, source)| Some((name.clone(), serde_json::from_value(source.clone()).ok()?)));
    Clients::new(connections.collect()).with_secrets(secrets.collect(), crate::config::variable)
}

fn connection(settings: &Value, sandbox: Option<&str>) -> Option<AwsConnection> {
    if settings.get("sandbox").and_then(Value::as_bool) == Some(true) {
        let text = |key: &str| settings.get(key).and_then(Value::as_str).map(str::to_owned);
        return Some(AwsConnection {
            region: text("region"),
            role_arn: text("role_arn"),
            external_id: text("external_id"),
            endpoint: sandbox.map(str::to_owned),
            ..AwsConnection::default()
        });
    }
    serde_json::from_value(settings.clone()).ok().map(ConnectionConfig::into_aws)
}
