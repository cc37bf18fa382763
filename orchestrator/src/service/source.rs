//! The YAML of a version: what it deserves a look for, and where a task of a run stands in it.

use trunkline_state::store::{Store, StoreError, StoredVersion, TaskRow};
use trunkline_tasks::Registry;

use super::{
    FindError, Snapshot, find,
    views::{DiagnosticView, TaskSourceView, VersionDetail},
};
use crate::definition::{Operators, Scope, Severity, load::PIPELINE_FILE, load_text, locate};

/// The class of failures that the definition is to blame for.
const CONFIG: &str = "config";

/// A version of a pipeline with its YAML; without a number, the current one.
pub async fn version(
    store: &Store,
    registry: &Registry,
    pipeline: &str,
    number: Option<i32>,
) -> Result<VersionDetail, FindError> {
    let row = find::pipeline(store, pipeline).await?;
    let wanted = number.unwrap_or(row.version);
    let stored = store.version(&row.name, Some(wanted)).await.map_err(|error| match error {
        StoreError::NotFound { .. } => {
            FindError::Version { pipeline: row.name.clone(), version: wanted, current: row.version }
        }
        other => other.into(),
    })?;
    Ok(VersionDetail {
        pipeline: row.name,
        warnings: warnings(&stored, registry),
        version: stored.version,
        created_at: stored.created_at,
        created_by: stored.created_by,
        source: stored.source,
    })
}

/// What this program would say of a version's YAML if it were deployed now, as far as the YAML alone tells. Nothing
/// that makes a file unusable: it was usable when it was stored, with files and a project that are not here.
pub fn warnings(stored: &StoredVersion, registry: &Registry) -> Vec<DiagnosticView> {
    let pipeline = &stored.pipeline;
    let scope = Scope {
        environment: pipeline.environment.clone(),
        vars: pipeline.vars.clone(),
        connections: pipeline.connections.clone(),
        secrets: pipeline.secrets.clone(),
        pools: pipeline.pools.clone(),
        ..Scope::default()
    };
    let mut found =
        load_text(PIPELINE_FILE, stored.source.as_bytes(), &scope, &Operators::new(registry)).diagnostics;
    found.items.retain(|item| item.severity == Severity::Warning);
    DiagnosticView::rows(&found)
}

/// Where a task of a run stands in the version that the run uses, and what was said of it there.
pub async fn of_task(store: &Store, run: &str, task: &str) -> Result<TaskSourceView, FindError> {
    let run = find::run(store, run).await?;
    let snapshot = Snapshot::read(store, run).await?;
    let position = find::task(&snapshot.as_run(), task)?;
    let Some(row) = snapshot.tasks.get(position) else {
        return Err(FindError::Element { run: snapshot.label(), task: task.to_owned() });
    };
    let stored = store.version(&snapshot.run.pipeline, Some(snapshot.run.version)).await?;
    Ok(task_source(&snapshot, row, &stored))
}

fn task_source(snapshot: &Snapshot, row: &TaskRow, stored: &StoredVersion) -> TaskSourceView {
    let name = snapshot.task_of(row).map_or(row.task.as_str(), |task| task.name.as_str());
    let failure = row.failure.as_ref();
    let objection = failure.filter(|failure| failure.class == CONFIG).map(|failure| failure.message.as_str());
    let place = locate::task(&stored.source, name, objection);
    let field = place.as_ref().and_then(|place| place.field.clone());
    let lines = place.map(|place| place.lines);
    let first = lines.as_ref().map(|lines| *lines.start());
    let said = |severity, message: &str, place: (Option<usize>, Option<usize>)| DiagnosticView {
        file: Some(PIPELINE_FILE.to_owned()),
        line: place.0,
        column: place.1,
        severity,
        message: message.to_owned(),
        help: None,
    };
    let blamed = field.as_ref().map_or((first, None), |field| (Some(field.line), Some(field.column)));
    let failure = failure.map(|failure| said(Severity::Error, &failure.message, blamed));
    let warnings = row.warnings.iter().map(|warning| said(Severity::Warning, warning, (first, None)));
    TaskSourceView {
        run: snapshot.label(),
        task: row.task.clone(),
        pipeline: snapshot.run.pipeline.clone(),
        version: stored.version,
        first_line: first,
        last_line: lines.map(|lines| *lines.end()),
        field: field.map(|field| field.path),
        said: failure.into_iter().chain(warnings).collect(),
    }
}

#[cfg(test)]
mod tests {
    use trunkline_tasks::Options;

    use super::*;

    #[test]
    fn a_stored_version_is_looked_at_without_its_files() {
        let source = "name: a\nschedule: \"0 * * * *\"\ndata_interval: day\ntasks:\n  \
                      ask: { type: athena_query, query: 'file:gone.sql', workgroup: \"{{ vars.w }}\" }\n\
                      on_failure:\n  - { slack: \"https://hooks.example.com/x\" }\n";
        let registry = Registry::standard(&Options::for_looking());
        let plain = "name: a\ntasks: { x: { type: noop } }\n";
        let loaded =
            load_text(PIPELINE_FILE, plain.as_bytes(), &Scope::default(), &Operators::new(&registry));
        let stored = |source: &str| StoredVersion {
            version: 1,
            source: source.to_owned(),
            pipeline: loaded.pipelines[0].pipeline.clone(),
            created_at: jiff::Timestamp::UNIX_EPOCH,
            created_by: String::new(),
        };
        assert!(warnings(&stored(plain), &registry).is_empty());
        let found = warnings(&stored(source), &registry);
        let said: Vec<_> = found.iter().map(|row| (row.line.unwrap(), row.message.as_str())).collect();
        assert_eq!(
            said,
            [
                (3, "the schedule fires more than once for one data interval"),
                (7, "the address of a chat is a secret: whoever has it can write there"),
            ]
        );
        assert!(warnings(&stored("no: [yaml"), &registry).is_empty());
    }
}
