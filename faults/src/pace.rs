//! The clock of the rig, and the one pause between two looks at a condition.

use std::time::{Duration, Instant};

/// Between two looks: short against the time that a blow has, long against what a look costs.
pub(crate) const STEP: Duration = Duration::from_millis(10);

/// When the caller asked.
#[expect(
    clippy::disallowed_methods,
    reason = "the rig's edge: how long a trial took is measured, nothing is decided"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Waits until the next look.
#[expect(clippy::disallowed_methods, reason = "the pause between two looks at a condition")]
pub(crate) async fn step() {
    tokio::time::sleep(STEP).await;
}

/// The time on the wall, to compare with the sandbox's ledger.
#[expect(clippy::disallowed_methods, reason = "the rig's edge: it compares records of two processes")]
pub(crate) fn wall() -> jiff::Timestamp {
    jiff::Timestamp::now()
}
