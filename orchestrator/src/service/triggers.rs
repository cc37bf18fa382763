//! What pipelines wait for, what waits for them, and the queues in between.

use std::collections::{BTreeMap, BTreeSet};

use jiff::tz::TimeZone;
use trunkline_state::{
    pipeline::Pipeline,
    schedule::{DataInterval, Interval, describe_instant},
    store::{EventRow, Store, StoreError},
    triggers::{DatasetEvent, DatasetSource, EventSource, EventTrigger, TriggerEvent, same_interval},
};

use super::{
    find::{self, FindError},
    views::{QueueView, TriggeredView, TriggersView, WaitingEventView},
};

/// Waiting events of one pipeline that are shown.
const EVENTS_SHOWN: i64 = 100;

/// Missing datasets that are named in one line.
const MISSING_SHOWN: usize = 3;

/// Every pipeline with triggers, and every queue that was read.
pub async fn list(store: &Store) -> Result<TriggersView, StoreError> {
    let mut pipelines = Vec::new();
    for row in store.trigger_rows(None).await? {
        let definition = store.definition(&row.pipeline, row.version).await?;
        let pipeline = &definition.pipeline;
        let mut view = TriggeredView::new(row, pipeline);
        if view.waiting > 0 && datasets(pipeline).next().is_some() {
            view.waits_for = events(store, pipeline).await?.into_iter().find_map(|event| event.waits_for);
        }
        pipelines.push(view);
    }
    let queues = store.queue_rows().await?.into_iter().map(QueueView::from).collect();
    Ok(TriggersView { pipelines, queues })
}

/// One of them, with the events that wait.
pub async fn one(store: &Store, name: &str) -> Result<TriggeredView, FindError> {
    let pipeline = find::pipeline(store, name).await?;
    let Some(row) = store.trigger_rows(Some(&pipeline.name)).await?.pop() else {
        return Err(FindError::Pipeline {
            name: name.to_owned(),
            help: "it is there, but has no `triggers`: its runs are made by its schedule or by hand"
                .to_owned(),
        });
    };
    let definition = store.definition(&row.pipeline, row.version).await?;
    let mut view = TriggeredView::new(row, &definition.pipeline);
    let events = events(store, &definition.pipeline).await?;
    view.waits_for = events.iter().find_map(|event| event.waits_for.clone());
    view.events = Some(events);
    Ok(view)
}

/// What waits, the oldest first, each with the reason where it is known.
async fn events(store: &Store, pipeline: &Pipeline) -> Result<Vec<WaitingEventView>, StoreError> {
    let rows = store.waiting_events(pipeline.name.as_str(), EVENTS_SHOWN).await?;
    let missing = Missing::read(store, pipeline, &rows).await?;
    let view = |row: EventRow| {
        let waits_for = missing.of(pipeline, &row);
        WaitingEventView::new(row, waits_for)
    };
    Ok(rows.into_iter().map(view).collect())
}

fn datasets(pipeline: &Pipeline) -> impl Iterator<Item = &DatasetSource> {
    pipeline.triggers.iter().filter_map(EventTrigger::datasets)
}

/// What tells which datasets are missing for a run.
#[derive(Default)]
struct Missing {
    /// The updates that wait: of what, and for which interval.
    updated: Vec<(String, Option<Interval>)>,
    /// When the others were updated last.
    last: BTreeMap<String, DatasetEvent>,
}

impl Missing {
    async fn read(store: &Store, pipeline: &Pipeline, rows: &[EventRow]) -> Result<Self, StoreError> {
        if !rows.iter().any(|row| row.source == EventSource::Dataset.word()) {
            return Ok(Self::default());
        }
        let names: Vec<String> = datasets(pipeline).flat_map(DatasetSource::names).cloned().collect();
        let updated = store.updated_datasets(pipeline.name.as_str()).await?;
        Ok(Self { updated, last: store.last_updates(&names).await? })
    }

    /// The datasets that an update waits for, and since when.
    fn of(&self, pipeline: &Pipeline, row: &EventRow) -> Option<String> {
        let source = EventSource::from_word(&row.source)?;
        let TriggerEvent::Update(update) = source.read(&row.body)? else { return None };
        let source = datasets(pipeline).find(|source| source.takes(&update))?;
        let covers = (pipeline.data_interval != DataInterval::None).then(|| update.interval());
        let with_it = self.updated.iter().filter(|(_, other)| covers.is_none_or(|covers| covers == *other));
        let updated: BTreeSet<&str> = with_it.map(|(name, _)| name.as_str()).collect();
        let missing = source.missing(&updated);
        let key = same_interval(pipeline, &update.pipeline, &update.key, update.interval()).ok()?;
        let of = key.map(|(_, key)| format!(" of {key}")).unwrap_or_default();
        let one = |name: &&str| format!("{name}{of}: {}", self.last(name));
        let shown: Vec<String> = missing.iter().take(MISSING_SHOWN).map(one).collect();
        let more = missing.len() - shown.len();
        let more = if more == 0 { String::new() } else { format!("; and {more} more") };
        (!shown.is_empty()).then(|| format!("waits for {}{more}", shown.join("; ")))
    }

    fn last(&self, name: &str) -> String {
        let Some(last) = self.last.get(name) else { return "never updated".to_owned() };
        let at = describe_instant(&TimeZone::UTC, last.at);
        format!("updated last by {} {}, {at}", last.run(), last.task)
    }
}
