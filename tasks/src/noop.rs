//! `noop`: does nothing and succeeds.
//!
//! **Safe start**: there is nothing outside that could exist twice. An interrupted start is
//! simply repeated.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    access::{Finding, Needs, Place},
    clients::Clients,
    operator::{
        Failure, Found, Handle, Intent, Operator, Outcome, Outputs, PrepareContext, Request, Sent, Status,
    },
    registry::Options,
};

/// The operator.
#[derive(Clone, Copy, Debug)]
pub struct Noop;

/// Settings of a `noop` task.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoopConfig {
    /// Values that later tasks may read, as they stand here.
    #[serde(default, skip_serializing_if = "Outputs::is_empty")]
    pub outputs: Outputs,
}

impl Noop {
    /// Needs nothing of the options.
    pub fn new(_options: &Options) -> Self {
        Self
    }
}

impl Operator for Noop {
    const TYPE: &'static str = "noop";
    const EXAMPLE: &'static str = "type: noop\noutputs: { greeting: \"hello\" }\n";
    const GUARANTEE: &'static str = "Nothing happens outside, so nothing can happen twice.";
    type Config = NoopConfig;

    fn default_timeout(&self) -> Duration {
        Duration::from_secs(60)
    }

    fn prepare(&self, config: &NoopConfig, cx: &PrepareContext<'_>) -> Result<Request, Failure> {
        Ok(Request {
            token: cx.attempt_id.to_string(),
            connection: cx.connection.to_owned(),
            body: Value::Object(config.outputs.clone()),
        })
    }

    async fn send(&self, _: &Clients, intent: &Intent<'_>) -> Sent {
        Sent::Done(outcome(intent.request))
    }

    async fn find(&self, _: &Clients, intent: &Intent<'_>) -> Found {
        Found::Done(outcome(intent.request))
    }

    async fn poll(&self, _: &Clients, handles: &[Handle]) -> Vec<Status> {
        handles.iter().map(|_| Status::Succeeded(Outcome::default())).collect()
    }

    async fn cancel(&self, _: &Clients, _: &Handle) -> Result<(), Failure> {
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

fn outcome(request: &Request) -> Outcome {
    let outputs = request.body.as_object().cloned().unwrap_or_default();
    Outcome { outputs, ..Outcome::default() }
}
