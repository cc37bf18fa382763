//! `sleep`: waits for a time without holding a worker, a thread or a connection.
//!
//! **Safe start**: the wait has no outside. Its end is computed from the time of the intent,
//! so a sleep that is found again after a crash ends when it would have ended anyway.

use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    access::{Finding, Needs, Place},
    clients::Clients,
    clock::Clock,
    duration::HumanDuration,
    operator::{
        ErrorClass, Failure, Found, Handle, Intent, Operator, Outcome, PrepareContext, Request, Sent, Status,
    },
    registry::Options,
    released::Released,
};

/// The operator.
#[derive(Debug)]
pub struct Sleep {
    clock: Clock,
    cancelled: Released,
}

/// Settings of a `sleep` task.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SleepConfig {
    /// How long, e.g. `15m`.
    #[serde(rename = "for")]
    pub span: HumanDuration,
}

impl Sleep {
    /// Takes the clock of the options.
    pub fn new(options: &Options) -> Self {
        Self { clock: options.clock.clone(), cancelled: Released::default() }
    }
}

impl Operator for Sleep {
    const TYPE: &'static str = "sleep";
    const EXAMPLE: &'static str = "type: sleep\nfor: 15m\n";
    const GUARANTEE: &'static str = "Nothing happens outside; the end is fixed when the wait begins.";
    type Config = SleepConfig;

    fn default_timeout(&self) -> Duration {
        // Past the longest sleep that anybody should write, and still finite.
        Duration::from_secs(366 * 24 * 60 * 60)
    }

    fn prepare(&self, config: &SleepConfig, cx: &PrepareContext<'_>) -> Result<Request, Failure> {
        let milliseconds = u64::try_from(config.span.0.as_millis())
            .map_err(|_| Failure::new(ErrorClass::Config, "for: longer than can be counted"))?;
        Ok(Request {
            token: cx.attempt_id.to_string(),
            connection: cx.connection.to_owned(),
            body: json!({ "milliseconds": milliseconds }),
        })
    }

    async fn send(&self, _: &Clients, intent: &Intent<'_>) -> Sent {
        match begin(intent) {
            Ok(handle) => Sent::Accepted(handle),
            Err(failure) => Sent::Refused(failure),
        }
    }

    async fn find(&self, _: &Clients, intent: &Intent<'_>) -> Found {
        match begin(intent) {
            Ok(handle) => Found::Found(handle),
            Err(failure) => Found::Lost(failure),
        }
    }

    async fn poll(&self, _: &Clients, handles: &[Handle]) -> Vec<Status> {
        let now = self.clock.now();
        handles
            .iter()
            .map(|handle| match status(handle, now) {
                Status::Running { .. } if self.cancelled.contains(&handle.id) => {
                    Status::Cancelled(Failure::new(ErrorClass::Cancelled, "the wait was cut short"))
                }
                running @ Status::Running { .. } => running,
                ended => {
                    self.cancelled.remove(&handle.id);
                    ended
                }
            })
            .collect()
    }

    async fn cancel(&self, _: &Clients, handle: &Handle) -> Result<(), Failure> {
        self.cancelled.add(&handle.id);
        Ok(())
    }

    fn batch_size(&self) -> usize {
        usize::MAX
    }

    fn needs(&self, _: &Request, _: &Place) -> Option<Needs> {
        Some(Needs::default())
    }

    async fn check(&self, _: &Clients, _: &Request, _: &Place) -> Vec<Finding> {
        Vec::new()
    }
}

fn begin(intent: &Intent<'_>) -> Result<Handle, Failure> {
    let milliseconds = intent.request.body["milliseconds"].as_u64().unwrap_or(0);
    let until = intent
        .intent_at
        .checked_add(Duration::from_millis(milliseconds))
        .map_err(|_| Failure::new(ErrorClass::Config, "for: ends after the last date that can be counted"))?;
    Ok(Handle {
        connection: intent.request.connection.clone(),
        id: intent.request.token.clone(),
        detail: json!({ "until": until }),
    })
}

fn status(handle: &Handle, now: Timestamp) -> Status {
    let until = handle.detail["until"].as_str().and_then(|text| text.parse::<Timestamp>().ok());
    match until {
        Some(until) if until > now => {
            Status::Running { remote_state: "SLEEPING".to_owned(), poll_at: Some(until) }
        }
        Some(_) => Status::Succeeded(Outcome::default()),
        None => Status::Gone(Failure::new(ErrorClass::Lost, "the stored handle names no end of the wait")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_cancelled_sleep_says_so() {
        let sleep = Sleep { clock: Clock::from_fn(|| Timestamp::UNIX_EPOCH), cancelled: Released::default() };
        let clients = Clients::default();
        let detail = json!({ "until": "2030-01-01T00:00:00Z" });
        let handle = Handle { connection: "aws".into(), id: "a".into(), detail };
        let handles = [handle.clone()];
        assert!(matches!(sleep.poll(&clients, &handles).await[0], Status::Running { .. }));
        sleep.cancel(&clients, &handle).await.unwrap();
        assert!(matches!(sleep.poll(&clients, &handles).await[0], Status::Cancelled(_)));
    }

    #[test]
    fn a_sleep_ends_when_its_time_has_come() {
        let start = Timestamp::UNIX_EPOCH;
        let request =
            Request { token: "t".into(), connection: "aws".into(), body: json!({ "milliseconds": 60_000 }) };
        let baseline = serde_json::Value::Null;
        let intent = Intent { request: &request, baseline: &baseline, intent_at: start, now: start };
        let handle = begin(&intent).unwrap();
        let until = start + Duration::from_secs(60);
        assert_eq!(
            status(&handle, start),
            Status::Running { remote_state: "SLEEPING".into(), poll_at: Some(until) }
        );
        assert_eq!(status(&handle, until), Status::Succeeded(Outcome::default()));
    }
}
