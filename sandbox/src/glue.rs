//! Glue: the catalog's API, crawlers and jobs behind one service.

mod jobs;
pub(crate) mod request;

use std::sync::Arc;

use serde_json::Value;

use self::jobs::Jobs;
use crate::SandboxError;
use crate::catalog::{self, Catalog};
use crate::crawler::Crawlers;
use crate::engine::Engine;
use crate::wire::{ApiError, CallContext};
use crate::world::World;

/// The Glue service.
#[derive(Debug)]
pub(crate) struct Glue {
    /// Databases, tables, partitions.
    pub catalog: Arc<Catalog>,
    /// The query engine over them.
    pub engine: Arc<Engine>,
    crawlers: Arc<Crawlers>,
    jobs: Arc<Jobs>,
}

impl Glue {
    /// Opens the service and continues what an earlier process left running.
    pub(crate) fn open(world: Arc<World>) -> Result<Arc<Self>, SandboxError> {
        let catalog = Arc::new(Catalog::open(&world.root)?);
        let scratch = world.root.join("engine-work");
        let engine = Engine::new(Arc::clone(&catalog), Arc::clone(&world), scratch.clone())
            .map_err(|error| SandboxError::files("make", &scratch, std::io::Error::other(error)))?;
        let engine = Arc::new(engine);
        let crawlers = Crawlers::open(Arc::clone(&world), Arc::clone(&catalog))?;
        let jobs = Jobs::open(world, Arc::clone(&engine))?;
        Ok(Arc::new(Self { catalog, engine, crawlers, jobs }))
    }

    /// Answers one call.
    pub(crate) fn call(&self, cx: &CallContext, operation: &str, body: Value) -> Result<Value, ApiError> {
        if let Some(answer) = catalog::api::call(&self.catalog, cx, operation, &body) {
            return answer;
        }
        if let Some(answer) = self.crawlers.call(cx, operation, &body) {
            return answer;
        }
        if let Some(answer) = self.jobs.call(cx, operation, &body) {
            return answer;
        }
        Err(ApiError::unknown_operation(cx))
    }

    /// Stops what runs in the background.
    pub(crate) async fn shutdown(&self) {
        self.crawlers.shutdown().await;
        self.jobs.shutdown().await;
    }
}
