//! `sqs_send`: puts one message into an SQS queue.
//!
//! **Safe start**: there is no way to ask SQS whether it took a message, so an interrupted send
//! is repeated: at least once, and once unless an answer was lost. Every message carries the
//! attempt's id as the attribute `trunkline-attempt`, by which a receiver can tell a repetition.
//! A FIFO queue does so itself for five minutes, since the attempt's id is also the
//! deduplication id.

use std::{collections::BTreeMap, time::Duration};

use aws_sdk_sqs::types::MessageAttributeValue;
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    access::{Finding, Needs, Place},
    aws::{error::Trouble, repeat},
    clients::{Clients, Purpose},
    operator::{
        Call, ErrorClass, Failure, Found, Handle, Intent, Operator, Outcome, PrepareContext, Rate, Request,
        Sent, Status,
    },
    registry::Options,
    scalar::Scalar,
};

mod access;

#[cfg(test)]
mod tests;

/// What SQS takes in one message, with its attributes. A queue may allow less, and says so.
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// The most attributes of a message.
const ATTRIBUTES_MAX: usize = 10;

/// The longest name of an attribute, of a group and of a deduplication id.
const NAME_LENGTH_MAX: usize = 256;

/// The longest id of a message group.
const GROUP_LENGTH_MAX: usize = 128;

/// The longest delay that SQS knows.
const DELAY_SECONDS_MAX: u32 = 900;

/// The attribute that names the attempt.
const MARKER: &str = "trunkline-attempt";

/// The operator.
#[derive(Clone, Copy, Debug)]
pub struct SqsSend {
    quarantine: Duration,
}

/// Settings of an `sqs_send` task.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SqsSendConfig {
    /// The queue's URL, or the name of a queue of this account and region.
    pub queue: String,
    /// The message: a text as it is, anything else as JSON.
    pub body: Value,
    /// Message attributes, as texts. The attempt's id goes along as `trunkline-attempt`.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    #[schemars(with = "BTreeMap<String, Scalar>")]
    pub attributes: IndexMap<String, Scalar>,
    /// For FIFO queues: the group within which messages keep their order; without one, the
    /// pipeline's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Seconds until the message can be received, at most 900; standard queues only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = DELAY_SECONDS_MAX))]
    pub delay_seconds: Option<u32>,
}

impl SqsSend {
    /// Takes the scale of time of the options.
    pub fn new(options: &Options) -> Self {
        Self { quarantine: options.quarantine }
    }
}

impl Operator for SqsSend {
    const TYPE: &'static str = "sqs_send";
    const EXAMPLE: &'static str = "\
type: sqs_send
queue: report-requests
body: { day: '2026-11-19', format: pdf }
attributes: { priority: low }
";
    const GUARANTEE: &'static str = "At least once: SQS cannot be asked, so a send whose answer was lost is \
         repeated. FIFO queues drop a repetition within five minutes.";
    type Config = SqsSendConfig;

    fn default_timeout(&self) -> Duration {
        // The call is the whole job; throttling may delay it.
        Duration::from_secs(3600)
    }

    fn label(&self, request: &Request) -> String {
        format!("SQS queue {}", name_of(queue_of(request)))
    }

    fn prepare(&self, config: &SqsSendConfig, cx: &PrepareContext<'_>) -> Result<Request, Failure> {
        let name = name_of(&config.queue);
        if name.is_empty() {
            return Err(wrong("queue: write the URL or the name of a queue".to_owned()));
        }
        let is_fifo = name.ends_with(".fifo");
        let body = match &config.body {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let attributes = check_attributes(&config.attributes, cx)?;
        check_body(&body, &attributes)?;
        let mut call = json!({
            "Queue": config.queue,
            "MessageBody": body,
            "MessageAttributes": attributes,
        });
        if is_fifo {
            let group = config.group.as_deref().unwrap_or(cx.pipeline);
            if !is_group(group) {
                return Err(wrong(format!(
                    "group: `{group}` must have 1 to {GROUP_LENGTH_MAX} letters, digits and marks"
                )));
            }
            if config.delay_seconds.is_some() {
                return Err(wrong("delay_seconds: a FIFO queue delays all of its messages alike".to_owned()));
            }
            call["MessageGroupId"] = json!(group);
            call["MessageDeduplicationId"] = json!(cx.attempt_id.to_string());
        } else if config.group.is_some() {
            return Err(wrong(format!("group: `{name}` is no FIFO queue: its name does not end with .fifo")));
        }
        if let Some(delay) = config.delay_seconds {
            if delay > DELAY_SECONDS_MAX {
                return Err(wrong(format!("delay_seconds: at most {DELAY_SECONDS_MAX}, not {delay}")));
            }
            call["DelaySeconds"] = json!(delay);
        }
        Ok(Request {
            token: cx.attempt_id.to_string(),
            connection: cx.connection.to_owned(),
            body: json!({ "SendMessage": call }),
        })
    }

    async fn send(&self, clients: &Clients, intent: &Intent<'_>) -> Sent {
        let request = intent.request;
        let url = match queue_url(clients, request).await {
            Ok(url) => url,
            // Nothing was sent yet, so every failure is certain.
            Err(failure) if failure.class == ErrorClass::Config => return Sent::Refused(failure),
            Err(failure) => return Sent::Throttled(failure),
        };
        match put(clients, request, &url).await {
            Ok(sent) => sent,
            Err(failure) => Sent::Refused(failure),
        }
    }

    async fn find(&self, _: &Clients, intent: &Intent<'_>) -> Found {
        repeat(intent, self.quarantine)
    }

    async fn poll(&self, _: &Clients, handles: &[Handle]) -> Vec<Status> {
        let gone = || Failure::new(ErrorClass::Lost, "a sent message cannot be asked about");
        handles.iter().map(|_| Status::Gone(gone())).collect()
    }

    async fn cancel(&self, _: &Clients, _: &Handle) -> Result<(), Failure> {
        Ok(())
    }

    fn rate(&self, call: Call) -> Option<Rate> {
        // A FIFO queue takes 300 calls a second, a standard queue nearly any number.
        (call == Call::Start).then(|| Rate { api: "sqs:SendMessage".into(), per_second: 200.0, burst: 300.0 })
    }

    fn needs(&self, request: &Request, place: &Place) -> Option<Needs> {
        Some(access::needs(request, place))
    }

    async fn check(&self, clients: &Clients, request: &Request, _: &Place) -> Vec<Finding> {
        access::check(clients, request).await
    }
}

/// The attributes that are sent: those of the task and ours.
fn check_attributes(
    attributes: &IndexMap<String, Scalar>,
    cx: &PrepareContext<'_>,
) -> Result<IndexMap<String, String>, Failure> {
    if attributes.len() >= ATTRIBUTES_MAX {
        let most = ATTRIBUTES_MAX - 1;
        return Err(wrong(format!("attributes: at most {most}, there are {}", attributes.len())));
    }
    let mut all = IndexMap::new();
    for (name, Scalar(value)) in attributes {
        let legal = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        if !(1..=NAME_LENGTH_MAX).contains(&name.len()) || !name.chars().all(legal) {
            return Err(wrong(format!("attributes: `{name}` must be of letters, digits, `_`, `-` and `.`")));
        }
        if name == MARKER {
            return Err(wrong(format!("attributes: `{MARKER}` is set by Trunkline")));
        }
        if value.is_empty() {
            return Err(wrong(format!("attributes: `{name}` is empty, which SQS does not take")));
        }
        all.insert(name.clone(), value.clone());
    }
    all.insert(MARKER.to_owned(), cx.attempt_id.to_string());
    Ok(all)
}

fn check_body(body: &str, attributes: &IndexMap<String, String>) -> Result<(), Failure> {
    if body.is_empty() {
        return Err(wrong("body: SQS takes no empty message".to_owned()));
    }
    let legal = |c: char| !matches!(c, '\u{0}'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}');
    if let Some(bad) = body.chars().find(|c| !legal(*c)) {
        return Err(wrong(format!("body: SQS does not take the character U+{:04X}", u32::from(bad))));
    }
    let spent: usize = attributes.iter().map(|(name, value)| name.len() + value.len() + "String".len()).sum();
    if body.len() + spent > MESSAGE_BYTES_MAX {
        return Err(wrong(format!(
            "body: {} bytes with its attributes are more than the {MESSAGE_BYTES_MAX} that SQS takes; put the \
             data into S3 and send its address",
            body.len() + spent
        )));
    }
    Ok(())
}

fn is_group(group: &str) -> bool {
    (1..=GROUP_LENGTH_MAX).contains(&group.len()) && group.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The queue's URL: as it was written, or asked for by its name.
async fn queue_url(clients: &Clients, request: &Request) -> Result<String, Failure> {
    let queue = queue_of(request);
    if queue.contains("://") {
        return Ok(queue.to_owned());
    }
    let sqs = clients.sqs(&request.connection, Purpose::Read).await?;
    let answer = sqs.get_queue_url().queue_name(queue).send().await;
    let answer = answer.map_err(|error| named(queue, Trouble::from(error).into_failure()))?;
    answer.queue_url.ok_or_else(|| Failure::new(ErrorClass::System, "sqs named no URL of the queue"))
}

async fn put(clients: &Clients, request: &Request, url: &str) -> Result<Sent, Failure> {
    let call = &request.body["SendMessage"];
    let text = |name: &str| call[name].as_str().map(str::to_owned);
    let sqs = clients.sqs(&request.connection, Purpose::Start).await?;
    let mut send = sqs
        .send_message()
        .queue_url(url)
        .set_message_body(text("MessageBody"))
        .set_message_group_id(text("MessageGroupId"))
        .set_message_deduplication_id(text("MessageDeduplicationId"))
        .set_delay_seconds(call["DelaySeconds"].as_i64().and_then(|delay| i32::try_from(delay).ok()));
    let attributes: IndexMap<String, String> =
        serde_json::from_value(call["MessageAttributes"].clone()).unwrap_or_default();
    for (name, value) in attributes {
        let value = MessageAttributeValue::builder().data_type("String").string_value(value).build();
        send = send.message_attributes(name, value.map_err(|error| wrong(format!("attributes: {error}")))?);
    }
    Ok(match send.send().await.map_err(Trouble::from) {
        Ok(answer) => {
            let mut outcome = Outcome::default();
            outcome.outputs.insert("message_id".into(), Value::from(answer.message_id));
            if let Some(number) = answer.sequence_number {
                outcome.outputs.insert("sequence_number".into(), Value::from(number));
            }
            Sent::Done(outcome)
        }
        Err(trouble) => match trouble.into_sent() {
            Sent::Refused(failure) => Sent::Refused(named(queue_of(request), failure)),
            other => other,
        },
    })
}

/// The same failure with the queue in its text: SQS itself names none.
fn named(queue: &str, mut failure: Failure) -> Failure {
    failure.message = format!("queue {queue}: {}", failure.message);
    failure
}

fn queue_of(request: &Request) -> &str {
    request.body["SendMessage"]["Queue"].as_str().unwrap_or_default()
}

/// A queue's name, from its name or its URL.
fn name_of(queue: &str) -> &str {
    queue.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}

fn wrong(message: String) -> Failure {
    Failure::new(ErrorClass::Config, message)
}
