//! The contract between the engine and an operator, and the values that cross it.
//!
//! Here live the [`Operator`] trait, the erased form that the registry keeps, and the plain
//! values that both sides exchange. Nothing here knows AWS, runs, graphs or SQL.
//!
//! The order of calls is the safety argument (`docs/ARCHITECTURE.md`, invariant 2):
//!
//! ```text
//! prepare ─► baseline ─► [intent committed] ─► send ─► [handle committed] ─► poll … ─► ended
//!                               │ crash, lost answer, zombie
//!                               └─► find ─► handle | proved absent | not yet known
//! ```

use std::{borrow::Cow, future::Future, time::Duration};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::{
    access::{Finding, Needs, Place},
    clients::{Clients, START_TIMEOUT},
};

/// Named values that later tasks may read as `tasks.<task>.outputs.<name>`.
pub type Outputs = Map<String, Value>;

/// What an operator may know about the attempt that it prepares a request for.
#[derive(Clone, Debug)]
pub struct PrepareContext<'a> {
    /// Identity of the attempt; every token and marker is derived from it.
    pub attempt_id: Uuid,
    /// The pipeline's name.
    pub pipeline: &'a str,
    /// The run as people name it, e.g. `daily_cdr_etl@2026-11-19`.
    pub run: &'a str,
    /// The task's name.
    pub task: &'a str,
    /// The environment, e.g. `local` or `prod`.
    pub environment: &'a str,
    /// The name of the connection that the task uses.
    pub connection: &'a str,
    /// The limit of one attempt, from `timeout`.
    pub timeout: Duration,
    /// The job of the attempt before, where this one is its retry, it had a job, and the operator asks for it
    /// ([`Operator::follows_previous`]).
    pub previous: Option<&'a Handle>,
    /// The generation of the task run: 1 until it is cleared.
    pub generation: u32,
}

/// The exact request of one attempt: stored before anything is sent, resent byte for byte,
/// never rendered again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Client token, execution name or marker; unique to the attempt.
    pub token: String,
    /// The connection that the request goes through.
    pub connection: String,
    /// The call in the service's own words; marks in the places of secrets.
    pub body: Value,
}

/// Enough to poll, cancel and link the external job after a restart on another machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handle {
    /// The connection through which the job was started.
    pub connection: String,
    /// The id that people see: a job run id, a query execution id, a crawl id.
    pub id: String,
    /// Whatever else the operator needs.
    pub detail: Value,
}

/// A committed intent, as [`Operator::find`] needs it.
#[derive(Clone, Debug)]
pub struct Intent<'a> {
    /// The stored request.
    pub request: &'a Request,
    /// What [`Operator::baseline`] remembered before the intent.
    pub baseline: &'a Value,
    /// When the intent was committed; token-less starts are signed with this time, so that
    /// AWS refuses a send that comes more than 15 minutes late.
    pub intent_at: Timestamp,
    /// The present.
    pub now: Timestamp,
}

/// The answer to one try of a start. `Refused` and `Throttled` only when the service
/// certainly holds no job.
#[derive(Clone, Debug, PartialEq)]
pub enum Sent {
    /// The service holds the job.
    Accepted(Handle),
    /// The call was the whole job.
    Done(Outcome),
    /// The service said no and nothing was started; or the call was the whole job and ended
    /// badly. Either way nothing is left to watch.
    Refused(Failure),
    /// Nothing was started and the same request may be sent later; uses up no retry.
    Throttled(Failure),
    /// Nobody can tell whether the job exists: [`Operator::find`] must.
    Unknown(Failure),
}

/// The answer to "is there a job of this intent?"
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// The job exists.
    Found(Handle),
    /// The job had already ended when it was found, and leaves nothing to poll.
    Done(Outcome),
    /// No job exists, and none can come into being from the earlier send.
    ProvedAbsent,
    /// The stored request may be sent again whether or not there is a job: by the task's own
    /// contract (notices, `idempotent: true`), or because the service answers the same token
    /// with the same job.
    SafeToRepeat,
    /// Ask again at this time.
    NotYetKnown {
        /// When the next look is worth its call.
        again_at: Timestamp,
        /// Why it is not known yet, for people.
        reason: String,
    },
    /// It can never be known: the attempt ends as `lost`.
    Lost(Failure),
}

/// The state of one external job.
#[derive(Clone, Debug, PartialEq)]
pub enum Status {
    /// Not terminal, whatever the word: unknown state strings are not terminal.
    Running {
        /// The service's own word, e.g. `RUNNING`.
        remote_state: String,
        /// When it is worth asking again, where the operator knows better than the engine.
        poll_at: Option<Timestamp>,
    },
    /// Ended well.
    Succeeded(Outcome),
    /// Ended badly, in the service's own words.
    Failed(Failure),
    /// Stopped, by us or by somebody else.
    Cancelled(Failure),
    /// The service limited the question; nothing is known about the job. Delays the next
    /// poll, never fails a task.
    Throttled(Failure),
    /// The question failed for a reason that passes (network, 5xx, expired credentials).
    Unavailable(Failure),
    /// The service holds no such job any more.
    Gone(Failure),
}

/// What a job left behind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Values for later tasks.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub outputs: Outputs,
    /// Things a person should know although the task succeeded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// What it cost, in the service's units.
    #[serde(default, skip_serializing_if = "Cost::is_empty")]
    pub cost: Cost,
}

/// Cost in the units in which the services bill.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Glue: DPU-seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dpu_seconds: Option<f64>,
    /// Athena: bytes scanned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_scanned: Option<u64>,
    /// EMR Serverless: hours of virtual CPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vcpu_hours: Option<f64>,
    /// EMR Serverless: gigabytes of memory times hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_gb_hours: Option<f64>,
}

impl Cost {
    /// Whether nothing was reported.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Why something failed; the word in `retry_on`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// The service asked us to slow down.
    Throttled,
    /// The service has no room now: concurrency or resource limits.
    Capacity,
    /// The service's own fault, or the way to it.
    System,
    /// The job ran and failed.
    Failed,
    /// The job exceeded its time.
    Timeout,
    /// The definition or the permissions are wrong: repeating cannot help.
    Config,
    /// Somebody stopped it.
    Cancelled,
    /// Nobody can tell what happened.
    Lost,
}

/// A failure in the service's own words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// Its class.
    pub class: ErrorClass,
    /// The service's code, e.g. `ConcurrentRunsExceededException`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The service's text, unshortened up to [`MESSAGE_BYTES_MAX`].
    pub message: String,
    /// The request id that AWS support asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The cost of a job that failed.
    #[serde(default, skip_serializing_if = "Cost::is_empty")]
    pub cost: Cost,
}

/// Longest error text kept: a Spark stack trace with its causes fits, a dumped file does not.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024;

/// One piece of an attempt's own output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogChunk {
    /// The text, UTF-8, lossily decoded.
    pub text: String,
    /// Where the next read starts, in bytes.
    pub next_offset: u64,
}

/// Which of an operator's calls a rate belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// Starts.
    Start,
    /// Polls and look-ups.
    Read,
}

/// The rate that one account and region allows for one API.
#[derive(Clone, Debug, PartialEq)]
pub struct Rate {
    /// The API's name, e.g. `glue:GetJobRuns`; operators that share an API share its budget.
    pub api: Cow<'static, str>,
    /// Calls per second, over all replicas.
    pub per_second: f64,
    /// Calls that may come at once.
    pub burst: f64,
}

/// The code for one task type. One file, one line in the registry.
pub trait Operator: Send + Sync + 'static {
    /// The word in YAML: short, `snake_case`.
    const TYPE: &'static str;
    /// YAML of one task, shown in `docs/operators.md` and parsed by a test.
    const EXAMPLE: &'static str;
    /// One sentence: how a start is made safe at this service.
    const GUARANTEE: &'static str;
    /// The settings in which `{{ secrets.… }}` may stand, by their first key. In `prepare` they
    /// hold marks; in `send`, and in `poll` and `cancel` where the handle's detail holds what
    /// `send` got, they hold the values: [`crate::secrets`] sees to that, and takes them out of
    /// everything that comes back. Only settings that reach the service and are written down
    /// nowhere on the way belong here.
    const SECRETS: &'static [&'static str] = &[];
    /// The settings that a task may leave to its connection, where that says them: which database,
    /// for example, of a connection of the type `redshift`. Of settings that belong together a task
    /// that says one says all.
    const FROM_CONNECTION: &'static [&'static [&'static str]] = &[];
    /// The task's own settings: a serde struct with `deny_unknown_fields`.
    type Config: DeserializeOwned + Serialize + JsonSchema + Send + Sync;

    /// The longest that one attempt may take when the task names no `timeout`: the service's
    /// own limit, never infinite.
    fn default_timeout(&self) -> Duration;

    /// Whether [`Operator::baseline`] must look outside before the intent.
    fn needs_baseline(&self) -> bool {
        false
    }

    /// Whether [`Operator::prepare`] is told the job of the attempt before. Only for operators that look outside
    /// before the intent: both need more than memory.
    fn follows_previous(&self) -> bool {
        false
    }

    /// The exact request with its token or marker. Pure: no clock, no IO, no randomness.
    fn prepare(&self, config: &Self::Config, cx: &PrepareContext<'_>) -> Result<Request, Failure>;

    /// What must be remembered of the outside before starting.
    fn baseline(
        &self,
        _clients: &Clients,
        _request: &Request,
    ) -> impl Future<Output = Result<Value, Failure>> + Send {
        async { Ok(Value::Null) }
    }

    /// The longest that one [`Operator::send`] of this request takes. What takes longer has an
    /// unknown outcome. More than the default only where the call is the whole job and its
    /// answer the result; the call itself goes out under the engine's usual gate, and only its
    /// answer is waited for longer. Such a call cannot be cancelled.
    fn start_limit(&self, _request: &Request) -> Duration {
        START_TIMEOUT
    }

    /// Whether the work itself is done by [`Operator::poll`], a step at a time: the engine then
    /// polls without waiting for the time that the task usually takes.
    fn works_in_poll(&self) -> bool {
        false
    }

    /// Whether nothing happens outside and a person's word ends the attempt: it is then asked of
    /// nobody, and the engine takes the word.
    fn waits_for_person(&self) -> bool {
        false
    }

    /// Whether the answers come from Trunkline itself ([`Clients::pipelines`]): batches then hold
    /// jobs of all pipelines, whatever their connections.
    fn asks_trunkline(&self) -> bool {
        false
    }

    /// One try to start, with the SDK's retries off.
    fn send(&self, clients: &Clients, intent: &Intent<'_>) -> impl Future<Output = Sent> + Send;

    /// Re-attachment by the service's own means. Never starts a second job.
    fn find(&self, clients: &Clients, intent: &Intent<'_>) -> impl Future<Output = Found> + Send;

    /// The states of a batch of jobs of one [`Operator::batch_key`], in the order asked.
    /// One API call where the service has one.
    fn poll(&self, clients: &Clients, handles: &[Handle]) -> impl Future<Output = Vec<Status>> + Send;

    /// Asks the service to stop the job. Idempotent; a later poll confirms it.
    fn cancel(&self, clients: &Clients, handle: &Handle) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Jobs with equal keys can be asked about in one call.
    fn batch_key(&self, handle: &Handle) -> String {
        handle.connection.clone()
    }

    /// The largest batch that the service's API takes.
    fn batch_size(&self) -> usize {
        1
    }

    /// The budget that a call is drawn from; `None` for calls that leave the machine alone.
    fn rate(&self, _call: Call) -> Option<Rate> {
        None
    }

    /// What a request starts, in people's words: `Glue job cdr_etl`.
    fn label(&self, _request: &Request) -> String {
        Self::TYPE.to_owned()
    }

    /// The handle of the job that a person found at the service by its id; `None` where an id
    /// alone names no job.
    fn handle_of(&self, _intent: &Intent<'_>, _id: &str) -> Option<Handle> {
        None
    }

    /// Where a person sees the job, if the service has a page for it.
    fn console_url(&self, _region: &str, _handle: &Handle) -> Option<String> {
        None
    }

    /// The IAM permissions that a run of this request needs, with the names as they stand in it. `None` from an
    /// operator that cannot say: people are told that nobody knows, never that nothing is needed.
    fn needs(&self, _request: &Request, _place: &Place) -> Option<Needs> {
        None
    }

    /// Looks whether what the request names is there and can be used, by describing it. Starts and changes nothing.
    fn check(
        &self,
        _clients: &Clients,
        _request: &Request,
        _place: &Place,
    ) -> impl Future<Output = Vec<Finding>> + Send {
        async { vec![Finding::not_checked(format!("{} does not look at what it names", Self::TYPE))] }
    }

    /// Output of the attempt from `offset` on, where the operator captures it.
    fn read_log(&self, _handle: &Handle, _offset: u64) -> impl Future<Output = Option<LogChunk>> + Send {
        async { None }
    }
}

impl Failure {
    /// A failure with a class and a text.
    pub fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if message.len() > MESSAGE_BYTES_MAX {
            let mut end = MESSAGE_BYTES_MAX;
            while !message.is_char_boundary(end) {
                end -= 1;
            }
            message.truncate(end);
            message.push('…');
        }
        Self { class, code: None, message, request_id: None, cost: Cost::default() }
    }

    /// Whether the same call is to be made again after a while and nothing is wrong with the
    /// task: the service asked us to slow down, or the credentials have ended and are renewed.
    pub fn only_delays(&self) -> bool {
        self.class == ErrorClass::Throttled || crate::aws::error::is_stale(self)
    }

    /// The same with the service's code.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into());
        self
    }
}
