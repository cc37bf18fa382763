//! Notices on their way out: written by the commit that ended the run, sent at least once.

use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use super::{
    Store, StoreError,
    rows::{read_option, run_ids},
};
use crate::ids::RunId;

/// A notice that this replica is to send now.
#[derive(Clone, Debug)]
pub struct Parcel {
    /// Its id; also the notice id that receivers may dedupe by.
    pub id: i64,
    /// Unique to run, generation, outcome and index.
    pub dedupe_key: String,
    /// The run; none for a notice about many.
    pub run: Option<RunId>,
    /// The pipeline of that run.
    pub pipeline: Option<String>,
    /// `{generation, outcome, index}`, or `{backfill, outcome, index}`.
    pub payload: serde_json::Value,
    /// How often it was tried before.
    pub tries: u32,
    /// Whether it was put off, to go with others.
    pub has_waited: bool,
    /// Guards the result.
    pub fence: i64,
}

struct ParcelRow {
    outbox_id: i64,
    dedupe_key: String,
    run_id: Option<Uuid>,
    payload: serde_json::Value,
    tries: i32,
    fence: i64,
    pipeline: Option<String>,
    last_error: Option<String>,
}

impl From<ParcelRow> for Parcel {
    fn from(row: ParcelRow) -> Self {
        Self {
            id: row.outbox_id,
            dedupe_key: row.dedupe_key,
            run: row.run_id.map(RunId),
            pipeline: row.pipeline,
            payload: row.payload,
            tries: u32::try_from(row.tries - 1).unwrap_or(0),
            has_waited: row.last_error.as_deref() == Some(WAITS),
            fence: row.fence,
        }
    }
}

/// What a notice says of itself that waits for others.
const WAITS: &str = "waits to be told together with others";

/// How the id of a notice begins that was told by the mail of another one.
const TOLD_WITH: &str = "told with ";

/// What was told lately of one kind of notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lately {
    /// Mails that were sent.
    pub mails: usize,
    /// When those come due that wait to go together; none while none do.
    pub waiting_until: Option<Timestamp>,
}

/// What went wrong first in a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstFailure {
    /// The run's key.
    pub key: String,
    /// Its state, which may have changed since.
    pub state: String,
    /// The task that failed; none where none did, or none does any more.
    pub task: Option<String>,
    /// In the service's words.
    pub message: Option<String>,
}

impl FirstFailure {
    /// `convert: AnalysisException: …`, or the run's state where no task failed.
    pub fn words(&self) -> String {
        let Some(task) = &self.task else { return self.state.clone() };
        let message = self.message.as_deref().unwrap_or_default();
        let first = message.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        format!("{task}: {}", first.trim())
    }
}

impl Store {
    /// Takes notices that are due. Once it returned, no other replica takes them for
    /// `hold`; after that they are sent again, because nobody said what became of them.
    pub async fn take_parcels(&self, limit: i64, hold: Duration) -> Result<Vec<Parcel>, StoreError> {
        let rows = self
            .retrying(|| {
                sqlx::query_as!(
                    ParcelRow,
                    r#"with due as materialized (
                         select outbox_id from outbox
                          where state in ('pending','sending') and due_at <= clock_timestamp()
                          order by due_at limit $1 for update skip locked
                       )
                       update outbox o set state = 'sending', fence = o.fence + 1, tries = o.tries + 1,
                              due_at = clock_timestamp() + make_interval(secs => $2)
                         from due d where o.outbox_id = d.outbox_id
                       returning o.outbox_id, o.dedupe_key, o.run_id, o.payload, o.tries, o.fence, o.last_error,
                                 (select r.pipeline from run r where r.run_id = o.run_id) as "pipeline?""#,
                    limit,
                    hold.as_secs_f64()
                )
                .fetch_all(&self.link)
            })
            .await?;
        Ok(rows.into_iter().map(Parcel::from).collect())
    }

    /// Takes the failures of one pipeline that wait for one entry of its `on_failure`, due or not, as
    /// [`Store::take_parcels`] does; but for runs of backfills, which have a digest.
    pub async fn take_failures(
        &self,
        pipeline: &str,
        index: u64,
        limit: i64,
        hold: Duration,
    ) -> Result<Vec<Parcel>, StoreError> {
        let rows = self
            .retrying(|| {
                sqlx::query_as!(
                    ParcelRow,
                    r#"with waiting as materialized (
                         select o.outbox_id from outbox o join run r on r.run_id = o.run_id
                          where o.state = 'pending' and r.pipeline = $1
                            and o.payload ->> 'outcome' = 'failure' and (o.payload ->> 'index')::bigint = $2
                            and not exists (
                              select from backfill f join backfill_run b using (backfill_id)
                               where f.pipeline = r.pipeline and b.run_key = r.run_key
                                 and b.generation = (o.payload ->> 'generation')::bigint and f.state <> 'cancelled')
                          order by o.outbox_id limit $3 for update of o skip locked
                       )
                       update outbox o set state = 'sending', fence = o.fence + 1, tries = o.tries + 1,
                              due_at = clock_timestamp() + make_interval(secs => $4)
                         from waiting w where o.outbox_id = w.outbox_id
                       returning o.outbox_id, o.dedupe_key, o.run_id, o.payload, o.tries, o.fence, o.last_error,
                                 $1 as "pipeline?""#,
                    pipeline,
                    i64::try_from(index).unwrap_or(i64::MAX),
                    limit,
                    hold.as_secs_f64()
                )
                .fetch_all(&self.link)
            })
            .await?;
        Ok(rows.into_iter().map(Parcel::from).collect())
    }

    /// Puts a notice off that was taken and not tried.
    pub async fn hold_parcel(&self, parcel: &Parcel, pause: Duration) -> Result<(), StoreError> {
        sqlx::query!(
            "update outbox set state = 'pending', tries = tries - 1, last_error = $4,
                    due_at = clock_timestamp() + make_interval(secs => $3)
              where outbox_id = $1 and fence = $2",
            parcel.id,
            parcel.fence,
            pause.as_secs_f64(),
            WAITS
        )
        .execute(&self.link)
        .await?;
        Ok(())
    }

    /// What was told of failures of one pipeline for one entry of its `on_failure`, within `window`, and
    /// until when some wait.
    pub async fn told_lately(
        &self,
        pipeline: &str,
        index: u64,
        window: Duration,
    ) -> Result<Lately, StoreError> {
        let row = sqlx::query!(
            r#"select (select count(*) filter (where o.provider_id not like $5 || '%')
                         from outbox o join run r on r.run_id = o.run_id
                        where o.state = 'sent' and o.sent_at > clock_timestamp() - make_interval(secs => $3)
                          and r.pipeline = $1 and o.payload ->> 'outcome' = 'failure'
                          and (o.payload ->> 'index')::bigint = $2) as "mails!",
                      (select min(o.due_at) from outbox o join run r on r.run_id = o.run_id
                        where o.state = 'pending' and o.due_at > clock_timestamp() and o.last_error = $4
                          and r.pipeline = $1 and (o.payload ->> 'index')::bigint = $2)
                        as "waiting_until: jiff_sqlx::Timestamp""#,
            pipeline,
            i64::try_from(index).unwrap_or(i64::MAX),
            window.as_secs_f64(),
            WAITS,
            TOLD_WITH
        )
        .fetch_one(&self.link)
        .await?;
        Ok(Lately {
            mails: usize::try_from(row.mails).unwrap_or_default(),
            waiting_until: read_option(row.waiting_until),
        })
    }

    /// What went wrong first in each of these runs, by logical date.
    pub async fn first_failures(&self, runs: &[RunId]) -> Result<Vec<FirstFailure>, StoreError> {
        let rows = sqlx::query!(
            r#"select r.run_key, r.state, t.task as "task?", t.failure ->> 'message' as message
                 from run r
                 left join lateral (
                   select task, failure from task_run
                    where run_id = r.run_id and state = 'failed' and element_of is null
                    order by position limit 1) t on true
                where r.run_id = any($1) order by r.logical_date, r.run_id"#,
            &run_ids(runs)
        )
        .fetch_all(&self.link)
        .await?;
        let failure = rows.into_iter().map(|row| FirstFailure {
            key: row.run_key,
            state: row.state,
            task: row.task,
            message: row.message,
        });
        Ok(failure.collect())
    }

    /// Records that a notice was sent, under the provider's id.
    pub async fn parcel_sent(&self, parcel: &Parcel, provider_id: &str) -> Result<(), StoreError> {
        sqlx::query!(
            "update outbox set state = 'sent', sent_at = clock_timestamp(), provider_id = $3, last_error = null
              where outbox_id = $1 and fence = $2",
            parcel.id,
            parcel.fence,
            provider_id
        )
        .execute(&self.link)
        .await?;
        Ok(())
    }

    /// Records that a notice was told by the mail of another one.
    pub async fn parcel_told_with(&self, parcel: &Parcel, other: &Parcel) -> Result<(), StoreError> {
        self.parcel_sent(parcel, &format!("{TOLD_WITH}{}", other.dedupe_key)).await
    }

    /// Records that a notice could not be sent: it is tried again after `again`, or given up.
    pub async fn parcel_failed(
        &self,
        parcel: &Parcel,
        error: &str,
        again: Option<Duration>,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "update outbox set state = case when $4::float8 is null then 'dead' else 'pending' end, last_error = $3,
                    due_at = clock_timestamp() + make_interval(secs => coalesce($4, 0))
              where outbox_id = $1 and fence = $2",
            parcel.id,
            parcel.fence,
            error,
            again.map(|pause| pause.as_secs_f64())
        )
        .execute(&self.link)
        .await?;
        Ok(())
    }

    /// What became of the notices of a run: state, tries, last error.
    pub async fn parcels_of(
        &self,
        run: RunId,
    ) -> Result<Vec<(String, String, i32, Option<String>)>, StoreError> {
        let run_id: Uuid = run.0;
        let rows = sqlx::query!(
            "select dedupe_key, state, tries, last_error from outbox where run_id = $1 order by outbox_id",
            run_id
        )
        .fetch_all(&self.link)
        .await?;
        Ok(rows.into_iter().map(|row| (row.dedupe_key, row.state, row.tries, row.last_error)).collect())
    }
}
