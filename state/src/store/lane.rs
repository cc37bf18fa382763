//! A connection that one kind of statement keeps for itself while statements follow each other:
//! the pool asks a connection before its use and at each return whether it still stands, which
//! costs a commit of a fraction of a millisecond as much again, and makes three statements of
//! each heartbeat.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use sqlx::{PgConnection, PgPool, Postgres, pool::PoolConnection};

use super::link::Link;

/// For commits: their outcome is unknown when the connection breaks, so that it is asked first
/// unless it was used a moment ago.
pub(super) const MOMENT: Duration = Duration::from_secs(1);
/// For statements that are repeated anyway: longer than the longest pause between two.
pub(super) const ROUND: Duration = Duration::from_secs(60);

/// The kept connection, while nobody uses it.
#[derive(Debug)]
pub(super) struct Lane {
    kept: Mutex<Option<(PoolConnection<Postgres>, Instant)>>,
    /// A connection that was unused for longer goes through the pool again, which finds out
    /// whether it still stands.
    trusted: Duration,
}

impl Lane {
    pub(super) fn new(trusted: Duration) -> Self {
        Self { kept: Mutex::default(), trusted }
    }

    /// Sends one statement on the kept connection.
    pub(super) async fn run<T>(
        &self,
        link: &Link,
        statement: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, sqlx::Error> {
        let mut connection = self.take(&link.pool).await?;
        let answer = link.with(&mut connection, async |connection| statement(connection).await).await?;
        // Only now: one that was cut off leaves answers unread.
        self.keep(connection);
        Ok(answer)
    }

    async fn take(&self, pool: &PgPool) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        match self.empty() {
            Some((connection, used_at)) if used_at.elapsed() < self.trusted => Ok(connection),
            _ => pool.acquire().await,
        }
    }

    fn keep(&self, connection: PoolConnection<Postgres>) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some((connection, now()));
    }

    /// Takes out what is kept; a closing pool waits for it.
    pub(super) fn empty(&self) -> Option<(PoolConnection<Postgres>, Instant)> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[expect(clippy::disallowed_methods, reason = "only whether a connection is asked before its use")]
fn now() -> Instant {
    Instant::now()
}
