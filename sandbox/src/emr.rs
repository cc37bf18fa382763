//! EMR Serverless: applications, and Spark jobs as Python programs of this machine.
//!
//! A job's entry point is a Python script in a bucket of the sandbox; it runs as `python3 script ARGUMENTS` with the
//! sandbox for its AWS. Whether it finds `pyspark` is up to this machine. Jars, Hive and interactive work are refused
//! by name; capacities and Spark's settings are kept and have no effect. A job that was under way when the sandbox's
//! process died is run again under its id.

mod api;
mod record;
mod run;

use std::sync::Arc;

use http::Method;
use serde_json::Value;
use tokio::sync::Semaphore;

use self::record::{Application, JobRun};
use crate::SandboxError;
use crate::background::Background;
use crate::records::Records;
use crate::wire::query::Form;
use crate::wire::{ApiError, CallContext};
use crate::world::World;

pub(crate) use self::record::application_id;

/// The service.
#[derive(Debug)]
pub(crate) struct Emr {
    world: Arc<World>,
    applications: Records<Application>,
    runs: Records<JobRun>,
    background: Background,
    places: Semaphore,
}

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    /// The operation in the API's own words, or `Unknown`.
    pub operation: &'static str,
    /// The application of the path; may be empty.
    pub application: String,
    /// The job run of the path; may be empty.
    pub run: String,
}

impl Emr {
    /// Reads the records, and runs again what was running when the last process ended.
    pub(crate) fn open(world: Arc<World>) -> Result<Arc<Self>, SandboxError> {
        let root = world.root.join("emr-serverless");
        let emr = Arc::new(Self {
            applications: Records::open(root.join("applications"))?,
            runs: Records::open(root.join("job-runs"))?,
            background: Background::default(),
            places: Semaphore::new(crate::containers::RUNNING_MAX),
            world,
        });
        for run in emr.runs.select(|run| !run.state.is_terminal()) {
            emr.resume(&run);
        }
        Ok(emr)
    }

    /// Which operation a request is, with what its path says.
    pub(crate) fn route(method: &Method, path: &str) -> Route {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let part = |index: usize| parts.get(index).copied().unwrap_or_default().to_owned();
        let operation = match (method.as_str(), parts.as_slice()) {
            ("POST", ["applications"]) => "CreateApplication",
            ("GET", ["applications"]) => "ListApplications",
            ("GET", ["applications", _]) => "GetApplication",
            ("POST", ["applications", _, "start"]) => "StartApplication",
            ("POST", ["applications", _, "stop"]) => "StopApplication",
            ("POST", ["applications", _, "jobruns"]) => "StartJobRun",
            ("GET", ["applications", _, "jobruns"]) => "ListJobRuns",
            ("GET", ["applications", _, "jobruns", _]) => "GetJobRun",
            ("DELETE", ["applications", _, "jobruns", _]) => "CancelJobRun",
            _ => "Unknown",
        };
        Route { operation, application: part(1), run: part(3) }
    }

    /// Answers one call.
    pub(crate) fn call(
        self: &Arc<Self>,
        cx: &CallContext,
        route: &Route,
        query: &Form,
        body: Value,
    ) -> Result<Value, ApiError> {
        match route.operation {
            "CreateApplication" => self.create_application(cx, body),
            "ListApplications" => Ok(self.list_applications()),
            "GetApplication" => self.get_application(&route.application),
            "StartApplication" | "StopApplication" => {
                self.application(&route.application).map(|_| serde_json::json!({}))
            }
            "StartJobRun" => self.start_job_run(cx, &route.application, body),
            "ListJobRuns" => self.list_job_runs(cx, &route.application, query),
            "GetJobRun" => self.get_job_run(cx, route),
            "CancelJobRun" => self.cancel_job_run(cx, route),
            _ => Err(ApiError::unknown_operation(cx)),
        }
    }

    /// Ends the programs that run.
    pub(crate) async fn shutdown(&self) {
        self.background.shutdown().await;
    }
}

/// The sandbox itself failed.
fn internal(reason: impl std::fmt::Display) -> ApiError {
    ApiError::new(500, "InternalServerException", reason.to_string())
}

/// AWS's general refusal.
fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(400, "ValidationException", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_operations() {
        let route = |method: Method, path: &str| {
            let route = Emr::route(&method, path);
            format!("{} {} {}", route.operation, route.application, route.run)
        };
        assert_eq!(route(Method::POST, "/applications"), "CreateApplication  ");
        assert_eq!(route(Method::POST, "/applications/a1/jobruns"), "StartJobRun a1 ");
        assert_eq!(route(Method::DELETE, "/applications/a1/jobruns/r1"), "CancelJobRun a1 r1");
        assert_eq!(route(Method::PATCH, "/applications/a1"), "Unknown a1 ");
    }
}
