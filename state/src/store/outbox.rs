//! Notices on their way out: written by the commit that ended the run, sent at least once.

use std::time::Duration;

use uuid::Uuid;

use super::{Store, StoreError};
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
    /// `{generation, outcome, index}`, or `{backfill, outcome, index}`.
    pub payload: serde_json::Value,
    /// How often it was tried before.
    pub tries: u32,
    /// Guards the result.
    pub fence: i64,
}

impl Store {
    /// Takes notices that are due. Once it returned, no other replica takes them for
    /// `hold`; after that they are sent again, because nobody said what became of them.
    pub async fn take_parcels(&self, limit: i64, hold: Duration) -> Result<Vec<Parcel>, StoreError> {
        let rows = self
            .retrying(|| {
                sqlx::query!(
                    r#"with due as materialized (
                         select outbox_id from outbox
                          where state in ('pending','sending') and due_at <= clock_timestamp()
                          order by due_at limit $1 for update skip locked
                       )
                       update outbox o set state = 'sending', fence = o.fence + 1, tries = o.tries + 1,
                              due_at = clock_timestamp() + make_interval(secs => $2)
                         from due d where o.outbox_id = d.outbox_id
                       returning o.outbox_id, o.dedupe_key, o.run_id, o.payload, o.tries, o.fence"#,
                    limit,
                    hold.as_secs_f64()
                )
                .fetch_all(&self.link)
            })
            .await?;
        Ok(rows
            .into_iter()
            .map(|row| Parcel {
                id: row.outbox_id,
                dedupe_key: row.dedupe_key,
                run: row.run_id.map(RunId),
                payload: row.payload,
                tries: u32::try_from(row.tries - 1).unwrap_or(0),
                fence: row.fence,
            })
            .collect())
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
