//! Compute environments, queues and job definitions.

use serde_json::{Map, Value, json};

use super::record::{Definition, Environment, Queue};
use super::{Batch, internal, refused};
use crate::glue::request::parse;
use crate::process::Script;
use crate::wire::{ApiError, CallContext};

/// The member in which provisioning gives a script.
const SCRIPT: &str = "TrunklineSandboxScript";

impl Batch {
    pub(super) fn create_environment(&self, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
        let (name, members) = named(body, "computeEnvironmentName")?;
        let arn = arn(cx, "compute-environment", &name);
        if self.environments.get(&name).is_some() {
            return Err(refused("Object already exists"));
        }
        self.environments
            .put(Environment { name: name.clone(), arn: arn.clone(), members })
            .map_err(internal)?;
        Ok(json!({ "computeEnvironmentName": name, "computeEnvironmentArn": arn }))
    }

    pub(super) fn describe_environments(&self, body: &Value) -> Value {
        let wanted = wanted(body, "computeEnvironments");
        let shown = self.environments.select(|found| wanted.is_empty() || wanted.contains(&found.name));
        let shown: Vec<Value> = shown
            .into_iter()
            .map(|found| {
                let mut shape = found.members;
                for member in ["tags", "computeResources", "serviceRole"] {
                    shape.remove(member);
                }
                shape.insert("computeEnvironmentName".into(), found.name.into());
                shape.insert("computeEnvironmentArn".into(), found.arn.into());
                shape.entry("state").or_insert_with(|| "ENABLED".into());
                shape.insert("status".into(), "VALID".into());
                Value::Object(shape)
            })
            .collect();
        json!({ "computeEnvironments": shown })
    }

    pub(super) fn create_queue(&self, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
        let (name, mut members) = named(body, "jobQueueName")?;
        if self.queues.get(&name).is_some() {
            return Err(refused("Object already exists"));
        }
        members.entry("state").or_insert_with(|| "ENABLED".into());
        members.entry("priority").or_insert_with(|| 1.into());
        members.entry("computeEnvironmentOrder").or_insert_with(|| json!([]));
        let arn = arn(cx, "job-queue", &name);
        self.queues.put(Queue { name: name.clone(), arn: arn.clone(), members }).map_err(internal)?;
        Ok(json!({ "jobQueueName": name, "jobQueueArn": arn }))
    }

    pub(super) fn describe_queues(&self, body: &Value) -> Value {
        let wanted = wanted(body, "jobQueues");
        let shown = self.queues.select(|found| wanted.is_empty() || wanted.contains(&found.name));
        let shown: Vec<Value> = shown
            .into_iter()
            .map(|found| {
                let mut shape = found.members;
                shape.remove("tags");
                shape.insert("jobQueueName".into(), found.name.into());
                shape.insert("jobQueueArn".into(), found.arn.into());
                shape.insert("status".into(), "VALID".into());
                Value::Object(shape)
            })
            .collect();
        json!({ "jobQueues": shown })
    }

    pub(super) fn register(&self, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
        let (name, mut members) = named(body, "jobDefinitionName")?;
        let script = members.remove(SCRIPT).filter(|_| cx.caller == crate::provision::CALLER);
        let script = script.map(|script| parse::<Script>(script, "ClientException")).transpose()?;
        if members.get("type").and_then(Value::as_str) != Some("container") {
            return Err(refused("the sandbox runs job definitions of type container only"));
        }
        let image = members.get("containerProperties").and_then(|found| found.get("image"));
        if image.and_then(Value::as_str).is_none_or(str::is_empty) {
            return Err(refused(
                "Error executing request, Exception : containerProperties.image is required.",
            ));
        }
        members.insert("jobDefinitionName".into(), name.clone().into());
        members.remove("tags");
        let of_name = self.definitions.select(|definition| definition.name == name);
        let revision = of_name.iter().map(|definition| definition.revision).max().unwrap_or(0) + 1;
        let arn = format!("{}:{revision}", arn(cx, "job-definition", &name));
        let id = format!("{name}:{revision}");
        let definition = Definition { id, arn: arn.clone(), name: name.clone(), revision, members, script };
        self.definitions.put(definition).map_err(internal)?;
        Ok(json!({ "jobDefinitionName": name, "jobDefinitionArn": arn, "revision": revision }))
    }

    pub(super) fn describe_definitions(&self, body: &Value) -> Value {
        let wanted = wanted(body, "jobDefinitions");
        let name = body.get("jobDefinitionName").and_then(Value::as_str);
        let shown = self.definitions.select(|found| {
            (wanted.is_empty() || wanted.contains(&found.name) || wanted.contains(&found.id))
                && name.is_none_or(|name| found.name == name)
        });
        json!({ "jobDefinitions": shown.iter().map(Definition::shape).collect::<Vec<_>>() })
    }

    /// A definition by `name` (the newest), `name:revision` or ARN.
    pub(super) fn definition(&self, named: &str) -> Result<Definition, ApiError> {
        let short = short(named);
        let found = if short.contains(':') {
            self.definitions.get(short)
        } else {
            let of_name = self.definitions.select(|definition| definition.name == short);
            of_name.into_iter().max_by_key(|definition| definition.revision)
        };
        found.ok_or_else(|| refused(format!("JobDefinition with name or arn {named} does not exist.")))
    }

    /// A queue by name or ARN.
    pub(super) fn queue(&self, named: &str) -> Result<Queue, ApiError> {
        let found = self.queues.get(short(named));
        found.ok_or_else(|| refused(format!("Job queue {named} does not exist or is not in VALID state.")))
    }

    /// Whether provisioning needs to make an environment, a queue, a definition.
    pub(crate) fn has_environment(&self, name: &str) -> bool {
        self.environments.get(name).is_some()
    }

    /// The same for a queue.
    pub(crate) fn has_queue(&self, name: &str) -> bool {
        self.queues.get(name).is_some()
    }

    /// The same for a job definition.
    pub(crate) fn has_definition(&self, name: &str) -> bool {
        self.definitions.find(|definition| definition.name == name).is_some()
    }
}

/// A name, and the rest of what describes the thing of this name.
fn named(body: Value, member: &str) -> Result<(String, Map<String, Value>), ApiError> {
    let Value::Object(mut members) = body else { return Err(refused("the request is no object")) };
    let name = members.remove(member).and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default();
    check_name(&name, member)?;
    Ok((name, members))
}

/// AWS's rule for the names of everything in Batch.
pub(super) fn check_name(name: &str, member: &str) -> Result<(), ApiError> {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let begins = name.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
    if !begins || name.len() > 128 || !name.chars().all(legal) {
        return Err(refused(format!(
            "Error executing request, Exception : {member} should match valid pattern: ^[A-Za-z0-9][A-Za-z0-9_-]{{1,127}}$"
        )));
    }
    Ok(())
}

/// The short names of a list of names and ARNs.
fn wanted(body: &Value, member: &str) -> Vec<String> {
    crate::containers::texts(body, member).iter().map(|name| short(name).to_owned()).collect()
}

fn short(named: &str) -> &str {
    named.rsplit('/').next().unwrap_or(named)
}

fn arn(cx: &CallContext, kind: &str, name: &str) -> String {
    format!("arn:aws:batch:{}:{}:{kind}/{name}", cx.region, cx.account)
}
