//! Clusters and task definitions.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::record::{Cluster, Definition};
use super::{Ecs, client_error, internal, invalid};
use crate::glue::request::{listed, page, parse};
use crate::process::Script;
use crate::wire::{ApiError, CallContext};

const INVALID: &str = "InvalidParameterException";
/// The member in which provisioning gives a script, and who may give it.
const SCRIPT: &str = "TrunklineSandboxScript";
/// Entries on a page of a list, as on AWS.
const PAGE: usize = 100;
/// Containers of one definition, as on AWS.
const CONTAINERS_MAX: usize = 10;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Paged {
    next_token: Option<String>,
    max_results: Option<usize>,
    family_prefix: Option<String>,
}

impl Ecs {
    pub(super) fn create_cluster(&self, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
        let name = body.get("clusterName").and_then(Value::as_str).unwrap_or("default");
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || name.len() > 255 || !name.chars().all(legal) {
            return Err(invalid("Cluster name contains invalid characters."));
        }
        let cluster = Cluster { name: name.to_owned(), arn: cluster_arn(cx, name), active: true };
        self.clusters.put(cluster.clone()).map_err(internal)?;
        Ok(json!({ "cluster": cluster.shape() }))
    }

    pub(super) fn delete_cluster(&self, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
        let cluster = self.cluster(cx, body.get("cluster").and_then(Value::as_str))?;
        if self.tasks.find(|task| task.cluster == cluster.name && !task.is_stopped()).is_some() {
            let message = "The Cluster cannot be deleted while Tasks are active.";
            return Err(ApiError::new(400, "ClusterContainsTasksException", message));
        }
        self.clusters.change(&cluster.name, |cluster| cluster.active = false).map_err(internal)?;
        Ok(json!({ "cluster": Cluster { active: false, ..cluster }.shape() }))
    }

    pub(super) fn describe_clusters(&self, cx: &CallContext, body: &Value) -> Value {
        let named = body.get("clusters").and_then(Value::as_array).cloned();
        let named = named.filter(|named| !named.is_empty()).unwrap_or_else(|| vec!["default".into()]);
        let (mut clusters, mut failures) = (Vec::new(), Vec::new());
        for name in named.iter().filter_map(Value::as_str) {
            match self.clusters.get(short(name)) {
                Some(cluster) => clusters.push(cluster.shape()),
                None => failures.push(json!({ "arn": cluster_arn(cx, short(name)), "reason": "MISSING" })),
            }
        }
        json!({ "clusters": clusters, "failures": failures })
    }

    pub(super) fn list_clusters(&self, _: &CallContext, body: Value) -> Result<Value, ApiError> {
        let request: Paged = parse(body, INVALID)?;
        let arns =
            self.clusters.select(|cluster| cluster.active).into_iter().map(|cluster| cluster.arn.into());
        let (items, next) =
            page(arns.collect(), request.next_token.as_deref(), request.max_results, PAGE, INVALID)?;
        Ok(small_token(listed("clusterArns", items, next)))
    }

    /// An active cluster by its name or ARN; the default one where none is named.
    pub(super) fn cluster(&self, _: &CallContext, named: Option<&str>) -> Result<Cluster, ApiError> {
        let found = self.clusters.get(short(named.unwrap_or("default")));
        found
            .filter(|cluster| cluster.active)
            .ok_or_else(|| ApiError::new(400, "ClusterNotFoundException", "Cluster not found."))
    }

    /// Whether provisioning needs to make a cluster.
    pub(crate) fn has_cluster(&self, name: &str) -> bool {
        self.clusters.get(name).is_some_and(|cluster| cluster.active)
    }

    /// Whether there is an active definition of this family.
    pub(crate) fn has_family(&self, family: &str) -> bool {
        self.newest(family).is_some()
    }

    pub(super) fn register(&self, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
        let Value::Object(mut members) = body else { return Err(invalid("the request is no object")) };
        let script = members.remove(SCRIPT).filter(|_| cx.caller == crate::provision::CALLER);
        let script = script.map(|script| parse::<Script>(script, INVALID)).transpose()?;
        let family = members.get("family").and_then(Value::as_str).unwrap_or_default().to_owned();
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if family.is_empty() || family.len() > 255 || !family.chars().all(legal) {
            return Err(client_error("Family contains invalid characters."));
        }
        check_containers(&mut members)?;
        let of_family = self.definitions.select(|definition| definition.family == family);
        let revision = of_family.iter().map(|definition| definition.revision).max().unwrap_or(0) + 1;
        members.entry("volumes").or_insert_with(|| json!([]));
        members.entry("placementConstraints").or_insert_with(|| json!([]));
        let definition = Definition {
            id: format!("{family}:{revision}"),
            arn: format!("arn:aws:ecs:{}:{}:task-definition/{family}:{revision}", cx.region, cx.account),
            family,
            revision,
            active: true,
            registered: cx.now,
            registered_by: format!("arn:aws:iam::{}:root", cx.account),
            members,
            script,
        };
        self.definitions.put(definition.clone()).map_err(internal)?;
        Ok(json!({ "taskDefinition": definition.shape() }))
    }

    pub(super) fn deregister(&self, _: &CallContext, body: Value) -> Result<Value, ApiError> {
        let named = body.get("taskDefinition").and_then(Value::as_str).unwrap_or_default();
        let found = self.definitions.get(short(named)).ok_or_else(no_definition)?;
        self.definitions.change(&found.id, |definition| definition.active = false).map_err(internal)?;
        Ok(json!({ "taskDefinition": Definition { active: false, ..found }.shape() }))
    }

    pub(super) fn describe_definition(&self, _: &CallContext, body: Value) -> Result<Value, ApiError> {
        let named = body.get("taskDefinition").and_then(Value::as_str).unwrap_or_default();
        Ok(json!({ "taskDefinition": self.definition(named)?.shape() }))
    }

    pub(super) fn list_definitions(&self, _: &CallContext, body: Value) -> Result<Value, ApiError> {
        let request: Paged = parse(body, INVALID)?;
        let prefix = request.family_prefix.unwrap_or_default();
        let found =
            self.definitions.select(|definition| definition.active && definition.family.starts_with(&prefix));
        let arns = found.into_iter().map(|definition| definition.arn.into()).collect();
        let (items, next) = page(arns, request.next_token.as_deref(), request.max_results, PAGE, INVALID)?;
        Ok(small_token(listed("taskDefinitionArns", items, next)))
    }

    /// A definition by `family`, `family:revision` or ARN.
    pub(super) fn definition(&self, named: &str) -> Result<Definition, ApiError> {
        let name = short(named);
        let found = if name.contains(':') { self.definitions.get(name) } else { self.newest(name) };
        found.ok_or_else(no_definition)
    }

    fn newest(&self, family: &str) -> Option<Definition> {
        let of_family =
            self.definitions.select(|definition| definition.active && definition.family == family);
        of_family.into_iter().max_by_key(|definition| definition.revision)
    }
}

fn check_containers(members: &mut Map<String, Value>) -> Result<(), ApiError> {
    let containers = members.get_mut("containerDefinitions").and_then(Value::as_array_mut);
    let containers = containers.ok_or_else(|| client_error("Container list cannot be empty."))?;
    if containers.is_empty() || containers.len() > CONTAINERS_MAX {
        return Err(client_error(format!("a task definition has from 1 to {CONTAINERS_MAX} containers")));
    }
    for container in containers {
        let text = |member: &str| container.get(member).and_then(Value::as_str).unwrap_or_default();
        if text("name").is_empty() || text("image").is_empty() {
            return Err(client_error("Container.name and Container.image should not be null or empty."));
        }
        for member in ["environment", "mountPoints", "portMappings", "volumesFrom"] {
            if container.get(member).is_none() {
                container[member] = json!([]);
            }
        }
    }
    Ok(())
}

fn no_definition() -> ApiError {
    client_error("Unable to describe task definition.")
}

fn cluster_arn(cx: &CallContext, name: &str) -> String {
    format!("arn:aws:ecs:{}:{}:cluster/{name}", cx.region, cx.account)
}

/// The last part of an ARN, or the name that was given.
pub(super) fn short(named: &str) -> &str {
    named.rsplit('/').next().unwrap_or(named)
}

/// ECS begins the member's name with a small letter.
pub(super) fn small_token(mut answer: Value) -> Value {
    if let Some(token) = answer.as_object_mut().and_then(|answer| answer.remove("NextToken")) {
        answer["nextToken"] = token;
    }
    answer
}
