//! `approval`: waits until a person says yes or no.
//!
//! **Safe start**: there is nothing outside. The question stands in the store from the moment
//! the attempt begins; whoever owns the run after a crash goes on waiting. The answer comes from
//! `trunkline approve`, is committed with who gave it and when, and is given once: the engine
//! takes it, never a poll.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    access::{Finding, Needs, Place},
    clients::Clients,
    operator::{ErrorClass, Failure, Found, Handle, Intent, Operator, PrepareContext, Request, Sent, Status},
    registry::Options,
};

/// The longest question: it is shown in one line.
const MESSAGE_CHARS_MAX: usize = 500;

/// The operator.
#[derive(Clone, Copy, Debug)]
pub struct Approval;

/// Settings of an `approval` task.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApprovalConfig {
    /// What the person is asked, in one line of at most 500 characters.
    pub message: String,
}

impl Approval {
    /// Needs nothing of the options.
    pub fn new(_options: &Options) -> Self {
        Self
    }
}

impl Operator for Approval {
    const TYPE: &'static str = "approval";
    const EXAMPLE: &'static str = "\
type: approval
message: Publish the invoices of November?
timeout: 2d
";
    const GUARANTEE: &'static str = "Nothing is outside. One answer counts, and the history says who gave it; \
         without one in time the attempt ends as `timed_out`.";
    type Config = ApprovalConfig;

    fn default_timeout(&self) -> Duration {
        // Longer than a long weekend, and not for ever.
        Duration::from_secs(7 * 24 * 60 * 60)
    }

    fn waits_for_person(&self) -> bool {
        true
    }

    fn label(&self, request: &Request) -> String {
        format!("approval: {}", request.body["message"].as_str().unwrap_or_default())
    }

    fn prepare(&self, config: &ApprovalConfig, cx: &PrepareContext<'_>) -> Result<Request, Failure> {
        let message = config.message.trim();
        if message.is_empty() || message.lines().count() > 1 || message.chars().count() > MESSAGE_CHARS_MAX {
            let message =
                format!("message: one line of 1 to {MESSAGE_CHARS_MAX} characters that says what is asked");
            return Err(Failure::new(ErrorClass::Config, message));
        }
        Ok(Request {
            token: cx.attempt_id.to_string(),
            connection: cx.connection.to_owned(),
            body: json!({ "message": message }),
        })
    }

    async fn send(&self, _: &Clients, intent: &Intent<'_>) -> Sent {
        Sent::Accepted(handle(intent.request))
    }

    async fn find(&self, _: &Clients, intent: &Intent<'_>) -> Found {
        Found::Found(handle(intent.request))
    }

    async fn poll(&self, _: &Clients, handles: &[Handle]) -> Vec<Status> {
        let asked = || Status::Running { remote_state: "waits for a person".to_owned(), poll_at: None };
        handles.iter().map(|_| asked()).collect()
    }

    async fn cancel(&self, _: &Clients, _: &Handle) -> Result<(), Failure> {
        Ok(())
    }

    fn needs(&self, _: &Request, _: &Place) -> Option<Needs> {
        // A person is asked, through Trunkline's own store.
        Some(Needs::default())
    }

    async fn check(&self, _: &Clients, _: &Request, _: &Place) -> Vec<Finding> {
        Vec::new()
    }
}

fn handle(request: &Request) -> Handle {
    Handle { connection: request.connection.clone(), id: request.token.clone(), detail: request.body.clone() }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use uuid::Uuid;

    use super::*;
    use crate::aws::double::context;

    fn prepared(message: &str) -> Result<Request, Failure> {
        let cx = context(Uuid::from_u128(1), Duration::from_secs(60));
        Approval.prepare(&ApprovalConfig { message: message.to_owned() }, &cx)
    }

    #[tokio::test]
    async fn the_question_stands_whoever_looks() {
        let request = prepared(" Publish? ").unwrap();
        assert_eq!(Approval.label(&request), "approval: Publish?");
        let now = jiff::Timestamp::UNIX_EPOCH;
        let intent = Intent { request: &request, baseline: &Value::Null, intent_at: now, now };
        let clients = Clients::default();
        let Sent::Accepted(handle) = Approval.send(&clients, &intent).await else { panic!("not accepted") };
        assert_eq!(Approval.find(&clients, &intent).await, Found::Found(handle.clone()));
        assert!(matches!(Approval.poll(&clients, &[handle]).await[0], Status::Running { .. }));
        assert!(Approval.waits_for_person());
    }

    #[test]
    fn a_question_is_one_line() {
        for wrong in ["", "  ", "one\ntwo", &"x".repeat(501)] {
            assert!(prepared(wrong).unwrap_err().message.starts_with("message: one line"), "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_person_is_asked_so_nothing_of_aws_is_needed() {
        let request = prepared("Publish it?").unwrap();
        let place =
            Place { partition: "aws", region: "us-east-1".to_owned(), account: "111122223333".to_owned() };
        assert_eq!(Approval.needs(&request, &place), Some(Needs::default()));
        assert_eq!(Approval.check(&Clients::default(), &request, &place).await, []);
    }
}
