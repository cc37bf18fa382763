//! ECS: clusters, task definitions, and tasks whose containers are programs of this machine ([`crate::containers`]).
//!
//! A task that was under way when the sandbox's process died is run again under its id. Services, capacity providers,
//! volumes, networks and `exec` are not part of the sandbox; what is asked of them is kept and has no effect.

mod api;
mod definitions;
mod record;
mod run;

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::Semaphore;

use self::record::{Cluster, Definition, Task};
use crate::SandboxError;
use crate::background::Background;
use crate::records::Records;
use crate::wire::{ApiError, CallContext};
use crate::world::World;

/// The service.
#[derive(Debug)]
pub(crate) struct Ecs {
    world: Arc<World>,
    clusters: Records<Cluster>,
    definitions: Records<Definition>,
    tasks: Records<Task>,
    background: Background,
    places: Semaphore,
}

impl Ecs {
    /// Reads the records, and runs again what was running when the last process ended.
    pub(crate) fn open(world: Arc<World>) -> Result<Arc<Self>, SandboxError> {
        let root = world.root.join("ecs");
        let ecs = Arc::new(Self {
            clusters: Records::open(root.join("clusters"))?,
            definitions: Records::open(root.join("task-definitions"))?,
            tasks: Records::open(root.join("tasks"))?,
            background: Background::default(),
            places: Semaphore::new(crate::containers::RUNNING_MAX),
            world,
        });
        for task in ecs.tasks.select(|task| !task.is_stopped()) {
            ecs.resume(&task);
        }
        Ok(ecs)
    }

    /// Answers one call.
    pub(crate) fn call(self: &Arc<Self>, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
        match cx.operation.as_str() {
            "CreateCluster" => self.create_cluster(cx, body),
            "DeleteCluster" => self.delete_cluster(cx, body),
            "DescribeClusters" => Ok(self.describe_clusters(cx, &body)),
            "ListClusters" => self.list_clusters(cx, body),
            "RegisterTaskDefinition" => self.register(cx, body),
            "DeregisterTaskDefinition" => self.deregister(cx, body),
            "DescribeTaskDefinition" => self.describe_definition(cx, body),
            "ListTaskDefinitions" => self.list_definitions(cx, body),
            "RunTask" => self.run_task(cx, body),
            "DescribeTasks" => self.describe_tasks(cx, body),
            "ListTasks" => self.list_tasks(cx, body),
            "StopTask" => self.stop_task(cx, body),
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
fn client_error(message: impl Into<String>) -> ApiError {
    ApiError::new(400, "ClientException", message)
}

/// A parameter that cannot be.
fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(400, "InvalidParameterException", message)
}
