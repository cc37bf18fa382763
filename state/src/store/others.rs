//! How runs are that other runs wait for. Read in batches: one statement, however many wait.

use jiff::Timestamp;

use super::{
    Store, StoreError,
    rows::{read_option, unsigned},
};
use crate::ids::RunId;

/// A run, as far as somebody who waits for it must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherRun {
    /// Its id.
    pub id: RunId,
    /// Its pipeline.
    pub pipeline: String,
    /// Its key.
    pub key: String,
    /// Its state.
    pub state: String,
    /// Its generation.
    pub generation: u32,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// Which run is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwaitedRow {
    /// The pipeline.
    pub pipeline: String,
    /// The run of this key; none: any that succeeded at `since` or later.
    pub key: Option<String>,
    /// See `key`.
    pub since: Option<Timestamp>,
}

impl Store {
    /// These runs, in the order asked.
    pub async fn other_runs(&self, runs: &[RunId]) -> Result<Vec<Option<OtherRun>>, StoreError> {
        let ids: Vec<uuid::Uuid> = runs.iter().map(|run| run.0).collect();
        let rows = sqlx::query!(
            r#"select run_id, pipeline, run_key, state, generation, ended_at as "ended_at: jiff_sqlx::Timestamp"
                 from run where run_id = any($1)"#,
            &ids
        )
        .fetch_all(&self.link)
        .await?;
        let found: std::collections::HashMap<RunId, OtherRun> = rows
            .into_iter()
            .map(|row| {
                let id = RunId(row.run_id);
                let run = OtherRun {
                    id,
                    pipeline: row.pipeline,
                    key: row.run_key,
                    state: row.state,
                    generation: unsigned(row.generation),
                    ended_at: read_option(row.ended_at),
                };
                (id, run)
            })
            .collect();
        Ok(runs.iter().map(|run| found.get(run).cloned()).collect())
    }

    /// The runs that are waited for, in the order asked, as far as there are any.
    pub async fn awaited_runs(&self, wanted: &[AwaitedRow]) -> Result<Vec<Option<OtherRun>>, StoreError> {
        let pipelines: Vec<String> = wanted.iter().map(|row| row.pipeline.clone()).collect();
        let keys: Vec<String> = wanted.iter().map(|row| row.key.clone().unwrap_or_default()).collect();
        let since: Vec<String> = wanted
            .iter()
            .map(|row| row.since.filter(|_| row.key.is_none()).map(|at| at.to_string()).unwrap_or_default())
            .collect();
        let rows =
            sqlx::query_file!("queries/awaited.sql", &pipelines, &keys, &since).fetch_all(&self.link).await?;
        let mut found = vec![None; wanted.len()];
        for row in rows {
            let place = usize::try_from(row.place).unwrap_or(0).checked_sub(1);
            if let Some(place) = place.and_then(|place| found.get_mut(place)) {
                *place = Some(OtherRun {
                    id: RunId(row.run_id),
                    pipeline: row.pipeline,
                    key: row.run_key,
                    state: row.state,
                    generation: unsigned(row.generation),
                    ended_at: read_option(row.ended_at),
                });
            }
        }
        Ok(found)
    }
}
