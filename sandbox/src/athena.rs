//! Athena: queries over the catalog.

use std::sync::Arc;

use serde_json::Value;

use crate::SandboxError;
use crate::glue::Glue;
use crate::wire::{ApiError, CallContext};
use crate::world::World;

/// The Athena service.
#[derive(Debug)]
pub(crate) struct Athena;

impl Athena {
    /// Opens the service and continues what an earlier process left running.
    pub(crate) async fn open(_world: Arc<World>, _glue: Arc<Glue>) -> Result<Arc<Self>, SandboxError> {
        Ok(Arc::new(Self))
    }

    /// Answers one call.
    pub(crate) async fn call(&self, cx: &CallContext, _operation: &str, _body: Value) -> Result<Value, ApiError> {
        Err(ApiError::unknown_operation(cx))
    }

    /// Stops what runs in the background.
    pub(crate) async fn shutdown(&self) {}
}
