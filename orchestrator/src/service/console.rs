//! The page of a service's own console about an attempt's job. Made of what is stored; nothing is asked.

use serde_json::Value;
use trunkline_state::{pipeline::Pipeline, store::AttemptRow};
use trunkline_tasks::{operator::Handle, registry::Registry};

/// The page, where the service has one and it is known in which region the job runs. A sandbox has none.
pub fn console_url(registry: &Registry, pipeline: &Pipeline, attempt: &AttemptRow) -> Option<String> {
    let handle: Handle = attempt.handle.as_ref()?.read().ok()?;
    let connection = pipeline.connections.get(&handle.connection)?;
    let text = |key: &str| connection.get(key).and_then(Value::as_str);
    if connection.get("sandbox").is_some() || text("endpoint").is_some() {
        return None;
    }
    registry.get(&attempt.operator)?.console_url(text("region")?, &handle)
}
