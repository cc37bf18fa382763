//! Attributes of queues: which there are, what values they take, what they mean.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::queue::Queue;
use crate::wire::ApiError;

/// Numbers: name, smallest, largest, the value of a queue that names none.
const NUMBERS: [(&str, u64, u64, u64); 5] = [
    ("DelaySeconds", 0, 900, 0),
    ("MaximumMessageSize", 1024, 1_048_576, 1_048_576),
    ("MessageRetentionPeriod", 60, 1_209_600, 345_600),
    ("ReceiveMessageWaitTimeSeconds", 0, 20, 0),
    ("VisibilityTimeout", 0, 43_200, 30),
];

/// Other attributes. The last five change nothing here.
const OTHERS: [&str; 10] = [
    "ContentBasedDeduplication",
    "DeduplicationScope",
    "FifoQueue",
    "FifoThroughputLimit",
    "RedrivePolicy",
    "KmsDataKeyReusePeriodSeconds",
    "KmsMasterKeyId",
    "Policy",
    "RedriveAllowPolicy",
    "SqsManagedSseEnabled",
];

/// The attributes that a request sets, checked.
pub(super) fn read(body: &Value) -> Result<BTreeMap<String, String>, ApiError> {
    let mut attributes = BTreeMap::new();
    for (name, value) in body.get("Attributes").and_then(Value::as_object).into_iter().flatten() {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        check(name, &text)?;
        attributes.insert(name.clone(), text);
    }
    Ok(attributes)
}

fn check(name: &str, value: &str) -> Result<(), ApiError> {
    let refuse = || {
        Err(ApiError::new(400, "InvalidAttributeValue", format!("Invalid value for the parameter {name}.")))
    };
    if let Some((_, least, most, _)) = NUMBERS.iter().find(|(known, ..)| *known == name) {
        return match value.parse::<u64>() {
            Ok(number) if (*least..=*most).contains(&number) => Ok(()),
            _ => refuse(),
        };
    }
    if !OTHERS.contains(&name) {
        return Err(ApiError::new(400, "InvalidAttributeName", format!("Unknown Attribute {name}.")));
    }
    match name {
        "FifoQueue" | "ContentBasedDeduplication" if !matches!(value, "true" | "false") => refuse(),
        "DeduplicationScope" | "FifoThroughputLimit" if !matches!(value, "queue" | "perQueue") => {
            // Other values change what is a repetition and in which order things come.
            Err(ApiError::new(
                400,
                "InvalidAttributeValue",
                format!("{name}: the sandbox knows only the default"),
            ))
        }
        "RedrivePolicy" if !value.is_empty() && redrive(value).is_none() => refuse(),
        _ => Ok(()),
    }
}

/// Where messages go that were received too often, and how often that is.
fn redrive(policy: &str) -> Option<(String, u32)> {
    let policy: Value = serde_json::from_str(policy).ok()?;
    let target = super::name_of_arn(policy.get("deadLetterTargetArn")?.as_str()?)?.to_owned();
    let most = policy.get("maxReceiveCount")?;
    let most = most.as_u64().or_else(|| most.as_str()?.parse().ok())?;
    u32::try_from(most).ok().filter(|most| (1..=1000).contains(most)).map(|most| (target, most))
}

impl Queue {
    /// A number among the attributes, or its default.
    pub(super) fn number(&self, name: &str) -> u64 {
        let default = NUMBERS.iter().find(|(known, ..)| *known == name).map_or(0, |(.., default)| *default);
        self.attributes.get(name).and_then(|text| text.parse().ok()).unwrap_or(default)
    }

    /// The same as a span of time.
    pub(super) fn seconds(&self, name: &str) -> Duration {
        Duration::from_secs(self.number(name))
    }

    /// Whether order and deduplication are promised.
    pub(super) fn is_fifo(&self) -> bool {
        self.has("FifoQueue")
    }

    /// Whether a message's content is its deduplication id.
    pub(super) fn dedupes_by_content(&self) -> bool {
        self.has("ContentBasedDeduplication")
    }

    /// The dead-letter queue's name and the receives that lead there.
    pub(super) fn redrive(&self) -> Option<(String, u32)> {
        redrive(self.attributes.get("RedrivePolicy")?)
    }

    fn has(&self, attribute: &str) -> bool {
        self.attributes.get(attribute).is_some_and(|value| value == "true")
    }

    /// Every attribute as it is shown.
    pub(super) fn shown(&self, account: &str, now: jiff::Timestamp) -> BTreeMap<String, String> {
        let mut shown = self.attributes.clone();
        for (name, .., default) in NUMBERS {
            shown.entry(name.to_owned()).or_insert_with(|| default.to_string());
        }
        let counts = self.counts(now);
        shown.insert("QueueArn".to_owned(), super::arn(account, &self.name));
        shown.insert("CreatedTimestamp".to_owned(), self.created.as_second().to_string());
        shown.insert("LastModifiedTimestamp".to_owned(), self.modified.as_second().to_string());
        shown.insert("ApproximateNumberOfMessages".to_owned(), counts.visible.to_string());
        shown.insert("ApproximateNumberOfMessagesNotVisible".to_owned(), counts.in_flight.to_string());
        shown.insert("ApproximateNumberOfMessagesDelayed".to_owned(), counts.delayed.to_string());
        shown.retain(|_, value| !value.is_empty());
        shown
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_checked() {
        let read = |name: &str, value: &str| read(&json!({ "Attributes": { name: value } }));
        assert!(read("VisibilityTimeout", "0").is_ok());
        assert_eq!(read("VisibilityTimeout", "43201").unwrap_err().code, "InvalidAttributeValue");
        assert_eq!(read("Colour", "red").unwrap_err().code, "InvalidAttributeName");
        assert!(read("DeduplicationScope", "messageGroup").is_err());
        let policy = |most: &str| {
            format!(
                r#"{{"deadLetterTargetArn":"{}","maxReceiveCount":{most}}}"#,
                super::super::arn("000000000000", "d")
            )
        };
        assert!(read("RedrivePolicy", &policy("3")).is_ok());
        assert!(read("RedrivePolicy", &policy("\"3\"")).is_ok());
        assert!(read("RedrivePolicy", &policy("0")).is_err());
        assert!(read("RedrivePolicy", "").is_ok(), "an empty policy takes it away");
    }
}
