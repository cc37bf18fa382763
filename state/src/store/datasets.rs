//! Datasets as the store keeps them: who updates them, who waits for them, which updates wait, when each was updated
//! last. That a task which succeeds updates them is `save_runs`'s doing, in `migrations/0014_datasets.sql`.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::{PgConnection, types::Json};

use super::{Store, StoreError, rows::read_option, waiting::Row};
use crate::{
    pipeline::Pipeline,
    schedule::{DataInterval, Interval},
    triggers::{DatasetEvent, DatasetSource, EventSource, EventTrigger},
};

/// Waiting updates of one trigger that are looked at in one transaction, and so go into one run: as many as the longest
/// batch of objects.
pub(super) const UPDATES_MAX: usize = 1_000;

/// Datasets and intervals of one pipeline's waiting updates that are read for people: a year of hours.
const SHOWN_MAX: i64 = 10_000;

/// Notes what the tasks of a new version write.
pub(super) async fn put_outlets(
    tx: &mut PgConnection,
    pipeline: &Pipeline,
    version: i32,
) -> Result<(), sqlx::Error> {
    let (mut tasks, mut datasets) = (Vec::new(), Vec::new());
    for task in &pipeline.tasks {
        tasks.extend(task.outlets.iter().map(|_| task.name.to_string()));
        datasets.extend(task.outlets.iter().cloned());
    }
    if tasks.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "insert into dataset_outlet (pipeline, version, task, dataset)
         select $1, $2, o.task, o.dataset from unnest($3::text[], $4::text[]) as o (task, dataset)
         on conflict do nothing",
        pipeline.name.as_str(),
        version,
        &tasks,
        &datasets
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Notes for which datasets the pipeline waits.
pub(super) async fn listen(tx: &mut PgConnection, pipeline: &Pipeline) -> Result<(), sqlx::Error> {
    let name = pipeline.name.as_str();
    sqlx::query!("delete from dataset_listener where pipeline = $1", name).execute(&mut *tx).await?;
    let datasets: Vec<String> = names(pipeline).into_iter().map(str::to_owned).collect();
    if datasets.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "insert into dataset_listener (dataset, pipeline) select d, $1 from unnest($2::text[]) d",
        name,
        &datasets
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The datasets that a pipeline's triggers name, each once.
pub(super) fn names(pipeline: &Pipeline) -> BTreeSet<&str> {
    let sources = pipeline.triggers.iter().filter_map(EventTrigger::datasets);
    sources.flat_map(DatasetSource::names).map(String::as_str).collect()
}

/// Updates that wait for a run of this trigger.
pub(super) async fn waiting(
    tx: &mut PgConnection,
    pipeline: &Pipeline,
    version: i32,
    source: &DatasetSource,
) -> Result<Vec<Row>, sqlx::Error> {
    let rows = sqlx::query_file!(
        "queries/dataset_rows.sql",
        pipeline.name.as_str(),
        version,
        source.names(),
        pipeline.data_interval != DataInterval::None,
        i64::try_from(UPDATES_MAX).unwrap_or(i64::MAX)
    )
    .fetch_all(tx)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Row {
            source: EventSource::Dataset,
            dedupe_key: row.dedupe_key,
            received_at: row.received_at.to_jiff(),
            body: row.body,
            settled: row.settled,
        })
        .collect())
}

impl Store {
    /// The datasets that were updated for a pipeline since its last runs, with the interval of each update.
    pub async fn updated_datasets(
        &self,
        pipeline: &str,
    ) -> Result<Vec<(String, Option<Interval>)>, StoreError> {
        let rows = sqlx::query!(
            r#"select distinct body ->> 'dataset' as "dataset!",
                      (body ->> 'interval_start')::timestamptz as "interval_start: jiff_sqlx::Timestamp",
                      (body ->> 'interval_end')::timestamptz as "interval_end: jiff_sqlx::Timestamp"
                 from trigger_event where pipeline = $1 and source = 'dataset' and run_id is null limit $2"#,
            pipeline,
            SHOWN_MAX
        )
        .fetch_all(&self.link)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| {
                let interval = read_option(row.interval_start).zip(read_option(row.interval_end));
                (row.dataset, interval.map(|(start, end)| Interval { start, end }))
            })
            .collect())
    }

    /// The newest update of each of these datasets that was ever updated.
    pub async fn last_updates(
        &self,
        datasets: &[String],
    ) -> Result<BTreeMap<String, DatasetEvent>, StoreError> {
        let rows = sqlx::query!(
            r#"select name, last_update as "last_update: Json<DatasetEvent>" from dataset where name = any($1)"#,
            datasets
        )
        .fetch_all(&self.link)
        .await?;
        Ok(rows.into_iter().map(|row| (row.name, row.last_update.0)).collect())
    }
}
