//! Deadlines that have passed: whose they are, and that people are told once.

use jiff::Timestamp;
use serde_json::json;

use super::{
    Store, StoreError,
    rows::{at, at_option, position, read_option},
};

/// A pipeline one of whose deadlines may have passed.
#[derive(Clone, Debug)]
pub struct LateRow {
    /// Its name.
    pub name: String,
    /// Its current version.
    pub version: i32,
    /// Whether it fires.
    pub paused: bool,
    /// Fires up to here were looked at.
    pub late_until: Option<Timestamp>,
}

/// A run that is not done by its deadline, or does not exist.
#[derive(Clone, Debug)]
pub struct Late {
    /// The version by whose deadline it is late.
    pub version: i32,
    /// The run's key.
    pub key: String,
    /// When its schedule fired for it.
    pub fire: Timestamp,
    /// When it should have been done.
    pub due: Timestamp,
    /// Fires before it whose deadlines passed at the same time.
    pub before: usize,
    /// How many notices its pipeline has for that.
    pub notices: usize,
}

impl Store {
    /// Pipelines one of whose deadlines may have passed.
    pub async fn late_pipelines(&self, limit: i64) -> Result<Vec<LateRow>, StoreError> {
        let rows = sqlx::query!(
            r#"select name, current_version, paused, late_until as "late_until: jiff_sqlx::Timestamp"
                 from pipeline where next_late_at <= clock_timestamp() and not removed
                order by next_late_at limit $1"#,
            limit
        )
        .fetch_all(&self.link)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| LateRow {
                name: row.name,
                version: row.current_version,
                paused: row.paused,
                late_until: read_option(row.late_until),
            })
            .collect())
    }

    /// Notes that a pipeline's deadlines were looked at, and writes the notices about a run that is
    /// late. However many replicas do this, each run is told of once.
    pub async fn looked_at_deadlines(
        &self,
        pipeline: &str,
        until: Timestamp,
        next: Option<Timestamp>,
        late: Option<&Late>,
    ) -> Result<(), StoreError> {
        let keys: Vec<String> = late.map_or_else(Vec::new, |late| {
            (0..late.notices).map(|index| format!("late:{pipeline}:{}:{index}", late.key)).collect()
        });
        let payloads: Vec<serde_json::Value> = late.map_or_else(Vec::new, |late| {
            let payload = |index| {
                json!({
                    "outcome": "late", "index": position(index), "pipeline": pipeline, "version": late.version,
                    "key": late.key, "fire": late.fire, "due": late.due, "before": late.before,
                })
            };
            (0..late.notices).map(payload).collect()
        });
        sqlx::query!(
            "with looked as (
               update pipeline set late_until = greatest(late_until, $2), next_late_at = $3 where name = $1
             )
             insert into outbox (dedupe_key, payload)
             select d.key, d.payload from unnest($4::text[], $5::jsonb[]) as d (key, payload)
             on conflict (dedupe_key) do nothing",
            pipeline,
            at(until) as _,
            at_option(next) as _,
            &keys,
            &payloads
        )
        .execute(&self.link)
        .await?;
        Ok(())
    }

    /// Whether people were told that something was wrong before this run succeeded: that it is late,
    /// that an earlier generation of it failed, or that the run before it did.
    pub async fn was_in_trouble(
        &self,
        pipeline: &str,
        key: &str,
        generation: u32,
        logical_date: Timestamp,
    ) -> Result<bool, StoreError> {
        let generation = i32::try_from(generation).unwrap_or(i32::MAX);
        Ok(sqlx::query_file_scalar!(
            "queries/was_in_trouble.sql",
            pipeline,
            key,
            generation,
            at(logical_date) as _
        )
        .fetch_one(&self.link)
        .await?)
    }
}
