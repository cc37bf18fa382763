//! One queue and its messages: who may be received now, in which order, what is a repetition. Pure: time comes
//! in as an argument, nothing is written here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How long a FIFO queue remembers a deduplication id.
const DEDUPLICATION: Duration = Duration::from_secs(300);

/// A queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Queue {
    pub name: String,
    /// The attributes that were set.
    pub attributes: BTreeMap<String, String>,
    pub created: Timestamp,
    pub modified: Timestamp,
    /// The last message's number.
    pub sequence: u64,
    /// Messages of a FIFO queue that must not be accepted again yet, by deduplication id.
    #[serde(default)]
    pub recent: BTreeMap<String, Recent>,
    /// By number; each is a file of its own.
    #[serde(skip)]
    pub messages: BTreeMap<u64, Message>,
}

/// A message that a FIFO queue accepted lately.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Recent {
    pub at: Timestamp,
    pub id: String,
    pub number: u64,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Message {
    pub number: u64,
    pub id: String,
    pub body: String,
    /// As they were sent: type and value.
    #[serde(default)]
    pub attributes: BTreeMap<String, Value>,
    pub sent_at: Timestamp,
    /// Not to be received before.
    pub visible_at: Timestamp,
    #[serde(default)]
    pub received: u32,
    #[serde(default)]
    pub first_received: Option<Timestamp>,
    /// Of the last receive.
    #[serde(default)]
    pub receipt: Option<String>,
    #[serde(default)]
    pub group: Option<String>,
    #[serde(default)]
    pub deduplication: Option<String>,
    #[serde(default)]
    pub sender: String,
    /// The queue that it was moved from.
    #[serde(default)]
    pub dead_letter_source: Option<String>,
}

/// How many messages are in which state.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Counts {
    pub visible: usize,
    pub in_flight: usize,
    pub delayed: usize,
}

/// What a receive finds.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Found {
    /// To be delivered.
    pub ready: Vec<u64>,
    /// Received too often: to be moved.
    pub dead: Vec<u64>,
    /// Older than the queue keeps.
    pub expired: Vec<u64>,
}

impl Queue {
    /// What may be received now, at most `most` messages.
    pub(super) fn find(&self, most: usize, now: Timestamp) -> Found {
        let retention = self.seconds("MessageRetentionPeriod");
        let deadly = self.redrive().map(|(_, most)| most);
        let mut found = Found::default();
        let mut blocked: BTreeSet<&str> = BTreeSet::new();
        for message in self.messages.values() {
            if later(message.sent_at, retention) <= now {
                found.expired.push(message.number);
                continue;
            }
            let group = message.group.as_deref().filter(|_| self.is_fifo());
            if message.visible_at > now {
                // What comes behind an undelivered message of its group waits for it.
                blocked.extend(group);
                continue;
            }
            if group.is_some_and(|group| blocked.contains(group)) {
                continue;
            }
            if deadly.is_some_and(|most| message.received >= most) {
                found.dead.push(message.number);
            } else if found.ready.len() < most {
                found.ready.push(message.number);
            }
        }
        found
    }

    /// Marks a message as delivered.
    pub(super) fn deliver(
        &mut self,
        number: u64,
        receipt: &str,
        visibility: Duration,
        now: Timestamp,
    ) -> Option<&Message> {
        let message = self.messages.get_mut(&number)?;
        message.received += 1;
        message.first_received.get_or_insert(now);
        message.visible_at = later(now, visibility);
        message.receipt = Some(format!("{number}-{receipt}"));
        Some(message)
    }

    /// The message that a receipt handle is about, if the handle is of its last receive.
    pub(super) fn by_receipt(&mut self, handle: &str) -> Option<&mut Message> {
        let number: u64 = handle.split_once('-')?.0.parse().ok()?;
        self.messages.get_mut(&number).filter(|message| message.receipt.as_deref() == Some(handle))
    }

    /// An earlier message of the same deduplication id.
    pub(super) fn repetition(&mut self, deduplication: &str, now: Timestamp) -> Option<&Recent> {
        self.recent.retain(|_, recent| later(recent.at, DEDUPLICATION) > now);
        self.recent.get(deduplication)
    }

    pub(super) fn counts(&self, now: Timestamp) -> Counts {
        let mut counts = Counts::default();
        for message in self.messages.values() {
            if message.visible_at <= now {
                counts.visible += 1;
            } else if message.received == 0 {
                counts.delayed += 1;
            } else {
                counts.in_flight += 1;
            }
        }
        counts
    }
}

pub(super) fn later(at: Timestamp, span: Duration) -> Timestamp {
    at.checked_add(span).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn queue(attributes: &[(&str, &str)], groups: &[&str]) -> Queue {
        let attributes = attributes.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let message = |(index, group): (usize, &&str)| {
            let number = index as u64 + 1;
            let message = Message {
                number,
                id: format!("m{number}"),
                body: "b".into(),
                attributes: BTreeMap::new(),
                sent_at: at(0),
                visible_at: at(0),
                received: 0,
                first_received: None,
                receipt: None,
                group: (!group.is_empty()).then(|| (*group).to_owned()),
                deduplication: None,
                sender: "AKIATEST".into(),
                dead_letter_source: None,
            };
            (number, message)
        };
        Queue {
            name: "q".into(),
            attributes,
            created: at(0),
            modified: at(0),
            sequence: groups.len() as u64,
            recent: BTreeMap::new(),
            messages: groups.iter().enumerate().map(message).collect(),
        }
    }

    #[test]
    fn what_was_received_is_hidden_for_a_while() {
        let mut queue = queue(&[], &["", ""]);
        queue.deliver(1, "r", Duration::from_secs(30), at(10)).unwrap();
        assert_eq!(queue.find(10, at(10)).ready, [2]);
        assert_eq!(queue.counts(at(10)), Counts { visible: 1, in_flight: 1, delayed: 0 });
        assert_eq!(queue.find(10, at(40)).ready, [1, 2]);
        assert!(queue.by_receipt("1-r").is_some());
        queue.deliver(1, "s", Duration::from_secs(30), at(40)).unwrap();
        assert!(queue.by_receipt("1-r").is_none(), "an older receipt is worth nothing");
    }

    #[test]
    fn groups_keep_their_order() {
        let mut queue = queue(&[("FifoQueue", "true")], &["a", "a", "b"]);
        assert_eq!(queue.find(1, at(1)).ready, [1]);
        queue.deliver(1, "r", Duration::from_secs(30), at(1)).unwrap();
        assert_eq!(queue.find(10, at(1)).ready, [3], "the second of group a waits for the first");
        queue.messages.remove(&1);
        assert_eq!(queue.find(10, at(1)).ready, [2, 3]);
    }

    #[test]
    fn what_is_received_too_often_is_moved() {
        let policy = format!(
            r#"{{"deadLetterTargetArn":"{}","maxReceiveCount":1}}"#,
            super::super::arn("000000000000", "d")
        );
        let mut queue = queue(&[("RedrivePolicy", &policy)], &[""]);
        queue.deliver(1, "r", Duration::ZERO, at(1)).unwrap();
        assert_eq!(queue.find(10, at(1)), Found { dead: vec![1], ..Found::default() });
    }

    #[test]
    fn nothing_is_kept_for_ever() {
        let queue = queue(&[("MessageRetentionPeriod", "60")], &[""]);
        assert_eq!(queue.find(10, at(59)).ready, [1]);
        assert_eq!(queue.find(10, at(60)).expired, [1]);
    }

    #[test]
    fn repetitions_are_known_for_five_minutes() {
        let mut queue = queue(&[("FifoQueue", "true")], &[]);
        queue.recent.insert("d".into(), Recent { at: at(0), id: "m".into(), number: 1 });
        assert!(queue.repetition("d", at(299)).is_some());
        assert!(queue.repetition("d", at(300)).is_none());
    }
}
