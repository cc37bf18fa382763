//! Messages: sent, received, deleted, hidden for longer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use s3s::crypto::{Checksum as _, Md5};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::queue::{Message, Queue, Recent, later};
use super::{Sqs, batch, internal, missing, named, no_queue, text};
use crate::ledger::Accepted;
use crate::wire::{ApiError, CallContext};

/// Messages that a queue of the sandbox holds; a pipeline's test that needs more has a loop.
const MESSAGES_MAX: usize = 100_000;

/// The most entries of one batch, and messages of one receive.
const BATCH_MAX: usize = 10;

/// The most attributes of a message.
const ATTRIBUTES_MAX: usize = 10;

/// How often a long poll looks.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// The attribute by which a sender names a message of its own, so that the ledger can show it.
const MARKER_ATTRIBUTE: &str = "trunkline-attempt";

/// What the sender is told.
struct Sent {
    id: String,
    number: u64,
    is_new: bool,
}

impl Sqs {
    pub(super) fn send_message(&self, cx: &CallContext, body: &Value) -> Result<Value, ApiError> {
        self.send(cx, named(body)?, body)
    }

    pub(super) fn send_message_batch(&self, cx: &CallContext, body: &Value) -> Result<Value, ApiError> {
        let queue = named(body)?;
        let entries = entries(body)?;
        if !self.has(queue) {
            return Err(no_queue());
        }
        Ok(batch(entries.into_iter().map(|(id, entry)| (id, self.send(cx, queue, &entry))).collect()))
    }

    fn send(&self, cx: &CallContext, queue: &str, wish: &Value) -> Result<Value, ApiError> {
        let attributes = attributes_of(wish)?;
        let body = text(wish, "MessageBody").ok_or_else(|| missing("MessageBody"))?.to_owned();
        let mut answer = json!({ "MD5OfMessageBody": md5(body.as_bytes()) });
        if !attributes.is_empty() {
            answer["MD5OfMessageAttributes"] = json!(md5_of_attributes(&attributes));
        }
        let marker =
            attributes.get(MARKER_ATTRIBUTE).and_then(|value| text(value, "StringValue")).map(str::to_owned);
        let deduplication = text(wish, "MessageDeduplicationId").map(str::to_owned);
        let message = Message {
            number: 0,
            id: self.world.new_uuid().to_string(),
            body,
            attributes,
            sent_at: cx.now,
            visible_at: cx.now,
            received: 0,
            first_received: None,
            receipt: None,
            group: text(wish, "MessageGroupId").map(str::to_owned),
            deduplication: deduplication.clone(),
            sender: cx.caller.clone(),
            dead_letter_source: None,
        };
        let delay = wish.get("DelaySeconds").and_then(Value::as_u64);
        let sent = self.put(queue, message, delay)?;
        if sent.is_new {
            let accepted = Accepted { marker: marker.or(deduplication), id: &sent.id, subject: queue };
            self.world.ledger.accepted(cx, accepted).map_err(internal)?;
        }
        answer["MessageId"] = json!(sent.id);
        if queue.ends_with(".fifo") {
            answer["SequenceNumber"] = json!(format!("{:020}", sent.number));
        }
        Ok(answer)
    }

    /// Delivers a plain message that another service of the sandbox sends to a standard queue.
    pub(crate) fn notify(
        &self,
        queue: &str,
        body: String,
        sender: &str,
        now: Timestamp,
    ) -> Result<(), ApiError> {
        let message = Message { sender: sender.to_owned(), ..self.plain(body, now) };
        self.put(queue, message, None).map(drop)
    }

    fn plain(&self, body: String, now: Timestamp) -> Message {
        Message {
            number: 0,
            id: self.world.new_uuid().to_string(),
            body,
            attributes: BTreeMap::new(),
            sent_at: now,
            visible_at: now,
            received: 0,
            first_received: None,
            receipt: None,
            group: None,
            deduplication: None,
            sender: String::new(),
            dead_letter_source: None,
        }
    }

    /// Delivers a message that another service of the sandbox sends.
    pub(crate) fn deliver(
        &self,
        queue: &str,
        body: String,
        attributes: BTreeMap<String, Value>,
        group: Option<&str>,
        deduplication: &str,
        now: Timestamp,
    ) -> Result<(), ApiError> {
        let is_fifo = queue.ends_with(".fifo");
        let message = Message {
            attributes,
            group: group.filter(|_| is_fifo).map(str::to_owned),
            deduplication: is_fifo.then(|| deduplication.to_owned()),
            sender: "sns".to_owned(),
            ..self.plain(body, now)
        };
        self.put(queue, message, None).map(drop)
    }

    /// Accepts a message, or finds that it is a repetition.
    fn put(&self, queue: &str, mut message: Message, delay: Option<u64>) -> Result<Sent, ApiError> {
        let mut queues = self.lock();
        let queue = queues.get_mut(queue).ok_or_else(no_queue)?;
        check(queue, &message, delay)?;
        if queue.messages.len() >= MESSAGES_MAX {
            return Err(ApiError::new(403, "OverLimit", "too many messages in the sandbox's queue"));
        }
        let now = message.sent_at;
        if queue.is_fifo() {
            let key = message.deduplication.clone();
            let key = key.unwrap_or_else(|| hex::encode(Sha256::digest(message.body.as_bytes())));
            if let Some(earlier) = queue.repetition(&key, now) {
                return Ok(Sent { id: earlier.id.clone(), number: earlier.number, is_new: false });
            }
            let number = queue.sequence + 1;
            queue.recent.insert(key.clone(), Recent { at: now, id: message.id.clone(), number });
            message.deduplication = Some(key);
        }
        queue.sequence += 1;
        message.number = queue.sequence;
        message.visible_at =
            later(now, delay.map_or_else(|| queue.seconds("DelaySeconds"), Duration::from_secs));
        self.keep_message(&queue.name, &message)?;
        if queue.is_fifo() {
            self.keep_queue(queue)?;
        }
        let sent = Sent { id: message.id.clone(), number: message.number, is_new: true };
        queue.messages.insert(message.number, message);
        Ok(sent)
    }

    pub(super) async fn receive_message(&self, body: &Value) -> Result<Value, ApiError> {
        let name = named(body)?;
        let whole = |member: &str, most: u64| match body.get(member).and_then(Value::as_u64) {
            Some(value) if value > most => Err(out_of_range(member)),
            value => Ok(value),
        };
        let most = match whole("MaxNumberOfMessages", BATCH_MAX as u64)? {
            Some(0) => return Err(out_of_range("MaxNumberOfMessages")),
            most => usize::try_from(most.unwrap_or(1)).unwrap_or(1),
        };
        let visibility = whole("VisibilityTimeout", 43_200)?;
        let wait = match whole("WaitTimeSeconds", 20)? {
            Some(wait) => wait,
            None => self.lock().get(name).ok_or_else(no_queue)?.number("ReceiveMessageWaitTimeSeconds"),
        };
        let until = later(self.world.clock.now(), Duration::from_secs(wait));
        loop {
            let messages = self.receive_now(name, most, visibility, body)?;
            if !messages.is_empty() {
                return Ok(json!({ "Messages": messages }));
            }
            if self.world.clock.now() >= until {
                return Ok(json!({}));
            }
            self.world.pause(LOOK_EVERY).await;
        }
    }

    fn receive_now(
        &self,
        name: &str,
        most: usize,
        visibility: Option<u64>,
        body: &Value,
    ) -> Result<Vec<Value>, ApiError> {
        let now = self.world.clock.now();
        let mut queues = self.lock();
        let queue = queues.get_mut(name).ok_or_else(no_queue)?;
        let found = queue.find(most, now);
        for number in found.expired {
            queue.messages.remove(&number);
            self.forget_message(name, number)?;
        }
        let visibility = visibility.map_or_else(|| queue.seconds("VisibilityTimeout"), Duration::from_secs);
        let mut delivered = Vec::new();
        for number in found.ready {
            let receipt = self.world.new_uuid().to_string();
            let Some(message) = queue.deliver(number, &receipt, visibility, now) else { continue };
            self.keep_message(name, message)?;
            delivered.push(shown(message, body));
        }
        let target = queue.redrive().map(|(target, _)| target);
        let dead: Vec<Message> =
            found.dead.iter().filter_map(|number| queue.messages.remove(number)).collect();
        for message in dead {
            let number = message.number;
            let target = target.as_deref().and_then(|target| queues.get_mut(target));
            // Without a dead-letter queue to go to, a message is dropped when it grows too old.
            if let Some(target) = target {
                let moved = target.sequence + 1;
                target.sequence = moved;
                let message = Message {
                    number: moved,
                    visible_at: now,
                    receipt: None,
                    dead_letter_source: Some(super::arn(&self.world.account, name)),
                    ..message
                };
                self.keep_message(&target.name, &message)?;
                target.messages.insert(moved, message);
                self.forget_message(name, number)?;
            } else if let Some(queue) = queues.get_mut(name) {
                queue.messages.insert(number, message);
            }
        }
        Ok(delivered)
    }

    pub(super) fn delete_message(&self, body: &Value) -> Result<Value, ApiError> {
        self.delete(named(body)?, body)
    }

    pub(super) fn delete_message_batch(&self, body: &Value) -> Result<Value, ApiError> {
        let queue = named(body)?;
        let entries = entries(body)?;
        Ok(batch(entries.into_iter().map(|(id, entry)| (id, self.delete(queue, &entry))).collect()))
    }

    /// An older receipt handle "will succeed, but the message might not be deleted".
    fn delete(&self, name: &str, wish: &Value) -> Result<Value, ApiError> {
        let handle = receipt(wish)?;
        let mut queues = self.lock();
        let queue = queues.get_mut(name).ok_or_else(no_queue)?;
        if let Some(number) = queue.by_receipt(handle).map(|message| message.number) {
            self.forget_message(name, number)?;
            queue.messages.remove(&number);
        }
        Ok(json!({}))
    }

    pub(super) fn change_message_visibility(&self, body: &Value) -> Result<Value, ApiError> {
        self.change_visibility(named(body)?, body)
    }

    pub(super) fn change_message_visibility_batch(&self, body: &Value) -> Result<Value, ApiError> {
        let queue = named(body)?;
        let entries = entries(body)?;
        Ok(batch(
            entries.into_iter().map(|(id, entry)| (id, self.change_visibility(queue, &entry))).collect(),
        ))
    }

    fn change_visibility(&self, name: &str, wish: &Value) -> Result<Value, ApiError> {
        let handle = receipt(wish)?;
        let seconds =
            wish.get("VisibilityTimeout").and_then(Value::as_u64).filter(|seconds| *seconds <= 43_200);
        let seconds = seconds.ok_or_else(|| out_of_range("VisibilityTimeout"))?;
        let now = self.world.clock.now();
        let mut queues = self.lock();
        let queue = queues.get_mut(name).ok_or_else(no_queue)?;
        let message =
            queue.by_receipt(handle).filter(|message| message.visible_at > now).ok_or_else(|| {
                ApiError::new(400, "MessageNotInflight", "The specified message isn't in flight.")
            })?;
        let changed = Message { visible_at: later(now, Duration::from_secs(seconds)), ..message.clone() };
        self.keep_message(name, &changed)?;
        *message = changed;
        Ok(json!({}))
    }
}

/// Refuses what SQS refuses, in its words.
fn check(queue: &Queue, message: &Message, delay: Option<u64>) -> Result<(), ApiError> {
    let wrong = |message: &str| Err(ApiError::new(400, "ValidationException", message.to_owned()));
    if message.body.is_empty() {
        return wrong("The request must contain the parameter MessageBody.");
    }
    let attributes: usize =
        message.attributes.iter().map(|(name, value)| name.len() + value.to_string().len()).sum();
    let most = queue.number("MaximumMessageSize");
    if message.body.len() as u64 > most || (message.body.len() + attributes) as u64 > most.max(1_048_576) {
        return wrong(&format!(
            "One or more parameters are invalid. Reason: Message must be shorter than {most} bytes."
        ));
    }
    let control = |c: char| matches!(c, '\u{0}'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}');
    if message.body.chars().any(control) {
        return Err(ApiError::new(
            400,
            "InvalidMessageContents",
            "The message contains characters outside the allowed set.",
        ));
    }
    if delay.is_some_and(|delay| delay > 900) {
        return Err(out_of_range("DelaySeconds"));
    }
    if !queue.is_fifo() {
        return Ok(());
    }
    if delay.is_some_and(|delay| delay > 0) {
        return wrong(
            "Value for parameter DelaySeconds is invalid. Reason: The request include parameter that is not valid for this queue type.",
        );
    }
    if message.group.is_none() {
        return wrong("The request must contain the parameter MessageGroupId.");
    }
    if message.deduplication.is_none() && !queue.dedupes_by_content() {
        return wrong(
            "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly",
        );
    }
    Ok(())
}

fn attributes_of(wish: &Value) -> Result<BTreeMap<String, Value>, ApiError> {
    let empty = Map::new();
    let given = wish.get("MessageAttributes").and_then(Value::as_object).unwrap_or(&empty);
    let refuse = |text: String| Err(ApiError::new(400, "ValidationException", text));
    if given.len() > ATTRIBUTES_MAX {
        return refuse(format!(
            "Number of message attributes [{}] exceeds the allowed maximum [10].",
            given.len()
        ));
    }
    for (name, value) in given {
        let legal = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        if name.is_empty() || name.len() > 256 || !name.chars().all(legal) {
            return refuse(format!("The message attribute name '{name}' is invalid."));
        }
        let kind = text(value, "DataType").unwrap_or_default();
        let told = match kind.split('.').next() {
            Some("String" | "Number") => text(value, "StringValue"),
            Some("Binary") => text(value, "BinaryValue"),
            _ => {
                return refuse(format!(
                    "The message attribute '{name}' has an invalid message attribute type, the set of supported type prefixes is Binary, Number, and String."
                ));
            }
        };
        if told.is_none_or(str::is_empty) {
            return refuse(format!(
                "Message (user) attribute '{name}' must contain a non-empty value of type '{kind}'."
            ));
        }
    }
    Ok(given.iter().map(|(name, value)| (name.clone(), value.clone())).collect())
}

/// A message as a receiver sees it.
fn shown(message: &Message, body: &Value) -> Value {
    let names = |member: &str| -> BTreeSet<&str> {
        body.get(member).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
    };
    let mut told = json!({
        "MessageId": message.id,
        "ReceiptHandle": message.receipt,
        "MD5OfBody": md5(message.body.as_bytes()),
        "Body": message.body,
    });
    let mut wanted = names("AttributeNames");
    wanted.extend(names("MessageSystemAttributeNames"));
    let millis = |at: Timestamp| at.as_millisecond().to_string();
    let system: Map<String, Value> = [
        ("SenderId", Some(message.sender.clone())),
        ("SentTimestamp", Some(millis(message.sent_at))),
        ("ApproximateReceiveCount", Some(message.received.to_string())),
        ("ApproximateFirstReceiveTimestamp", message.first_received.map(millis)),
        ("SequenceNumber", message.group.as_ref().map(|_| format!("{:020}", message.number))),
        ("MessageGroupId", message.group.clone()),
        ("MessageDeduplicationId", message.deduplication.clone()),
        ("DeadLetterQueueSourceArn", message.dead_letter_source.clone()),
    ]
    .into_iter()
    .filter(|(name, _)| wanted.contains("All") || wanted.contains(name))
    .filter_map(|(name, value)| Some((name.to_owned(), Value::from(value?))))
    .collect();
    if !system.is_empty() {
        told["Attributes"] = Value::Object(system);
    }
    let wanted = names("MessageAttributeNames");
    let is_wanted = |name: &str| {
        wanted.iter().any(|pattern| match *pattern {
            "All" | ".*" => true,
            pattern => pattern.strip_suffix(".*").map_or(pattern == name, |prefix| name.starts_with(prefix)),
        })
    };
    let user: BTreeMap<String, Value> = message
        .attributes
        .iter()
        .filter(|(name, _)| is_wanted(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    if !user.is_empty() {
        told["MD5OfMessageAttributes"] = json!(md5_of_attributes(&user));
        told["MessageAttributes"] = json!(user);
    }
    told
}

/// The entries of a batch, each with its id.
fn entries(body: &Value) -> Result<Vec<(String, Value)>, ApiError> {
    let entries = body.get("Entries").and_then(Value::as_array).cloned().unwrap_or_default();
    if entries.is_empty() {
        return Err(ApiError::new(
            400,
            "EmptyBatchRequest",
            "There should be at least one entry in the request.",
        ));
    }
    if entries.len() > BATCH_MAX {
        return Err(ApiError::new(
            400,
            "TooManyEntriesInBatchRequest",
            format!("Maximum number of entries per request are 10. You have sent {}.", entries.len()),
        ));
    }
    let ids: BTreeSet<&str> = entries.iter().filter_map(|entry| text(entry, "Id")).collect();
    if ids.len() < entries.len() {
        return Err(ApiError::new(
            400,
            "BatchEntryIdsNotDistinct",
            "Two or more batch entries have the same Id.",
        ));
    }
    Ok(entries.into_iter().map(|entry| (text(&entry, "Id").unwrap_or_default().to_owned(), entry)).collect())
}

fn receipt(wish: &Value) -> Result<&str, ApiError> {
    let handle = text(wish, "ReceiptHandle").ok_or_else(|| missing("ReceiptHandle"))?;
    let well_formed = handle.split_once('-').is_some_and(|(number, _)| number.parse::<u64>().is_ok());
    if well_formed {
        return Ok(handle);
    }
    Err(ApiError::new(404, "ReceiptHandleIsInvalid", "The input receipt handle is invalid."))
}

fn out_of_range(member: &str) -> ApiError {
    ApiError::new(
        400,
        "ValidationException",
        format!("Value for parameter {member} is invalid. Reason: It is out of range."),
    )
}

fn md5(bytes: &[u8]) -> String {
    let mut digest = Md5::new();
    digest.update(bytes);
    hex::encode(digest.finalize())
}

/// SQS's digest over attributes: names in order, name, type and value each behind its length, and before the
/// value one byte for its kind.
fn md5_of_attributes(attributes: &BTreeMap<String, Value>) -> String {
    let mut bytes = Vec::new();
    let part = |bytes: &mut Vec<u8>, text: &[u8]| {
        bytes.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend(text);
    };
    for (name, value) in attributes {
        part(&mut bytes, name.as_bytes());
        part(&mut bytes, text(value, "DataType").unwrap_or_default().as_bytes());
        if let Some(encoded) = text(value, "BinaryValue") {
            bytes.push(2);
            part(&mut bytes, &STANDARD.decode(encoded).unwrap_or_default());
        } else {
            bytes.push(1);
            part(&mut bytes, text(value, "StringValue").unwrap_or_default().as_bytes());
        }
    }
    md5(&bytes)
}
