//! What is forgotten: ended runs that are older than their pipeline's retention, and traces of notices
//! and backfills that are older than anybody looks back, and events that cannot come again. Nothing that is live, ever.

use std::time::Duration;

use jiff::Timestamp;

use super::{Store, StoreError, rows::at};
use crate::triggers::EVENTS_KEPT;

/// Notices that were sent are kept so long: by then nobody is told of the same again.
const SENT_KEPT: Duration = Duration::from_hours(30 * 24);

impl Store {
    /// Removes ended runs of a pipeline that ended before a moment, at most `limit` of them, with their
    /// tasks, attempts, output and history. How many; fewer than `limit` once nothing is left.
    pub async fn purge(&self, pipeline: &str, before: Timestamp, limit: i64) -> Result<i64, StoreError> {
        self.retrying(|| {
            sqlx::query_file_scalar!("queries/purge.sql", pipeline, at(before) as _, limit)
                .fetch_one(&self.link)
        })
        .await
    }

    /// How many runs [`Store::purge`] would remove.
    pub async fn purgeable(&self, pipeline: &str, before: Timestamp) -> Result<i64, StoreError> {
        Ok(sqlx::query_scalar!(
            r#"select count(*) as "runs!" from run
                where pipeline = $1 and logical_date < $2 and ended_at < $2 and not has_place
                  and state in ('succeeded','failed','cancelled')"#,
            pipeline,
            at(before) as _
        )
        .fetch_one(&self.link)
        .await?)
    }

    /// Removes notices about many runs that were sent long ago, backfills that ended long ago, events that no
    /// queue can tell of again, and replicas that died long ago.
    pub async fn purge_traces(&self, now: Timestamp) -> Result<(), StoreError> {
        let before = now.checked_sub(SENT_KEPT).unwrap_or(Timestamp::MIN);
        sqlx::query!(
            "with ended as (
               select backfill_id from backfill where ended_at < $1
             ), dates as (
               delete from backfill_run b using ended e where b.backfill_id = e.backfill_id
             ), requests as (
               delete from run_request where created_at < $1
             ), notices as (
               delete from outbox where run_id is null and state in ('sent','dead') and created_at < $1
             )
             select",
            at(before) as _
        )
        .execute(&self.link)
        .await?;
        // Later than any queue could tell of them again. What waits is kept, as long as its pipeline is there.
        let before = now.checked_sub(EVENTS_KEPT).unwrap_or(Timestamp::MIN);
        sqlx::query!(
            "with poison as (delete from trigger_poison where last_at < $1
             ), queues as (
               delete from trigger_queue where greatest(asked_at, last_received_at) < $1
             )
             delete from trigger_event e
              where e.received_at < $1
                and (e.run_id is not null
                     or not exists (select from pipeline p where p.name = e.pipeline and not p.removed))",
            at(before) as _
        )
        .execute(&self.link)
        .await?;
        // The dates refer to their backfill: in a statement of its own.
        let before = now.checked_sub(SENT_KEPT).unwrap_or(Timestamp::MIN);
        sqlx::query!(
            "delete from backfill f where f.ended_at < $1
                and not exists (select from backfill_run b where b.backfill_id = f.backfill_id)",
            at(before) as _
        )
        .execute(&self.link)
        .await?;
        self.forget_dead_replicas().await
    }
}
