//! Triggers as JSON: what pipelines wait for, what waits for them, the queues in between.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use trunkline_state::{
    pipeline::Pipeline,
    store::{EventRow, QueueRow, TriggerRow},
};

/// Pipelines that events make runs of, and the queues that tell of them.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TriggersView {
    /// The pipelines.
    pub pipelines: Vec<TriggeredView>,
    /// The queues.
    pub queues: Vec<QueueView>,
}

/// A pipeline that events make runs of.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TriggeredView {
    /// Its name.
    pub pipeline: String,
    /// Whether it is paused: everything waits.
    pub paused: bool,
    /// What it listens to, in words.
    pub on: Vec<String>,
    /// Events that wait for a run.
    pub waiting: i64,
    /// Since when the oldest of them waits.
    pub waiting_since: Option<Timestamp>,
    /// Those among them of which the current version can make no run.
    pub refused: i64,
    /// Why, of one of them.
    pub refusal: Option<String>,
    /// What the oldest of those waits for that need others: which datasets, and when each was updated last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// When the newest event came.
    pub last_received_at: Option<Timestamp>,
    /// The oldest of those that wait; where one pipeline is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<WaitingEventView>>,
}

/// An event that waits.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct WaitingEventView {
    /// Where it came from: `s3`, `pipeline` or `dataset`.
    pub source: String,
    /// By what it is known again.
    pub dedupe_key: String,
    /// When it came.
    pub received_at: Timestamp,
    /// What it tells.
    pub body: Value,
    /// Why no run can be made of it.
    pub refusal: Option<String>,
    /// The datasets that must be updated too before there is a run, and when each was updated last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
}

/// A queue that triggers read.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct QueueView {
    /// The connection and its name.
    pub queue: String,
    /// Messages that were read, repetitions among them.
    pub received: i64,
    /// Events that no pipeline wanted.
    pub unmatched: i64,
    /// When the last message came.
    pub last_received_at: Option<Timestamp>,
    /// Messages that cannot be read, each counted once; they are left to the queue.
    pub poison: i64,
    /// The newest of them: its id and why it cannot be read.
    pub last_poison: Option<PoisonView>,
    /// Messages in the queue, roughly, when it was asked last.
    pub messages: Option<i64>,
    /// The ARN of its dead-letter queue.
    pub dead_letter_queue: Option<String>,
    /// Messages in that one, roughly, if it may be asked.
    pub dead_letters: Option<i64>,
    /// When it was asked.
    pub asked_at: Option<Timestamp>,
    /// Why it cannot be read, or should be set up otherwise.
    pub trouble: Option<String>,
}

/// A message that cannot be read.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PoisonView {
    /// The queue's id of it.
    pub message_id: String,
    /// Why.
    pub reason: String,
}

impl TriggeredView {
    /// A pipeline, without the events that wait.
    pub fn new(row: TriggerRow, pipeline: &Pipeline) -> Self {
        Self {
            on: pipeline.triggers.iter().map(trunkline_state::triggers::EventTrigger::label).collect(),
            pipeline: row.pipeline,
            paused: row.paused,
            waiting: row.waiting,
            waiting_since: row.waiting_since,
            refused: row.refused,
            refusal: row.refusal,
            last_received_at: row.last_received_at,
            waits_for: None,
            events: None,
        }
    }
}

impl WaitingEventView {
    /// An event, and what it waits for.
    pub fn new(row: EventRow, waits_for: Option<String>) -> Self {
        let EventRow { source, dedupe_key, received_at, body, refusal, .. } = row;
        let waits_for = waits_for.filter(|_| refusal.is_none());
        Self { source, dedupe_key, received_at, body, refusal, waits_for }
    }
}

impl From<QueueRow> for QueueView {
    fn from(row: QueueRow) -> Self {
        Self {
            queue: row.queue,
            received: row.received,
            unmatched: row.unmatched,
            last_received_at: row.last_received_at,
            poison: row.poison,
            last_poison: row
                .last_poison
                .map(|message| PoisonView { message_id: message.id, reason: message.reason }),
            messages: row.asked.messages,
            dead_letter_queue: row.asked.dead_letter_queue,
            dead_letters: row.asked.dead_letters,
            asked_at: row.asked_at,
            trouble: row.asked.trouble,
        }
    }
}
