//! Triggers at work: which queues are read, by one consumer each however many pipelines name it, and what
//! waits turned into runs. Only servers do this. What is decided about events is
//! [`trunkline_state::triggers`]'s; that each counts once, the store's.

mod consumer;
mod make;

use std::{
    collections::{BTreeMap, HashMap, btree_map::Entry},
    sync::Arc,
};

use serde_json::Value;
use tokio_util::sync::CancellationToken;
use trunkline_state::{
    run::Definition,
    store::{Arrivals, StoreError, Taken},
    triggers::EventTrigger,
};

use self::{consumer::Consumer, make::maker};
use super::{Shared, chain, pace};

/// Pipelines whose waiting events are looked at in one look.
const PIPELINES_MAX: i64 = 100;

/// A queue as pipelines name it: two that name it through connections of the same settings mean the same one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct QueueName {
    /// The connection.
    connection: String,
    /// Its settings, as text.
    settings: String,
    /// The queue's name or URL, as written.
    queue: String,
}

impl QueueName {
    /// The queue that a trigger reads.
    fn of(definition: &Definition, trigger: &EventTrigger) -> Option<Self> {
        let (connection, queue) = trigger.queue()?;
        let settings = definition.pipeline.connections.get(connection).unwrap_or(&Value::Null);
        Some(Self {
            connection: connection.to_owned(),
            settings: settings.to_string(),
            queue: queue.to_owned(),
        })
    }
}

/// Versions in hand, so that a large one is not read for each message.
#[derive(Debug, Default)]
struct Versions(HashMap<(String, i32), Arc<Definition>>);

impl Versions {
    /// The current versions of all pipelines with triggers, read anew where they changed: who deploys a
    /// trigger finds the next message taken by it.
    async fn current(&mut self, shared: &Shared) -> Result<Vec<Arc<Definition>>, StoreError> {
        let names = shared.store.triggered_pipelines().await?;
        let mut kept = HashMap::with_capacity(names.len());
        let mut current = Vec::with_capacity(names.len());
        for (name, version) in names {
            let key = (name, version);
            let definition = match self.0.remove(&key) {
                Some(known) => known,
                None => shared.store.definition(&key.0, version).await?,
            };
            current.push(Arc::clone(&definition));
            kept.insert(key, definition);
        }
        self.0 = kept;
        Ok(current)
    }
}

/// Keeps a consumer for each queue that some pipeline names, as long as one does. Ends with the engine.
pub(super) async fn attend(shared: Arc<Shared>) {
    let mut changes = shared.triggered.subscribe();
    let mut versions = Versions::default();
    let mut consumers: BTreeMap<QueueName, CancellationToken> = BTreeMap::new();
    while !shared.stopping.is_cancelled() {
        changes.mark_unchanged();
        match versions.current(&shared).await {
            Ok(current) => keep_consumers(&shared, &current, &mut consumers),
            Err(error) => {
                tracing::debug!("cannot read which queues to consume: {}", chain(&error));
                pace::pause(shared.timing.look_every).await;
                continue;
            }
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

fn keep_consumers(
    shared: &Arc<Shared>,
    current: &[Arc<Definition>],
    consumers: &mut BTreeMap<QueueName, CancellationToken>,
) {
    let mut wanted: BTreeMap<QueueName, &Arc<Definition>> = BTreeMap::new();
    for definition in current {
        for trigger in &definition.pipeline.triggers {
            if let Some(name) = QueueName::of(definition, trigger) {
                wanted.entry(name).or_insert(definition);
            }
        }
    }
    consumers.retain(|name, stop| {
        let kept = wanted.contains_key(name);
        if !kept {
            tracing::info!("queue {} is not read any more: no pipeline names it", name.queue);
            stop.cancel();
        }
        kept
    });
    for (name, definition) in wanted {
        if let Entry::Vacant(unread) = consumers.entry(name) {
            let name = unread.key();
            tracing::info!("reading queue {} through connection {}", name.queue, name.connection);
            let stop = shared.stopping.child_token();
            let consumer = Consumer::new(Arc::clone(shared), name.clone(), definition, stop.clone());
            tokio::spawn(consumer.run());
            unread.insert(stop);
        }
    }
}

/// Makes the runs of events that waited and are due now. Pipeline by pipeline: one whose version this binary
/// cannot read, because a newer one deployed it, is left to others and keeps nothing else from going on.
pub(super) async fn make_due(shared: &Arc<Shared>) -> Result<(), StoreError> {
    for pipeline in shared.store.due_triggers(PIPELINES_MAX).await? {
        let arrivals = Arrivals { pipelines: vec![pipeline.clone()], ..Arrivals::default() };
        match take(shared, arrivals).await {
            Err(error) if !error.is_unreachable() => {
                tracing::warn!(pipeline = %pipeline, "events of {pipeline} go on waiting: {}", chain(&error));
            }
            taken => drop(taken?),
        }
    }
    Ok(())
}

/// Records events and makes runs of what is due.
async fn take(shared: &Arc<Shared>, arrivals: Arrivals) -> Result<Taken, StoreError> {
    let taken = shared.store.take_events(arrivals, maker(shared)).await?;
    for (pipeline, why) in &taken.refused {
        tracing::error!(pipeline = %pipeline, "no run of {pipeline} can be made of what its trigger was told: {why}");
    }
    if !taken.runs.is_empty() {
        tracing::debug!("{} runs made of events", taken.runs.len());
        shared.look_now.notify_one();
    }
    Ok(taken)
}
