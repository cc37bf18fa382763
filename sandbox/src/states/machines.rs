//! State machines: the operations of the API.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::States;
use super::api::{check_arn, check_name, invalid};
use super::definition::{Machine, Problem};
use super::record::{MachineKind, MachineRecord};
use crate::files::replace_json;
use crate::glue::request::{insert_some, page, parse};
use crate::wire::{ApiError, CallContext, epoch_seconds};

/// State machines of an account (the service's own limit).
const MACHINES_MAX: usize = 10_000;
/// Page size of the lists (the API's own maximum).
pub(super) const PAGE_MAX: usize = 1_000;
/// The exception for requests that make no sense.
pub(super) const INVALID: &str = "ValidationException";
/// Most diagnostics that `ValidateStateMachineDefinition` gives (the API's own maximum).
const DIAGNOSTICS_MAX: usize = 100;

/// Members that are kept and shown and have no effect in the sandbox.
const SETTINGS: [&str; 3] = ["loggingConfiguration", "tracingConfiguration", "encryptionConfiguration"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Create {
    name: String,
    definition: String,
    role_arn: String,
    #[serde(default, rename = "type")]
    kind: MachineKind,
    #[serde(default)]
    publish: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Update {
    state_machine_arn: String,
    definition: Option<String>,
    role_arn: Option<String>,
    #[serde(default)]
    publish: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct One {
    state_machine_arn: String,
}

impl States {
    pub(super) fn create_machine(&self, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
        let settings = settings_of(&body);
        let request: Create = parse(body, INVALID)?;
        check_name(&request.name)?;
        refuse_versions(request.publish)?;
        check_definition(&request.definition)?;
        let arn = format!("arn:aws:states:{}:{}:stateMachine:{}", cx.region, cx.account, request.name);
        let mut state = self.lock();
        if let Some(known) = state.machines.get(&arn) {
            // The same request again is no error; the role does not count.
            if known.definition == request.definition
                && known.kind == request.kind
                && known.settings == settings
            {
                return Ok(created(known));
            }
            let text = format!("State Machine Already Exists: '{arn}'");
            return Err(ApiError::new(400, "StateMachineAlreadyExists", text));
        }
        if state.machines.len() >= MACHINES_MAX {
            let text = format!("there are {MACHINES_MAX} state machines");
            return Err(ApiError::new(400, "StateMachineLimitExceeded", text));
        }
        let machine = MachineRecord {
            arn: arn.clone(),
            name: request.name,
            kind: request.kind,
            definition: request.definition,
            role_arn: request.role_arn,
            created: cx.now,
            revision: None,
            settings,
        };
        replace_json(&self.machine_file(&arn), &machine).map_err(ApiError::internal)?;
        let answer = created(&machine);
        state.machines.insert(arn, machine);
        Ok(answer)
    }

    pub(super) fn update_machine(&self, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
        let settings = settings_of(&body);
        let request: Update = parse(body, INVALID)?;
        refuse_versions(request.publish)?;
        if request.definition.is_none() && request.role_arn.is_none() && settings.is_empty() {
            let text = "Either the definition, the role ARN, or a configuration must be specified";
            return Err(ApiError::new(400, "MissingRequiredParameter", text));
        }
        if let Some(definition) = &request.definition {
            check_definition(definition)?;
        }
        let mut state = self.lock();
        let mut machine = state.machine(&request.state_machine_arn)?.clone();
        machine.definition = request.definition.unwrap_or(machine.definition);
        machine.role_arn = request.role_arn.unwrap_or(machine.role_arn);
        machine.settings.extend(settings);
        let revision = self.world.new_uuid();
        machine.revision = Some(revision);
        replace_json(&self.machine_file(&machine.arn), &machine).map_err(ApiError::internal)?;
        state.machines.insert(machine.arn.clone(), machine);
        Ok(json!({ "updateDate": epoch_seconds(cx.now), "revisionId": revision.to_string() }))
    }

    /// Deletes a machine; its executions go on and can still be described. Deleting what is not there succeeds.
    pub(super) fn delete_machine(&self, body: Value) -> Result<Value, ApiError> {
        let request: One = parse(body, INVALID)?;
        check_arn(&request.state_machine_arn, "stateMachine")?;
        let mut state = self.lock();
        if state.machines.contains_key(&request.state_machine_arn) {
            let file = self.machine_file(&request.state_machine_arn);
            std::fs::remove_file(file).map_err(ApiError::internal)?;
            state.machines.remove(&request.state_machine_arn);
        }
        Ok(json!({}))
    }

    pub(super) fn describe_machine(&self, body: Value) -> Result<Value, ApiError> {
        let request: One = parse(body, INVALID)?;
        Ok(self.lock().machine(&request.state_machine_arn)?.shape())
    }

    pub(super) fn list_machines(&self, body: Value) -> Result<Value, ApiError> {
        let request: Paging = parse(body, INVALID)?;
        let all = self.lock().machines.values().map(MachineRecord::listed).collect();
        request.answer("stateMachines", all)
    }

    pub(super) fn validate_definition(body: Value) -> Result<Value, ApiError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Request {
            definition: String,
            max_results: Option<usize>,
        }
        let request: Request = parse(body, INVALID)?;
        let problems = Machine::parse(&request.definition).err().unwrap_or_default();
        let most =
            request.max_results.filter(|most| *most > 0).unwrap_or(DIAGNOSTICS_MAX).min(DIAGNOSTICS_MAX);
        let shape = |problem: &Problem| {
            json!({
                "severity": "ERROR",
                "code": problem.code,
                "message": problem.message,
                "location": problem.location,
            })
        };
        Ok(json!({
            "result": if problems.is_empty() { "OK" } else { "FAIL" },
            "diagnostics": problems.iter().take(most).map(shape).collect::<Vec<_>>(),
            "truncated": problems.len() > most,
        }))
    }
}

impl super::State {
    /// The machine of an ARN.
    pub(super) fn machine(&self, arn: &str) -> Result<&MachineRecord, ApiError> {
        check_arn(arn, "stateMachine")?;
        if arn.split(':').count() > 7 {
            return Err(invalid(format!("versions and aliases are not supported by the sandbox: '{arn}'")));
        }
        self.machines.get(arn).ok_or_else(|| {
            ApiError::new(400, "StateMachineDoesNotExist", format!("State Machine Does Not Exist: '{arn}'"))
        })
    }
}

/// The members of every list's request.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Paging {
    max_results: Option<usize>,
    next_token: Option<String>,
}

impl Paging {
    /// One page of a list.
    pub(super) fn answer(&self, name: &str, all: Vec<Value>) -> Result<Value, ApiError> {
        // 0 stands for "as many as there may be".
        let size = self.max_results.filter(|size| *size > 0);
        let (items, next) = page(all, self.next_token.as_deref(), size, PAGE_MAX, "InvalidToken")?;
        let mut answer = Map::from_iter([(name.to_owned(), Value::Array(items))]);
        insert_some(&mut answer, "nextToken", next);
        Ok(Value::Object(answer))
    }
}

fn created(machine: &MachineRecord) -> Value {
    json!({ "stateMachineArn": machine.arn, "creationDate": epoch_seconds(machine.created) })
}

fn settings_of(body: &Value) -> Map<String, Value> {
    SETTINGS
        .iter()
        .filter_map(|name| {
            Some(((*name).to_owned(), body.get(*name).filter(|value| !value.is_null())?.clone()))
        })
        .collect()
}

fn refuse_versions(publish: bool) -> Result<(), ApiError> {
    if publish {
        return Err(invalid("publish: versions are not supported by the sandbox"));
    }
    Ok(())
}

fn check_definition(definition: &str) -> Result<(), ApiError> {
    match Machine::parse(definition) {
        Ok(_) => Ok(()),
        Err(problems) => Err(ApiError::new(400, "InvalidDefinition", Problem::worded(&problems))),
    }
}
