//! Which attempts were committed, as their database knows it: one row each in `trunkline_statement`.

use serde_json::Value;
use sqlx::{Connection as _, Error, PgConnection};

use super::{connect, has_table, transaction::Attempt};
use crate::operator::Outcome;

/// Rows are kept so long: by then nobody asks about their attempts any more.
const KEPT_DAYS: i32 = 90;

/// Old rows that one transaction removes: housekeeping must not be what takes time.
const FORGOTTEN_MAX: i64 = 100;

const NAME: &str = "trunkline_statement";
const TABLE: &str = "create table if not exists trunkline_statement (
    token text primary key, run text not null, task text not null, outcome jsonb,
    committed_at timestamptz not null default clock_timestamp())";

/// What the database knows of an attempt.
#[derive(Debug)]
pub(crate) enum Look {
    /// It was committed, and left this.
    Committed(Outcome),
    /// A session of it is still there.
    UnderWay,
    /// Neither.
    Absent,
}

/// The name of an attempt's sessions.
pub(crate) fn session_name(token: &str) -> String {
    format!("trunkline {token}")
}

/// Looks for an attempt.
pub(crate) async fn look(url: &str, token: &str) -> Result<Look, Error> {
    let mut connection = connect(url, "trunkline").await?;
    if let Some(outcome) = committed(&mut connection, token).await? {
        return Ok(Look::Committed(outcome));
    }
    let sessions: i64 =
        sqlx::query_scalar("select count(*) from pg_stat_activity where application_name = $1")
            .bind(session_name(token))
            .fetch_one(&mut connection)
            .await?;
    if sessions > 0 {
        return Ok(Look::UnderWay);
    }
    // It may have been committed between the two questions.
    let outcome = committed(&mut connection, token).await?;
    connection.close().await?;
    Ok(outcome.map_or(Look::Absent, Look::Committed))
}

/// What an attempt left, if it was committed.
pub(crate) async fn committed(connection: &mut PgConnection, token: &str) -> Result<Option<Outcome>, Error> {
    if !has_table(connection, NAME).await? {
        return Ok(None);
    }
    let row: Option<Option<Value>> =
        sqlx::query_scalar("select outcome from trunkline_statement where token = $1")
            .bind(token)
            .fetch_optional(connection)
            .await?;
    let outcome = row.map(|outcome| outcome.and_then(|outcome| serde_json::from_value(outcome).ok()));
    Ok(outcome.map(Option::unwrap_or_default))
}

/// Makes the table where it is missing, and forgets what is old.
pub(crate) async fn open(connection: &mut PgConnection) -> Result<(), Error> {
    if !has_table(connection, NAME).await? {
        let made = sqlx::raw_sql(TABLE).execute(&mut *connection).await;
        // Two that make it at once: one is refused, and it is there.
        if let Err(error) = made
            && !has_table(connection, NAME).await?
        {
            return Err(error);
        }
    }
    sqlx::query(
        "delete from trunkline_statement where token in (
           select token from trunkline_statement where committed_at < now() - make_interval(days => $1) limit $2
           for update skip locked)",
    )
    .bind(KEPT_DAYS)
    .bind(FORGOTTEN_MAX)
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes the attempt's token; whether nobody had. Waits for a transaction that did and is still open.
pub(crate) async fn take(connection: &mut PgConnection, attempt: Attempt<'_>) -> Result<bool, Error> {
    let taken = sqlx::query(
        "insert into trunkline_statement (token, run, task) values ($1, $2, $3) on conflict (token) do nothing",
    )
    .bind(attempt.token)
    .bind(attempt.run)
    .bind(attempt.task)
    .execute(connection)
    .await?;
    Ok(taken.rows_affected() == 1)
}

/// Writes what the attempt leaves beside its token.
pub(crate) async fn leave(
    connection: &mut PgConnection,
    token: &str,
    outcome: &Outcome,
) -> Result<(), Error> {
    sqlx::query("update trunkline_statement set outcome = $2 where token = $1")
        .bind(token)
        .bind(serde_json::to_value(outcome).unwrap_or_default())
        .execute(connection)
        .await?;
    Ok(())
}
