//! What a deploy changes, what that means for live runs, and the deploy itself.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use trunkline_state::{
    pipeline::Pipeline,
    store::{Deployed, NewVersion, RunFilter, RunRow, Store, StoreError},
    words::RunState,
};

use crate::definition::Loaded;

/// Differences that are shown for one pipeline; the rest is counted.
const CHANGES_SHOWN_MAX: usize = 20;

/// Live runs that are counted.
const LIVE_RUNS_MAX: i64 = 1_000;

/// The longest text of one value in a difference, in characters.
const VALUE_SHOWN_MAX: usize = 60;

/// What a deploy does to a pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is new, or it was removed before.
    Add,
    /// Its definition changes.
    Change,
    /// It stops firing and keeps its history.
    Remove,
    /// Nothing.
    Keep,
}

/// What a deploy does to one pipeline.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PipelineChange {
    /// Its name.
    pub pipeline: String,
    /// What happens to it.
    pub action: Action,
    /// The version that is current now.
    pub version: Option<i32>,
    /// What differs: `tasks.convert.settings.number_of_workers: 10 → 20`.
    pub changes: Vec<String>,
    /// Live runs, which keep the version that they started with.
    pub live_runs: Vec<String>,
}

/// Compares the project's pipelines with what is current in the store. Pipelines that only
/// the store has are removed if `prune`.
pub async fn compare(
    store: &Store,
    wanted: &[&Pipeline],
    prune: bool,
) -> Result<Vec<PipelineChange>, StoreError> {
    let rows = store.pipelines().await?;
    let live = live_runs(store).await?;
    let live_of = |name: &str| {
        let of = live.iter().filter(|run| run.pipeline == name);
        of.map(|run| format!("{}@{} ({}, version {})", run.pipeline, run.key, run.state, run.version))
            .collect()
    };
    let mut changes = Vec::new();
    for pipeline in wanted {
        let name = pipeline.name.to_string();
        let row = rows.iter().find(|row| row.name == name && !row.removed);
        let mut change = PipelineChange {
            pipeline: name.clone(),
            action: Action::Add,
            version: None,
            changes: Vec::new(),
            live_runs: live_of(&name),
        };
        if let Some(row) = row {
            let stored = store.version(&name, Some(row.version)).await?.pipeline;
            change.version = Some(row.version);
            change.action =
                if stored.content_hash() == pipeline.content_hash() { Action::Keep } else { Action::Change };
            change.changes = differences(&comparable(&stored), &comparable(pipeline));
        }
        changes.push(change);
    }
    let gone = rows
        .iter()
        .filter(|row| !row.removed && !wanted.iter().any(|pipeline| pipeline.name.as_str() == row.name));
    for row in gone.filter(|_| prune) {
        changes.push(PipelineChange {
            pipeline: row.name.clone(),
            action: Action::Remove,
            version: Some(row.version),
            changes: Vec::new(),
            live_runs: live_of(&row.name),
        });
    }
    Ok(changes)
}

/// Makes every loaded pipeline current, all or none; with `prune` those that are not among them are
/// removed.
pub async fn put(
    store: &Store,
    loaded: &Loaded,
    prune: bool,
    actor: &str,
    now: Timestamp,
) -> Result<Vec<Deployed>, StoreError> {
    let sources = &loaded.diagnostics.sources;
    let pipelines = loaded
        .pipelines
        .iter()
        .map(|entry| NewVersion {
            pipeline: entry.pipeline.clone(),
            source: sources.get(entry.source).text.to_string(),
            folder: entry.below.clone(),
        })
        .collect();
    let deployed = store.deploy(pipelines, prune, actor, now).await?;
    store.hint().await?;
    Ok(deployed)
}

/// What making the versions of the deployment before the last one current again would change; refused where
/// that would be.
pub async fn foresee_rollback(store: &Store) -> Result<Vec<Deployed>, StoreError> {
    let earlier = store.foresee_rollback().await?;
    let rows = store.pipelines().await?.into_iter().filter(|row| !row.removed);
    let current: BTreeMap<String, i32> = rows.map(|row| (row.name, row.version)).collect();
    let names: BTreeSet<&String> = current.keys().chain(earlier.keys()).collect();
    let version = |versions: &BTreeMap<String, i32>, name| versions.get(name).copied();
    let changes = names.into_iter().map(|name| Deployed {
        name: name.clone(),
        before: version(&current, name),
        after: version(&earlier, name),
    });
    Ok(changes.filter(|change| change.before != change.after).collect())
}

async fn live_runs(store: &Store) -> Result<Vec<RunRow>, StoreError> {
    let mut live = Vec::new();
    for state in RunState::ALL.iter().filter(|state| !state.is_terminal()) {
        let filter = RunFilter { pipeline: None, state: Some(state.word().to_owned()), limit: LIVE_RUNS_MAX };
        live.extend(store.runs(&filter).await?);
    }
    Ok(live)
}

/// A pipeline as a tree in which tasks go by name, so that a new task is one difference.
pub(super) fn comparable(pipeline: &Pipeline) -> Value {
    let mut tree = serde_json::to_value(pipeline).unwrap_or_default();
    let Some(tasks) = tree.get_mut("tasks").and_then(Value::as_array_mut).map(std::mem::take) else {
        return tree;
    };
    let mut by_name = serde_json::Map::new();
    for (task, mut entry) in pipeline.tasks.iter().zip(tasks) {
        let names =
            task.depends_on.iter().map(|&position| Value::from(pipeline.tasks[position].name.to_string()));
        entry["depends_on"] = Value::Array(names.collect());
        by_name.insert(task.name.to_string(), entry);
    }
    tree["tasks"] = Value::Object(by_name);
    tree
}

/// What differs between two trees, one line each, bounded.
pub fn differences(before: &Value, after: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    compare_values("", before, after, &mut lines);
    if lines.len() > CHANGES_SHOWN_MAX {
        let more = lines.len() - CHANGES_SHOWN_MAX;
        lines.truncate(CHANGES_SHOWN_MAX);
        lines.push(format!("and {more} more"));
    }
    lines
}

fn compare_values(path: &str, before: &Value, after: &Value, lines: &mut Vec<String>) {
    let (Value::Object(one), Value::Object(other)) = (before, after) else {
        if before != after {
            lines.push(format!("{path}: {} → {}", shown(before), shown(after)));
        }
        return;
    };
    let inner = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    for (key, value) in one {
        match other.get(key) {
            Some(now) => compare_values(&inner(key), value, now, lines),
            None => lines.push(format!("{} is gone", inner(key))),
        }
    }
    for (key, value) in other.iter().filter(|(key, _)| !one.contains_key(*key)) {
        let value = if value.is_object() { String::new() } else { format!(": {}", shown(value)) };
        lines.push(format!("{} is new{value}", inner(key)));
    }
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= VALUE_SHOWN_MAX {
        return text;
    }
    let mut short: String = text.chars().take(VALUE_SHOWN_MAX).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_difference_is_one_line_with_its_path() {
        let before = json!({"owner": "a", "tasks": {"convert": {"settings": {"workers": 10}}, "old": {}}});
        let after = json!({"owner": "a", "tasks": {"convert": {"settings": {"workers": 20}}, "new": {}}, "tags": ["x"]});
        insta::assert_snapshot!(differences(&before, &after).join("\n"), @r#"
        tasks.convert.settings.workers: 10 → 20
        tasks.old is gone
        tasks.new is new
        tags is new: ["x"]
        "#);
    }

    #[test]
    fn long_lists_are_cut() {
        let before: Value =
            (0..50).map(|number| (format!("k{number}"), json!(1))).collect::<serde_json::Map<_, _>>().into();
        let lines = differences(&before, &json!({}));
        assert_eq!(
            (lines.len(), lines.last().map(String::as_str)),
            (CHANGES_SHOWN_MAX + 1, Some("and 30 more"))
        );
    }
}
