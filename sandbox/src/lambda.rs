//! Lambda: functions in Python, each call a process of its own.
//!
//! A function's code lies unpacked below the sandbox's folder; a call runs it with the sandbox's endpoint and
//! the function's variables in its environment, and its log is a file that people can read. Asynchronous events
//! are durable and are repeated twice after an error, as on AWS. Versions, aliases, layers, images and
//! runtimes other than Python are refused by name; memory is ignored.

mod api;
mod code;
mod events;
mod invoke;
mod program;
mod record;
mod route;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::Method;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use self::code::Source;
use self::record::Function;
pub(crate) use self::route::{Headers, Route};
use crate::wire::rest::Answer;
use crate::wire::{ApiError, CallContext};
use crate::world::World;
use crate::{SandboxError, files};

/// The longest body: a zip file of AWS's limit for direct uploads (50 MB) in base64.
pub(crate) const BODY_MAX: usize = 72 * 1024 * 1024;

/// Calls that run at once; each is a process. An account on AWS has 1,000, a laptop has not.
const CALLS_MAX: usize = 64;

/// How long the shutdown waits for calls to end.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(5);

/// What the process of a call runs.
const BOOTSTRAP: &str = include_str!("lambda/bootstrap.py");

/// The service.
#[derive(Debug)]
pub(crate) struct Lambda {
    world: Arc<World>,
    functions: Mutex<BTreeMap<String, Function>>,
    calls: Semaphore,
    /// Cancelled when the sandbox stops; events that are being worked on are repeated at the next start.
    closing: CancellationToken,
    tracker: TaskTracker,
}

impl Lambda {
    /// Reads the functions, and continues the events that an earlier process left.
    pub(crate) fn open(world: Arc<World>) -> Result<Arc<Self>, SandboxError> {
        let folder = world.root.join("lambda");
        let functions = files::read_json(&folder.join("functions.json"))?.unwrap_or_default();
        let bootstrap = folder.join("bootstrap.py");
        files::replace(&bootstrap, BOOTSTRAP.as_bytes())
            .map_err(|error| SandboxError::files("write", &bootstrap, error))?;
        program::end_orphans(&folder.join("work"));
        let lambda = Arc::new(Self {
            world,
            functions: Mutex::new(functions),
            calls: Semaphore::new(CALLS_MAX),
            closing: CancellationToken::new(),
            tracker: TaskTracker::new(),
        });
        lambda.continue_events()?;
        Ok(lambda)
    }

    /// Which operation a request is, with what its path says.
    pub(crate) fn route(method: &Method, path: &str) -> Route {
        route::of(method, path)
    }

    /// Answers one call.
    pub(crate) async fn call(
        self: &Arc<Self>,
        cx: &CallContext,
        route: &Route,
        headers: &Headers,
        body: &[u8],
    ) -> Result<Answer, ApiError> {
        match route.operation {
            "CreateFunction" => self.create_function(cx, body).await,
            "UpdateFunctionCode" => self.update_function_code(cx, &route.function, body).await,
            "UpdateFunctionConfiguration" => self.update_function_configuration(cx, &route.function, body),
            "GetFunction" => self.get_function(&route.function, headers),
            "GetFunctionConfiguration" => self.get_function_configuration(&route.function, headers),
            "ListFunctions" => Ok(self.list_functions(headers)),
            "DeleteFunction" => self.delete_function(&route.function),
            "Invoke" => self.invoke(cx, &route.function, headers, body).await,
            _ => Err(ApiError::unknown_operation(cx)),
        }
    }

    /// Ends the processes that run.
    pub(crate) async fn shutdown(&self) {
        self.closing.cancel();
        self.tracker.close();
        if tokio::time::timeout(SHUTDOWN_WAIT, self.tracker.wait()).await.is_err() {
            tracing::warn!("calls of Lambda functions did not end in time");
        }
    }

    fn folder(&self) -> PathBuf {
        self.world.root.join("lambda")
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Function>> {
        self.functions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A function by its name or ARN, with or without `$LATEST` behind it.
    fn function(&self, named: &str, qualifier: Option<&str>) -> Result<Function, ApiError> {
        let (name, version) = route::name_of(named);
        let found = self.lock().get(name).cloned();
        let version = qualifier.or(version).filter(|version| *version != "$LATEST");
        match (found, version) {
            (Some(function), None) => Ok(function),
            (found, version) => {
                let region = found.as_ref().map_or(crate::world::REGION, |function| function.region.as_str());
                let version = version.map(|version| format!(":{version}")).unwrap_or_default();
                let account = &self.world.account;
                let arn = format!("arn:aws:lambda:{region}:{account}:function:{name}{version}");
                Err(ApiError::new(404, "ResourceNotFoundException", format!("Function not found: {arn}")))
            }
        }
    }

    /// Changes the functions and makes the change durable before anyone sees it.
    fn change<T>(
        &self,
        act: impl FnOnce(&mut BTreeMap<String, Function>) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let mut functions = self.lock();
        let mut changed = functions.clone();
        let result = act(&mut changed)?;
        if changed != *functions {
            files::replace_json(&self.folder().join("functions.json"), &changed).map_err(internal)?;
            *functions = changed;
        }
        Ok(result)
    }
}

/// The sandbox itself failed.
fn internal(reason: impl std::fmt::Display) -> ApiError {
    ApiError::new(500, "ServiceException", reason.to_string())
}

/// AWS's general refusal of a parameter.
fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(400, "InvalidParameterValueException", message)
}
