//! What pipelines wait for, what waits for them, and the queues in between.

use trunkline_state::store::{Store, StoreError};

use super::{
    find::{self, FindError},
    views::{QueueView, TriggeredView, TriggersView},
};

/// Waiting events of one pipeline that are shown.
const EVENTS_SHOWN: i64 = 100;

/// Every pipeline with triggers, and every queue that was read.
pub async fn list(store: &Store) -> Result<TriggersView, StoreError> {
    let mut pipelines = Vec::new();
    for row in store.trigger_rows(None).await? {
        let definition = store.definition(&row.pipeline, row.version).await?;
        pipelines.push(TriggeredView::new(row, &definition.pipeline, None));
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
    let events = store.waiting_events(&row.pipeline, EVENTS_SHOWN).await?;
    Ok(TriggeredView::new(row, &definition.pipeline, Some(events)))
}
