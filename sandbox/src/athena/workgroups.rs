//! Workgroups: where results go if the request may not say.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Athena;
use super::api::{INVALID, invalid};
use crate::files::replace_json;
use crate::glue::request::{insert_some, listed, page, parse};
use crate::wire::{ApiError, CallContext, epoch_seconds};

/// The workgroup of requests that name none.
pub(super) const PRIMARY: &str = "primary";
/// Page size of `ListWorkGroups` (the API's own maximum).
const PAGE_MAX: usize = 50;

/// A workgroup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct WorkGroup {
    /// The name.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// For people.
    pub description: Option<String>,
    /// `ENABLED` or `DISABLED`.
    pub state: String,
    /// The members of `WorkGroupConfiguration`.
    pub configuration: Map<String, Value>,
}

impl WorkGroup {
    /// The workgroup that every account has.
    pub(super) fn primary(now: Timestamp) -> Self {
        let configuration =
            Map::from_iter([("EnforceWorkGroupConfiguration".to_owned(), Value::Bool(false))]);
        Self {
            name: PRIMARY.to_owned(),
            created: now,
            description: None,
            state: "ENABLED".to_owned(),
            configuration,
        }
    }

    fn location(&self) -> Option<&str> {
        self.configuration.get("ResultConfiguration")?.get("OutputLocation")?.as_str()
    }

    fn is_enforced(&self) -> bool {
        self.configuration.get("EnforceWorkGroupConfiguration").and_then(Value::as_bool).unwrap_or(true)
    }

    /// Whether requests and statements may not say where their data go.
    pub(super) fn enforces_location(&self) -> bool {
        self.is_enforced() && self.location().is_some()
    }

    /// Where the results of a request go.
    pub(super) fn output(&self, asked: Option<&str>) -> Option<String> {
        let enforced = self.is_enforced();
        let own = self.location();
        let chosen = if enforced { own.or(asked) } else { asked.or(own) };
        chosen.map(str::to_owned)
    }

    fn engine_version() -> Value {
        json!({"SelectedEngineVersion": "AUTO", "EffectiveEngineVersion": "Athena engine version 3"})
    }

    fn shape(&self) -> Value {
        let mut configuration = self.configuration.clone();
        configuration.entry("ResultConfiguration").or_insert_with(|| json!({}));
        configuration.entry("EnforceWorkGroupConfiguration").or_insert(Value::Bool(true));
        configuration.insert("EngineVersion".to_owned(), Self::engine_version());
        let mut shape = Map::new();
        shape.insert("Name".to_owned(), self.name.clone().into());
        shape.insert("State".to_owned(), self.state.clone().into());
        shape.insert("Configuration".to_owned(), Value::Object(configuration));
        insert_some(&mut shape, "Description", self.description.clone());
        shape.insert("CreationTime".to_owned(), epoch_seconds(self.created));
        Value::Object(shape)
    }

    fn summary(&self) -> Value {
        json!({
            "Name": self.name,
            "State": self.state,
            "Description": self.description.clone().unwrap_or_default(),
            "CreationTime": epoch_seconds(self.created),
            "EngineVersion": Self::engine_version(),
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Create {
    name: String,
    description: Option<String>,
    #[serde(default)]
    configuration: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Update {
    work_group: String,
    description: Option<String>,
    state: Option<String>,
    #[serde(default)]
    configuration_updates: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Named {
    work_group: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Paging {
    next_token: Option<String>,
    max_results: Option<usize>,
}

impl Athena {
    pub(super) fn create_workgroup(&self, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
        let request: Create = parse(body, INVALID)?;
        let mut state = self.lock();
        if state.workgroups.contains_key(&request.name) {
            return Err(invalid(format!("WorkGroup {} is already created.", request.name)));
        }
        let group = WorkGroup {
            name: request.name,
            created: cx.now,
            description: request.description,
            state: "ENABLED".to_owned(),
            configuration: request.configuration,
        };
        replace_json(&self.workgroup_file(&group.name), &group).map_err(ApiError::internal)?;
        state.workgroups.insert(group.name.clone(), group);
        Ok(json!({}))
    }

    pub(super) fn update_workgroup(&self, body: Value) -> Result<Value, ApiError> {
        let request: Update = parse(body, INVALID)?;
        let mut state = self.lock();
        let group =
            state.workgroups.get_mut(&request.work_group).ok_or_else(|| no_workgroup(&request.work_group))?;
        let mut changed = group.clone();
        changed.description = request.description.or(changed.description);
        changed.state = request.state.unwrap_or(changed.state);
        for (name, value) in request.configuration_updates {
            match name.as_str() {
                "ResultConfigurationUpdates" => {
                    let mut result = Map::new();
                    insert_some(&mut result, "OutputLocation", value.get("OutputLocation").cloned());
                    changed.configuration.insert("ResultConfiguration".to_owned(), Value::Object(result));
                }
                _ => drop(changed.configuration.insert(name, value)),
            }
        }
        replace_json(&self.workgroup_file(&changed.name), &changed).map_err(ApiError::internal)?;
        *group = changed;
        Ok(json!({}))
    }

    pub(super) fn get_workgroup(&self, body: Value) -> Result<Value, ApiError> {
        let request: Named = parse(body, INVALID)?;
        let state = self.lock();
        let group =
            state.workgroups.get(&request.work_group).ok_or_else(|| no_workgroup(&request.work_group))?;
        Ok(json!({"WorkGroup": group.shape()}))
    }

    pub(super) fn delete_workgroup(&self, body: Value) -> Result<Value, ApiError> {
        let request: Named = parse(body, INVALID)?;
        let name = request.work_group;
        if name == PRIMARY {
            return Err(invalid("Cannot delete the primary WorkGroup"));
        }
        let mut state = self.lock();
        if !state.workgroups.contains_key(&name) {
            return Err(no_workgroup(&name));
        }
        std::fs::remove_file(self.workgroup_file(&name)).map_err(ApiError::internal)?;
        state.workgroups.remove(&name);
        Ok(json!({}))
    }

    pub(super) fn list_workgroups(&self, body: Value) -> Result<Value, ApiError> {
        let request: Paging = parse(body, INVALID)?;
        let all = self.lock().workgroups.values().map(WorkGroup::summary).collect();
        let (items, next) = page(all, request.next_token.as_deref(), request.max_results, PAGE_MAX, INVALID)?;
        Ok(listed("WorkGroups", items, next))
    }
}

pub(super) fn no_workgroup(name: &str) -> ApiError {
    invalid(format!("WorkGroup {name} is not found."))
}
