//! Work in the background that can be stopped one by one, and all together at the end of the process.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long the shutdown waits for running work to notice.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(5);

/// The work of one service.
#[derive(Debug, Default)]
pub(crate) struct Background {
    /// Cancelled when the sandbox stops: work then ends without recording an end, to be done again at the next
    /// start.
    closing: CancellationToken,
    tracker: TaskTracker,
    live: Arc<Mutex<HashMap<String, CancellationToken>>>,
}

impl Background {
    /// Starts work under an id. The token tells it to stop.
    pub(crate) fn start<F>(&self, id: String, work: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stop = self.closing.child_token();
        self.lock().insert(id.clone(), stop.clone());
        let (live, work) = (Arc::clone(&self.live), work(stop));
        self.tracker.spawn(async move {
            work.await;
            live.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        });
    }

    /// Tells the work of this id to stop, if it is under way.
    pub(crate) fn stop(&self, id: &str) {
        if let Some(stop) = self.lock().get(id) {
            stop.cancel();
        }
    }

    /// Whether the sandbox is stopping.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.is_cancelled()
    }

    /// Ends everything.
    pub(crate) async fn shutdown(&self) {
        self.closing.cancel();
        self.tracker.close();
        if tokio::time::timeout(SHUTDOWN_WAIT, self.tracker.wait()).await.is_err() {
            tracing::warn!("work in the background did not end in time");
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, CancellationToken>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
