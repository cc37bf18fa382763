//! Waiting for a condition with a limit: the only form of waiting in this crate.

use std::time::Duration;

/// Asks `ready` every `step` until it yields a value; `None` when `limit` has passed first.
pub(crate) async fn poll<T>(
    limit: Duration,
    step: Duration,
    mut ready: impl AsyncFnMut() -> Option<T>,
) -> Option<T> {
    let asking = async {
        let mut ticks = tokio::time::interval(step);
        loop {
            ticks.tick().await;
            if let Some(value) = ready().await {
                return value;
            }
        }
    };
    tokio::time::timeout(limit, asking).await.ok()
}
