//! `step_function`: one execution of an AWS Step Functions state machine.
//!
//! **Safe start**: an execution of a STANDARD machine has a name, which is unique in its machine for 90 days.
//! The name ends in the attempt's id, so the same start sent again is the same execution: while it runs,
//! `StartExecution` answers as it did before; once it has ended, it says `ExecutionAlreadyExists`, and the
//! execution is looked up under the address that follows from its name and compared with the request.
//!
//! EXPRESS machines are started at least once by AWS itself, and nobody can look at their executions. They are
//! refused unless the task says `idempotent: true`; it has then succeeded when the execution was accepted.
//!
//! Before the intent the machine is described ([`Baseline`]): its name becomes an ARN of the connection's
//! account and region, and its type is known before anything is started.
//!
//! With `redrive: true`, a retry goes on with the failed execution of the attempt before it (`redrive.rs`), where
//! Step Functions says that it can.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    access::{Finding, Needs, Place},
    aws::{SignedAt, console_host, error::Trouble, exact_body, merge, url_part},
    clients::{Clients, Purpose},
    clock::Clock,
    operator::{
        Call, ErrorClass, Failure, Found, Handle, Intent, Operator, Outcome, PrepareContext, Rate, Request,
        Sent, Status,
    },
    registry::Options,
};

mod access;
pub(crate) mod address;
mod find;
mod poll;
mod redrive;

#[cfg(test)]
mod tests;

/// The longest that an execution may take: one year, the service's limit for STANDARD machines.
const EXECUTION_TIME_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The longest input that Step Functions takes.
const INPUT_BYTES_MAX: usize = 262_144;

/// The longest name of an execution.
const NAME_MAX: usize = 80;

/// What names cannot hold, beside white space and control characters.
const FORBIDDEN: &str = "<>{}[]?*\"#%\\^|~`$&,;:/";

/// What names begin with where the task says nothing.
const NAME_PREFIX: &str = "trunkline";

/// How long an execution that was accepted may not be seen by `DescribeExecution`.
const SETTLED: Duration = Duration::from_secs(60);

/// Executions of one machine that one poll looks at. `ListExecutions` names a thousand that run; those that
/// have ended are described one by one, and so many at once fit into what AWS lets burst.
const BATCH_MAX: usize = 50;

/// The operator.
#[derive(Clone, Debug)]
pub struct StepFunction {
    clock: Clock,
    quarantine: Duration,
}

/// Settings of a `step_function` task.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepFunctionConfig {
    /// The state machine: its name in the account and region of the connection, or its ARN, which may end in a
    /// version or an alias.
    pub state_machine: String,
    /// The input of the execution.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub input: Map<String, Value>,
    /// What the execution's name begins with, instead of `trunkline`; the attempt's id follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name_prefix: Option<String>,
    /// Allows an EXPRESS machine: its execution may run twice, and the task ends when it was accepted.
    #[serde(default)]
    pub idempotent: bool,
    /// A retry goes on with the execution that failed, from the state in which it failed, instead of starting a new
    /// one. Where Step Functions does not allow it (after 14 days, after too many events), a new one is started.
    #[serde(default)]
    pub redrive: bool,
    /// More of `StartExecution`, in the words of the API, e.g. `traceHeader`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub request: Map<String, Value>,
}

/// What was found out before the intent.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub(crate) struct Baseline {
    /// The machine's ARN, with the version or alias that the task names.
    arn: String,
    /// Whether it is an EXPRESS machine.
    #[serde(default)]
    express: bool,
    /// The execution that is redriven instead of starting a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    redrive: Option<redrive::Before>,
}

impl StepFunction {
    /// Takes the clock and the quarantine of the options.
    pub fn new(options: &Options) -> Self {
        Self { clock: options.clock.clone(), quarantine: options.quarantine }
    }
}

impl Operator for StepFunction {
    const TYPE: &'static str = "step_function";
    const EXAMPLE: &'static str = "\
type: step_function
state_machine: cdr-quality
input: { date: \"2026-11-19\", strict: true }
timeout: 2h
";
    const GUARANTEE: &'static str = "Executions of STANDARD machines are named after the attempt, and a name is \
         taken once in 90 days: the same start sent again is the same execution, never a second one. A redrive is \
         told by its token and by the number of redrives before it.";
    type Config = StepFunctionConfig;

    fn default_timeout(&self) -> Duration {
        EXECUTION_TIME_MAX
    }

    fn needs_baseline(&self) -> bool {
        true
    }

    fn follows_previous(&self) -> bool {
        true
    }

    fn prepare(&self, config: &StepFunctionConfig, cx: &PrepareContext<'_>) -> Result<Request, Failure> {
        let machine = &config.state_machine;
        if machine.starts_with("arn:") {
            address::check_machine(machine)?;
        } else {
            check_name("state_machine", machine)?;
        }
        let name = format!("{}-{}", config.name_prefix.as_deref().unwrap_or(NAME_PREFIX), cx.attempt_id);
        check_name("name_prefix", &name)?;
        let input = Value::Object(config.input.clone()).to_string();
        if input.len() > INPUT_BYTES_MAX {
            let message = format!("input: {} bytes, Step Functions takes {INPUT_BYTES_MAX}", input.len());
            return Err(Failure::new(ErrorClass::Config, message));
        }
        if let Some(key) =
            ["stateMachineArn", "name", "input"].into_iter().find(|key| config.request.contains_key(*key))
        {
            let message =
                format!("request: `{key}` is made of the task's own settings and cannot be set here");
            return Err(Failure::new(ErrorClass::Config, message));
        }
        let mut call = json!({ "name": name, "input": input });
        merge(&mut call, &Value::Object(config.request.clone()));
        let mut body =
            json!({ "StateMachine": machine, "Idempotent": config.idempotent, "StartExecution": call });
        if config.redrive {
            body["Redrive"] = json!(true);
        }
        if let Some(before) = cx.previous.filter(|_| config.redrive) {
            let token = cx.attempt_id.to_string();
            body["RedriveExecution"] = json!({ "executionArn": before.id, "clientToken": token });
        }
        Ok(Request { token: name, connection: cx.connection.to_owned(), body })
    }

    async fn baseline(&self, clients: &Clients, request: &Request) -> Result<Value, Failure> {
        let mut baseline = describe_machine(clients, request).await?;
        if baseline.express && request.body["Idempotent"] != json!(true) {
            return Err(refused_express(request));
        }
        baseline.redrive = redrive::look(clients, request, &baseline).await?;
        Ok(serde_json::to_value(baseline).unwrap_or_default())
    }

    async fn send(&self, clients: &Clients, intent: &Intent<'_>) -> Sent {
        if let Some(before) = redrive::before(intent) {
            return redrive::send(clients, intent, &before, Some(SignedAt(intent.intent_at))).await;
        }
        // Signed with the intent's time like a start without a token: a frozen replica that wakes up after the
        // name may be taken again is refused.
        match start(clients, intent, Some(SignedAt(intent.intent_at))).await {
            Started::Sent(sent) => sent,
            Started::Exists(failure) => find::after_exists(clients, intent, failure).await,
        }
    }

    async fn find(&self, clients: &Clients, intent: &Intent<'_>) -> Found {
        match redrive::before(intent) {
            Some(before) => redrive::find(clients, intent, &before, self.quarantine).await,
            None => find::find(clients, intent, self.quarantine).await,
        }
    }

    async fn poll(&self, clients: &Clients, handles: &[Handle]) -> Vec<Status> {
        poll::poll(clients, handles, self.clock.now(), self.quarantine).await
    }

    async fn cancel(&self, clients: &Clients, handle: &Handle) -> Result<(), Failure> {
        let step_functions = clients.step_functions(&handle.connection, Purpose::Read).await?;
        let answer = step_functions
            .stop_execution()
            .execution_arn(&handle.id)
            .error("Trunkline.Cancelled")
            .cause("Trunkline was asked to stop this execution, or its time was up")
            .send()
            .await;
        match answer.map_err(Trouble::from) {
            Ok(_) => Ok(()),
            Err(trouble) if trouble.is_not_there() => Ok(()),
            Err(trouble) => Err(trouble.into_failure()),
        }
    }

    fn batch_key(&self, handle: &Handle) -> String {
        format!("{}\u{1f}{}", handle.connection, address::machine_of_handle(handle))
    }

    fn batch_size(&self) -> usize {
        BATCH_MAX
    }

    fn rate(&self, call: Call) -> Option<Rate> {
        // The figures of the smaller regions; the three largest allow more.
        Some(match call {
            Call::Start => Rate { api: "states:StartExecution".into(), per_second: 150.0, burst: 800.0 },
            Call::Read => Rate { api: "states:DescribeExecution".into(), per_second: 10.0, burst: 250.0 },
        })
    }

    fn label(&self, request: &Request) -> String {
        format!("Step Functions execution of {}", address::short(machine_of(request)))
    }

    fn handle_of(&self, intent: &Intent<'_>, id: &str) -> Option<Handle> {
        let baseline = baseline_of(intent).ok()?;
        let arn = if id.starts_with("arn:") { id.to_owned() } else { address::execution(&baseline.arn, id)? };
        Some(handle(intent, &baseline, arn))
    }

    fn console_url(&self, region: &str, handle: &Handle) -> Option<String> {
        let host = console_host(region);
        let arn = url_part(&handle.id);
        Some(format!("https://{host}/states/home?region={region}#/v2/executions/details/{arn}"))
    }

    fn needs(&self, request: &Request, place: &Place) -> Option<Needs> {
        Some(access::needs(request, place))
    }

    async fn check(&self, clients: &Clients, request: &Request, place: &Place) -> Vec<Finding> {
        access::check(clients, request, place).await
    }
}

/// What came of one start.
enum Started {
    Sent(Sent),
    /// An execution has this name already: ours or not, it must be looked at.
    Exists(Failure),
}

/// Sends the stored request, as a start or as a question about one: with a name both are the same call.
async fn start(clients: &Clients, intent: &Intent<'_>, signed: Option<SignedAt>) -> Started {
    let request = intent.request;
    let baseline = match baseline_of(intent) {
        Ok(baseline) => baseline,
        Err(failure) => return Started::Sent(Sent::Refused(failure)),
    };
    let step_functions = match clients.step_functions(&request.connection, Purpose::Start).await {
        Ok(step_functions) => step_functions,
        Err(failure) => return Started::Sent(Sent::Refused(failure)),
    };
    let mut config = aws_sdk_sfn::config::Builder::new();
    if let Some(signed) = signed {
        config = config.time_source(signed);
    }
    let mut body = request.body["StartExecution"].clone();
    body["stateMachineArn"] = json!(baseline.arn);
    let answer = step_functions
        .start_execution()
        .state_machine_arn(&baseline.arn)
        .name(&request.token)
        .customize()
        .config_override(config)
        .mutate_request(exact_body(&body))
        .send()
        .await;
    match answer.map_err(Trouble::from) {
        Ok(answer) if baseline.express => Started::Sent(Sent::Done(accepted_express(answer.execution_arn))),
        Ok(answer) => Started::Sent(Sent::Accepted(handle(intent, &baseline, answer.execution_arn))),
        Err(trouble) if trouble.code() == "ExecutionAlreadyExists" => Started::Exists(trouble.into_failure()),
        Err(trouble) if trouble.is_not_there() => {
            Started::Sent(Sent::Refused(no_such_machine(request, trouble)))
        }
        Err(trouble) => Started::Sent(trouble.into_sent()),
    }
}

/// The machine's ARN and type.
async fn describe_machine(clients: &Clients, request: &Request) -> Result<Baseline, Failure> {
    let machine = machine_of(request);
    let arn = if machine.starts_with("arn:") {
        machine.to_owned()
    } else {
        let region = clients.region_of(&request.connection).await?;
        let account = clients.account(&request.connection).await?;
        address::machine(&region, &account, machine)
    };
    let step_functions = clients.step_functions(&request.connection, Purpose::Read).await?;
    // Versions and aliases are of the type of their machine.
    let answer =
        step_functions.describe_state_machine().state_machine_arn(address::unqualified(&arn)).send().await;
    match answer.map_err(Trouble::from) {
        Ok(answer) => Ok(Baseline { express: answer.r#type().as_str() == "EXPRESS", arn, redrive: None }),
        Err(trouble) if trouble.is_not_there() => Err(no_such_machine(request, trouble)),
        Err(trouble) if trouble.code().starts_with("AccessDenied") => {
            let mut failure = trouble.into_failure();
            failure.message = format!(
                "before a start the state machine is described, to know its type: allow states:DescribeStateMachine \
                 on {arn}: {}",
                failure.message
            );
            Err(failure)
        }
        Err(trouble) => Err(trouble.into_failure()),
    }
}

fn baseline_of(intent: &Intent<'_>) -> Result<Baseline, Failure> {
    serde_json::from_value(intent.baseline.clone()).map_err(|error| {
        let message = format!("the stored description of the state machine cannot be read: {error}");
        Failure::new(ErrorClass::Config, message)
    })
}

fn machine_of(request: &Request) -> &str {
    request.body["StateMachine"].as_str().unwrap_or_default()
}

fn handle(intent: &Intent<'_>, baseline: &Baseline, arn: String) -> Handle {
    let detail = json!({ "state_machine": address::unqualified(&baseline.arn), "since": intent.intent_at });
    Handle { connection: intent.request.connection.clone(), id: arn, detail }
}

fn accepted_express(arn: String) -> Outcome {
    let mut outcome = Outcome::default();
    outcome.outputs.insert("execution_arn".into(), arn.into());
    let text = "the state machine is of type EXPRESS: its execution was accepted, how it ends is not watched";
    outcome.warnings.push(text.to_owned());
    outcome
}

fn refused_express(request: &Request) -> Failure {
    let message = format!(
        "state_machine: `{}` is of type EXPRESS. AWS may run such an execution twice, and nobody can ask how it \
         ended: make the machine STANDARD, or say `idempotent: true` if its work may be repeated (the task then \
         ends when the execution was accepted)",
        machine_of(request)
    );
    Failure::new(ErrorClass::Config, message)
}

fn no_such_machine(request: &Request, trouble: Trouble) -> Failure {
    let mut failure = trouble.into_failure();
    failure.class = ErrorClass::Config;
    failure.message = format!(
        "Step Functions has no state machine `{}` (connection `{}`): {}",
        machine_of(request),
        request.connection,
        failure.message
    );
    failure
}

/// Whether Step Functions takes this name. `setting` is named in the complaint.
fn check_name(setting: &str, name: &str) -> Result<(), Failure> {
    let wrong = |c: &char| c.is_whitespace() || c.is_control() || FORBIDDEN.contains(*c);
    let message = match name.chars().find(wrong) {
        Some(character) => format!("{setting}: a name cannot hold {character:?}, as `{name}` does"),
        None if name.is_empty() => format!("{setting}: the name of a state machine, or its ARN, is missing"),
        None if name.chars().count() > NAME_MAX => {
            format!(
                "{setting}: `{name}` has {} characters, Step Functions takes {NAME_MAX}",
                name.chars().count()
            )
        }
        None => return Ok(()),
    };
    Err(Failure::new(ErrorClass::Config, message))
}
