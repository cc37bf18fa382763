//! Publishing: what a message may be, FIFO deduplication, delivery.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::state::{Recent, Subscription, Topic};
use super::{Sns, invalid};
use crate::ledger::Accepted;
use crate::mailbox::Mail;
use crate::sqs;
use crate::wire::query::{Form, Xml};
use crate::wire::{ApiError, CallContext};

/// The longest message with its attributes, in bytes.
const MESSAGE_MAX: usize = 256 * 1024;

/// Subjects are shorter than this many characters.
const SUBJECT_LIMIT: usize = 100;

/// How long a FIFO topic remembers a deduplication id.
const DEDUPLICATION: SignedDuration = SignedDuration::from_mins(5);

/// The most messages of one batch.
const BATCH_MAX: usize = 10;

/// The subject of mails whose message has none.
const NO_SUBJECT: &str = "AWS Notification Message";

/// The attribute by which a sender names a message of its own, so that the ledger can show it.
const MARKER_ATTRIBUTE: &str = "trunkline-notice-id";

/// A message as it was sent.
#[derive(Debug, Default, PartialEq)]
struct Message {
    subject: Option<String>,
    text: String,
    is_structured: bool,
    /// Name, type, value.
    attributes: Vec<(String, String, String)>,
    group: Option<String>,
    deduplication: Option<String>,
}

/// What the sender is told.
struct Published {
    message_id: String,
    sequence: Option<u64>,
}

impl Sns {
    pub(super) fn publish(&self, cx: &CallContext, form: &Form) -> Result<Xml, ApiError> {
        let mut xml = Xml::default();
        self.publish_one(cx, form)?.write(&mut xml);
        Ok(xml)
    }

    /// Publishes for another service of the sandbox; gives the message's id.
    pub(crate) fn publish_message(&self, cx: &CallContext, form: &Form) -> Result<String, ApiError> {
        self.publish_one(cx, form).map(|published| published.message_id)
    }

    fn publish_one(&self, cx: &CallContext, form: &Form) -> Result<Published, ApiError> {
        if form.has("PhoneNumber") {
            return Err(invalid("PhoneNumber Reason: text messages are not supported by the sandbox"));
        }
        let arn = form
            .get("TopicArn")
            .or_else(|| form.get("TargetArn"))
            .ok_or_else(|| invalid("TopicArn or TargetArn Reason: no value for required parameter"))?;
        self.accept(cx, arn, &Message::read(form))
    }

    pub(super) fn publish_batch(&self, cx: &CallContext, form: &Form) -> Result<Xml, ApiError> {
        let arn = form.required("TopicArn")?;
        let entries = form.list("PublishBatchRequestEntries");
        check_batch(&entries)?;
        self.read(|state| state.topic(arn).map(drop))?;
        let total: usize = entries.iter().map(|entry| Message::read(entry).size()).sum();
        if total > MESSAGE_MAX {
            return Err(ApiError::new(
                400,
                "BatchRequestTooLong",
                "The length of all the messages put together is more than the limit.",
            ));
        }
        let results: Vec<(String, Result<Published, ApiError>)> = entries
            .iter()
            .map(|entry| {
                let id = entry.get("Id").unwrap_or_default().to_owned();
                (id, self.accept(cx, arn, &Message::read(entry)))
            })
            .collect();
        let mut xml = Xml::default();
        xml.nest("Successful", |xml| {
            for (id, published) in results.iter().filter_map(|(id, result)| Some((id, result.as_ref().ok()?)))
            {
                xml.nest("member", |xml| {
                    xml.leaf("Id", id);
                    published.write(xml);
                });
            }
        });
        xml.nest("Failed", |xml| {
            for (id, error) in results.iter().filter_map(|(id, result)| Some((id, result.as_ref().err()?))) {
                xml.nest("member", |xml| {
                    xml.leaf("Id", id);
                    xml.leaf("Code", &error.code);
                    xml.leaf("Message", &error.message);
                    xml.leaf("SenderFault", if error.status < 500 { "true" } else { "false" });
                });
            }
        });
        Ok(xml)
    }

    /// Accepts one message: deduplicates, delivers, enters it into the ledger.
    fn accept(&self, cx: &CallContext, arn: &str, message: &Message) -> Result<Published, ApiError> {
        let fresh = self.world.new_uuid().to_string();
        let (published, subscriptions, is_new) = self.change(|state| {
            let topic = state.topic_mut(arn)?;
            message.check(topic)?;
            let known = topic.recent.len();
            let published = topic.number(message, &fresh, cx.now);
            let is_new = !topic.is_fifo() || published.message_id == fresh || topic.recent.len() > known;
            Ok((published, topic.subscriptions.clone(), is_new))
        })?;
        if !is_new {
            return Ok(published);
        }
        for subscription in &subscriptions {
            if subscription.protocol == "sqs" {
                self.enqueue(arn, subscription, message, &published, cx)?;
                continue;
            }
            let mail = message.mail(arn, subscription, &published.message_id, cx.now)?;
            self.world.mailbox.deliver(&mail).map_err(ApiError::internal)?;
        }
        let accepted = Accepted { marker: message.marker(), id: &published.message_id, subject: arn };
        self.world.ledger.accepted(cx, accepted).map_err(ApiError::internal)?;
        Ok(published)
    }
}

impl Sns {
    /// Puts a message into a queue. A queue that is gone loses it, as on AWS.
    fn enqueue(
        &self,
        arn: &str,
        subscription: &Subscription,
        message: &Message,
        published: &Published,
        cx: &CallContext,
    ) -> Result<(), ApiError> {
        let Some(queue) = sqs::name_of_arn(&subscription.endpoint).filter(|queue| self.sqs.has(queue)) else {
            return Ok(());
        };
        let attribute = |kind: &str, value: &str| {
            let member = if kind.starts_with("Binary") { "BinaryValue" } else { "StringValue" };
            json!({ "DataType": kind, member: value })
        };
        let (body, attributes) = if subscription.raw {
            let attributes = message.attributes.iter();
            let attributes = attributes.map(|(name, kind, value)| (name.clone(), attribute(kind, value)));
            (message.text_for("sqs"), attributes.collect())
        } else {
            (message.envelope(arn, subscription, &published.message_id, cx.now), BTreeMap::new())
        };
        let group = message.group.as_deref();
        // The message's own id: a repetition within the topic's five minutes never comes this far.
        self.sqs.deliver(queue, body, attributes, group, &published.message_id, cx.now)
    }
}

impl Published {
    fn write(&self, xml: &mut Xml) {
        xml.leaf("MessageId", &self.message_id);
        if let Some(sequence) = self.sequence {
            xml.leaf("SequenceNumber", &format!("{sequence:020}"));
        }
    }
}

impl Topic {
    /// Gives a message its id and number: those of an earlier one if it is a repetition.
    fn number(&mut self, message: &Message, fresh: &str, now: Timestamp) -> Published {
        if !self.is_fifo() {
            return Published { message_id: fresh.to_owned(), sequence: None };
        }
        self.recent.retain(|_, recent| now.duration_since(recent.at) < DEDUPLICATION);
        let key = message.deduplication_key();
        if let Some(earlier) = self.recent.get(&key) {
            return Published { message_id: earlier.message_id.clone(), sequence: Some(earlier.sequence) };
        }
        self.sequence += 1;
        let recent = Recent { at: now, message_id: fresh.to_owned(), sequence: self.sequence };
        self.recent.insert(key, recent);
        Published { message_id: fresh.to_owned(), sequence: Some(self.sequence) }
    }
}

impl Message {
    fn read(form: &Form) -> Self {
        let attributes = form
            .list("MessageAttributes")
            .iter()
            .map(|entry| {
                let text = |name: &str| entry.get(name).unwrap_or_default().to_owned();
                let value = entry.get("Value.StringValue").or_else(|| entry.get("Value.BinaryValue"));
                (text("Name"), text("Value.DataType"), value.unwrap_or_default().to_owned())
            })
            .collect();
        Self {
            subject: form.get("Subject").map(str::to_owned),
            text: form.get("Message").unwrap_or_default().to_owned(),
            is_structured: form.get("MessageStructure") == Some("json"),
            attributes,
            group: form.get("MessageGroupId").map(str::to_owned),
            deduplication: form.get("MessageDeduplicationId").map(str::to_owned),
        }
    }

    /// Refuses what SNS refuses, in its words.
    fn check(&self, topic: &Topic) -> Result<(), ApiError> {
        if self.text.is_empty() {
            return Err(invalid("Empty message"));
        }
        if self.size() > MESSAGE_MAX {
            return Err(invalid("Message too long"));
        }
        if self.subject.as_deref().is_some_and(|subject| !is_subject(subject)) {
            return Err(invalid("Subject"));
        }
        for (name, kind, value) in &self.attributes {
            check_attribute(name, kind, value)?;
        }
        if self.is_structured && self.default_text().is_none() {
            return Err(invalid("Message Structure - No default entry in JSON message body"));
        }
        if !topic.is_fifo() {
            return if self.deduplication.is_some() {
                Err(invalid(
                    "MessageDeduplicationId Reason: The request includes MessageDeduplicationId parameter that is not valid for this topic type",
                ))
            } else {
                Ok(())
            };
        }
        if self.group.is_none() {
            return Err(invalid("The MessageGroupId parameter is required for FIFO topics"));
        }
        if self.deduplication.is_none() && !topic.dedupes_by_content() {
            return Err(invalid(
                "The topic should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly",
            ));
        }
        Ok(())
    }

    fn size(&self) -> usize {
        let attributes =
            self.attributes.iter().map(|(name, kind, value)| name.len() + kind.len() + value.len());
        self.text.len() + attributes.sum::<usize>()
    }

    fn deduplication_key(&self) -> String {
        let by_content = || hex::encode(Sha256::digest(self.text.as_bytes()));
        self.deduplication.clone().unwrap_or_else(by_content)
    }

    /// The sender's own name for this message.
    fn marker(&self) -> Option<String> {
        let attribute = self.attributes.iter().find(|(name, ..)| name == MARKER_ATTRIBUTE);
        attribute.map(|(.., value)| value.clone()).or_else(|| self.deduplication.clone())
    }

    fn default_text(&self) -> Option<String> {
        let parts: Value = serde_json::from_str(&self.text).ok()?;
        parts.get("default")?.as_str().map(str::to_owned)
    }

    /// The text for one protocol.
    fn text_for(&self, protocol: &str) -> String {
        if !self.is_structured {
            return self.text.clone();
        }
        let parts: Value = serde_json::from_str(&self.text).unwrap_or_default();
        let own = parts.get(protocol).and_then(Value::as_str).map(str::to_owned);
        own.or_else(|| self.default_text()).unwrap_or_default()
    }

    /// What a queue gets: the message with what SNS knows of it.
    fn envelope(&self, arn: &str, subscription: &Subscription, message_id: &str, at: Timestamp) -> String {
        let mut envelope = json!({
            "Type": "Notification",
            "MessageId": message_id,
            "TopicArn": arn,
            "Message": self.text_for(&subscription.protocol),
            "Timestamp": at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
        });
        if let Some(subject) = &self.subject {
            envelope["Subject"] = json!(subject);
        }
        if !self.attributes.is_empty() {
            let attributes = self.attributes.iter();
            envelope["MessageAttributes"] = attributes
                .map(|(name, kind, value)| (name.clone(), json!({ "Type": kind, "Value": value })))
                .collect::<serde_json::Map<_, _>>()
                .into();
        }
        envelope.to_string()
    }

    fn mail(
        &self,
        arn: &str,
        subscription: &Subscription,
        message_id: &str,
        at: Timestamp,
    ) -> Result<Mail, ApiError> {
        let text = self.text_for(&subscription.protocol);
        let body = if subscription.protocol == "email-json" {
            let envelope = json!({
                "Type": "Notification",
                "MessageId": message_id,
                "TopicArn": arn,
                "Subject": self.subject,
                "Message": text,
                "Timestamp": at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
            });
            serde_json::to_string_pretty(&envelope).map_err(ApiError::internal)?
        } else {
            text
        };
        let mut headers = vec![("X-Sns-Topic-Arn".to_owned(), arn.to_owned())];
        headers.extend(
            self.attributes.iter().map(|(name, _, value)| (format!("X-Sns-Attribute-{name}"), value.clone())),
        );
        Ok(Mail {
            to: subscription.endpoint.clone(),
            subject: self.subject.clone().unwrap_or_else(|| NO_SUBJECT.to_owned()),
            body,
            at,
            message_id: message_id.to_owned(),
            headers,
        })
    }
}

/// ASCII without control characters, shorter than 100, beginning with a letter, digit or punctuation mark.
fn is_subject(subject: &str) -> bool {
    let printable = subject.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    let begins = subject.bytes().next().is_some_and(|byte| byte.is_ascii_graphic());
    printable && begins && subject.len() < SUBJECT_LIMIT
}

fn check_attribute(name: &str, kind: &str, value: &str) -> Result<(), ApiError> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    let refuse = |reason: &str| {
        Err(ApiError::new(400, "ParameterValueInvalid", format!("The message attribute '{name}' {reason}")))
    };
    if name.is_empty() || name.len() > 256 || !name.chars().all(legal) {
        return refuse("contains a character that is not allowed: use letters, digits, '_', '-' and '.'");
    }
    if !matches!(kind.split('.').next(), Some("String" | "Number" | "Binary")) {
        return refuse(
            "has an invalid message attribute type, the set of supported type prefixes is Binary, Number, and String.",
        );
    }
    if value.is_empty() {
        return refuse(&format!(
            "must contain non-empty message attribute value for message attribute type '{kind}'."
        ));
    }
    Ok(())
}

fn check_batch(entries: &[Form]) -> Result<(), ApiError> {
    if entries.is_empty() {
        return Err(ApiError::new(
            400,
            "EmptyBatchRequest",
            "The batch request doesn't contain any entries.",
        ));
    }
    if entries.len() > BATCH_MAX {
        return Err(ApiError::new(
            400,
            "TooManyEntriesInBatchRequest",
            "The batch request contains more entries than permissible (more than 10).",
        ));
    }
    let ids: BTreeSet<&str> = entries.iter().filter_map(|entry| entry.get("Id")).collect();
    if ids.len() < entries.len() {
        return Err(ApiError::new(
            400,
            "BatchEntryIdsNotDistinct",
            "Two or more batch entries in the request have the same Id.",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fifo() -> Topic {
        let mut topic = Topic::default();
        topic.attributes.insert("FifoTopic".into(), "true".into());
        topic
    }

    fn message(deduplication: &str) -> Message {
        Message {
            text: "m".into(),
            group: Some("g".into()),
            deduplication: Some(deduplication.into()),
            ..Message::default()
        }
    }

    #[test]
    fn subjects() {
        for good in ["[prod] FAILED daily 2026-11-19: convert", "x", &"y".repeat(99)] {
            assert!(is_subject(good), "{good}");
        }
        for bad in ["", " leading", "two\nlines", "tab\there", "ü", &"y".repeat(100)] {
            assert!(!is_subject(bad), "{bad:?}");
        }
    }

    #[test]
    fn repetitions_within_five_minutes_get_the_same_answer() {
        let mut topic = fifo();
        let at = |second| Timestamp::from_second(second).unwrap();
        let first = topic.number(&message("a"), "id1", at(0));
        let again = topic.number(&message("a"), "id2", at(299));
        assert_eq!((first.message_id, first.sequence), (again.message_id, again.sequence));
        assert_eq!(topic.number(&message("b"), "id3", at(299)).sequence, Some(2));
        assert_eq!(topic.number(&message("a"), "id4", at(300)).message_id, "id4");
    }

    #[test]
    fn fifo_topics_want_group_and_deduplication() {
        let topic = fifo();
        assert!(message("a").check(&topic).is_ok());
        let no_group = Message { group: None, ..message("a") };
        assert!(no_group.check(&topic).unwrap_err().message.contains("MessageGroupId"));
        let no_id = Message { deduplication: None, ..message("a") };
        assert!(no_id.check(&topic).unwrap_err().message.contains("ContentBasedDeduplication"));
        assert!(message("a").check(&Topic::default()).is_err());
    }

    #[test]
    fn structured_messages_choose_the_protocol() {
        let message = Message {
            text: r#"{"default":"d","email":"e"}"#.into(),
            is_structured: true,
            ..Message::default()
        };
        assert_eq!(message.text_for("email"), "e");
        assert_eq!(message.text_for("sqs"), "d");
        let broken = Message { text: "{}".into(), is_structured: true, ..Message::default() };
        assert!(broken.check(&Topic::default()).is_err());
    }

    #[test]
    fn size_counts_attributes() {
        let long = Message { text: "x".repeat(MESSAGE_MAX), ..Message::default() };
        assert!(long.check(&Topic::default()).is_ok());
        let longer = Message { attributes: vec![("a".into(), "String".into(), "v".into())], ..long };
        assert_eq!(
            longer.check(&Topic::default()).unwrap_err().message,
            "Invalid parameter: Message too long"
        );
    }
}
