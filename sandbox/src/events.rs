//! EventBridge: buses, and events that people can read.
//!
//! Every accepted event goes into the ledger and as one line of JSON, in the form in which a rule's target gets
//! it, into `events/<bus>.jsonl`. Rules and targets are not part of the sandbox.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::ledger::Accepted;
use crate::wire::{ApiError, CallContext, epoch_seconds};
use crate::world::{REGION, World};
use crate::{SandboxError, files};

/// Buses of an account, as on AWS.
const BUSES_MAX: usize = 100;

/// The most entries of one call.
const ENTRIES_MAX: usize = 10;

/// AWS's limit for all entries of a call together.
const CALL_BYTES_MAX: usize = 1024 * 1024;

/// The bus of every account.
const DEFAULT_BUS: &str = "default";

/// The service.
#[derive(Debug)]
pub(crate) struct Events {
    world: Arc<World>,
    /// Buses beside the default one.
    buses: Mutex<BTreeMap<String, Bus>>,
    /// Held while a line is written, so that lines are whole.
    writing: Mutex<()>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Bus {
    created: Timestamp,
    #[serde(default)]
    description: Option<String>,
}

impl Events {
    /// Reads the buses.
    pub(crate) fn open(world: Arc<World>) -> Result<Self, SandboxError> {
        let buses = files::read_json(&world.root.join("events/buses.json"))?.unwrap_or_default();
        Ok(Self { world, buses: Mutex::new(buses), writing: Mutex::new(()) })
    }

    /// Answers one call.
    pub(crate) fn call(&self, cx: &CallContext, body: &Value) -> Result<Value, ApiError> {
        match cx.operation.as_str() {
            "PutEvents" => self.put_events(cx, body),
            "CreateEventBus" => self.create_event_bus(cx, body),
            "DeleteEventBus" => self.delete_event_bus(body),
            "DescribeEventBus" => self.describe_event_bus(body),
            "ListEventBuses" => Ok(self.list_event_buses(body)),
            _ => Err(ApiError::unknown_operation(cx)),
        }
    }

    fn put_events(&self, cx: &CallContext, body: &Value) -> Result<Value, ApiError> {
        let entries = body.get("Entries").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        if entries.is_empty() || entries.len() > ENTRIES_MAX {
            return Err(ApiError::new(
                400,
                "ValidationException",
                format!(
                    "1 validation error detected: Value at 'entries' failed to satisfy constraint: Member must have length between 1 and {ENTRIES_MAX}"
                ),
            ));
        }
        if entries.iter().map(size).sum::<usize>() > CALL_BYTES_MAX {
            return Err(ApiError::new(
                400,
                "ValidationException",
                "Total size of the entries in the request is over the limit.",
            ));
        }
        let mut failed = 0;
        let mut told = Vec::with_capacity(entries.len());
        for entry in entries {
            told.push(match self.accept(cx, entry) {
                Ok(id) => json!({ "EventId": id }),
                Err(error) if error.status < 500 => {
                    failed += 1;
                    json!({ "ErrorCode": error.code, "ErrorMessage": error.message })
                }
                Err(error) => return Err(error),
            });
        }
        Ok(json!({ "FailedEntryCount": failed, "Entries": told }))
    }

    fn accept(&self, cx: &CallContext, entry: &Value) -> Result<String, ApiError> {
        let argument = |name: &str| {
            text(entry, name).filter(|value| !value.is_empty()).ok_or_else(|| {
                refused(
                    "InvalidArgument",
                    format!("Parameter {name} is not valid. Reason: {name} is a required argument."),
                )
            })
        };
        let (source, kind, detail) = (argument("Source")?, argument("DetailType")?, argument("Detail")?);
        if source.starts_with("aws.") {
            return Err(refused("NotAuthorizedForSourceException", "Not authorized for the source."));
        }
        let detail: Value = match serde_json::from_str(detail) {
            Ok(detail @ Value::Object(_)) => detail,
            _ => return Err(refused("MalformedDetail", "Detail is malformed.")),
        };
        let named = text(entry, "EventBusName").unwrap_or(DEFAULT_BUS);
        let bus = name_of(named);
        if !self.has(bus) {
            // AWS drops such events without a word; here it is a mistake to be found.
            return Err(refused("InvalidArgument", format!("Event bus {bus} does not exist.")));
        }
        let id = self.world.new_uuid().to_string();
        let at = entry.get("Time").and_then(Value::as_f64).and_then(from_seconds).unwrap_or(cx.now);
        let event = json!({
            "version": "0",
            "id": id,
            "detail-type": kind,
            "source": source,
            "account": &*cx.account,
            "time": at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            "region": cx.region,
            "resources": entry.get("Resources").cloned().unwrap_or_else(|| json!([])),
            "detail": detail,
        });
        self.write(bus, &event).map_err(internal)?;
        self.world.ledger.accepted(cx, Accepted { marker: None, id: &id, subject: bus }).map_err(internal)?;
        Ok(id)
    }

    fn write(&self, bus: &str, event: &Value) -> std::io::Result<()> {
        let path = self.folder().join(format!("{}.jsonl", crate::catalog::file_name(bus)));
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        fs::create_dir_all(self.folder())?;
        OpenOptions::new().create(true).append(true).open(path)?.write_all(format!("{event}\n").as_bytes())
    }

    fn create_event_bus(&self, cx: &CallContext, body: &Value) -> Result<Value, ApiError> {
        let name = text(body, "Name").unwrap_or_default();
        let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if name.is_empty() || name.len() > 256 || !name.chars().all(legal) {
            return Err(refused("ValidationException", format!("the name of bus `{name}` is not valid")));
        }
        if text(body, "EventSourceName").is_some() {
            return Err(refused("ValidationException", "the sandbox has no partner event sources"));
        }
        let mut buses = self.lock();
        if name == DEFAULT_BUS || buses.contains_key(name) {
            return Err(refused(
                "ResourceAlreadyExistsException",
                format!("Event bus {name} already exists."),
            ));
        }
        if buses.len() >= BUSES_MAX {
            return Err(refused("LimitExceededException", "too many event buses in the sandbox"));
        }
        let description = text(body, "Description").map(str::to_owned);
        buses.insert(name.to_owned(), Bus { created: cx.now, description: description.clone() });
        self.keep(&buses)?;
        let mut told = json!({ "EventBusArn": arn(&self.world.account, name) });
        if let Some(description) = description {
            told["Description"] = json!(description);
        }
        Ok(told)
    }

    fn delete_event_bus(&self, body: &Value) -> Result<Value, ApiError> {
        let name = text(body, "Name").unwrap_or_default();
        if name == DEFAULT_BUS {
            return Err(refused("ValidationException", "Cannot delete event bus default."));
        }
        // Deleting a bus that is not there is no error.
        let mut buses = self.lock();
        if buses.remove(name).is_some() {
            self.keep(&buses)?;
        }
        Ok(json!({}))
    }

    fn describe_event_bus(&self, body: &Value) -> Result<Value, ApiError> {
        let name = name_of(text(body, "Name").unwrap_or(DEFAULT_BUS));
        let known = self.lock().get(name).cloned();
        if known.is_none() && name != DEFAULT_BUS {
            return Err(refused("ResourceNotFoundException", format!("Event bus {name} does not exist.")));
        }
        Ok(shown(&self.world.account, name, known.as_ref()))
    }

    fn list_event_buses(&self, body: &Value) -> Value {
        let prefix = text(body, "NamePrefix").unwrap_or_default();
        let buses = self.lock();
        let all = std::iter::once((DEFAULT_BUS, None))
            .chain(buses.iter().map(|(name, bus)| (name.as_str(), Some(bus))));
        let shown: Vec<Value> = all
            .filter(|(name, _)| name.starts_with(prefix))
            .map(|(name, bus)| shown(&self.world.account, name, bus))
            .collect();
        json!({ "EventBuses": shown })
    }

    /// Whether a bus of this name is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        name == DEFAULT_BUS || self.lock().contains_key(name)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Bus>> {
        self.buses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, buses: &BTreeMap<String, Bus>) -> Result<(), ApiError> {
        files::replace_json(&self.folder().join("buses.json"), buses).map_err(internal)
    }

    fn folder(&self) -> PathBuf {
        self.world.root.join("events")
    }
}

/// A bus's ARN.
pub(crate) fn arn(account: &str, bus: &str) -> String {
    format!("arn:aws:events:{REGION}:{account}:event-bus/{bus}")
}

/// A bus's name, from its name or its ARN.
fn name_of(named: &str) -> &str {
    named.rsplit_once("event-bus/").map_or(named, |(_, name)| name)
}

fn shown(account: &str, name: &str, bus: Option<&Bus>) -> Value {
    let mut told = json!({ "Name": name, "Arn": arn(account, name) });
    if let Some(bus) = bus {
        told["CreationTime"] = epoch_seconds(bus.created);
        told["LastModifiedTime"] = epoch_seconds(bus.created);
        if let Some(description) = &bus.description {
            told["Description"] = json!(description);
        }
    }
    told
}

/// What counts for the limit of a call.
fn size(entry: &Value) -> usize {
    let texts = ["Source", "DetailType", "Detail"].iter().filter_map(|name| text(entry, name)).map(str::len);
    let resources = entry.get("Resources").and_then(Value::as_array).into_iter().flatten();
    let time = if entry.get("Time").is_some() { 14 } else { 0 };
    texts.sum::<usize>() + resources.filter_map(Value::as_str).map(str::len).sum::<usize>() + time
}

fn from_seconds(seconds: f64) -> Option<Timestamp> {
    #[expect(clippy::cast_possible_truncation, reason = "out of range times are refused by the constructor")]
    let milliseconds = (seconds * 1000.0) as i64;
    Timestamp::from_millisecond(milliseconds).ok()
}

fn text<'a>(body: &'a Value, member: &str) -> Option<&'a str> {
    body.get(member)?.as_str()
}

fn refused(code: &'static str, message: impl Into<String>) -> ApiError {
    ApiError::new(400, code, message)
}

/// The sandbox itself failed.
fn internal(reason: impl std::fmt::Display) -> ApiError {
    ApiError::new(500, "InternalException", reason.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buses_have_two_names() {
        assert_eq!(name_of("orders"), "orders");
        assert_eq!(name_of(&arn("000000000000", "orders")), "orders");
    }

    #[test]
    fn sizes_are_counted_as_aws_counts() {
        let entry =
            json!({ "Source": "ab", "DetailType": "c", "Detail": "{}", "Resources": ["xyz"], "Time": 1 });
        assert_eq!(size(&entry), 2 + 1 + 2 + 3 + 14);
    }
}
