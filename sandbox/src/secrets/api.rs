//! The calls: made, read, changed, deleted.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::record::{CURRENT, Secret, Version};
use super::{Secrets, invalid, not_there, required, text};
use crate::wire::{ApiError, CallContext, epoch_seconds};

/// Secrets of an account. AWS takes 500,000; they are one file here.
const SECRETS_MAX: usize = 1_000;

/// The longest value, as on AWS.
const VALUE_BYTES_MAX: usize = 65_536;

/// Versions of a secret, as on AWS; deprecated ones are dropped, oldest first.
const VERSIONS_MAX: usize = 100;

/// Entries on a page of a list, as on AWS.
const PAGE: usize = 100;

impl Secrets {
    pub(super) fn create_secret(&self, cx: &CallContext, body: &Value) -> Result<Value, ApiError> {
        let name = required(body, "Name")?;
        let legal = |c: char| c.is_ascii_alphanumeric() || "/_+=.@-".contains(c);
        if name.len() > 512 || !name.chars().all(legal) {
            return Err(invalid(
                "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!",
            ));
        }
        let version = self.new_version(cx, body, &[CURRENT.to_owned()])?;
        let arn = super::arn(&cx.region, &cx.account, name);
        self.change(|secrets| {
            if let Some(known) = secrets.get(name) {
                return Err(match known.deletion {
                    Some(_) => marked("create this secret"),
                    None => ApiError::new(
                        400,
                        "ResourceExistsException",
                        format!("The operation failed because the secret {name} already exists."),
                    ),
                });
            }
            if secrets.len() >= SECRETS_MAX {
                return Err(ApiError::new(400, "LimitExceededException", "too many secrets in the sandbox"));
            }
            let mut secret = Secret {
                name: name.to_owned(),
                arn: arn.clone(),
                description: text(body, "Description").map(str::to_owned),
                key: text(body, "KmsKeyId").map(str::to_owned),
                created: cx.now,
                changed: cx.now,
                deletion: None,
                versions: BTreeMap::new(),
            };
            let mut told = json!({ "ARN": arn, "Name": name });
            if let Some((id, version)) = version {
                told["VersionId"] = json!(id);
                secret.put(&id, version);
            }
            secrets.insert(name.to_owned(), secret);
            Ok(told)
        })
    }

    pub(super) fn put_secret_value(&self, cx: &CallContext, body: &Value) -> Result<Value, ApiError> {
        let given = body
            .get("VersionStages")
            .and_then(Value::as_array)
            .map(|stages| stages.iter().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>());
        let stages = given.unwrap_or_else(|| vec![CURRENT.to_owned()]);
        let (id, version) = self
            .new_version(cx, body, &stages)?
            .ok_or_else(|| invalid("You must provide either SecretString or SecretBinary."))?;
        self.change(|secrets| {
            let secret = alive(secrets, body, "perform the operation on the secret")?;
            if let Some(known) = secret.versions.get(&id) {
                if (&known.text, &known.binary) != (&version.text, &version.binary) {
                    return Err(ApiError::new(
                        400,
                        "ResourceExistsException",
                        format!("A resource with the ID {id} already exists with different content."),
                    ));
                }
            } else {
                secret.put(&id, version);
                secret.changed = cx.now;
            }
            while secret.versions.len() > VERSIONS_MAX {
                let idle = secret.versions.iter().filter(|(_, version)| version.stages.is_empty());
                let oldest = idle.min_by_key(|(_, version)| version.created).map(|(id, _)| id.clone());
                let Some(oldest) = oldest else {
                    return Err(ApiError::new(
                        400,
                        "LimitExceededException",
                        "too many versions with stages",
                    ));
                };
                secret.versions.remove(&oldest);
            }
            let stages = secret.versions.get(&id).map(|version| version.stages.clone()).unwrap_or_default();
            Ok(json!({ "ARN": secret.arn, "Name": secret.name, "VersionId": id, "VersionStages": stages }))
        })
    }

    pub(super) fn get_secret_value(&self, body: &Value) -> Result<Value, ApiError> {
        let mut secrets = self.lock();
        let secret = alive(&mut secrets, body, "perform the operation on the secret")?;
        let (wanted_id, wanted_stage) = (text(body, "VersionId"), text(body, "VersionStage"));
        let missing = match (wanted_id, wanted_stage) {
            (Some(id), _) => format!("the specified secret value for VersionId: {id}"),
            (None, stage) => {
                format!("the specified secret value for staging label: {}", stage.unwrap_or(CURRENT))
            }
        };
        let found = match wanted_id {
            Some(id) => secret.versions.get_key_value(id),
            None => secret.staged(wanted_stage.unwrap_or(CURRENT)),
        };
        let (id, version) = found.ok_or_else(|| not_there(&missing))?;
        if wanted_id.is_some() && wanted_stage.is_some_and(|stage| !version.stages.contains(stage)) {
            return Err(ApiError::new(
                400,
                "InvalidRequestException",
                "You provided a VersionStage that is not associated to the provided VersionId.",
            ));
        }
        let mut told = json!({
            "ARN": secret.arn, "Name": secret.name, "VersionId": id, "VersionStages": version.stages,
            "CreatedDate": epoch_seconds(version.created),
        });
        if let Some(text) = &version.text {
            told["SecretString"] = json!(text);
        }
        if let Some(binary) = &version.binary {
            told["SecretBinary"] = json!(binary);
        }
        Ok(told)
    }

    pub(super) fn describe_secret(&self, body: &Value) -> Result<Value, ApiError> {
        let mut secrets = self.lock();
        Ok(named(&mut secrets, body)?.shown("VersionIdsToStages"))
    }

    pub(super) fn list_secrets(&self, body: &Value) -> Result<Value, ApiError> {
        let filters = body.get("Filters").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        if let Some(other) = filters.iter().find(|filter| text(filter, "Key") != Some("name")) {
            let key = text(other, "Key").unwrap_or_default();
            return Err(invalid(format!("the sandbox filters secrets by name only, not by {key}")));
        }
        let prefixes: Vec<&str> = filters
            .iter()
            .filter_map(|filter| filter.get("Values")?.as_array())
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let deleted = body.get("IncludePlannedDeletion").and_then(Value::as_bool).unwrap_or(false);
        let secrets = self.lock();
        let wanted = secrets.values().filter(|secret| {
            (deleted || secret.deletion.is_none())
                && (prefixes.is_empty() || prefixes.iter().any(|prefix| secret.name.starts_with(prefix)))
        });
        let after = text(body, "NextToken").unwrap_or_default();
        let found: Vec<&Secret> =
            wanted.filter(|secret| secret.name.as_str() > after).take(page(body) + 1).collect();
        let shown: Vec<Value> =
            found.iter().take(page(body)).map(|secret| secret.shown("SecretVersionsToStages")).collect();
        let mut told = json!({ "SecretList": shown });
        if found.len() > page(body) {
            told["NextToken"] = json!(found[page(body) - 1].name);
        }
        Ok(told)
    }

    pub(super) fn list_secret_version_ids(&self, body: &Value) -> Result<Value, ApiError> {
        let deprecated = body.get("IncludeDeprecated").and_then(Value::as_bool).unwrap_or(false);
        let mut secrets = self.lock();
        let secret = named(&mut secrets, body)?;
        let versions = secret.versions.iter().filter(|(_, version)| deprecated || !version.stages.is_empty());
        let versions: Vec<Value> = versions
            .map(|(id, version)| {
                let mut told = json!({ "VersionId": id, "CreatedDate": epoch_seconds(version.created) });
                if !version.stages.is_empty() {
                    told["VersionStages"] = json!(version.stages);
                }
                told
            })
            .collect();
        Ok(json!({ "ARN": secret.arn, "Name": secret.name, "Versions": versions }))
    }

    pub(super) fn delete_secret(&self, cx: &CallContext, body: &Value) -> Result<Value, ApiError> {
        let at_once = body.get("ForceDeleteWithoutRecovery").and_then(Value::as_bool).unwrap_or(false);
        let days = body.get("RecoveryWindowInDays").and_then(Value::as_i64);
        if at_once && days.is_some() {
            return Err(invalid(
                "You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.",
            ));
        }
        let days = days.unwrap_or(30);
        if !(7..=30).contains(&days) {
            return Err(invalid("RecoveryWindowInDays value must be between 7 and 30 days (inclusive)."));
        }
        let gone = if at_once { cx.now } else { days_after(cx.now, days)? };
        self.change(|secrets| {
            let secret = alive(secrets, body, "perform the operation on the secret")?;
            secret.deletion = Some((cx.now, gone));
            let told = json!({
                "ARN": secret.arn, "Name": secret.name, "DeletionDate": epoch_seconds(gone),
            });
            if at_once {
                let name = secret.name.clone();
                secrets.remove(&name);
            }
            Ok(told)
        })
    }

    pub(super) fn restore_secret(&self, cx: &CallContext, body: &Value) -> Result<Value, ApiError> {
        self.change(|secrets| {
            let secret = named(secrets, body)?;
            secret.deletion = None;
            secret.changed = cx.now;
            Ok(json!({ "ARN": secret.arn, "Name": secret.name }))
        })
    }

    pub(super) fn update_secret_version_stage(
        &self,
        cx: &CallContext,
        body: &Value,
    ) -> Result<Value, ApiError> {
        let stage = required(body, "VersionStage")?;
        let (from, to) = (text(body, "RemoveFromVersionId"), text(body, "MoveToVersionId"));
        self.change(|secrets| {
            let secret = alive(secrets, body, "perform the operation on the secret")?;
            for id in [from, to].into_iter().flatten() {
                if !secret.versions.contains_key(id) {
                    return Err(not_there(&format!("the specified secret version {id}")));
                }
            }
            let holder = secret.staged(stage).map(|(id, _)| id.clone());
            if holder.as_deref() != from && holder.as_deref() != to && holder.is_some() {
                return Err(invalid(format!(
                    "The parameter RemoveFromVersionId can't be empty. Staging label {stage} is currently attached to version {}, so you must explicitly reference that version in RemoveFromVersionId.",
                    holder.unwrap_or_default()
                )));
            }
            match to {
                Some(to) => secret.move_stage(stage, to),
                None if stage == CURRENT => {
                    return Err(invalid("You can only move staging label AWSCURRENT to a different secret version. It can't be completely removed."));
                }
                None => secret.take_stage(stage),
            }
            secret.changed = cx.now;
            Ok(json!({ "ARN": secret.arn, "Name": secret.name }))
        })
    }

    /// The version that a request brings, if it brings a value; its id is the caller's token.
    fn new_version(
        &self,
        cx: &CallContext,
        body: &Value,
        stages: &[String],
    ) -> Result<Option<(String, Version)>, ApiError> {
        let (value, binary) = (text(body, "SecretString"), text(body, "SecretBinary"));
        if value.is_some() && binary.is_some() {
            return Err(invalid(
                "You can't specify both a binary secret value and a string secret value in the same secret.",
            ));
        }
        if value.is_none() && binary.is_none() {
            return Ok(None);
        }
        if value.or(binary).is_some_and(|value| value.len() > VALUE_BYTES_MAX) {
            return Err(invalid(format!("the value is longer than {VALUE_BYTES_MAX} bytes")));
        }
        let id = match text(body, "ClientRequestToken") {
            Some(id) if (32..=64).contains(&id.len()) => id.to_owned(),
            Some(_) => return Err(invalid("ClientRequestToken must be 32-64 characters long.")),
            None => self.world.new_uuid().to_string(),
        };
        let stages: BTreeSet<String> = stages.iter().cloned().collect();
        let version = Version {
            created: cx.now,
            text: value.map(str::to_owned),
            binary: binary.map(str::to_owned),
            stages,
        };
        Ok(Some((id, version)))
    }
}

/// The secret that a request names: by its name, its ARN, or its ARN without the last six characters.
fn named<'a>(secrets: &'a mut BTreeMap<String, Secret>, body: &Value) -> Result<&'a mut Secret, ApiError> {
    let id = required(body, "SecretId")?;
    let partial = |arn: &str| arn.rsplit_once('-').map(|(stem, _)| stem.to_owned());
    secrets
        .values_mut()
        .find(|secret| secret.name == id || secret.arn == id || partial(&secret.arn).as_deref() == Some(id))
        .ok_or_else(|| not_there("the specified secret"))
}

/// The same if it is not marked for deletion.
fn alive<'a>(
    secrets: &'a mut BTreeMap<String, Secret>,
    body: &Value,
    what: &str,
) -> Result<&'a mut Secret, ApiError> {
    let secret = named(secrets, body)?;
    if secret.deletion.is_some() { Err(marked(what)) } else { Ok(secret) }
}

fn marked(what: &str) -> ApiError {
    ApiError::new(
        400,
        "InvalidRequestException",
        format!("You can't {what} because it was marked for deletion."),
    )
}

fn days_after(now: Timestamp, days: i64) -> Result<Timestamp, ApiError> {
    now.saturating_add(SignedDuration::from_hours(24 * days)).map_err(super::internal)
}

fn page(body: &Value) -> usize {
    let most = body.get("MaxResults").and_then(Value::as_u64).and_then(|most| usize::try_from(most).ok());
    most.unwrap_or(PAGE).clamp(1, PAGE)
}
