//! Asynchronous events: kept until their function has succeeded, or failed three times.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::program::Call;
use super::{Lambda, internal};
use crate::wire::ApiError;
use crate::{SandboxError, catalog, files};

/// How long Lambda waits before it calls a function again that failed, before scaling.
const PAUSES: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(120)];

/// The pause before an event is looked at again for which there was no place, before scaling.
const NO_PLACE: Duration = Duration::from_secs(1);

/// Events that wait; more is a loop of functions that call each other.
const EVENTS_MAX: usize = 10_000;

/// One event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Event {
    function: String,
    request_id: String,
    payload: String,
    /// Calls that failed.
    failures: usize,
    /// Not before this time.
    due: Option<Timestamp>,
}

impl Event {
    pub(super) fn new(function: &str, request_id: &str, payload: String) -> Self {
        Self {
            function: function.to_owned(),
            request_id: request_id.to_owned(),
            payload,
            failures: 0,
            due: None,
        }
    }
}

impl Lambda {
    /// Continues what an earlier process left.
    pub(super) fn continue_events(self: &Arc<Self>) -> Result<(), SandboxError> {
        for path in catalog::entries(&self.folder().join("events"))? {
            if path.extension().is_some_and(|ending| ending == "json")
                && let Some(event) = files::read_json::<Event>(&path)?
            {
                self.work_on(event);
            }
        }
        Ok(())
    }

    /// Makes an event durable.
    pub(super) fn keep_event(&self, event: &Event) -> Result<(), ApiError> {
        if self.tracker.len() >= EVENTS_MAX {
            return Err(ApiError::new(
                429,
                "TooManyRequestsException",
                "too many events wait in the sandbox",
            ));
        }
        files::replace_json(&self.event_file(event), event).map_err(internal)
    }

    /// Calls the event's function, again if it fails, in the background.
    pub(super) fn work_on(self: &Arc<Self>, event: Event) {
        let lambda = Arc::clone(self);
        self.tracker.spawn(async move {
            let closing = lambda.closing.clone();
            tokio::select! {
                () = lambda.see_through(event) => {}
                () = closing.cancelled() => {}
            }
        });
    }

    async fn see_through(&self, mut event: Event) {
        loop {
            self.wait_until(event.due).await;
            let Ok(function) = self.function(&event.function, None) else { break };
            let Ok(_place) = self.calls.try_acquire() else {
                event.due = Some(self.after(NO_PLACE));
                continue;
            };
            let call = Call {
                function,
                request_id: event.request_id.clone(),
                payload: event.payload.clone(),
                client_context: None,
            };
            let failed = match self.run(&call).await {
                Ok(ended) => ended.result.is_err(),
                Err(error) => {
                    tracing::warn!(%error, function = event.function, "cannot run a Lambda function");
                    true
                }
            };
            let pause = PAUSES.get(event.failures).filter(|_| failed);
            let Some(pause) = pause else { break };
            event.failures += 1;
            event.due = Some(self.after(*pause));
            if let Err(error) = files::replace_json(&self.event_file(&event), &event) {
                tracing::warn!(%error, "cannot keep an event");
            }
        }
        drop(fs::remove_file(self.event_file(&event)));
    }

    async fn wait_until(&self, due: Option<Timestamp>) {
        let now = self.world.clock.now();
        let left = due.map(|due| Duration::try_from(due.duration_since(now)).unwrap_or_default());
        if let Some(left) = left.filter(|left| !left.is_zero()) {
            self.world.pause(left).await;
        }
    }

    fn after(&self, nominal: Duration) -> Timestamp {
        self.world.clock.now().checked_add(self.world.scaled(nominal)).unwrap_or(Timestamp::MAX)
    }

    fn event_file(&self, event: &Event) -> PathBuf {
        self.folder().join("events").join(format!("{}.json", event.request_id))
    }
}
