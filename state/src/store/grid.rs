//! Many runs at a glance: the newest ones of every pipeline, and what the grid shows beside states: which task
//! runs of some runs tried more than once, warned, or are not known to have started. The states themselves are
//! a packed word of each run.

use uuid::Uuid;

use super::{Store, StoreError, rows::unsigned};
use crate::ids::RunId;

/// A task run that has a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GridMark {
    /// Its run.
    pub run: RunId,
    /// Its position.
    pub position: usize,
    /// Attempts over all generations.
    pub attempts: u32,
    /// Whether it warned of something.
    pub warned: bool,
    /// Whether its newest attempt can be neither confirmed nor refuted.
    pub unconfirmed: bool,
}

/// A run as one square of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecentRun {
    /// Its pipeline.
    pub pipeline: String,
    /// Its key.
    pub key: String,
    /// Its state.
    pub state: String,
}

impl Store {
    /// The newest runs of every pipeline that is not removed, by pipeline, the oldest of them first.
    pub async fn recent_runs(&self, of_each: i64) -> Result<Vec<RecentRun>, StoreError> {
        let rows = sqlx::query!(
            r#"select r.pipeline, r.run_key, r.state from pipeline p cross join lateral (
                 select pipeline, run_key, state, logical_date, run_id from run
                  where pipeline = p.name order by logical_date desc, run_id desc limit $1
               ) r
                where not p.removed and ($2::text[] is null or lies_in(p.folder, $2))
                order by r.pipeline, r.logical_date, r.run_id"#,
            of_each,
            self.seen()
        )
        .fetch_all(&self.link)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| RecentRun { pipeline: row.pipeline, key: row.run_key, state: row.state })
            .collect())
    }

    /// The marks of some runs' task runs, without elements of mapped ones; at most `limit`.
    pub async fn grid_marks(&self, runs: &[RunId], limit: i64) -> Result<Vec<GridMark>, StoreError> {
        let runs: Vec<Uuid> = runs.iter().map(|run| run.0).collect();
        let rows = sqlx::query!(
            r#"select m.run_id as "run_id!", m.position as "position!", max(m.attempts) as "attempts!",
                      bool_or(m.warned) as "warned!", bool_or(m.unconfirmed) as "unconfirmed!"
                 from (
                   select run_id, position, 1 as attempts, true as warned, false as unconfirmed
                     from task_run where run_id = any($1) and warnings is not null
                    union all
                   select run_id, position, number, false, false
                     from attempt where run_id = any($1) and number > 1
                    union all
                   select run_id, position, number, false, true
                     from attempt where run_id = any($1) and ended_at is null and state = 'unknown'
                 ) m
                 -- One letter for each task of the pipeline: elements come behind.
                 join run r on r.run_id = m.run_id and m.position < length(r.task_states)
                group by m.run_id, m.position order by m.run_id, m.position limit $2"#,
            &runs,
            limit
        )
        .fetch_all(&self.link)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| GridMark {
                run: RunId(row.run_id),
                position: usize::try_from(row.position).unwrap_or(usize::MAX),
                attempts: unsigned(row.attempts),
                warned: row.warned,
                unconfirmed: row.unconfirmed,
            })
            .collect())
    }
}
