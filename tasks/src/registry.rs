//! From a word in YAML to the code behind it: typed operators behind one object-safe face.
//!
//! Here live [`Registry`], [`ErasedOperator`] and the keys that every task has. The list of
//! operators stands in `lib.rs`; what an operator does, in its own file.

mod around;

use std::{fmt, path::PathBuf, time::Duration};

use futures::future::BoxFuture;
use indexmap::IndexMap;
use schemars::Schema;
use serde_json::Value;

use crate::{
    access::{Finding, Needs, Place},
    clients::Clients,
    clock::Clock,
    operator::{
        Call, ErrorClass, Failure, Found, Handle, Intent, LogChunk, Operator, PrepareContext, Rate, Request,
        Sent, Status,
    },
};

/// Keys that every task has, whatever its type; no operator may name a setting like one.
pub const COMMON_KEYS: [&str; 22] = [
    "type",
    "depends_on",
    "depends_on_past",
    "when",
    "for_each",
    "max_parallel",
    "tolerated_failures",
    "on_empty",
    "outlets",
    "pool",
    "pool_slots",
    "priority",
    "retries",
    "retry_delay",
    "retry_backoff",
    "max_retry_delay",
    "retry_on",
    "timeout",
    "poll_interval",
    "trigger_rule",
    "connection",
    "description",
];

/// How long after the intent an unseen start is given up as never made. AWS refuses signatures
/// older than 15 minutes; the minute on top covers clocks and listings that lag.
pub const QUARANTINE: Duration = Duration::from_secs(16 * 60);

/// What the operators need to know of the place where they run.
#[derive(Clone, Debug)]
pub struct Options {
    /// What time it is.
    pub clock: Clock,
    /// [`QUARANTINE`], or a fraction of it in fault trials, which scale every time-like setting
    /// of the program and the sandbox by one ratio.
    pub quarantine: Duration,
    /// Where `command` keeps the folders of its attempts; absolute.
    pub command_folder: PathBuf,
    /// Where `transform` and `load` keep files on their way; absolute, on a disk with room for what it reads.
    pub scratch_folder: PathBuf,
    /// The program that understands `__supervise DIR`: ordinarily this program itself.
    pub supervisor: PathBuf,
}

/// [`Operator`] without its types, so that the engine can hold any of them. Each method means
/// what the method of the same name there means.
pub trait ErasedOperator: Send + Sync {
    /// The word in YAML.
    fn type_name(&self) -> &'static str;
    /// YAML of one task.
    fn example(&self) -> &'static str;
    /// How a start is made safe.
    fn guarantee(&self) -> &'static str;
    /// See [`Operator::SECRETS`].
    fn secret_settings(&self) -> &'static [&'static str];
    /// See [`Operator::FROM_CONNECTION`].
    fn settings_from_connection(&self) -> &'static [&'static [&'static str]];
    /// JSON Schema of the task's own settings, without [`COMMON_KEYS`].
    fn schema(&self) -> Schema;
    /// The limit of one attempt where the task names none.
    fn default_timeout(&self) -> Duration;
    /// Whether `baseline` must be called before the intent.
    fn needs_baseline(&self) -> bool;
    /// See [`Operator::follows_previous`].
    fn follows_previous(&self) -> bool;
    /// Rendered settings to the exact request; wrong settings are [`ErrorClass::Config`].
    fn prepare(&self, settings: &Value, cx: &PrepareContext<'_>) -> Result<Request, Failure>;
    /// See [`Operator::baseline`].
    fn baseline<'a>(
        &'a self,
        clients: &'a Clients,
        request: &'a Request,
    ) -> BoxFuture<'a, Result<Value, Failure>>;
    /// See [`Operator::start_limit`].
    fn start_limit(&self, request: &Request) -> Duration;
    /// See [`Operator::works_in_poll`].
    fn works_in_poll(&self) -> bool;
    /// See [`Operator::waits_for_person`].
    fn waits_for_person(&self) -> bool;
    /// See [`Operator::asks_trunkline`].
    fn asks_trunkline(&self) -> bool;
    /// See [`Operator::send`].
    fn send<'a>(&'a self, clients: &'a Clients, intent: &'a Intent<'a>) -> BoxFuture<'a, Sent>;
    /// See [`Operator::find`].
    fn find<'a>(&'a self, clients: &'a Clients, intent: &'a Intent<'a>) -> BoxFuture<'a, Found>;
    /// See [`Operator::poll`]. Always as many answers as handles.
    fn poll<'a>(&'a self, clients: &'a Clients, handles: &'a [Handle]) -> BoxFuture<'a, Vec<Status>>;
    /// See [`Operator::cancel`].
    fn cancel<'a>(&'a self, clients: &'a Clients, handle: &'a Handle) -> BoxFuture<'a, Result<(), Failure>>;
    /// See [`Operator::batch_key`].
    fn batch_key(&self, handle: &Handle) -> String;
    /// See [`Operator::batch_size`].
    fn batch_size(&self) -> usize;
    /// See [`Operator::rate`].
    fn rate(&self, call: Call) -> Option<Rate>;
    /// See [`Operator::label`].
    fn label(&self, request: &Request) -> String;
    /// See [`Operator::handle_of`].
    fn handle_of(&self, intent: &Intent<'_>, id: &str) -> Option<Handle>;
    /// See [`Operator::console_url`].
    fn console_url(&self, region: &str, handle: &Handle) -> Option<String>;
    /// See [`Operator::needs`].
    fn needs(&self, request: &Request, place: &Place) -> Option<Needs>;
    /// See [`Operator::check`].
    fn check<'a>(
        &'a self,
        clients: &'a Clients,
        request: &'a Request,
        place: &'a Place,
    ) -> BoxFuture<'a, Vec<Finding>>;
    /// See [`Operator::read_log`].
    fn read_log<'a>(&'a self, handle: &'a Handle, offset: u64) -> BoxFuture<'a, Option<LogChunk>>;
}

/// Every operator by its word.
pub struct Registry {
    operators: IndexMap<&'static str, Box<dyn ErasedOperator>>,
}

impl Registry {
    /// The operators of `lib.rs`.
    pub fn standard(options: &Options) -> Self {
        let mut registry = Self { operators: IndexMap::new() };
        crate::register_standard(&mut registry, options);
        registry
    }

    /// Adds an operator; the last one of a word wins, so that tests can put their own in.
    pub fn insert<O: Operator>(&mut self, operator: O) {
        self.operators.insert(O::TYPE, Box::new(Erased(operator)));
    }

    /// The operator with this word.
    pub fn get(&self, type_name: &str) -> Option<&dyn ErasedOperator> {
        self.operators.get(type_name).map(AsRef::as_ref)
    }

    /// The words, in the order of the documentation.
    pub fn types(&self) -> impl Iterator<Item = &'static str> {
        self.operators.keys().copied()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.operators.keys()).finish()
    }
}

impl Options {
    /// Options for looking at types, schemas and requests only, as `validate` and `plan` do:
    /// nothing can be started with them.
    pub fn for_looking() -> Self {
        Self {
            clock: Clock::system(),
            quarantine: QUARANTINE,
            command_folder: PathBuf::from("/nonexistent"),
            scratch_folder: PathBuf::from("/nonexistent"),
            supervisor: PathBuf::from("/nonexistent"),
        }
    }
}

/// Wrapped, because an operator has methods of the same names itself.
struct Erased<O>(O);

impl<O: Operator> ErasedOperator for Erased<O> {
    fn type_name(&self) -> &'static str {
        O::TYPE
    }

    fn example(&self) -> &'static str {
        O::EXAMPLE
    }

    fn guarantee(&self) -> &'static str {
        O::GUARANTEE
    }

    fn secret_settings(&self) -> &'static [&'static str] {
        O::SECRETS
    }

    fn settings_from_connection(&self) -> &'static [&'static [&'static str]] {
        O::FROM_CONNECTION
    }

    fn schema(&self) -> Schema {
        schemars::generate::SchemaSettings::draft2020_12()
            .with(|settings| settings.inline_subschemas = true)
            .into_generator()
            .into_root_schema_for::<O::Config>()
    }

    fn default_timeout(&self) -> Duration {
        self.0.default_timeout()
    }

    fn needs_baseline(&self) -> bool {
        self.0.needs_baseline()
    }

    fn follows_previous(&self) -> bool {
        self.0.follows_previous()
    }

    fn prepare(&self, settings: &Value, cx: &PrepareContext<'_>) -> Result<Request, Failure> {
        let config = serde_json::from_value::<O::Config>(settings.clone())
            .map_err(|error| wrong_setting::<O>(settings, &error.to_string()))?;
        self.0.prepare(&config, cx)
    }

    fn baseline<'a>(
        &'a self,
        clients: &'a Clients,
        request: &'a Request,
    ) -> BoxFuture<'a, Result<Value, Failure>> {
        Box::pin(async move {
            let looked = self.0.baseline(clients, request).await;
            looked.map_err(|failure| around::failure(clients, failure))
        })
    }

    fn start_limit(&self, request: &Request) -> Duration {
        self.0.start_limit(request)
    }

    fn works_in_poll(&self) -> bool {
        self.0.works_in_poll()
    }

    fn waits_for_person(&self) -> bool {
        self.0.waits_for_person()
    }

    fn asks_trunkline(&self) -> bool {
        self.0.asks_trunkline()
    }

    fn send<'a>(&'a self, clients: &'a Clients, intent: &'a Intent<'a>) -> BoxFuture<'a, Sent> {
        Box::pin(around::send(&self.0, clients, intent))
    }

    fn find<'a>(&'a self, clients: &'a Clients, intent: &'a Intent<'a>) -> BoxFuture<'a, Found> {
        Box::pin(around::find(&self.0, clients, intent))
    }

    fn poll<'a>(&'a self, clients: &'a Clients, handles: &'a [Handle]) -> BoxFuture<'a, Vec<Status>> {
        Box::pin(async move {
            let mut statuses = around::poll(&self.0, clients, handles).await;
            // An operator that answers too little must not shift answers onto other jobs.
            statuses.resize_with(handles.len(), no_answer);
            statuses
        })
    }

    fn cancel<'a>(&'a self, clients: &'a Clients, handle: &'a Handle) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(around::cancel(&self.0, clients, handle))
    }

    fn batch_key(&self, handle: &Handle) -> String {
        self.0.batch_key(handle)
    }

    fn batch_size(&self) -> usize {
        self.0.batch_size()
    }

    fn rate(&self, call: Call) -> Option<Rate> {
        self.0.rate(call)
    }

    fn label(&self, request: &Request) -> String {
        self.0.label(request)
    }

    fn handle_of(&self, intent: &Intent<'_>, id: &str) -> Option<Handle> {
        self.0.handle_of(intent, id)
    }

    fn console_url(&self, region: &str, handle: &Handle) -> Option<String> {
        self.0.console_url(region, handle)
    }

    fn needs(&self, request: &Request, place: &Place) -> Option<Needs> {
        self.0.needs(request, place)
    }

    fn check<'a>(
        &'a self,
        clients: &'a Clients,
        request: &'a Request,
        place: &'a Place,
    ) -> BoxFuture<'a, Vec<Finding>> {
        Box::pin(self.0.check(clients, request, place))
    }

    fn read_log<'a>(&'a self, handle: &'a Handle, offset: u64) -> BoxFuture<'a, Option<LogChunk>> {
        Box::pin(self.0.read_log(handle, offset))
    }
}

/// The status of a job that an operator was asked about and said nothing of.
fn no_answer() -> Status {
    Status::Unavailable(Failure::new(ErrorClass::System, "the operator gave no answer for this job"))
}

/// The failure for settings that do not fit, naming the one that is to blame: serde says what
/// is wrong with a value but not under which key, so keys are left out one by one until the
/// complaint changes.
fn wrong_setting<O: Operator>(settings: &Value, complaint: &str) -> Failure {
    let named = settings.as_object().and_then(|map| {
        map.keys().find(|key| {
            let mut rest = map.clone();
            rest.shift_remove(*key);
            serde_json::from_value::<O::Config>(Value::Object(rest))
                .err()
                .is_none_or(|error| error.to_string() != complaint)
        })
    });
    let message = match named {
        Some(key) => format!("setting `{key}` of type {}: {complaint}", O::TYPE),
        None => format!("settings of type {}: {complaint}", O::TYPE),
    };
    Failure::new(ErrorClass::Config, message)
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
