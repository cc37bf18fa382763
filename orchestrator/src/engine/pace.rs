//! The engine's only way to wait.

use std::time::Duration;

/// Waits. Correctness never depends on how long: whatever comes after looks at the state.
#[expect(clippy::disallowed_methods, reason = "the one place where the engine sleeps")]
pub(super) async fn pause(duration: Duration) {
    tokio::time::sleep(duration).await;
}
