//! `ecs_task`: one ECS task, run to its end.
//!
//! **Safe start**: `RunTask` takes a client token, and the attempt's id is it: the same request with the same token
//! in the same cluster is the same task, for 24 hours or until an hour after the task's end, whichever comes first.
//! So an unconfirmed start is sent again within the first [`RESEND_WINDOW`]; every send is signed with a fixed time,
//! so that one which was delayed is refused by its age before the token is forgotten.
//!
//! Later it is looked for: `startedBy` carries the attempt too, `ListTasks` finds a running task by it, and stopped
//! ones are shown for an hour. What is not found within an hour of its intent was never started; later than that
//! nobody can tell, since a short task may have come and gone.
//!
//! ECS has no limit of its own for a task. [`TASK_TIME_MAX`] is when Fargate may retire it.

use std::{collections::BTreeMap, time::Duration};

use indexmap::IndexMap;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    access::{Finding, Needs, Place},
    aws::{SignedAt, console_host, error::Trouble, exact_body, merge, url_part},
    clients::{Clients, Purpose},
    operator::{
        Call, ErrorClass, Failure, Found, Handle, Intent, Operator, PrepareContext, Rate, Request, Sent,
        Status,
    },
    registry::Options,
    scalar::Scalar,
};

mod access;
mod find;
mod poll;

#[cfg(test)]
mod tests;

/// When a task of Fargate may be retired: the longest that one can be counted on.
const TASK_TIME_MAX: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// How long an unconfirmed start is sent again. The token of a task that ends at once is known for an hour, and a
/// send that is delayed is refused 15 minutes after it was signed.
const RESEND_WINDOW: Duration = Duration::from_secs(40 * 60);

/// How long ECS shows a task after its end.
const STOPPED_SHOWN: Duration = Duration::from_secs(60 * 60);

/// Tasks of one `DescribeTasks`.
const BATCH_MAX: usize = 100;

/// The operator.
#[derive(Clone, Debug)]
pub struct EcsTask {
    quarantine: Duration,
}

/// Settings of an `ecs_task` task.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EcsTaskConfig {
    /// The task definition: a family (its newest revision), `family:revision`, or an ARN.
    pub task_definition: String,
    /// The cluster, by name or ARN; without one, the account's `default` cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// `FARGATE`, `EC2` or `EXTERNAL`; without one, what the cluster's capacity providers say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launch_type: Option<String>,
    /// The container that `command` and `environment` are for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// The command of the container, instead of the definition's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<Scalar>,
    /// Variables of the container, laid over the definition's. They can be read by everybody who may describe the
    /// task: no secrets.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    #[schemars(with = "BTreeMap<String, Scalar>")]
    pub environment: IndexMap<String, Scalar>,
    /// Subnets of the task, where its network mode is `awsvpc`, as with Fargate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subnets: Vec<String>,
    /// Its security groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub security_groups: Vec<String>,
    /// Whether it gets a public address, which a public subnet without a NAT needs to pull images.
    #[serde(default)]
    pub assign_public_ip: bool,
    /// The containers whose exit codes decide; without them, all. Name the main ones where a sidecar is killed when
    /// they end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exit_codes_of: Vec<String>,
    /// More of `RunTask`, in the words of the API; laid over everything above.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub request: Map<String, Value>,
}

/// What a handle says beside the task's ARN.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Detail {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cluster: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    exit_codes_of: Vec<String>,
}

impl EcsTask {
    /// Takes the quarantine of the options, by which windows are scaled.
    pub fn new(options: &Options) -> Self {
        Self { quarantine: options.quarantine }
    }
}

impl Operator for EcsTask {
    const TYPE: &'static str = "ecs_task";
    const EXAMPLE: &'static str = "\
type: ecs_task
cluster: etl
task_definition: cdr-export
launch_type: FARGATE
subnets: [subnet-1234abcd]
container: main
command: [python, -m, export, --date, \"2026-11-19\"]
timeout: 2h
";
    const GUARANTEE: &'static str = "The attempt is the client token: the same start sent again is the same task. An \
         unconfirmed start is looked for by `startedBy` and among stopped tasks; after an hour it may end as `lost`.";
    type Config = EcsTaskConfig;

    fn default_timeout(&self) -> Duration {
        TASK_TIME_MAX
    }

    fn prepare(&self, config: &EcsTaskConfig, cx: &PrepareContext<'_>) -> Result<Request, Failure> {
        let body = json!({ "RunTask": run_task(config, cx)?, "ExitCodesOf": config.exit_codes_of });
        Ok(Request { token: cx.attempt_id.to_string(), connection: cx.connection.to_owned(), body })
    }

    async fn send(&self, clients: &Clients, intent: &Intent<'_>) -> Sent {
        match start(clients, intent.request, intent.intent_at).await {
            Sent::Refused(failure) => {
                let region = clients.region_of(&intent.request.connection).await.unwrap_or_default();
                Sent::Refused(refused(intent.request, &region, failure))
            }
            sent => sent,
        }
    }

    async fn find(&self, clients: &Clients, intent: &Intent<'_>) -> Found {
        find::find(clients, intent, self.quarantine).await
    }

    async fn poll(&self, clients: &Clients, handles: &[Handle]) -> Vec<Status> {
        poll::poll(clients, handles).await
    }

    async fn cancel(&self, clients: &Clients, handle: &Handle) -> Result<(), Failure> {
        let ecs = clients.ecs(&handle.connection, Purpose::Read).await?;
        let answer = ecs
            .stop_task()
            .set_cluster(cluster_of_handle(handle))
            .task(&handle.id)
            .reason("Trunkline was asked to stop this task, or its time was up")
            .send()
            .await;
        match answer.map_err(Trouble::from) {
            Ok(_) => Ok(()),
            // The task is forgotten already: a poll says so.
            Err(trouble) if trouble.is_not_there() || trouble.code() == "InvalidParameterException" => Ok(()),
            Err(trouble) => Err(trouble.into_failure()),
        }
    }

    fn batch_key(&self, handle: &Handle) -> String {
        format!("{}\u{1f}{}", handle.connection, cluster_of_handle(handle).unwrap_or_default())
    }

    fn batch_size(&self) -> usize {
        BATCH_MAX
    }

    fn rate(&self, call: Call) -> Option<Rate> {
        Some(match call {
            Call::Start => Rate { api: "ecs:RunTask".into(), per_second: 20.0, burst: 40.0 },
            Call::Read => Rate { api: "ecs:DescribeTasks".into(), per_second: 20.0, burst: 100.0 },
        })
    }

    fn label(&self, request: &Request) -> String {
        format!("ECS task {}", family_of(request))
    }

    fn handle_of(&self, intent: &Intent<'_>, id: &str) -> Option<Handle> {
        Some(handle(intent.request, id))
    }

    fn console_url(&self, region: &str, handle: &Handle) -> Option<String> {
        let cluster = cluster_of_handle(handle).unwrap_or_else(|| "default".to_owned());
        Some(format!(
            "https://{}/ecs/v2/clusters/{}/tasks/{}/configuration?region={region}",
            console_host(region),
            url_part(last_part(&cluster)),
            url_part(last_part(&handle.id))
        ))
    }

    fn needs(&self, request: &Request, place: &Place) -> Option<Needs> {
        Some(access::needs(request, place))
    }

    async fn check(&self, clients: &Clients, request: &Request, _: &Place) -> Vec<Finding> {
        access::check(clients, request).await
    }
}

/// One send, signed with this time.
async fn start(clients: &Clients, request: &Request, signed_at: Timestamp) -> Sent {
    let ecs = match clients.ecs(&request.connection, Purpose::Start).await {
        Ok(ecs) => ecs,
        Err(failure) => return Sent::Refused(failure),
    };
    let answer = ecs
        .run_task()
        .task_definition(definition_of(request))
        .customize()
        .config_override(aws_sdk_ecs::config::Builder::new().time_source(SignedAt(signed_at)))
        .mutate_request(exact_body(&request.body["RunTask"]))
        .send()
        .await;
    let answer = match answer.map_err(Trouble::from) {
        Ok(answer) => answer,
        Err(trouble) => return trouble.into_sent(),
    };
    let task = answer.tasks.unwrap_or_default().into_iter().find_map(|task| task.task_arn);
    if let Some(arn) = task {
        return Sent::Accepted(handle(request, arn));
    }
    match answer.failures.unwrap_or_default().into_iter().next() {
        Some(failure) => not_placed(request, &failure),
        None => Sent::Unknown(Failure::new(ErrorClass::System, "ECS accepted the start but named no task")),
    }
}

/// A refusal with its place: the service's own words often name neither the definition nor the cluster.
fn refused(request: &Request, region: &str, failure: Failure) -> Failure {
    let cluster = request.body["RunTask"]["cluster"].as_str().unwrap_or("default");
    let message = format!(
        "ECS started no task of `{}` in cluster `{cluster}` ({region}, connection `{}`): {}",
        definition_of(request),
        request.connection,
        failure.message
    );
    Failure { message, ..failure }
}

/// ECS found no place for the task: one entry inside of a good answer, and nothing was started.
fn not_placed(request: &Request, failure: &aws_sdk_ecs::types::Failure) -> Sent {
    let reason = failure.reason.as_deref().unwrap_or("no reason given");
    let detail = failure.detail.as_deref().map(|detail| format!(": {detail}")).unwrap_or_default();
    let text = format!("ECS could not place a task of {}: {reason}{detail}", family_of(request));
    // What is missing for ever, and what only lacks room now.
    let wrong = ["MISSING", "INACTIVE", "ATTRIBUTE"].iter().any(|word| reason.starts_with(word));
    if wrong {
        Sent::Refused(Failure::new(ErrorClass::Config, text).with_code(reason))
    } else {
        Sent::Throttled(Failure::new(ErrorClass::Capacity, text).with_code(reason))
    }
}

/// The body of `RunTask`.
fn run_task(config: &EcsTaskConfig, cx: &PrepareContext<'_>) -> Result<Value, Failure> {
    let wrong = |message: String| Failure::new(ErrorClass::Config, message);
    if config.task_definition.is_empty() {
        return Err(wrong("task_definition: the name of a task definition is missing".to_owned()));
    }
    let mut call = json!({ "taskDefinition": config.task_definition, "count": 1 });
    if let Some(cluster) = &config.cluster {
        call["cluster"] = json!(cluster);
    }
    if let Some(launch_type) = &config.launch_type {
        call["launchType"] = json!(launch_type);
    }
    if config.subnets.is_empty() {
        if !config.security_groups.is_empty() || config.assign_public_ip {
            return Err(wrong("subnets: a task with a network of its own needs at least one".to_owned()));
        }
    } else {
        let public = if config.assign_public_ip { "ENABLED" } else { "DISABLED" };
        let mut network = json!({ "subnets": config.subnets, "assignPublicIp": public });
        if !config.security_groups.is_empty() {
            network["securityGroups"] = json!(config.security_groups);
        }
        call["networkConfiguration"] = json!({ "awsvpcConfiguration": network });
    }
    if let Some(over) = container_override(config)? {
        call["overrides"] = json!({ "containerOverrides": [over] });
    }
    merge(&mut call, &Value::Object(config.request.clone()));
    if call["count"] != json!(1) {
        return Err(wrong("request: `count` must be 1: a task of a pipeline is one task".to_owned()));
    }
    // After `request:`, so that nothing can take them away.
    call["clientToken"] = json!(cx.attempt_id.to_string());
    call["startedBy"] = json!(started_by(&cx.attempt_id.to_string()));
    Ok(call)
}

fn container_override(config: &EcsTaskConfig) -> Result<Option<Value>, Failure> {
    if config.command.is_empty() && config.environment.is_empty() {
        return Ok(None);
    }
    let Some(container) = &config.container else {
        let message = "container: name the container that `command` and `environment` are for";
        return Err(Failure::new(ErrorClass::Config, message));
    };
    let mut over = json!({ "name": container });
    if !config.command.is_empty() {
        over["command"] = config.command.iter().map(|Scalar(word)| json!(word)).collect();
    }
    if !config.environment.is_empty() {
        let pairs =
            config.environment.iter().map(|(name, Scalar(value))| json!({ "name": name, "value": value }));
        over["environment"] = pairs.collect();
    }
    Ok(Some(over))
}

/// What `startedBy` says of an attempt.
fn started_by(token: &str) -> String {
    format!("trunkline-{token}")
}

fn handle(request: &Request, arn: impl Into<String>) -> Handle {
    let detail = Detail {
        cluster: request.body["RunTask"]["cluster"].as_str().map(str::to_owned),
        exit_codes_of: serde_json::from_value(request.body["ExitCodesOf"].clone()).unwrap_or_default(),
    };
    Handle {
        connection: request.connection.clone(),
        id: arn.into(),
        detail: serde_json::to_value(detail).unwrap_or_default(),
    }
}

fn cluster_of_handle(handle: &Handle) -> Option<String> {
    handle.detail["cluster"].as_str().map(str::to_owned)
}

fn definition_of(request: &Request) -> &str {
    request.body["RunTask"]["taskDefinition"].as_str().unwrap_or_default()
}

/// The family of the definition, whichever way it was named.
fn family_of(request: &Request) -> &str {
    last_part(definition_of(request)).split(':').next().unwrap_or_default()
}

fn last_part(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}
