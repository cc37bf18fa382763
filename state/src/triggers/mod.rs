//! Triggers: which events make runs of a pipeline, how an event is known again, and which of those that wait
//! become runs now. Pure: events come as values, `decide` is a function of them, of limits and of the present.

mod dataset;
mod decide;
mod gather;
mod interval;
mod object;
mod upstream;

use std::time::Duration;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

pub use self::{
    dataset::{DATASET_BYTES_MAX, DATASETS_MAX, DatasetEvent, DatasetNameError, DatasetSource, dataset_name},
    decide::{Decided, Gathering, WaitingEvent, decide},
    gather::WaitingUpdate,
    interval::same_interval,
    object::{ObjectEvent, ObjectSource},
    upstream::{RunEnd, RunEvent, RunSource},
};

/// Runs of one pipeline that may wait for their place before triggers make no further ones: what waits as
/// an event can still go into a batch, and costs less than a run that waits.
pub const QUEUED_RUNS_MAX: usize = 100;

/// Events are remembered so long: a queue keeps a message for at most 14 days, and one day more covers what
/// was under way. Later the same message could not come again.
pub const EVENTS_KEPT: Duration = Duration::from_hours(15 * 24);

/// The longest batch.
pub const BATCH_MAX: u32 = 1_000;

/// The longest time for which a batch is waited for.
pub const BATCH_WINDOW_MAX: Duration = Duration::from_hours(24);

/// Bytes of a digest that name an event or a batch: 128 bits do not meet by chance, and can still be typed.
const KEY_BYTES: usize = 16;

/// One entry of `triggers`. Its texts are rendered: they only name vars, which are known with the version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventTrigger {
    /// What it listens to.
    #[serde(flatten)]
    pub on: TriggerSource,
    /// Many events in one run; without it, each makes one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchLimits>,
    /// Parameters of its runs, as templates over `trigger`.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub params: IndexMap<String, Value>,
}

/// What a trigger listens to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TriggerSource {
    /// Objects that are made in S3, as a queue of SQS tells of them.
    S3(ObjectSource),
    /// Runs of another pipeline, when they end.
    Pipeline(RunSource),
    /// Datasets, when tasks update them.
    Dataset(DatasetSource),
}

/// Something that happened, as its row tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TriggerEvent {
    /// An object was made.
    Object(ObjectEvent),
    /// A run ended.
    Run(RunEvent),
    /// A dataset was updated.
    Update(DatasetEvent),
}

/// How events are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchLimits {
    /// So many make a run at once.
    pub max: u32,
    /// The oldest of them waits no longer for others.
    pub window: Duration,
}

/// Where an event came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventSource {
    /// S3, through a queue.
    S3,
    /// The end of a run.
    Pipeline,
    /// A task that updated a dataset.
    Dataset,
}

impl EventSource {
    /// The stored word.
    pub fn word(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Pipeline => "pipeline",
            Self::Dataset => "dataset",
        }
    }

    /// The source that this word stands for.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::S3, Self::Pipeline, Self::Dataset].into_iter().find(|source| source.word() == word)
    }

    /// What a row of this source tells; nothing where it cannot be read.
    pub fn read(self, body: &Value) -> Option<TriggerEvent> {
        match self {
            Self::S3 => serde_json::from_value(body.clone()).ok().map(TriggerEvent::Object),
            Self::Pipeline => serde_json::from_value(body.clone()).ok().map(TriggerEvent::Run),
            Self::Dataset => serde_json::from_value(body.clone()).ok().map(TriggerEvent::Update),
        }
    }
}

impl EventTrigger {
    /// The queue that it reads, and the connection that leads there.
    pub fn queue(&self) -> Option<(&str, &str)> {
        match &self.on {
            TriggerSource::S3(source) => Some((&source.connection, &source.queue)),
            TriggerSource::Pipeline(_) | TriggerSource::Dataset(_) => None,
        }
    }

    /// The runs that it waits for.
    pub fn upstream(&self) -> Option<&RunSource> {
        match &self.on {
            TriggerSource::S3(_) | TriggerSource::Dataset(_) => None,
            TriggerSource::Pipeline(source) => Some(source),
        }
    }

    /// The datasets that it waits for.
    pub fn datasets(&self) -> Option<&DatasetSource> {
        match &self.on {
            TriggerSource::S3(_) | TriggerSource::Pipeline(_) => None,
            TriggerSource::Dataset(source) => Some(source),
        }
    }

    /// Which of its events go into one run.
    pub fn gathering(&self) -> Gathering {
        match &self.on {
            TriggerSource::Dataset(source) => Gathering::Datasets { needed: source.needed() },
            _ => self.batch.map_or(Gathering::Each, Gathering::Batch),
        }
    }

    /// Whether it takes an event.
    pub fn takes(&self, event: &TriggerEvent) -> bool {
        match (&self.on, event) {
            (TriggerSource::S3(source), TriggerEvent::Object(object)) => source.takes(object),
            (TriggerSource::Pipeline(source), TriggerEvent::Run(run)) => source.takes(run),
            (TriggerSource::Dataset(source), TriggerEvent::Update(update)) => source.takes(update),
            _ => false,
        }
    }

    /// What it listens to, in a few words.
    pub fn label(&self) -> String {
        match &self.on {
            TriggerSource::S3(source) => source.label(),
            TriggerSource::Pipeline(source) => source.label(),
            TriggerSource::Dataset(source) => source.label(),
        }
    }
}

/// The first of these triggers that takes an event, by its position: one event makes at most one run of a
/// pipeline.
pub fn taker(triggers: &[EventTrigger], event: &TriggerEvent) -> Option<usize> {
    triggers.iter().position(|trigger| trigger.takes(event))
}

/// The key of a run that is made of these events: the key of the only one, or one for all of them, in
/// whichever order they stand.
pub fn batch_key(keys: &[&str]) -> String {
    if let [only] = keys {
        return (*only).to_owned();
    }
    let mut sorted = keys.to_vec();
    sorted.sort_unstable();
    digest(&sorted)
}

/// A digest over texts, each with its length before it, so that no two lists of texts read alike.
fn digest(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hex::encode(&hash.finalize()[..KEY_BYTES])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trigger_is_stored_under_the_key_of_the_pipeline_file() {
        let trigger = EventTrigger {
            on: TriggerSource::S3(ObjectSource { queue: "q".into(), ..ObjectSource::default() }),
            batch: Some(BatchLimits { max: 10, window: Duration::from_secs(60) }),
            params: IndexMap::new(),
        };
        let stored = serde_json::to_value(&trigger).unwrap();
        assert_eq!(stored["s3"]["queue"], "q");
        assert_eq!(serde_json::from_value::<EventTrigger>(stored).unwrap(), trigger);
    }

    #[test]
    fn a_batch_has_one_key_however_its_events_stand() {
        assert_eq!(batch_key(&["a"]), "a");
        assert_eq!(batch_key(&["a", "b"]), batch_key(&["b", "a"]));
        assert_ne!(batch_key(&["a", "b"]), batch_key(&["ab", ""]));
        assert_eq!(batch_key(&["a", "b"]).len(), 2 * KEY_BYTES);
    }
}
