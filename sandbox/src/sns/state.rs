//! Topics and subscriptions as they are kept.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::wire::ApiError;

/// Everything that SNS knows, in one record.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct State {
    /// By ARN.
    pub topics: BTreeMap<String, Topic>,
}

/// One topic.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Topic {
    /// The attributes that were set.
    pub attributes: BTreeMap<String, String>,
    /// In the order they were made.
    pub subscriptions: Vec<Subscription>,
    /// The last sequence number of a FIFO topic.
    pub sequence: u64,
    /// Messages of a FIFO topic that must not be accepted again yet, by deduplication id.
    pub recent: BTreeMap<String, Recent>,
}

/// A message that a FIFO topic accepted lately.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Recent {
    /// When.
    pub at: Timestamp,
    /// Its id.
    pub message_id: String,
    /// Its sequence number.
    pub sequence: u64,
}

/// One subscription.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Subscription {
    /// Its ARN.
    pub arn: String,
    /// `email`, `email-json` or `sqs`.
    pub protocol: String,
    /// The address, or the queue's ARN.
    pub endpoint: String,
    /// The account.
    pub owner: String,
    /// Whether a queue gets the message as it is, without SNS's envelope.
    #[serde(default)]
    pub raw: bool,
}

impl State {
    /// A topic that must exist.
    pub(super) fn topic(&self, arn: &str) -> Result<&Topic, ApiError> {
        self.topics.get(arn).ok_or_else(no_topic)
    }

    /// A topic that must exist, to change it.
    pub(super) fn topic_mut(&mut self, arn: &str) -> Result<&mut Topic, ApiError> {
        self.topics.get_mut(arn).ok_or_else(no_topic)
    }
}

impl Topic {
    /// Whether order and deduplication are promised.
    pub(super) fn is_fifo(&self) -> bool {
        self.has("FifoTopic")
    }

    /// Whether a message's content is its deduplication id.
    pub(super) fn dedupes_by_content(&self) -> bool {
        self.has("ContentBasedDeduplication")
    }

    fn has(&self, attribute: &str) -> bool {
        self.attributes.get(attribute).is_some_and(|value| value == "true")
    }
}

fn no_topic() -> ApiError {
    ApiError::new(404, "NotFound", "Topic does not exist")
}
