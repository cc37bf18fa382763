//! One attempt's work, committed together with its token: the database itself knows whether it was.

use std::future::Future;

use jiff::{SignedDuration, Timestamp};
use sqlx::{AssertSqlSafe, Connection as _, Error, PgConnection};

use super::{connect, failure, ledger};
use crate::operator::{Failure, Found, Outcome, Sent};

/// When a session of the attempt is looked for again.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(5);

/// Who works where, and how long at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt<'a> {
    /// The address of the database.
    pub(crate) url: &'a str,
    /// The attempt's token.
    pub(crate) token: &'a str,
    /// The run, for people who look at the table of tokens.
    pub(crate) run: &'a str,
    /// The task, likewise.
    pub(crate) task: &'a str,
    /// The limit of each statement, in seconds.
    pub(crate) timeout_seconds: u64,
}

/// What is done in the transaction.
pub(crate) trait Work: Sync {
    /// Does it; whatever it fails with undoes all of it.
    fn perform(&self, connection: &mut PgConnection) -> impl Future<Output = Result<Outcome, Stop>> + Send;
}

/// How far an attempt came that did not end well.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Nothing was committed.
    Refused(Failure),
    /// The commit was sent and nobody answered.
    Unknown(Failure),
    /// The same attempt was committed before.
    Before(Outcome),
}

impl From<Error> for Stop {
    /// Before the commit: whatever happened, nothing was committed.
    fn from(error: Error) -> Self {
        Self::Refused(failure::of(&error))
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Refused(failure)
    }
}

/// Performs an attempt.
pub(crate) async fn run(attempt: Attempt<'_>, work: &impl Work) -> Sent {
    match committed(attempt, work).await {
        Ok(outcome) | Err(Stop::Before(outcome)) => Sent::Done(outcome),
        Err(Stop::Refused(failure)) if failure::passes(&failure) => Sent::Throttled(failure),
        Err(Stop::Refused(failure)) => Sent::Refused(failure),
        Err(Stop::Unknown(failure)) => Sent::Unknown(failure),
    }
}

/// Looks for an attempt whose answer was lost.
pub(crate) async fn find(url: &str, token: &str, now: Timestamp) -> Found {
    let again_at = now.checked_add(LOOK_AGAIN).unwrap_or(now);
    match ledger::look(url, token).await {
        Ok(ledger::Look::Committed(outcome)) => Found::Done(outcome),
        Ok(ledger::Look::UnderWay) => {
            Found::NotYetKnown { again_at, reason: "its session is still open in the database".into() }
        }
        Ok(ledger::Look::Absent) => Found::ProvedAbsent,
        Err(error) => {
            let reason = format!("the database cannot be asked: {}", failure::of(&error).message);
            Found::NotYetKnown { again_at, reason }
        }
    }
}

async fn committed(attempt: Attempt<'_>, work: &impl Work) -> Result<Outcome, Stop> {
    let mut connection = connect(attempt.url, &ledger::session_name(attempt.token)).await?;
    ledger::open(&mut connection).await?;
    let outcome = transaction(&mut connection, attempt, work).await?;
    // Committed: how the connection ends is nobody's concern.
    drop(connection.close().await);
    Ok(outcome)
}

async fn transaction(
    connection: &mut PgConnection,
    attempt: Attempt<'_>,
    work: &impl Work,
) -> Result<Outcome, Stop> {
    let mut tx = connection.begin().await?;
    let limit = format!("set local statement_timeout = '{}s'", attempt.timeout_seconds);
    sqlx::raw_sql(AssertSqlSafe(limit)).execute(&mut *tx).await?;
    // Waits for another send of the same attempt, and then knows what became of it.
    if !ledger::take(&mut tx, attempt).await? {
        let before = ledger::committed(&mut tx, attempt.token).await?.unwrap_or_default();
        return Err(Stop::Before(before));
    }
    let outcome = work.perform(&mut tx).await?;
    ledger::leave(&mut tx, attempt.token, &outcome).await?;
    match tx.commit().await {
        Ok(()) => Ok(outcome),
        Err(error) if failure::refuses_commit(&error) => Err(error.into()),
        Err(error) => Err(Stop::Unknown(failure::of(&error))),
    }
}
