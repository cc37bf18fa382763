//! Forgetting what is older than each pipeline's `retention`, some runs at a time. Any server does it;
//! several at once take different runs.

use std::{sync::Arc, time::Duration};

use trunkline_state::store::StoreError;

use super::{Shared, chain, pace};

/// How often old runs are looked for.
const EVERY: Duration = Duration::from_hours(1);
/// The first look comes so long after the start: a start has better things to do.
const FIRST_AFTER: Duration = Duration::from_mins(5);
/// Runs of one statement: some thousand rows.
pub(crate) const RUNS_AT_ONCE: i64 = 500;
/// The pause between two statements, which leaves the store to those who wait for it.
const PAUSE: Duration = Duration::from_millis(200);

/// Forgets what is old, every hour. Ends never.
pub(super) async fn keep_house(shared: Arc<Shared>) {
    let mut pause = FIRST_AFTER;
    loop {
        pace::pause(pause).await;
        if let Err(error) = forget(&shared).await {
            tracing::warn!("could not remove old runs: {}", chain(&error));
        }
        pause = EVERY;
    }
}

async fn forget(shared: &Shared) -> Result<(), StoreError> {
    let now = shared.store.now().await?;
    for row in shared.store.pipelines().await?.iter().filter(|row| !row.removed) {
        let definition = shared.store.definition(&row.name, row.version).await?;
        let Some(retention) = definition.pipeline.retention else { continue };
        let Ok(before) = now.checked_sub(retention) else { continue };
        let mut removed = 0;
        loop {
            let some = shared.store.purge(&row.name, before, RUNS_AT_ONCE).await?;
            removed += some;
            if some < RUNS_AT_ONCE || shared.stopping.is_cancelled() {
                break;
            }
            pace::pause(PAUSE).await;
        }
        if removed > 0 {
            tracing::info!(pipeline = %row.name, "removed {removed} runs of {} that ended before {before}", row.name);
        }
    }
    shared.store.purge_traces(now).await
}
