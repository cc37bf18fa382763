//! What the store says of pipelines: all of them at a glance, one with what its current version says.

use std::collections::HashMap;

use trunkline_state::store::{Store, StoreError};

use super::{
    FindError, find,
    views::{PipelineDetail, PipelineView, RecentRunView},
};

/// Runs of a pipeline at a glance: two weeks of a daily one.
const RECENT_RUNS: i64 = 14;

/// Pipelines by name with their newest runs: at most so many of those behind `after`.
pub async fn list(store: &Store, after: &str, most: usize) -> Result<Vec<PipelineView>, StoreError> {
    let mut recent: HashMap<String, Vec<RecentRunView>> = HashMap::new();
    for run in store.recent_runs(RECENT_RUNS).await? {
        let view = RecentRunView { run_key: run.key, state: run.state };
        recent.entry(run.pipeline).or_default().push(view);
    }
    let rows = store.pipelines().await?.into_iter().filter(|row| row.name.as_str() > after).take(most);
    let view = |row| {
        let view = PipelineView::from(row);
        PipelineView { recent_runs: recent.remove(&view.pipeline).unwrap_or_default(), ..view }
    };
    Ok(rows.map(view).collect())
}

/// One of them.
pub async fn one(store: &Store, name: &str) -> Result<PipelineDetail, FindError> {
    let row = find::pipeline(store, name).await?;
    let definition = store.definition(&row.name, row.version).await?;
    let pipeline = &definition.pipeline;
    let param = |(name, param)| (String::clone(name), serde_json::to_value(param).unwrap_or_default());
    Ok(PipelineDetail {
        pipeline: row.into(),
        description: pipeline.description.clone(),
        owner: pipeline.owner.clone(),
        tags: pipeline.tags.clone(),
        timezone: pipeline.timezone.clone(),
        params: pipeline.params.iter().map(param).collect(),
        tasks: pipeline.tasks.iter().map(|task| task.name.to_string()).collect(),
    })
}
