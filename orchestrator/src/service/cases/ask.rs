//! A query of a case, asked of the sandbox's Athena by the operator that tasks use.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use trunkline_tasks::{
    ErasedOperator, Registry,
    clients::Clients,
    operator::{Handle, Intent, Outcome, PrepareContext, Sent, Status},
    postgres,
};
use uuid::Uuid;

use crate::definition::cases::ExpectedRows;

/// The bucket that takes the results' files.
pub const RESULTS_BUCKET: &str = "trunkline-test-results";
/// The longest that a query of a case may take.
const QUERY_LIMIT: Duration = Duration::from_mins(2);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The most rows that are fetched: what the operator takes.
const ROWS_MAX: usize = 1_000;

/// The rows that a query gives, each by its columns' names; one more than expected, so that rows
/// that are too many are seen.
pub async fn rows(
    registry: &Registry,
    clients: &Clients,
    connection: &str,
    expected: &ExpectedRows,
    (number, now): (usize, Timestamp),
) -> Result<Vec<Value>, String> {
    let operator = registry.get("athena_query").ok_or("this binary has no task type `athena_query`")?;
    let mut settings = json!({
        "query": expected.sql,
        "output_location": format!("s3://{RESULTS_BUCKET}/"),
        "fetch_rows": (expected.rows.len() + 1).min(ROWS_MAX),
    });
    if let Some(database) = &expected.database {
        settings["database"] = json!(database);
    }
    let cx = PrepareContext {
        attempt_id: Uuid::from_u128(u128::try_from(number).unwrap_or_default() + 1),
        pipeline: "test",
        run: "test",
        task: "query",
        environment: "local",
        connection,
        timeout: QUERY_LIMIT,
        previous: None,
        generation: 1,
    };
    let request = operator.prepare(&settings, &cx).map_err(|failure| failure.message)?;
    let intent = Intent { request: &request, baseline: &Value::Null, intent_at: now, now };
    let handle = match operator.send(clients, &intent).await {
        Sent::Accepted(handle) => handle,
        Sent::Done(outcome) => return Ok(of_outcome(outcome)),
        Sent::Refused(failure) | Sent::Throttled(failure) | Sent::Unknown(failure) => {
            return Err(failure.message);
        }
    };
    let answered = tokio::time::timeout(QUERY_LIMIT, answer(operator, clients, handle)).await;
    answered.unwrap_or_else(|_| Err(format!("it has not ended after {} s", QUERY_LIMIT.as_secs())))
}

/// The same, asked of a database of the private Postgres.
pub async fn private_rows(own: &str, name: &str, expected: &ExpectedRows) -> Result<Vec<Value>, String> {
    let most = expected.rows.len() + 1;
    let rows =
        async { postgres::rows(&postgres::private_database(own, name).await?, &expected.sql, most).await };
    rows.await.map_err(|failure| failure.message)
}

async fn answer(
    operator: &dyn ErasedOperator,
    clients: &Clients,
    handle: Handle,
) -> Result<Vec<Value>, String> {
    let handles = [handle];
    let mut looks = tokio::time::interval(LOOK_EVERY);
    loop {
        looks.tick().await;
        match operator.poll(clients, &handles).await.into_iter().next() {
            Some(Status::Succeeded(outcome)) => return Ok(of_outcome(outcome)),
            Some(Status::Failed(failure) | Status::Cancelled(failure) | Status::Gone(failure)) => {
                return Err(failure.message);
            }
            _ => {}
        }
    }
}

fn of_outcome(mut outcome: Outcome) -> Vec<Value> {
    match outcome.outputs.remove("rows") {
        Some(Value::Array(rows)) => rows,
        _ => Vec::new(),
    }
}
