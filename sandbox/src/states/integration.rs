//! What Task states call: which resources are known, how their calls become calls of the sandbox's own
//! services, and how a job that a task waits for is watched and stopped.
//!
//! Every call carries a request id that follows from the execution and the place in it. A call that was in
//! progress when the sandbox's process died is looked for in the ledger under that id before it is made again:
//! what was started once is not started twice.

mod resource;
mod times;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use uuid::Uuid;

pub(super) use self::resource::{Integration, Pattern, Service};
use super::failure::Failure;
use crate::athena::Athena;
use crate::glue::Glue;
use crate::sns::Sns;
use crate::wire::query::Form;
use crate::wire::{ApiError, CallContext};
use crate::world::World;

/// The caller under which state machines call the services; the ledger shows it.
const CALLER: &str = "states";

/// How often a job that a task waits for is looked at, before scaling.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// The least of it after scaling.
const LOOK_EVERY_LEAST: Duration = Duration::from_millis(10);

/// Everything that tasks can call.
#[derive(Debug)]
pub(super) struct Backend {
    pub world: Arc<World>,
    pub glue: Arc<Glue>,
    pub athena: Arc<Athena>,
    pub sns: Arc<Sns>,
}

/// One call of one task.
#[derive(Debug)]
pub(super) struct TaskCall<'a> {
    pub integration: &'a Integration,
    pub parameters: &'a Value,
    /// Follows from the execution and the place in it.
    pub request_id: Uuid,
    pub region: &'a str,
    /// Whether an earlier process may have made this very call.
    pub is_repeated: bool,
}

impl Backend {
    /// Makes the call; for a job that is waited for, starts the job.
    pub(super) async fn call(&self, call: &TaskCall<'_>) -> Result<Value, Failure> {
        let integration = call.integration;
        if call.is_repeated
            && let Some(answer) =
                self.earlier(call).map_err(|error| failed(integration, &error, call.request_id))?
        {
            return Ok(answer);
        }
        let answer = self.with_faults(call).await;
        let answer = answer.map(|answer| times::reworded(answer, integration.is_sdk));
        answer.map_err(|error| failed(integration, &error, call.request_id))
    }

    /// The answer that an earlier process was given to this call, as far as it started something.
    fn earlier(&self, call: &TaskCall<'_>) -> Result<Option<Value>, ApiError> {
        let entries = self.world.ledger.entries_after(0).map_err(ApiError::internal)?;
        let id = call.request_id.to_string();
        let entry = entries.into_iter().rev().find(|entry| entry.request_id == id && entry.caller == CALLER);
        Ok(entry.map(|entry| match entry.operation.as_str() {
            "StartJobRun" => json!({ "JobRunId": entry.id }),
            "StartQueryExecution" => json!({ "QueryExecutionId": entry.id }),
            "Publish" => json!({ "MessageId": entry.id }),
            _ => json!({}),
        }))
    }

    /// The fault script holds for these calls too. A lost answer does not: the service that calls asks again
    /// by itself, with the same request id.
    async fn with_faults(&self, call: &TaskCall<'_>) -> Result<Value, ApiError> {
        let (service, operation) = (call.integration.service.name(), call.integration.operation.as_str());
        let now = self.world.clock.now();
        self.world.ledger.count(service, operation);
        let plan = self.world.faults.plan(service, operation, now);
        if !plan.delay_before.is_zero() {
            self.world.pause(plan.delay_before).await;
        }
        if let Some(refusal) = plan.refuse {
            return Err(refusal);
        }
        let answer = self.perform(call).await;
        if !plan.delay_after.is_zero() {
            self.world.pause(plan.delay_after).await;
        }
        match plan.replace_answer {
            Some(error) => Err(error),
            None => answer,
        }
    }

    async fn perform(&self, call: &TaskCall<'_>) -> Result<Value, ApiError> {
        let operation = call.integration.operation.as_str();
        let cx = self.context(call.integration.service, operation, call.request_id, call.region);
        let mut body = call.parameters.clone();
        if operation == "StartQueryExecution"
            && let Some(body) = body.as_object_mut()
        {
            let token = || Value::from(call.request_id.to_string());
            body.entry("ClientRequestToken").or_insert_with(token);
        }
        match call.integration.service {
            Service::Glue => self.glue.call(&cx, operation, body),
            Service::Athena => self.athena.call(&cx, operation, body).await,
            Service::Sns => {
                self.sns.publish_message(&cx, &publish_form(&body)).map(|id| json!({ "MessageId": id }))
            }
        }
    }

    fn context(&self, service: Service, operation: &str, request_id: Uuid, region: &str) -> CallContext {
        let cx = CallContext::internal(
            request_id.to_string(),
            CALLER,
            &self.world.account,
            self.world.clock.now(),
        );
        CallContext { region: region.to_owned(), ..cx.with_operation(service.name(), operation) }
    }

    /// Waits until a started job has ended; gives what it ended with.
    pub(super) async fn follow(
        &self,
        integration: &Integration,
        parameters: &Value,
        submitted: &Value,
    ) -> Result<Value, Failure> {
        let pause = self.world.scaled(LOOK_EVERY).max(LOOK_EVERY_LEAST);
        loop {
            let look = self.look(integration, parameters, submitted).await;
            match look.map_err(|error| failed(integration, &error, Uuid::nil()))? {
                Some(Ended::Well(output)) => return Ok(times::reworded(output, integration.is_sdk)),
                Some(Ended::Badly(cause)) => {
                    let cause = times::reworded(cause, integration.is_sdk).to_string();
                    return Err(Failure::new("States.TaskFailed", cause));
                }
                None => self.world.pause(pause).await,
            }
        }
    }

    async fn look(
        &self,
        integration: &Integration,
        parameters: &Value,
        submitted: &Value,
    ) -> Result<Option<Ended>, ApiError> {
        let request_id = self.world.new_uuid();
        let cx = |operation| self.context(integration.service, operation, request_id, crate::world::REGION);
        match integration.service {
            Service::Glue => {
                let body = json!({ "JobName": parameters["JobName"], "RunId": submitted["JobRunId"] });
                let mut answer = self.glue.call(&cx("GetJobRun"), "GetJobRun", body)?;
                let run = answer["JobRun"].take();
                Ok(match run["JobRunState"].as_str().unwrap_or_default() {
                    "SUCCEEDED" => Some(Ended::Well(run)),
                    "FAILED" | "TIMEOUT" | "STOPPED" | "ERROR" | "EXPIRED" => Some(Ended::Badly(run)),
                    _ => None,
                })
            }
            Service::Athena => {
                let body = json!({ "QueryExecutionId": submitted["QueryExecutionId"] });
                let answer = self.athena.call(&cx("GetQueryExecution"), "GetQueryExecution", body).await?;
                let state = answer.pointer("/QueryExecution/Status/State").and_then(Value::as_str);
                Ok(match state.unwrap_or_default() {
                    "SUCCEEDED" => Some(Ended::Well(answer)),
                    "FAILED" | "CANCELLED" => Some(Ended::Badly(answer)),
                    _ => None,
                })
            }
            Service::Sns => Ok(Some(Ended::Well(submitted.clone()))),
        }
    }

    /// Stops a job that nobody waits for any more. A job that has ended meanwhile is no matter.
    pub(super) async fn stop(&self, integration: &Integration, parameters: &Value, submitted: &Value) {
        let request_id = self.world.new_uuid();
        let cx = |operation| self.context(integration.service, operation, request_id, crate::world::REGION);
        let stopped = match integration.service {
            Service::Glue => {
                let body = json!({ "JobName": parameters["JobName"], "JobRunIds": [submitted["JobRunId"]] });
                self.glue.call(&cx("BatchStopJobRun"), "BatchStopJobRun", body)
            }
            Service::Athena => {
                let body = json!({ "QueryExecutionId": submitted["QueryExecutionId"] });
                self.athena.call(&cx("StopQueryExecution"), "StopQueryExecution", body).await
            }
            Service::Sns => return,
        };
        if let Err(error) = stopped {
            tracing::debug!(%error, "a job of a stopped task could not be stopped");
        }
    }
}

enum Ended {
    Well(Value),
    Badly(Value),
}

/// A refusal as the definition's `Retry` and `Catch` know it: `Glue.EntityNotFoundException`.
fn failed(integration: &Integration, error: &ApiError, request_id: Uuid) -> Failure {
    let ApiError { status, code, message } = error;
    let service = integration.service.title(integration.is_sdk);
    let ending = if code.ends_with("Exception") { "" } else { "Exception" };
    let cause = format!("{message} (Service: {service}, Status Code: {status}, Request ID: {request_id})");
    Failure::new(format!("{service}.{code}{ending}"), cause)
}

/// The form of `Publish`.
fn publish_form(body: &Value) -> Form {
    let empty = Map::new();
    let members = body.as_object().unwrap_or(&empty);
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut pairs = Vec::new();
    for (name, value) in members.iter().filter(|(name, _)| *name != "MessageAttributes") {
        pairs.push((name.clone(), text(value)));
    }
    let attributes = members.get("MessageAttributes").and_then(Value::as_object);
    for (index, (name, attribute)) in attributes.into_iter().flatten().enumerate() {
        let entry = format!("MessageAttributes.entry.{}", index + 1);
        pairs.push((format!("{entry}.Name"), name.clone()));
        for (member, value) in attribute.as_object().into_iter().flatten() {
            pairs.push((format!("{entry}.Value.{member}"), text(value)));
        }
    }
    Form::from_pairs(pairs)
}

#[cfg(test)]
impl Backend {
    /// Services of their own in a folder, whose waits take a thousandth of their time.
    pub(super) async fn of_folder(root: &std::path::Path) -> Arc<Self> {
        let options = crate::Options { time_scale: 0.001, ..crate::Options::new(root) };
        let world = Arc::new(World::open(options, "http://127.0.0.1:0".to_owned()).unwrap());
        let glue = Glue::open(Arc::clone(&world)).unwrap();
        let athena = Athena::open(Arc::clone(&world), Arc::clone(&glue)).await.unwrap();
        let sqs = Arc::new(crate::sqs::Sqs::open(Arc::clone(&world)).unwrap());
        let sns = Arc::new(Sns::open(Arc::clone(&world), sqs).unwrap());
        Arc::new(Self { world, glue, athena, sns })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_become_forms() {
        let form = publish_form(&json!({
            "TopicArn": "arn", "Message": { "a": 1 },
            "MessageAttributes": { "k": { "DataType": "String", "StringValue": "v" } },
        }));
        assert_eq!(form.get("Message"), Some("{\"a\":1}"));
        assert_eq!(form.get("MessageAttributes.entry.1.Name"), Some("k"));
        assert_eq!(form.get("MessageAttributes.entry.1.Value.StringValue"), Some("v"));
    }

    #[test]
    fn refusals_are_named_after_their_service() {
        let name = |resource: &str, code: &'static str| {
            let integration = Integration::parse(resource).unwrap();
            failed(&integration, &ApiError::new(400, code, "no"), Uuid::nil()).error
        };
        assert_eq!(
            name("arn:aws:states:::aws-sdk:glue:startCrawler", "CrawlerRunningException"),
            "Glue.CrawlerRunningException"
        );
        assert_eq!(name("arn:aws:states:::aws-sdk:sns:publish", "NotFound"), "Sns.NotFoundException");
        assert_eq!(name("arn:aws:states:::sns:publish", "NotFound"), "SNS.NotFoundException");
    }
}
