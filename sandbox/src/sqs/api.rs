//! Queues: made, shown, changed, emptied, deleted.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use super::queue::Queue;
use super::{Sqs, attributes, internal, missing, named, no_queue, text};
use crate::wire::{ApiError, CallContext};

/// Queues of a sandbox.
const QUEUES_MAX: usize = 1_000;

/// Entries on a page of a list, as on AWS.
const PAGE: usize = 1_000;

impl Sqs {
    pub(super) fn create_queue(&self, cx: &CallContext, body: &Value) -> Result<Value, ApiError> {
        let name = text(body, "QueueName").ok_or_else(|| missing("QueueName"))?;
        let attributes = attributes::read(body)?;
        check_name(name, attributes.get("FifoQueue").is_some_and(|value| value == "true"))?;
        let mut queues = self.lock();
        if let Some(known) = queues.get(name) {
            let known = known.shown(&cx.account, cx.now);
            if let Some((differs, _)) =
                attributes.iter().find(|(name, value)| known.get(*name) != Some(value))
            {
                return Err(ApiError::new(
                    400,
                    "QueueNameExists",
                    format!(
                        "A queue already exists with the same name and a different value for attribute {differs}"
                    ),
                ));
            }
            return Ok(json!({ "QueueUrl": self.url(name) }));
        }
        if queues.len() >= QUEUES_MAX {
            return Err(ApiError::new(400, "UnsupportedOperation", "too many queues in the sandbox"));
        }
        let queue = Queue {
            name: name.to_owned(),
            attributes,
            created: cx.now,
            modified: cx.now,
            sequence: 0,
            recent: BTreeMap::new(),
            messages: BTreeMap::new(),
        };
        self.keep_queue(&queue)?;
        queues.insert(name.to_owned(), queue);
        Ok(json!({ "QueueUrl": self.url(name) }))
    }

    pub(super) fn delete_queue(&self, body: &Value) -> Result<Value, ApiError> {
        let name = named(body)?;
        let mut queues = self.lock();
        if queues.remove(name).is_none() {
            return Err(no_queue());
        }
        fs::remove_dir_all(self.folder(name)).map_err(internal)?;
        Ok(json!({}))
    }

    pub(super) fn get_queue_url(&self, body: &Value) -> Result<Value, ApiError> {
        let name = text(body, "QueueName").ok_or_else(|| missing("QueueName"))?;
        if self.has(name) { Ok(json!({ "QueueUrl": self.url(name) })) } else { Err(no_queue()) }
    }

    /// Whether a queue of this name is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.lock().contains_key(name)
    }

    pub(super) fn list_queues(&self, body: &Value) -> Value {
        let prefix = text(body, "QueueNamePrefix").unwrap_or_default();
        let after = text(body, "NextToken").unwrap_or_default();
        let most = body
            .get("MaxResults")
            .and_then(Value::as_u64)
            .map_or(PAGE, |most| usize::try_from(most).unwrap_or(PAGE).clamp(1, PAGE));
        let queues = self.lock();
        let fits = |name: &&String| name.starts_with(prefix) && name.as_str() > after;
        let found: Vec<&String> = queues.keys().filter(fits).take(most + 1).collect();
        let urls: Vec<String> = found.iter().take(most).map(|name| self.url(name)).collect();
        let mut answer = json!({ "QueueUrls": urls });
        if found.len() > most {
            answer["NextToken"] = json!(found[most - 1]);
        }
        answer
    }

    pub(super) fn get_queue_attributes(&self, cx: &CallContext, body: &Value) -> Result<Value, ApiError> {
        let queues = self.lock();
        let queue = queues.get(named(body)?).ok_or_else(no_queue)?;
        let mut shown = queue.shown(&cx.account, cx.now);
        let wanted: Vec<&str> = body
            .get("AttributeNames")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        if !wanted.contains(&"All") {
            shown.retain(|name, _| wanted.contains(&name.as_str()));
        }
        Ok(json!({ "Attributes": shown }))
    }

    pub(super) fn set_queue_attributes(&self, cx: &CallContext, body: &Value) -> Result<Value, ApiError> {
        let changes = attributes::read(body)?;
        let mut queues = self.lock();
        let queue = queues.get_mut(named(body)?).ok_or_else(no_queue)?;
        let fifo = |queue: &Queue| queue.is_fifo().to_string();
        if changes.get("FifoQueue").is_some_and(|value| *value != fifo(queue)) {
            return Err(ApiError::new(400, "InvalidAttributeValue", "FifoQueue cannot be changed."));
        }
        let mut changed = queue.clone();
        changed.attributes.extend(changes);
        changed.modified = cx.now;
        self.keep_queue(&changed)?;
        *queue = changed;
        Ok(json!({}))
    }

    pub(super) fn purge_queue(&self, _: &CallContext, body: &Value) -> Result<Value, ApiError> {
        let mut queues = self.lock();
        let queue = queues.get_mut(named(body)?).ok_or_else(no_queue)?;
        while let Some((number, _)) = queue.messages.pop_first() {
            self.forget_message(&queue.name, number)?;
        }
        Ok(json!({}))
    }
}

fn check_name(name: &str, fifo: bool) -> Result<(), ApiError> {
    let stem = name.strip_suffix(".fifo");
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let well_formed =
        (1..=80).contains(&name.len()) && stem.unwrap_or(name).chars().all(legal) && stem != Some("");
    if well_formed && fifo == stem.is_some() {
        return Ok(());
    }
    let message = if fifo {
        "The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, must end with .fifo suffix and be 1 to 80 in length."
    } else {
        "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length"
    };
    Err(ApiError::new(400, "InvalidAttributeValue", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queue_names() {
        assert!(check_name("orders", false).is_ok());
        assert!(check_name("orders.fifo", true).is_ok());
        for (name, fifo) in
            [("orders", true), ("orders.fifo", false), ("a b", false), ("", false), (".fifo", true)]
        {
            assert!(check_name(name, fifo).is_err(), "{name}");
        }
    }
}
