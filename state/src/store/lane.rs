//! A connection that one kind of write keeps for itself while writes follow each other: the
//! pool asks a connection at each return whether it still stands, which costs a commit of a
//! fraction of a millisecond as much again.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use sqlx::{PgPool, Postgres, pool::PoolConnection};

/// A connection that was unused for longer goes through the pool again, which finds out
/// whether it still stands.
const TRUSTED_IDLE: Duration = Duration::from_secs(1);

/// The kept connection, while nobody uses it.
#[derive(Debug, Default)]
pub(super) struct Lane {
    kept: Mutex<Option<(PoolConnection<Postgres>, Instant)>>,
}

impl Lane {
    /// The connection for one write. Whoever took it gives it back with [`Lane::keep`] once the
    /// write went well, and drops it otherwise: a write that was cut off leaves answers unread.
    pub(super) async fn take(&self, pool: &PgPool) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        match self.empty() {
            Some((connection, used_at)) if used_at.elapsed() < TRUSTED_IDLE => Ok(connection),
            _ => pool.acquire().await,
        }
    }

    pub(super) fn keep(&self, connection: PoolConnection<Postgres>) {
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
