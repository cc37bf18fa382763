//! `lambda_invoke`: calls an AWS Lambda function.
//!
//! **Safe start**: `Invoke` has no token, gives no handle, and nobody can ask afterwards whether
//! a call arrived. So one attempt makes at most one call, and what interrupts it (a crash, a
//! lost answer, no answer in time) ends the attempt as `lost`: the function may have run, or may
//! still be running. Two settings change that, because only the author can know:
//!
//! - `idempotent: true` says that calling twice does no harm; an interrupted call is repeated.
//! - `durable_name` is for durable functions, which have a token: Lambda gives the same
//!   execution back to a repeated call of the same name.
//!
//! A synchronous call is the whole job: its answer is the result, for up to fifteen minutes. It
//! cannot be stopped once it is made. An asynchronous call ends when Lambda has accepted the
//! event, and more than that is not claimed: Lambda calls the function later, up to three times.
//!
//! The attempt's id goes along in the client context (`trunkline-attempt` among its custom
//! values), so that a function can tell a repeated call. Lambda passes the client context on in
//! synchronous calls only. Nothing is ever added to the payload.

use std::time::Duration;

use aws_sdk_lambda::{operation::RequestId as _, primitives::Blob, types::InvocationType};
use aws_smithy_types::timeout::TimeoutConfig;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    access::{Finding, Needs, Place},
    aws::{SignedAt, error::Trouble, repeat},
    clients::{Clients, START_TIMEOUT},
    operator::{
        Call, ErrorClass, Failure, Found, Handle, Intent, Operator, PrepareContext, Rate, Request, Sent,
        Status,
    },
    registry::Options,
};

mod access;
mod answer;

#[cfg(test)]
mod tests;

/// The longest that a function runs, and a little for the way.
const CALL_TIME_MAX: Duration = Duration::from_secs(15 * 60 + 30);

/// What Lambda takes in a synchronous call.
const SYNC_BYTES_MAX: usize = 6 * 1024 * 1024;

/// What Lambda takes in an asynchronous call.
const ASYNC_BYTES_MAX: usize = 1024 * 1024;

/// What Lambda takes as a client context, in base64.
const CONTEXT_BYTES_MAX: usize = 3583;

/// What Lambda takes as the name of a durable execution.
const DURABLE_NAME_MAX: usize = 64;

/// The custom value of the client context that holds the attempt's id.
const MARKER: &str = "trunkline-attempt";

/// The operator.
#[derive(Clone, Copy, Debug)]
pub struct LambdaInvoke {
    quarantine: Duration,
}

/// Settings of a `lambda_invoke` task.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LambdaInvokeConfig {
    /// The function's name or ARN.
    pub function: String,
    /// A version or an alias; without one, `$LATEST`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qualifier: Option<String>,
    /// What the function receives: any JSON, at most 6 MB, in `async` mode 1 MB. An empty object
    /// if it is left out. Nothing is added to it: the attempt's id, by which a function can tell
    /// a repeated call, is `context.client_context.custom["trunkline-attempt"]`, which Lambda
    /// passes on in `sync` mode only.
    #[serde(default = "nothing")]
    pub payload: Value,
    /// `sync` waits for the function's answer, which becomes the output `response`. `async` ends
    /// when Lambda has accepted the event; whether the function then succeeds is not seen. Calls
    /// of many minutes are better made `async`: what lies between may drop an idle connection,
    /// and then the answer is lost.
    #[serde(default)]
    pub mode: Mode,
    /// Says that calling the function twice with this payload does no harm. An interrupted call
    /// is then repeated instead of ending as `lost`.
    #[serde(default)]
    pub idempotent: bool,
    /// For durable functions (which need a `qualifier`): the beginning of the execution's name;
    /// the attempt's id is put behind it. An interrupted call is repeated, and Lambda makes no
    /// second execution of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durable_name: Option<String>,
}

/// How a function is called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The answer is waited for.
    #[default]
    Sync,
    /// Lambda queues the event.
    Async,
}

fn nothing() -> Value {
    Value::Object(Map::new())
}

/// What a stored request holds.
#[derive(Debug, Deserialize, Serialize)]
struct Stored {
    #[serde(rename = "Invoke")]
    call: InvokeCall,
    /// How long the answer is waited for.
    #[serde(rename = "AnswerWithinSeconds")]
    answer_within_seconds: u64,
    /// Whether a call that may have been made may be made again.
    #[serde(rename = "Repeatable")]
    repeatable: bool,
}

/// `Invoke` in the words of the API.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct InvokeCall {
    function_name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    qualifier: Option<String>,
    invocation_type: String,
    client_context: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    durable_execution_name: Option<String>,
    /// As text: a durable execution is the same only if its payload is, byte for byte.
    payload: String,
}

impl LambdaInvoke {
    /// Takes the scale of time of the options.
    pub fn new(options: &Options) -> Self {
        Self { quarantine: options.quarantine }
    }
}

impl Operator for LambdaInvoke {
    const TYPE: &'static str = "lambda_invoke";
    const EXAMPLE: &'static str = "\
type: lambda_invoke
function: publish-report
qualifier: live
payload: { day: '2026-11-19', format: pdf }
idempotent: true
";
    const SECRETS: &'static [&'static str] = &["payload"];
    const GUARANTEE: &'static str = "At most one call per attempt: Lambda cannot be asked whether a call \
         arrived, so one whose answer was lost ends as `lost`. With `idempotent: true` or a \
         `durable_name` it is repeated.";
    type Config = LambdaInvokeConfig;

    fn default_timeout(&self) -> Duration {
        CALL_TIME_MAX
    }

    fn label(&self, request: &Request) -> String {
        format!("Lambda function {}", function_of(request))
    }

    fn prepare(&self, config: &LambdaInvokeConfig, cx: &PrepareContext<'_>) -> Result<Request, Failure> {
        if config.function.trim().is_empty() {
            return Err(wrong("function: the name or the ARN of a Lambda function is missing"));
        }
        if config.qualifier.as_deref().is_some_and(str::is_empty) {
            return Err(wrong("qualifier: it is empty; name a version or an alias, or leave it out"));
        }
        let is_sync = config.mode == Mode::Sync;
        let payload = payload_text(&config.payload, is_sync)?;
        let limit = if is_sync { cx.timeout.min(CALL_TIME_MAX) } else { START_TIMEOUT };
        let stored = Stored {
            call: InvokeCall {
                function_name: config.function.clone(),
                qualifier: config.qualifier.clone(),
                invocation_type: if is_sync { "RequestResponse" } else { "Event" }.to_owned(),
                client_context: client_context(cx),
                durable_execution_name: config
                    .durable_name
                    .as_deref()
                    .map(|name| durable_name(name, cx))
                    .transpose()?,
                payload,
            },
            answer_within_seconds: limit.as_secs().max(1),
            repeatable: config.idempotent || config.durable_name.is_some(),
        };
        let body = serde_json::to_value(stored).map_err(|error| wrong(&error.to_string()))?;
        Ok(Request { token: cx.attempt_id.to_string(), connection: cx.connection.to_owned(), body })
    }

    fn start_limit(&self, request: &Request) -> Duration {
        request.body["AnswerWithinSeconds"].as_u64().map_or(START_TIMEOUT, Duration::from_secs)
    }

    async fn send(&self, clients: &Clients, intent: &Intent<'_>) -> Sent {
        let request = intent.request;
        let stored = match Stored::deserialize(&request.body) {
            Ok(stored) => stored,
            Err(error) => {
                return Sent::Refused(wrong(&format!("the stored request cannot be read: {error}")));
            }
        };
        let lambda = match clients.lambda(&request.connection).await {
            Ok(lambda) => lambda,
            Err(failure) => return Sent::Refused(failure),
        };
        let is_sync = stored.call.is_sync();
        let limit = self.start_limit(request);
        let patience =
            TimeoutConfig::builder().operation_attempt_timeout(limit).operation_timeout(limit).build();
        let config = aws_sdk_lambda::config::Builder::new()
            .timeout_config(patience)
            // A call that a frozen replica sends much too late is refused for its age.
            .time_source(SignedAt(intent.intent_at));
        let mut call = lambda
            .invoke()
            .function_name(stored.call.function_name)
            .set_qualifier(stored.call.qualifier)
            .invocation_type(InvocationType::from(stored.call.invocation_type.as_str()))
            .set_durable_execution_name(stored.call.durable_execution_name)
            .payload(Blob::new(stored.call.payload));
        if is_sync {
            call = call.log_type("Tail".into()).client_context(stored.call.client_context);
        }
        match call.customize().config_override(config).send().await.map_err(Trouble::from) {
            Ok(answer) => {
                let id = answer.request_id().map(str::to_owned);
                answer::read(function_of(request), is_sync, &answer, id)
            }
            Err(trouble) if trouble.is_not_there() => {
                let region = clients.region_of(&request.connection).await.unwrap_or_default();
                Sent::Refused(no_such_function(request, &region, trouble))
            }
            Err(trouble) => trouble.into_sent(),
        }
    }

    async fn find(&self, _: &Clients, intent: &Intent<'_>) -> Found {
        let request = intent.request;
        if request.body["Repeatable"].as_bool() == Some(true) {
            return repeat(intent, self.quarantine);
        }
        let message = format!(
            "nobody can tell whether function {} ran: its call was interrupted or not answered within {}s. \
             Look at the function's log for the attempt {}; `idempotent: true` would let Trunkline call it again",
            function_of(request),
            self.start_limit(request).as_secs(),
            request.token,
        );
        Found::Lost(Failure::new(ErrorClass::Lost, message))
    }

    async fn poll(&self, _: &Clients, handles: &[Handle]) -> Vec<Status> {
        let gone = || Failure::new(ErrorClass::Lost, "a call of a Lambda function cannot be asked about");
        handles.iter().map(|_| Status::Gone(gone())).collect()
    }

    async fn cancel(&self, _: &Clients, _: &Handle) -> Result<(), Failure> {
        Ok(())
    }

    fn rate(&self, call: Call) -> Option<Rate> {
        // Lambda takes ten calls a second per unit of concurrency, of which an account has 1,000;
        // this only keeps a fan-out from using all of it up at once.
        (call == Call::Start).then(|| Rate { api: "lambda:Invoke".into(), per_second: 50.0, burst: 100.0 })
    }

    fn needs(&self, request: &Request, place: &Place) -> Option<Needs> {
        Some(access::needs(request, place))
    }

    async fn check(&self, clients: &Clients, request: &Request, place: &Place) -> Vec<Finding> {
        access::check(clients, request, place).await
    }
}

impl InvokeCall {
    fn is_sync(&self) -> bool {
        self.invocation_type == "RequestResponse"
    }
}

/// The payload as the text that is stored and sent.
fn payload_text(payload: &Value, is_sync: bool) -> Result<String, Failure> {
    let text = payload.to_string();
    let (most, mode) = if is_sync { (SYNC_BYTES_MAX, "sync") } else { (ASYNC_BYTES_MAX, "async") };
    if text.len() > most {
        return Err(wrong(&format!(
            "payload: {} bytes are more than the {most} that Lambda takes in `mode: {mode}`; put the data \
             into S3 and pass its address",
            text.len()
        )));
    }
    Ok(text)
}

/// The client context, in base64: who calls, for the function to read.
fn client_context(cx: &PrepareContext<'_>) -> String {
    let attempt = cx.attempt_id.to_string();
    let full = json!({ "custom": { MARKER: attempt, "trunkline-run": cx.run, "trunkline-task": cx.task } });
    let encoded = STANDARD.encode(full.to_string());
    if encoded.len() <= CONTEXT_BYTES_MAX {
        return encoded;
    }
    STANDARD.encode(json!({ "custom": { MARKER: attempt } }).to_string())
}

/// The execution's name: what people chose, and the attempt, since a name that is used again
/// gives the earlier execution back, also one that failed.
fn durable_name(prefix: &str, cx: &PrepareContext<'_>) -> Result<String, Failure> {
    let id = cx.attempt_id.simple().to_string();
    let most = DURABLE_NAME_MAX - id.len() - 1;
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !(1..=most).contains(&prefix.len()) || !prefix.chars().all(legal) {
        return Err(wrong(&format!(
            "durable_name: `{prefix}` must have 1 to {most} characters of a-z, A-Z, 0-9, `-` and `_`"
        )));
    }
    Ok(format!("{prefix}-{id}"))
}

fn function_of(request: &Request) -> &str {
    request.body["Invoke"]["FunctionName"].as_str().unwrap_or_default()
}

fn no_such_function(request: &Request, region: &str, trouble: Trouble) -> Failure {
    let mut failure = trouble.into_failure();
    failure.class = ErrorClass::Config;
    failure.message = format!(
        "Lambda has no function `{}` in {region} (connection `{}`): {}",
        function_of(request),
        request.connection,
        failure.message
    );
    failure
}

fn wrong(message: &str) -> Failure {
    Failure::new(ErrorClass::Config, message)
}
