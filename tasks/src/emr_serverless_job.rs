//! `emr_serverless_job`: one job run of an EMR Serverless application.
//!
//! **Safe start**: `StartJobRun` takes a client token, and the attempt's id is it, so that a retry never replays the
//! run of an earlier attempt. How long EMR remembers a token is not published: it is relied on for
//! [`RESEND_WINDOW`] only, and every send is signed with a fixed time, so that a delayed one is refused by its age.
//! Later the run is looked for by its name, which ends in the attempt's id, among the application's runs since the
//! intent; what is not there when the signature has expired was never started.

use std::{collections::BTreeMap, time::Duration};

use indexmap::IndexMap;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    access::{Finding, Needs, Place},
    aws::{SignedAt, address::Address, error::Trouble, exact_body, merge, url_part},
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

/// The limit of a run that names none.
const RUN_TIME_DEFAULT: Duration = Duration::from_secs(12 * 60 * 60);

/// How long an unconfirmed start is sent again.
const RESEND_WINDOW: Duration = Duration::from_secs(40 * 60);

/// The longest name of a run.
const NAME_MAX: usize = 256;

/// The operator.
#[derive(Clone, Debug)]
pub struct EmrServerlessJob {
    quarantine: Duration,
}

/// Settings of an `emr_serverless_job` task.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EmrServerlessJobConfig {
    /// The application's id.
    pub application: String,
    /// The ARN of the role that the job runs as.
    pub execution_role: String,
    /// The S3 address of the script or jar.
    pub entry_point: String,
    /// Its arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<Scalar>,
    /// Spark's settings, e.g. `spark.executor.memory: 8g`.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    #[schemars(with = "BTreeMap<String, Scalar>")]
    pub spark_conf: IndexMap<String, Scalar>,
    /// More parameters of `spark-submit`, as one text, e.g. `--class org.example.Main`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spark_submit_parameters: Option<String>,
    /// The CloudWatch log group of the driver's output; a failure then shows the end of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_group: Option<String>,
    /// What the run's name begins with, instead of the pipeline's and the task's names; the attempt's id follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name_prefix: Option<String>,
    /// More of `StartJobRun`, in the words of the API; laid over everything above.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub request: Map<String, Value>,
}

/// What a handle says beside the id of the run.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Detail {
    application: String,
}

impl EmrServerlessJob {
    /// Takes the quarantine of the options, by which windows are scaled.
    pub fn new(options: &Options) -> Self {
        Self { quarantine: options.quarantine }
    }
}

impl Operator for EmrServerlessJob {
    const TYPE: &'static str = "emr_serverless_job";
    const EXAMPLE: &'static str = "\
type: emr_serverless_job
application: 00f1abcd2efgh3ij
execution_role: arn:aws:iam::123456789012:role/spark
entry_point: s3://etl-scripts/aggregate.py
arguments: [--date, \"2026-11-19\"]
spark_conf: { spark.executor.memory: 8g }
timeout: 4h
";
    const GUARANTEE: &'static str = "The attempt is the client token: the same start sent again is the same run. Later \
         an unconfirmed start is found by the run's name, or proved never made.";
    type Config = EmrServerlessJobConfig;

    fn default_timeout(&self) -> Duration {
        RUN_TIME_DEFAULT
    }

    fn prepare(&self, config: &EmrServerlessJobConfig, cx: &PrepareContext<'_>) -> Result<Request, Failure> {
        let body = json!({ "Application": config.application, "StartJobRun": start_job_run(config, cx)? });
        Ok(Request { token: cx.attempt_id.to_string(), connection: cx.connection.to_owned(), body })
    }

    async fn send(&self, clients: &Clients, intent: &Intent<'_>) -> Sent {
        match start(clients, intent.request, intent.intent_at).await {
            Sent::Refused(failure) if failure.code.as_deref() == Some("ResourceNotFoundException") => {
                let region = clients.region_of(&intent.request.connection).await.unwrap_or_default();
                Sent::Refused(no_such_application(intent.request, &region, failure))
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
        poll::cancel(clients, handle).await
    }

    fn rate(&self, call: Call) -> Option<Rate> {
        // The published quotas: StartJobRun 1 a second with bursts of 2, GetJobRun 10 with 20.
        Some(match call {
            Call::Start => Rate { api: "emr-serverless:StartJobRun".into(), per_second: 1.0, burst: 2.0 },
            Call::Read => Rate { api: "emr-serverless:GetJobRun".into(), per_second: 10.0, burst: 20.0 },
        })
    }

    fn label(&self, request: &Request) -> String {
        let entry = request.body["StartJobRun"]["jobDriver"]["sparkSubmit"]["entryPoint"].as_str();
        let file = entry.unwrap_or_default().rsplit('/').next().unwrap_or_default();
        if file.is_empty() { "EMR Serverless job".to_owned() } else { format!("EMR Serverless job {file}") }
    }

    fn handle_of(&self, intent: &Intent<'_>, id: &str) -> Option<Handle> {
        Some(handle(intent.request, id))
    }

    fn console_url(&self, region: &str, handle: &Handle) -> Option<String> {
        // The studio's own pages need a login of their own; this is the application's list in the console.
        let host = crate::aws::console_host(region);
        let application = url_part(application_of_handle(handle));
        Some(format!("https://{host}/emr/home?region={region}#/serverless-applications/{application}"))
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
    let emr = match clients.emr_serverless(&request.connection, Purpose::Start).await {
        Ok(emr) => emr,
        Err(failure) => return Sent::Refused(failure),
    };
    let call = &request.body["StartJobRun"];
    let answer = emr
        .start_job_run()
        .application_id(application_of(request))
        .client_token(&request.token)
        .execution_role_arn(call["executionRoleArn"].as_str().unwrap_or_default())
        .customize()
        .config_override(aws_sdk_emrserverless::config::Builder::new().time_source(SignedAt(signed_at)))
        .mutate_request(exact_body(call))
        .send()
        .await;
    match answer.map_err(Trouble::from) {
        Ok(answer) if answer.job_run_id.is_empty() => {
            Sent::Unknown(Failure::new(ErrorClass::System, "EMR accepted the start but named no run"))
        }
        Ok(answer) => Sent::Accepted(handle(request, answer.job_run_id)),
        Err(trouble) => trouble.into_sent(),
    }
}

/// The body of `StartJobRun`.
fn start_job_run(config: &EmrServerlessJobConfig, cx: &PrepareContext<'_>) -> Result<Value, Failure> {
    let wrong = |message: String| Err(Failure::new(ErrorClass::Config, message));
    let id = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if config.application.is_empty() || !config.application.chars().all(id) {
        return wrong(format!(
            "application: `{}` is no id of an application; its name will not do",
            config.application
        ));
    }
    if !config.execution_role.starts_with("arn:") {
        return wrong(format!("execution_role: `{}` is no ARN of a role", config.execution_role));
    }
    Address::object(&config.entry_point, "entry_point")?;
    let mut spark = json!({ "entryPoint": config.entry_point });
    if !config.arguments.is_empty() {
        spark["entryPointArguments"] = config.arguments.iter().map(|Scalar(word)| json!(word)).collect();
    }
    if let Some(parameters) = submit_parameters(config)? {
        spark["sparkSubmitParameters"] = json!(parameters);
    }
    let mut call = json!({
        "executionRoleArn": config.execution_role,
        "jobDriver": { "sparkSubmit": spark },
        // EMR's own limit, so that the run ends in time even if nobody is there to stop it.
        "executionTimeoutMinutes": cx.timeout.as_secs().div_ceil(60).max(5),
    });
    if let Some(group) = &config.log_group {
        let logging = json!({ "enabled": true, "logGroupName": group });
        call["configurationOverrides"] =
            json!({ "monitoringConfiguration": { "cloudWatchLoggingConfiguration": logging } });
    }
    merge(&mut call, &Value::Object(config.request.clone()));
    // After `request:`, so that nothing can take them away.
    call["clientToken"] = json!(cx.attempt_id.to_string());
    call["name"] = json!(name_of(config, cx)?);
    Ok(call)
}

fn submit_parameters(config: &EmrServerlessJobConfig) -> Result<Option<String>, Failure> {
    let mut parts = Vec::new();
    for (name, Scalar(value)) in &config.spark_conf {
        if name.contains(char::is_whitespace) || value.contains(char::is_whitespace) {
            let message =
                format!("spark_conf: `{name}={value}` has white space, which spark-submit would cut there");
            return Err(Failure::new(ErrorClass::Config, message));
        }
        parts.push(format!("--conf {name}={value}"));
    }
    parts.extend(config.spark_submit_parameters.clone());
    Ok((!parts.is_empty()).then(|| parts.join(" ")))
}

fn name_of(config: &EmrServerlessJobConfig, cx: &PrepareContext<'_>) -> Result<String, Failure> {
    let id = cx.attempt_id.to_string();
    let most = NAME_MAX - id.len() - 1;
    let prefix = config.name_prefix.clone().unwrap_or_else(|| format!("{}-{}", cx.pipeline, cx.task));
    let legal = |c: char| c.is_ascii_alphanumeric() || "._/#-".contains(c);
    if prefix.is_empty() || !prefix.chars().all(legal) {
        let message =
            format!("name_prefix: `{prefix}` must have characters of a-z, A-Z, 0-9 and `._/#-` only");
        if config.name_prefix.is_some() {
            return Err(Failure::new(ErrorClass::Config, message));
        }
    }
    let prefix: String = prefix.chars().map(|c| if legal(c) { c } else { '-' }).take(most).collect();
    Ok(format!("{prefix}-{id}"))
}

fn no_such_application(request: &Request, region: &str, failure: Failure) -> Failure {
    Failure {
        class: ErrorClass::Config,
        message: format!(
            "EMR Serverless has no application `{}` in {region} (connection `{}`): {}",
            application_of(request),
            request.connection,
            failure.message
        ),
        ..failure
    }
}

fn handle(request: &Request, id: impl Into<String>) -> Handle {
    let detail = Detail { application: application_of(request).to_owned() };
    Handle {
        connection: request.connection.clone(),
        id: id.into(),
        detail: serde_json::to_value(detail).unwrap_or_default(),
    }
}

fn application_of(request: &Request) -> &str {
    request.body["Application"].as_str().unwrap_or_default()
}

fn application_of_handle(handle: &Handle) -> &str {
    handle.detail["application"].as_str().unwrap_or_default()
}
