//! Executions: the operations of the API.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::States;
use super::api::{check_arn, check_name, invalid};
use super::journal::{self, END, News, REDRIVEN};
use super::machines::{INVALID, Paging};
use super::record::{ExecutionRecord, MachineKind, MachineRecord, Status};
use crate::files::replace_json;
use crate::glue::request::parse;
use crate::ledger::Accepted;
use crate::wire::{ApiError, CallContext, epoch_seconds};

/// Executions in progress; the service's own limit is a million, and each of these is a task of this process.
const RUNNING_MAX: usize = 10_000;
/// Longest input in bytes (the service's own limit).
const INPUT_MAX: usize = 262_144;
/// Tokens of redrives that are remembered (the service's own number).
const REDRIVE_TOKENS: usize = 10;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Start {
    state_machine_arn: String,
    name: Option<String>,
    input: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct One {
    execution_arn: String,
    included_data: Option<String>,
}

impl States {
    pub(super) fn start_execution(
        self: &Arc<Self>,
        cx: &CallContext,
        body: Value,
    ) -> Result<Value, ApiError> {
        let request: Start = parse(body, INVALID)?;
        let input = request.input.unwrap_or_else(|| "{}".to_owned());
        check_input(&input)?;
        if let Some(name) = &request.name {
            check_name(name)?;
        }
        let execution = {
            let mut state = self.lock();
            let machine = state.machine(&request.state_machine_arn)?;
            let name = request.name.clone().unwrap_or_else(|| self.world.new_uuid().to_string());
            let execution = self.new_execution(cx, machine, name, input);
            if let Some(known) = state.executions.get(&execution.arn) {
                // Same name and same input while it runs: the same execution, and the same answer.
                if known.status == Status::Running && known.input == execution.input {
                    return Ok(started(known));
                }
                let text = format!("Execution Already Exists: '{}'", known.arn);
                return Err(ApiError::new(400, "ExecutionAlreadyExists", text));
            }
            if state.running() >= RUNNING_MAX {
                let text = format!("there are {RUNNING_MAX} executions in progress");
                return Err(ApiError::new(400, "ExecutionLimitExceeded", text));
            }
            replace_json(&self.execution_file(&execution), &execution).map_err(ApiError::internal)?;
            let accepted = Accepted { marker: request.name, id: &execution.arn, subject: &execution.machine };
            self.world.ledger.accepted(cx, accepted).map_err(ApiError::internal)?;
            state.remember(execution.clone());
            execution
        };
        let answer = started(&execution);
        self.begin(execution).map_err(ApiError::internal)?;
        Ok(answer)
    }

    fn new_execution(
        &self,
        cx: &CallContext,
        machine: &MachineRecord,
        name: String,
        input: String,
    ) -> ExecutionRecord {
        let base = format!("arn:aws:states:{}:{}", cx.region, cx.account);
        let arn = match machine.kind {
            MachineKind::Standard => format!("{base}:execution:{}:{name}", machine.name),
            // Not idempotent: every start is another execution, whatever its name.
            MachineKind::Express => {
                format!("{base}:express:{}:{name}:{}", machine.name, self.world.new_uuid())
            }
        };
        ExecutionRecord {
            name: if machine.kind == MachineKind::Express { last_parts(&arn) } else { name },
            arn,
            machine: machine.name.clone(),
            machine_arn: machine.arn.clone(),
            kind: machine.kind,
            definition: machine.definition.clone(),
            role_arn: machine.role_arn.clone(),
            region: cx.region.clone(),
            input,
            status: Status::Running,
            started: cx.now,
            stopped: None,
            output: None,
            error: None,
            cause: None,
            seed: self.world.new_uuid(),
            redrives: 0,
            redriven: None,
            redrive_tokens: Vec::new(),
        }
    }

    pub(super) fn describe_execution(&self, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
        let request: One = parse(body, INVALID)?;
        let execution = self.standard(&request.execution_arn)?;
        let lag = self.world.faults.list_lag(&cx.service, &cx.operation, cx.now);
        let age = cx.now.duration_since(execution.started).unsigned_abs();
        if lag.is_some_and(|lag| age < lag) {
            return Err(no_execution(&request.execution_arn));
        }
        let with_data = request.included_data.as_deref() != Some("METADATA_ONLY");
        let mut shape = execution.shape(cx.now, with_data);
        if let Some(odd) = self.world.faults.unknown_state(&cx.service, &cx.operation, cx.now) {
            shape["status"] = odd.into();
        }
        Ok(shape)
    }

    pub(super) fn list_executions(&self, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Request {
            state_machine_arn: Option<String>,
            status_filter: Option<String>,
            redrive_filter: Option<String>,
            #[serde(flatten)]
            paging: Paging,
        }
        let request: Request = parse(body, INVALID)?;
        let lag = self.world.faults.list_lag(&cx.service, &cx.operation, cx.now);
        let Some(arn) = request.state_machine_arn else {
            return Err(invalid("stateMachineArn is missing: map runs are not supported by the sandbox"));
        };
        let state = self.lock();
        if state.machine(&arn)?.kind == MachineKind::Express {
            let text = "This operation is not supported by this type of state machine";
            return Err(ApiError::new(400, "StateMachineTypeNotSupported", text));
        }
        let is_wanted = |execution: &&ExecutionRecord| {
            let age = cx.now.duration_since(execution.started).unsigned_abs();
            execution.machine_arn == arn
                && request.status_filter.as_deref().is_none_or(|status| status == execution.status.name())
                && lag.is_none_or(|lag| age >= lag)
                && match request.redrive_filter.as_deref() {
                    Some("REDRIVEN") => execution.redrives > 0,
                    Some("NOT_REDRIVEN") => execution.redrives == 0,
                    _ => true,
                }
        };
        let newest_first = state.order.iter().rev().filter_map(|arn| state.executions.get(arn));
        let shapes = newest_first.filter(is_wanted).map(|execution| execution.summary().into()).collect();
        request.paging.answer("executions", shapes)
    }

    pub(super) fn get_history(&self, body: Value) -> Result<Value, ApiError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Request {
            execution_arn: String,
            #[serde(default)]
            reverse_order: bool,
            include_execution_data: Option<bool>,
            #[serde(flatten)]
            paging: Paging,
        }
        let request: Request = parse(body, INVALID)?;
        let execution = self.standard(&request.execution_arn)?;
        let mut events = journal::read(&self.journal_file(&execution)).map_err(ApiError::internal)?;
        if request.reverse_order {
            events.reverse();
        }
        let with_data = request.include_execution_data.unwrap_or(true);
        request.paging.answer("events", events.iter().map(|event| event.shape(with_data)).collect())
    }

    pub(super) fn stop_execution(&self, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Request {
            execution_arn: String,
            error: Option<String>,
            cause: Option<String>,
        }
        let request: Request = parse(body, INVALID)?;
        let execution = self.standard(&request.execution_arn)?;
        let live = self.lock().live.get(&execution.arn).cloned();
        if let Some(run) = live.filter(|_| execution.status == Status::Running) {
            let details = json!({ "error": request.error, "cause": request.cause });
            let shown = without_nulls(&details);
            let news = News::new(END, "ExecutionAborted", 0)
                .details("executionAbortedEventDetails", shown)
                .data(details);
            // Whichever end is recorded first is the end.
            let end = run.journal.record(news, cx.now).map_err(ApiError::internal)?;
            if end.kind == "ExecutionAborted" {
                self.change(&execution.arn, |execution| {
                    execution.end(Status::Aborted, cx.now);
                    execution.error = request.error;
                    execution.cause = request.cause;
                })?;
                run.stop.cancel();
            }
        }
        let execution = self.standard(&request.execution_arn)?;
        Ok(json!({ "stopDate": epoch_seconds(execution.stopped.unwrap_or(cx.now)) }))
    }

    pub(super) fn redrive_execution(
        self: &Arc<Self>,
        cx: &CallContext,
        body: Value,
    ) -> Result<Value, ApiError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Request {
            execution_arn: String,
            client_token: Option<String>,
        }
        let request: Request = parse(body, INVALID)?;
        let execution = self.standard(&request.execution_arn)?;
        let answer = |at: Timestamp| Ok(json!({ "redriveDate": epoch_seconds(at) }));
        if let Some((_, at)) =
            execution.redrive_tokens.iter().find(|(token, _)| Some(token) == request.client_token.as_ref())
        {
            return answer(*at);
        }
        if let Some(reason) = execution.not_redrivable(cx.now) {
            return Err(ApiError::new(400, "ExecutionNotRedrivable", reason));
        }
        let redrives = execution.redrives + 1;
        let journal = journal::Journal::open(&self.journal_file(&execution)).map_err(ApiError::internal)?;
        let news = News::new(format!("redrive/{redrives}"), REDRIVEN, 0)
            .details("executionRedrivenEventDetails", json!({ "redriveCount": redrives }));
        journal.record(news, cx.now).map_err(ApiError::internal)?;
        let execution = self.change(&execution.arn, |execution| {
            execution.status = Status::Running;
            execution.stopped = None;
            (execution.error, execution.cause) = (None, None);
            execution.redrives = redrives;
            execution.redriven = Some(cx.now);
            if let Some(token) = &request.client_token {
                execution.redrive_tokens.push((token.clone(), cx.now));
                let surplus = execution.redrive_tokens.len().saturating_sub(REDRIVE_TOKENS);
                execution.redrive_tokens.drain(..surplus);
            }
        })?;
        let accepted =
            Accepted { marker: request.client_token, id: &execution.arn, subject: &execution.machine };
        self.world.ledger.accepted(cx, accepted).map_err(ApiError::internal)?;
        self.begin(execution).map_err(ApiError::internal)?;
        answer(cx.now)
    }

    /// The execution of an ARN, of a kind that can be looked at.
    fn standard(&self, arn: &str) -> Result<ExecutionRecord, ApiError> {
        check_arn(arn, "execution")?;
        if arn.split(':').nth(5) == Some("express") {
            let text =
                format!("Invalid Arn: 'executions of EXPRESS state machines cannot be looked at: {arn}'");
            return Err(ApiError::new(400, "InvalidArn", text));
        }
        self.lock().executions.get(arn).cloned().ok_or_else(|| no_execution(arn))
    }
}

/// The refusal of an ARN that no execution has.
pub(super) fn no_execution(arn: &str) -> ApiError {
    ApiError::new(400, "ExecutionDoesNotExist", format!("Execution Does Not Exist: '{arn}'"))
}

fn started(execution: &ExecutionRecord) -> Value {
    json!({ "executionArn": execution.arn, "startDate": epoch_seconds(execution.started) })
}

fn check_input(input: &str) -> Result<(), ApiError> {
    let wrong = |text: String| ApiError::new(400, "InvalidExecutionInput", text);
    if input.len() > INPUT_MAX {
        return Err(wrong(format!("the input is longer than {INPUT_MAX} bytes")));
    }
    serde_json::from_str::<Value>(input)
        .map(drop)
        .map_err(|error| wrong(format!("Invalid State Machine Execution Input: '{error}'")))
}

/// The name under which an express execution is kept: its name and its own id.
fn last_parts(arn: &str) -> String {
    arn.rsplitn(3, ':').take(2).collect::<Vec<_>>().join("_")
}

fn without_nulls(details: &Value) -> Value {
    let members = details.as_object().into_iter().flatten();
    Value::Object(
        members.filter(|(_, value)| !value.is_null()).map(|(k, v)| (k.clone(), v.clone())).collect(),
    )
}
