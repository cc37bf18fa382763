//! Statements of one transaction, with bound values, and the rows that are fetched of the last one.

use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection, Postgres, postgres::PgArguments, query::Query};

use super::{Statement, Work, outputs};
use crate::{
    operator::{ErrorClass, Failure, Outcome},
    postgres::transaction::{self, Stop},
    scalar::Parameter,
};

/// Most bytes of all rows as JSON. Outputs are stored with the run and shown in mails and the grid.
const ROWS_BYTES_MAX: usize = 64 * 1024;

impl transaction::Work for Work {
    async fn perform(&self, connection: &mut PgConnection) -> Result<Outcome, Stop> {
        let mut outcome = Outcome::default();
        let touched = statements(connection, &self.statements, self.fetch_rows, &mut outcome).await?;
        outcome.outputs.extend(outputs(&touched));
        Ok(outcome)
    }
}

/// Runs statements one after the other; how many rows each touched. Of the last one rows are fetched, if wanted.
pub(crate) async fn statements(
    connection: &mut PgConnection,
    statements: &[Statement],
    fetch_rows: Option<u32>,
    outcome: &mut Outcome,
) -> Result<Vec<u64>, Stop> {
    let mut touched = Vec::with_capacity(statements.len());
    for (place, statement) in statements.iter().enumerate() {
        let is_last = place + 1 == statements.len();
        let done = match fetch_rows.filter(|_| is_last) {
            Some(limit) => fetched(connection, statement, limit, outcome).await,
            None => run_one(connection, statement).await,
        };
        touched.push(done.map_err(|stop| at(stop, place, statements.len()))?);
    }
    Ok(touched)
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
    // All are counted, and made, also those of a RETURNING; so many are sent.
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
pub(crate) fn bound(sql: String, values: &[Parameter]) -> Query<'_, Postgres, PgArguments> {
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
