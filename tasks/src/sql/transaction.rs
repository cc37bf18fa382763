//! One attempt's statements, committed together with its token.

use serde_json::Value;
use sqlx::{
    AssertSqlSafe, Connection as _, Error, PgConnection, Postgres, postgres::PgArguments, query::Query,
};

use super::{Statement, Work, failure, ledger, outputs};
use crate::{
    operator::{ErrorClass, Failure, Outcome, Sent},
    scalar::Parameter,
};

/// Most bytes of all rows as JSON. Outputs are stored with the run and shown in mails and the grid.
const ROWS_BYTES_MAX: usize = 64 * 1024;

/// How far an attempt came that did not end well.
enum Stop {
    /// The server said no: nothing was committed.
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

/// Runs an attempt.
pub(super) async fn run(work: &Work, token: &str) -> Sent {
    match attempt(work, token).await {
        Ok(outcome) | Err(Stop::Before(outcome)) => Sent::Done(outcome),
        Err(Stop::Refused(failure)) if failure.class == ErrorClass::Capacity => Sent::Throttled(failure),
        Err(Stop::Refused(failure)) => Sent::Refused(failure),
        Err(Stop::Unknown(failure)) => Sent::Unknown(failure),
    }
}

async fn attempt(work: &Work, token: &str) -> Result<Outcome, Stop> {
    let mut connection = ledger::connect(&work.url, &ledger::session_name(token)).await?;
    ledger::open(&mut connection).await?;
    let outcome = transaction(&mut connection, work, token).await?;
    // Committed: how the connection ends is nobody's concern.
    drop(connection.close().await);
    Ok(outcome)
}

async fn transaction(connection: &mut PgConnection, work: &Work, token: &str) -> Result<Outcome, Stop> {
    let mut tx = connection.begin().await?;
    let limit = format!("set local statement_timeout = '{}s'", work.timeout_seconds);
    sqlx::raw_sql(AssertSqlSafe(limit)).execute(&mut *tx).await?;
    // Waits for another send of the same attempt, and then knows what became of it.
    let taken = sqlx::query(
        "insert into trunkline_statement (token, run, task) values ($1, $2, $3) on conflict (token) do nothing",
    )
    .bind(token)
    .bind(&work.run)
    .bind(&work.task)
    .execute(&mut *tx)
    .await?;
    if taken.rows_affected() == 0 {
        let before = ledger::committed(&mut tx, token).await?.unwrap_or_default();
        return Err(Stop::Before(before));
    }
    let outcome = statements(&mut tx, work).await?;
    let stored = serde_json::to_value(&outcome).unwrap_or_default();
    sqlx::query("update trunkline_statement set outcome = $2 where token = $1")
        .bind(token)
        .bind(stored)
        .execute(&mut *tx)
        .await?;
    match tx.commit().await {
        Ok(()) => Ok(outcome),
        Err(error) if failure::is_refusal(&error) => Err(error.into()),
        Err(error) => Err(Stop::Unknown(failure::of(&error))),
    }
}

async fn statements(connection: &mut PgConnection, work: &Work) -> Result<Outcome, Stop> {
    let mut outcome = Outcome::default();
    let mut touched = Vec::with_capacity(work.statements.len());
    for (place, statement) in work.statements.iter().enumerate() {
        let is_last = place + 1 == work.statements.len();
        let limit = work.fetch_rows.filter(|_| is_last);
        let done = match limit {
            Some(limit) => fetched(connection, statement, limit, &mut outcome).await,
            None => run_one(connection, statement).await,
        };
        touched.push(done.map_err(|stop| at(stop, place, work.statements.len()))?);
    }
    if let Value::Object(counts) = outputs(&touched) {
        outcome.outputs.extend(counts);
    }
    Ok(outcome)
}

/// Says which of several statements it was.
fn at(stop: Stop, place: usize, count: usize) -> Stop {
    match stop {
        Stop::Refused(failure) if count > 1 => {
            let message = format!("statement {} of {count}: {}", place + 1, failure.message);
            Stop::Refused(Failure { message, ..failure })
        }
        other => other,
    }
}

async fn run_one(connection: &mut PgConnection, statement: &Statement) -> Result<u64, Stop> {
    let done = bound(statement.sql.clone(), &statement.values).execute(connection).await?;
    Ok(done.rows_affected())
}

/// Runs a statement whose rows are wanted; how many there are.
async fn fetched(
    connection: &mut PgConnection,
    statement: &Statement,
    limit: u32,
    outcome: &mut Outcome,
) -> Result<u64, Stop> {
    // One more than wanted tells whether there are more; all are counted, and made, also those of a RETURNING.
    let sql = format!(
        "with trunkline_rows as (\n{}\n)
         select (select count(*) from trunkline_rows),
                (select coalesce(jsonb_agg(to_jsonb(r)), '[]') from (select * from trunkline_rows limit {limit}) r)",
        statement.sql
    );
    let row = bound(sql, &statement.values).fetch_one(connection).await?;
    let (count, rows): (i64, Value) = sqlx::FromRow::from_row(&row)?;
    let bytes = rows.to_string().len();
    if bytes > ROWS_BYTES_MAX {
        let text = format!(
            "fetch_rows: the rows have {bytes} bytes as JSON, and outputs take at most {ROWS_BYTES_MAX}; select less. \
             Nothing was committed"
        );
        return Err(Stop::Refused(Failure::new(ErrorClass::Config, text)));
    }
    let count = u64::try_from(count).unwrap_or_default();
    if count > u64::from(limit) {
        outcome
            .warnings
            .push(format!("the result has {count} rows; the output `rows` holds the first {limit}"));
    }
    outcome.outputs.insert("row_count".into(), count.into());
    outcome.outputs.insert("rows".into(), rows);
    Ok(count)
}

/// A statement that a pipeline's author wrote, with its values beside it.
fn bound(sql: String, values: &[Parameter]) -> Query<'_, Postgres, PgArguments> {
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for value in values {
        query = match value {
            Parameter::Boolean(value) => query.bind(value),
            Parameter::Integer(value) => query.bind(value),
            Parameter::Number(value) => query.bind(value),
            Parameter::Text(value) => query.bind(value),
            Parameter::Null => query.bind(None::<String>),
        };
    }
    query
}
