//! Backfills: which dates are wanted, which of their runs were begun, how they ended.
//!
//! What is begun next is decided by whoever works one off (`engine/backfill.rs`); here are its
//! rows. A backfill is held by one replica at a time, and each step can be repeated.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    Store, StoreError,
    rows::{at, at_option, position, read_option, signed, unknown_word, unsigned},
    uncancelled,
};
use crate::{
    schedule::{Interval, Selected},
    words::RunState,
};

/// Which dates of the range run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reprocess {
    /// Those without a run.
    Missing,
    /// Those too whose run failed or was cancelled: what did not succeed runs again.
    Failed,
    /// All of them.
    All,
}

impl Reprocess {
    /// Every choice.
    pub const ALL: [Self; 3] = [Self::Missing, Self::Failed, Self::All];

    /// The stored and typed word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Failed => "failed",
            Self::All => "all",
        }
    }

    /// The choice that this word stands for.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|choice| choice.word() == word)
    }
}

/// A backfill to be stored.
#[derive(Clone, Debug)]
pub struct NewBackfill {
    /// Its id.
    pub id: Uuid,
    /// The pipeline.
    pub pipeline: String,
    /// The version that its new runs are of.
    pub version: i32,
    /// Which dates run.
    pub reprocess: Reprocess,
    /// How many at once.
    pub max_active: u32,
    /// The parameters of its new runs.
    pub params: Map<String, Value>,
    /// Who wants it.
    pub actor: String,
    /// Why.
    pub reason: Option<String>,
    /// The dates, in the order in which they run; all with intervals.
    pub runs: Vec<Selected>,
}

/// A backfill as it stands.
#[derive(Clone, Debug)]
pub struct BackfillRow {
    /// Its id.
    pub id: Uuid,
    /// The pipeline.
    pub pipeline: String,
    /// The version that its new runs are of.
    pub version: i32,
    /// Which dates run.
    pub reprocess: Reprocess,
    /// How many at once.
    pub max_active: u32,
    /// The parameters of its new runs.
    pub params: Map<String, Value>,
    /// `running`, `cancelled` or `done`.
    pub state: String,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
    /// Why.
    pub reason: Option<String>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Dates in all.
    pub total: i64,
    /// Dates whose run was begun and has not ended.
    pub begun: i64,
    /// Dates that are over: their run ended, or was left alone.
    pub over: i64,
}

/// One date of a backfill.
#[derive(Clone, Debug)]
pub struct BackfillDate {
    /// Its place in the order.
    pub ordinal: i32,
    /// The key of its run.
    pub key: String,
    /// The start of its interval.
    pub logical_date: Timestamp,
    /// What it covers.
    pub interval: Interval,
    /// When its schedule fires for it.
    pub fire_at: Option<Timestamp>,
    /// `waiting`, `begun`, `ended` or `left`.
    pub state: String,
    /// The generation of the run that the backfill makes, once it is begun.
    pub generation: Option<u32>,
    /// How its run ended, or why it was left alone.
    pub outcome: Option<String>,
    /// Its run as it stands now, if there is one: state and generation.
    pub run: Option<(RunState, u32)>,
}

impl Store {
    /// Stores a backfill. Once it returned, whoever looks for work begins its runs.
    pub async fn create_backfill(&self, new: &NewBackfill) -> Result<(), StoreError> {
        let (pool, new) = (self.link.pool.clone(), new.clone());
        uncancelled(async move {
            let mut tx = pool.begin().await?;
            sqlx::query!(
                "insert into backfill (backfill_id, pipeline, version, reprocess, max_active, params, created_by, reason)
                 values ($1, $2, $3, $4, $5, $6, $7, $8)",
                new.id,
                new.pipeline,
                new.version,
                new.reprocess.word(),
                signed(new.max_active),
                json!(new.params),
                new.actor,
                new.reason
            )
            .execute(&mut *tx)
            .await?;
            let dates: Vec<(Interval, &Selected)> =
                new.runs.iter().filter_map(|run| Some((run.interval?, run))).collect();
            let keys: Vec<String> = dates.iter().map(|(_, run)| run.key.clone()).collect();
            let logical: Vec<_> = dates.iter().map(|(_, run)| at(run.logical_date)).collect();
            let starts: Vec<_> = dates.iter().map(|(interval, _)| at(interval.start)).collect();
            let ends: Vec<_> = dates.iter().map(|(interval, _)| at(interval.end)).collect();
            let fires: Vec<_> = dates.iter().map(|(_, run)| at_option(run.fire)).collect();
            sqlx::query!(
                "insert into backfill_run (backfill_id, ordinal, run_key, logical_date, interval_start, interval_end, fire_at)
                 select $1, place, run_key, logical_date, interval_start, interval_end, fire_at
                   from unnest($2::text[], $3::timestamptz[], $4::timestamptz[], $5::timestamptz[], $6::timestamptz[])
                        with ordinality as d (run_key, logical_date, interval_start, interval_end, fire_at, place)",
                new.id,
                &keys,
                &logical as _,
                &starts as _,
                &ends as _,
                &fires as _
            )
            .execute(&mut *tx)
            .await?;
            tx.commit().await?;
            Ok(())
        })
        .await
    }

    /// The backfill with this id.
    pub async fn backfill(&self, id: Uuid) -> Result<Option<BackfillRow>, StoreError> {
        Ok(self.backfill_rows(Some(id), None, 1).await?.pop())
    }

    /// Backfills, newest first; those before one, by when it was asked for and its id.
    pub async fn backfills(
        &self,
        before: Option<(Timestamp, Uuid)>,
        limit: i64,
    ) -> Result<Vec<BackfillRow>, StoreError> {
        self.backfill_rows(None, before, limit).await
    }

    async fn backfill_rows(
        &self,
        id: Option<Uuid>,
        before: Option<(Timestamp, Uuid)>,
        limit: i64,
    ) -> Result<Vec<BackfillRow>, StoreError> {
        let (moment, before) = before.unzip();
        let rows = sqlx::query_file!(
            "queries/backfills.sql",
            id,
            limit,
            at_option(moment) as _,
            before,
            self.seen()
        )
        .fetch_all(&self.link)
        .await?;
        rows.into_iter()
            .map(|row| {
                Ok(BackfillRow {
                    id: row.backfill_id,
                    pipeline: row.pipeline,
                    version: row.version,
                    reprocess: Reprocess::from_word(&row.reprocess)
                        .ok_or_else(|| unknown_word("the choice of dates", &row.reprocess))?,
                    max_active: unsigned(row.max_active),
                    params: row.params.as_object().cloned().unwrap_or_default(),
                    state: row.state,
                    created_at: row.created_at.to_jiff(),
                    created_by: row.created_by,
                    reason: row.reason,
                    ended_at: read_option(row.ended_at),
                    total: row.total,
                    begun: row.begun,
                    over: row.over,
                })
            })
            .collect()
    }

    /// Takes a running backfill that nobody works off, for `hold`; the one that waits longest.
    /// What ended of its runs meanwhile is written down in passing.
    pub async fn take_backfill(&self, id: Option<Uuid>, hold: Duration) -> Result<Option<Uuid>, StoreError> {
        let taken = self
            .retrying(|| {
                sqlx::query_file_scalar!("queries/take_backfill.sql", id, hold.as_secs_f64())
                    .fetch_optional(&self.link)
            })
            .await?;
        let Some(taken) = taken else { return Ok(None) };
        sqlx::query!(
            "update backfill_run b set state = 'ended', outcome = r.state
               from backfill f join run r on r.pipeline = f.pipeline
              where f.backfill_id = $1 and b.backfill_id = $1 and b.state = 'begun' and r.run_key = b.run_key
                and r.generation >= b.generation and r.state in ('succeeded','failed','cancelled')",
            taken
        )
        .execute(&self.link)
        .await?;
        Ok(Some(taken))
    }

    /// Lets go of a backfill: it may be taken again after `pause`.
    pub async fn release_backfill(&self, id: Uuid, pause: Duration) -> Result<(), StoreError> {
        sqlx::query!(
            "update backfill set held_until = clock_timestamp() + make_interval(secs => $2) where backfill_id = $1",
            id,
            pause.as_secs_f64()
        )
        .execute(&self.link)
        .await?;
        Ok(())
    }

    /// The dates of a backfill, in order; of those states only, if some are named.
    pub async fn backfill_dates(
        &self,
        id: Uuid,
        states: &[&str],
        limit: i64,
    ) -> Result<Vec<BackfillDate>, StoreError> {
        let states: Vec<String> = states.iter().map(|state| (*state).to_owned()).collect();
        let rows =
            sqlx::query_file!("queries/backfill_dates.sql", id, &states, limit).fetch_all(&self.link).await?;
        Ok(rows
            .into_iter()
            .map(|row| BackfillDate {
                ordinal: row.ordinal,
                key: row.run_key,
                logical_date: row.logical_date.to_jiff(),
                interval: Interval { start: row.interval_start.to_jiff(), end: row.interval_end.to_jiff() },
                fire_at: read_option(row.fire_at),
                state: row.state,
                generation: row.generation.map(unsigned),
                outcome: row.outcome,
                run: row
                    .run_state
                    .as_deref()
                    .and_then(RunState::from_word)
                    .zip(row.run_generation.map(unsigned)),
            })
            .collect())
    }

    /// Writes down that a date's run is about to be made, as this generation. Once it returned,
    /// whoever goes on makes it if it is not there.
    pub async fn begin_backfill_date(
        &self,
        id: Uuid,
        ordinal: i32,
        generation: u32,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "update backfill_run set state = 'begun', generation = $3
              where backfill_id = $1 and ordinal = $2 and state = 'waiting'",
            id,
            ordinal,
            signed(generation)
        )
        .execute(&self.link)
        .await?;
        Ok(())
    }

    /// Leaves a date alone, and says why.
    pub async fn leave_backfill_date(&self, id: Uuid, ordinal: i32, why: &str) -> Result<(), StoreError> {
        sqlx::query!(
            "update backfill_run set state = 'left', outcome = $3
              where backfill_id = $1 and ordinal = $2 and state in ('waiting','begun')",
            id,
            ordinal,
            why
        )
        .execute(&self.link)
        .await?;
        Ok(())
    }

    /// Ends a backfill all of whose dates are over, and writes its digest for so many notices of
    /// each kind. Whether it did.
    pub async fn finish_backfill(
        &self,
        id: Uuid,
        on_success: usize,
        on_failure: usize,
    ) -> Result<bool, StoreError> {
        let done = self
            .retrying(|| {
                sqlx::query_file_scalar!(
                    "queries/finish_backfill.sql",
                    id,
                    position(on_success),
                    position(on_failure)
                )
                .fetch_one(&self.link)
            })
            .await?;
        Ok(done)
    }

    /// Begins nothing more of a backfill; what was begun goes on. Whether it was running.
    pub async fn cancel_backfill(&self, id: Uuid, actor: &str) -> Result<bool, StoreError> {
        Ok(sqlx::query_scalar!(
            r#"with cancelled as (
                 update backfill set state = 'cancelled', ended_at = clock_timestamp(), cancelled_by = $2
                  where backfill_id = $1 and state = 'running' returning backfill_id
               ), left_alone as (
                 update backfill_run b set state = 'left', outcome = 'cancelled by ' || $2
                   from cancelled c where b.backfill_id = c.backfill_id and b.state = 'waiting'
               )
               select exists (select from cancelled) as "done!""#,
            id,
            actor
        )
        .fetch_one(&self.link)
        .await?)
    }

    /// The backfill that made this generation of a run, if one did: its digest tells of the run.
    pub async fn backfill_of(&self, run: Uuid, generation: u32) -> Result<Option<Uuid>, StoreError> {
        Ok(sqlx::query_scalar!(
            "select b.backfill_id from run r join backfill f on f.pipeline = r.pipeline
               join backfill_run b on b.backfill_id = f.backfill_id and b.run_key = r.run_key
              where r.run_id = $1 and b.generation = $2 and f.state <> 'cancelled' limit 1",
            run,
            signed(generation)
        )
        .fetch_optional(&self.link)
        .await?)
    }
}
