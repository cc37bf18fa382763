//! Stub.
use serde_json::Value;
use crate::server::dispatch::Services;
use crate::wire::{ApiError, CallContext};
pub(crate) const CALLER: &str = "provision";
pub(crate) async fn provision(_services: &Services, _cx: &CallContext, _wish: Value) -> Result<Value, ApiError> {
    Err(ApiError::new(501, "NotImplemented", "not yet"))
}
