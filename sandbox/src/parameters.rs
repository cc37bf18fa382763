//! Systems Manager's parameters: texts with versions, in a tree of names.
//!
//! A `SecureString` is kept in plain in the sandbox's folder and shown only to those who ask for it decrypted;
//! others see something that is not its value, as on AWS. Labels, policies and tags are not part of the sandbox.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::wire::{ApiError, CallContext, epoch_seconds};
use crate::world::World;
use crate::{SandboxError, files};

/// Parameters of an account. AWS takes 10,000 standard ones; they are one file here.
const PARAMETERS_MAX: usize = 1_000;

/// The longest value: standard and advanced tier, as on AWS.
const VALUE_BYTES_MAX: [(&str, usize); 2] = [("Standard", 4_096), ("Advanced", 8_192)];

/// Versions that are kept of a parameter, as on AWS.
const VERSIONS_MAX: usize = 100;

/// Names of one request, and entries on a page, as on AWS.
const PAGE: usize = 10;

/// Levels of a name, as on AWS.
const LEVELS_MAX: usize = 15;

/// The service.
#[derive(Debug)]
pub(crate) struct Parameters {
    path: PathBuf,
    parameters: Mutex<BTreeMap<String, Parameter>>,
}

/// One parameter with the versions that are kept.
#[derive(Clone, Serialize, Deserialize)]
struct Parameter {
    name: String,
    arn: String,
    kind: String,
    data_type: String,
    tier: String,
    versions: BTreeMap<u64, Version>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Version {
    value: String,
    modified: Timestamp,
}

/// Without the values.
impl std::fmt::Debug for Parameter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parameter").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Parameters {
    /// Reads the parameters.
    pub(crate) fn open(world: Arc<World>) -> Result<Self, SandboxError> {
        let path = world.root.join("ssm/parameters.json");
        let parameters = files::read_json(&path)?.unwrap_or_default();
        Ok(Self { path, parameters: Mutex::new(parameters) })
    }

    /// Answers one call.
    pub(crate) fn call(&self, cx: &CallContext, body: &Value) -> Result<Value, ApiError> {
        match cx.operation.as_str() {
            "PutParameter" => self.put(cx, body),
            "GetParameter" => self.get(body),
            "GetParameters" => self.get_several(body),
            "GetParametersByPath" => self.get_by_path(body),
            "DeleteParameter" => self.delete(body),
            "DeleteParameters" => self.delete_several(body),
            _ => Err(ApiError::unknown_operation(cx)),
        }
    }

    /// Whether a parameter of this name is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.lock().contains_key(name)
    }

    fn put(&self, cx: &CallContext, body: &Value) -> Result<Value, ApiError> {
        let (name, value) = (required(body, "Name")?, required(body, "Value")?);
        check_name(name)?;
        let overwrite = body.get("Overwrite").and_then(Value::as_bool).unwrap_or(false);
        let mut parameters = self.lock();
        let known = parameters.get(name);
        if known.is_some() && !overwrite {
            return Err(ApiError::new(
                400,
                "ParameterAlreadyExists",
                "The parameter already exists. To overwrite this value, set the overwrite option in the request to true.",
            ));
        }
        if known.is_none() && parameters.len() >= PARAMETERS_MAX {
            return Err(ApiError::new(400, "ParameterLimitExceeded", "too many parameters in the sandbox"));
        }
        let kind = text(body, "Type").or(known.map(|known| known.kind.as_str()));
        let kind =
            kind.ok_or_else(|| validation("A parameter type is required when you create a parameter."))?;
        if !["String", "StringList", "SecureString"].contains(&kind) {
            return Err(ApiError::new(
                400,
                "UnsupportedParameterType",
                format!("The parameter type {kind} is not supported."),
            ));
        }
        let tier = text(body, "Tier").filter(|tier| *tier == "Advanced").unwrap_or("Standard");
        let most = VALUE_BYTES_MAX.iter().find(|(name, _)| *name == tier).map_or(0, |(_, most)| *most);
        if value.len() > most {
            return Err(validation(&format!(
                "{tier} tier parameters support a maximum parameter value of {most} characters."
            )));
        }
        let slash = if name.starts_with('/') { "" } else { "/" };
        let mut parameter = known.cloned().unwrap_or_else(|| Parameter {
            name: name.to_owned(),
            arn: format!("arn:aws:ssm:{}:{}:parameter{slash}{name}", cx.region, cx.account),
            kind: String::new(),
            data_type: text(body, "DataType").unwrap_or("text").to_owned(),
            tier: String::new(),
            versions: BTreeMap::new(),
        });
        kind.clone_into(&mut parameter.kind);
        tier.clone_into(&mut parameter.tier);
        let number = parameter.versions.last_key_value().map_or(0, |(number, _)| *number) + 1;
        parameter.versions.insert(number, Version { value: value.to_owned(), modified: cx.now });
        while parameter.versions.len() > VERSIONS_MAX {
            parameter.versions.pop_first();
        }
        let mut changed = parameters.clone();
        changed.insert(name.to_owned(), parameter);
        self.keep(&mut parameters, changed)?;
        Ok(json!({ "Version": number, "Tier": tier }))
    }

    fn get(&self, body: &Value) -> Result<Value, ApiError> {
        let parameters = self.lock();
        let shown = find(&parameters, required(body, "Name")?, decrypted(body))?;
        Ok(json!({ "Parameter": shown }))
    }

    fn get_several(&self, body: &Value) -> Result<Value, ApiError> {
        let parameters = self.lock();
        let (mut found, mut unknown) = (Vec::new(), Vec::new());
        for name in names(body)? {
            match find(&parameters, name, decrypted(body)) {
                Ok(shown) => found.push(shown),
                Err(_) => unknown.push(name),
            }
        }
        Ok(json!({ "Parameters": found, "InvalidParameters": unknown }))
    }

    fn get_by_path(&self, body: &Value) -> Result<Value, ApiError> {
        let path = required(body, "Path")?;
        if !path.starts_with('/') {
            return Err(validation(
                "The parameter doesn't meet the parameter name requirements. The parameter name must begin with a forward slash \"/\".",
            ));
        }
        if body.get("ParameterFilters").is_some() {
            return Err(validation("the sandbox has no filters of parameters"));
        }
        let recursive = body.get("Recursive").and_then(Value::as_bool).unwrap_or(false);
        let below = format!("{}/", path.trim_end_matches('/'));
        let after = text(body, "NextToken").unwrap_or_default();
        let most = body.get("MaxResults").and_then(Value::as_u64).and_then(|most| usize::try_from(most).ok());
        let most = most.unwrap_or(PAGE).clamp(1, PAGE);
        let parameters = self.lock();
        let wanted = parameters.values().filter(|one| {
            let rest = one.name.strip_prefix(&below);
            rest.is_some_and(|rest| recursive || !rest.contains('/')) && one.name.as_str() > after
        });
        let found: Vec<&Parameter> = wanted.take(most + 1).collect();
        let shown: Vec<Value> = found
            .iter()
            .take(most)
            .filter_map(|one| Some(one.shown(*one.versions.last_key_value()?.0, None, decrypted(body))))
            .collect();
        let mut told = json!({ "Parameters": shown });
        if found.len() > most {
            told["NextToken"] = json!(found[most - 1].name);
        }
        Ok(told)
    }

    fn delete(&self, body: &Value) -> Result<Value, ApiError> {
        let name = required(body, "Name")?;
        let mut parameters = self.lock();
        let mut changed = parameters.clone();
        changed.remove(name).ok_or_else(|| not_there(name))?;
        self.keep(&mut parameters, changed)?;
        Ok(json!({}))
    }

    fn delete_several(&self, body: &Value) -> Result<Value, ApiError> {
        let mut parameters = self.lock();
        let mut changed = parameters.clone();
        let (deleted, unknown): (Vec<&str>, Vec<&str>) =
            names(body)?.into_iter().partition(|name| changed.remove(*name).is_some());
        self.keep(&mut parameters, changed)?;
        Ok(json!({ "DeletedParameters": deleted, "InvalidParameters": unknown }))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Parameter>> {
        self.parameters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a change durable before anyone sees it.
    fn keep(
        &self,
        parameters: &mut BTreeMap<String, Parameter>,
        changed: BTreeMap<String, Parameter>,
    ) -> Result<(), ApiError> {
        files::replace_json(&self.path, &changed).map_err(internal)?;
        *parameters = changed;
        Ok(())
    }
}

impl Parameter {
    fn shown(&self, number: u64, selector: Option<&str>, decrypted: bool) -> Value {
        let version = self.versions.get(&number);
        let value = version.map(|version| version.value.as_str()).unwrap_or_default();
        let value = if self.kind == "SecureString" && !decrypted {
            format!("AQICAHg{}", hex::encode(Sha256::digest(format!("{}{number}", self.arn))))
        } else {
            value.to_owned()
        };
        let mut told = json!({
            "Name": self.name, "Type": self.kind, "Value": value, "Version": number, "ARN": self.arn,
            "DataType": self.data_type,
        });
        if let Some(version) = version {
            told["LastModifiedDate"] = epoch_seconds(version.modified);
        }
        if let Some(selector) = selector {
            told["Selector"] = json!(selector);
        }
        told
    }
}

/// A parameter by its name or ARN, with `:version` behind it where an earlier one is wanted.
fn find(parameters: &BTreeMap<String, Parameter>, wanted: &str, decrypted: bool) -> Result<Value, ApiError> {
    let by_name = |name: &str| parameters.values().find(|one| one.name == name || one.arn == name);
    if let Some(parameter) = by_name(wanted) {
        let newest = parameter.versions.last_key_value().map_or(0, |(number, _)| *number);
        return Ok(parameter.shown(newest, None, decrypted));
    }
    let (name, selector) = wanted.rsplit_once(':').ok_or_else(|| not_there(wanted))?;
    let parameter = by_name(name).ok_or_else(|| not_there(wanted))?;
    let number = selector.parse::<u64>().ok().filter(|number| parameter.versions.contains_key(number));
    let number = number.ok_or_else(|| {
        ApiError::new(
            400,
            "ParameterVersionNotFound",
            format!("Systems Manager could not find version {selector} of {name}. Verify the version and try again."),
        )
    })?;
    Ok(parameter.shown(number, Some(&format!(":{number}")), decrypted))
}

fn names(body: &Value) -> Result<Vec<&str>, ApiError> {
    let names = body.get("Names").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if !(1..=PAGE).contains(&names.len()) {
        return Err(validation(&format!(
            "1 validation error detected: Value at 'names' failed to satisfy constraint: Member must have length between 1 and {PAGE}"
        )));
    }
    Ok(names.iter().filter_map(Value::as_str).collect())
}

fn decrypted(body: &Value) -> bool {
    body.get("WithDecryption").and_then(Value::as_bool).unwrap_or(false)
}

fn check_name(name: &str) -> Result<(), ApiError> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "_.-/".contains(c);
    let tree = !name.contains('/') || name.starts_with('/');
    let reserved = ["aws", "ssm"].iter().any(|word| {
        name.trim_start_matches('/').get(..3).is_some_and(|start| start.eq_ignore_ascii_case(word))
    });
    if name.matches('/').count() > LEVELS_MAX {
        return Err(ApiError::new(
            400,
            "HierarchyLevelLimitExceededException",
            format!("A parameter's name has at most {LEVELS_MAX} levels."),
        ));
    }
    if name.len() > 1_011 || !name.chars().all(legal) || !tree || reserved {
        return Err(validation(
            "Parameter name must be a fully qualified name: only a-z, A-Z, 0-9, and the symbols .-_/ are allowed, a name with levels begins with a slash, and none begins with aws or ssm.",
        ));
    }
    Ok(())
}

fn text<'a>(body: &'a Value, member: &str) -> Option<&'a str> {
    body.get(member)?.as_str()
}

fn required<'a>(body: &'a Value, member: &str) -> Result<&'a str, ApiError> {
    text(body, member).filter(|value| !value.is_empty()).ok_or_else(|| {
        validation(&format!(
            "1 validation error detected: Value null at '{member}' failed to satisfy constraint: Member must not be null"
        ))
    })
}

fn validation(message: &str) -> ApiError {
    ApiError::new(400, "ValidationException", message)
}

fn not_there(name: &str) -> ApiError {
    ApiError::new(400, "ParameterNotFound", format!("Parameter {name} not found."))
}

/// The sandbox itself failed.
fn internal(reason: impl std::fmt::Display) -> ApiError {
    ApiError::new(500, "InternalServerError", reason.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_as_aws_checks_them() {
        for name in ["/prod/token", "token", "a.b-c_d"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["a/b", "/aws/x", "ssm-token", "a b", &"/a".repeat(16)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
