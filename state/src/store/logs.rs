//! What attempts print, in pieces. How much is kept is the writer's decision.

use super::{
    Store, StoreError,
    arguments::text,
    rows::{position, signed, unsigned},
};
use crate::{ids::RunId, machine::AttemptKey};

/// One piece of an attempt's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPiece {
    /// Its place, from 0.
    pub chunk: u32,
    /// The text.
    pub body: String,
}

impl Store {
    /// Keeps a piece of output; the same piece twice is kept once.
    pub async fn append_log(
        &self,
        run: RunId,
        attempt: AttemptKey,
        chunk: u32,
        body: &str,
        next_offset: u64,
    ) -> Result<(), StoreError> {
        let body = text(body);
        sqlx::query!(
            "insert into log_chunk (run_id, position, number, chunk, body, next_offset) values ($1, $2, $3, $4, $5, $6)
             on conflict do nothing",
            run.0,
            position(attempt.task),
            signed(attempt.number),
            signed(chunk),
            body,
            i64::try_from(next_offset).unwrap_or(i64::MAX)
        )
        .execute(&self.link)
        .await?;
        Ok(())
    }

    /// The pieces from a place on, at most `limit`.
    pub async fn log_pieces(
        &self,
        run: RunId,
        attempt: AttemptKey,
        from: u32,
        limit: i64,
    ) -> Result<Vec<LogPiece>, StoreError> {
        let rows = sqlx::query!(
            "select chunk, body from log_chunk
              where run_id = $1 and position = $2 and number = $3 and chunk >= $4 order by chunk limit $5",
            run.0,
            position(attempt.task),
            signed(attempt.number),
            signed(from),
            limit
        )
        .fetch_all(&self.link)
        .await?;
        Ok(rows.into_iter().map(|row| LogPiece { chunk: unsigned(row.chunk), body: row.body }).collect())
    }

    /// Where the kept output of an attempt ends: the next piece's number, and the offset in
    /// the operator's own copy.
    pub async fn log_end(&self, run: RunId, attempt: AttemptKey) -> Result<(u32, u64), StoreError> {
        let last = sqlx::query!(
            "select chunk, next_offset from log_chunk
              where run_id = $1 and position = $2 and number = $3 order by chunk desc limit 1",
            run.0,
            position(attempt.task),
            signed(attempt.number)
        )
        .fetch_optional(&self.link)
        .await?;
        Ok(last.map_or((0, 0), |row| (unsigned(row.chunk) + 1, u64::try_from(row.next_offset).unwrap_or(0))))
    }
}
