//! AWS Batch: queues, job definitions, and jobs whose containers are programs of this machine
//! ([`crate::containers`]); array jobs; attempts.
//!
//! A job that was under way when the sandbox's process died is run again under its id. Multi-node jobs, EKS, fair
//! share and dependencies between jobs are refused by name.

mod api;
mod definitions;
mod record;
mod run;

use std::sync::Arc;

use http::Method;
use serde_json::Value;
use tokio::sync::Semaphore;

use self::record::{Definition, Environment, Job, Queue};
use crate::SandboxError;
use crate::background::Background;
use crate::records::Records;
use crate::wire::{ApiError, CallContext};
use crate::world::World;

/// The service.
#[derive(Debug)]
pub(crate) struct Batch {
    world: Arc<World>,
    environments: Records<Environment>,
    queues: Records<Queue>,
    definitions: Records<Definition>,
    jobs: Records<Job>,
    background: Background,
    places: Semaphore,
}

/// Paths and operations; all are POSTs.
const ROUTES: [(&str, &str); 11] = [
    ("createcomputeenvironment", "CreateComputeEnvironment"),
    ("describecomputeenvironments", "DescribeComputeEnvironments"),
    ("createjobqueue", "CreateJobQueue"),
    ("describejobqueues", "DescribeJobQueues"),
    ("registerjobdefinition", "RegisterJobDefinition"),
    ("describejobdefinitions", "DescribeJobDefinitions"),
    ("submitjob", "SubmitJob"),
    ("describejobs", "DescribeJobs"),
    ("listjobs", "ListJobs"),
    ("terminatejob", "TerminateJob"),
    ("canceljob", "CancelJob"),
];

impl Batch {
    /// Reads the records, and runs again what was running when the last process ended.
    pub(crate) fn open(world: Arc<World>) -> Result<Arc<Self>, SandboxError> {
        let root = world.root.join("batch");
        let batch = Arc::new(Self {
            environments: Records::open(root.join("compute-environments"))?,
            queues: Records::open(root.join("job-queues"))?,
            definitions: Records::open(root.join("job-definitions"))?,
            jobs: Records::open(root.join("jobs"))?,
            background: Background::default(),
            places: Semaphore::new(crate::containers::RUNNING_MAX),
            world,
        });
        for job in batch.jobs.select(|job| !job.state.is_terminal() && job.array_size.is_none()) {
            batch.resume(&job);
        }
        Ok(batch)
    }

    /// Which operation a request is.
    pub(crate) fn route(method: &Method, path: &str) -> &'static str {
        let last = path.strip_prefix("/v1/").filter(|_| *method == Method::POST).unwrap_or_default();
        ROUTES.iter().find(|(path, _)| *path == last).map_or("Unknown", |(_, operation)| operation)
    }

    /// Answers one call.
    pub(crate) fn call(self: &Arc<Self>, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
        match cx.operation.as_str() {
            "CreateComputeEnvironment" => self.create_environment(cx, body),
            "DescribeComputeEnvironments" => Ok(self.describe_environments(&body)),
            "CreateJobQueue" => self.create_queue(cx, body),
            "DescribeJobQueues" => Ok(self.describe_queues(&body)),
            "RegisterJobDefinition" => self.register(cx, body),
            "DescribeJobDefinitions" => Ok(self.describe_definitions(&body)),
            "SubmitJob" => self.submit(cx, body),
            "DescribeJobs" => self.describe_jobs(cx, body),
            "ListJobs" => self.list_jobs(cx, body),
            "TerminateJob" => self.terminate(body, true),
            "CancelJob" => self.terminate(body, false),
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
    ApiError::new(500, "ServerException", reason.to_string())
}

/// AWS's general refusal.
fn refused(message: impl Into<String>) -> ApiError {
    ApiError::new(400, "ClientException", message)
}
