//! States of statements, and what of their end is the same for every operator: which parts there were, which one failed,
//! the rows that were asked for.

use aws_sdk_redshiftdata::{operation::describe_statement::DescribeStatementOutput, types::SubStatementData};
use serde_json::{Value, json};

use super::rows;
use crate::{
    aws::error::Trouble,
    clients::{Clients, Purpose},
    operator::{ErrorClass, Failure, Handle, Outcome, Status},
};

/// How much of a statement an error shows, in characters.
const SQL_SHOWN: usize = 120;

/// Whether a state is final. Unknown words are not.
pub(crate) fn is_terminal(state: &str) -> bool {
    matches!(state, "FINISHED" | "FAILED" | "ABORTED")
}

/// The state of a statement in the service's word.
pub(crate) async fn state_of(clients: &Clients, handle: &Handle) -> Result<String, Status> {
    Ok(word(&describe(clients, handle).await?).to_owned())
}

/// A statement, or a batch of them, that ran to its end.
#[derive(Debug)]
pub(crate) enum Ended {
    /// All of it.
    Well(Finished),
    /// Up to a statement that failed.
    Badly(Broken),
}

/// What ran, in its order.
#[derive(Debug)]
pub(crate) struct Finished {
    nanoseconds: i64,
    /// Whether it was a batch.
    pub(crate) is_batch: bool,
    pub(crate) parts: Vec<Part>,
}

/// One statement that ran.
#[derive(Debug)]
pub(crate) struct Part {
    id: String,
    pub(crate) has_result: bool,
    /// Rows that were returned or changed, where the service says.
    pub(crate) rows: Option<i64>,
    nanoseconds: i64,
}

/// What failed, and why.
#[derive(Debug)]
pub(crate) struct Broken {
    /// Which of the statements, counted from 0, where it was a batch and the service says it.
    pub(crate) at: Option<usize>,
    /// Statements of the batch.
    pub(crate) count: usize,
    /// How many of them ended well before.
    pub(crate) finished: usize,
    /// The service's own words.
    pub(crate) error: String,
    /// The beginning of the statement.
    sql: Option<String>,
}

/// Looks whether a statement has ended; every other answer is a status as it stands.
pub(crate) async fn look(clients: &Clients, handle: &Handle) -> Result<Ended, Status> {
    let answer = describe(clients, handle).await?;
    match word(&answer) {
        "FINISHED" => Ok(Ended::Well(finished(&answer))),
        "FAILED" => Ok(Ended::Badly(broken(&answer))),
        "ABORTED" => {
            let text = answer.error.clone().unwrap_or_else(|| "the statement was stopped".to_owned());
            Err(Status::Cancelled(Failure::new(ErrorClass::Cancelled, text).with_code("ABORTED")))
        }
        // SUBMITTED, PICKED, STARTED, and every word that is not known.
        other => Err(Status::Running { remote_state: other.to_owned(), poll_at: None }),
    }
}

async fn describe(clients: &Clients, handle: &Handle) -> Result<DescribeStatementOutput, Status> {
    let redshift =
        clients.redshift_data(&handle.connection, Purpose::Read).await.map_err(Status::Unavailable)?;
    let answer = redshift.describe_statement().id(&handle.id).send().await;
    answer.map_err(|error| gone_said(Trouble::from(error).into_status()))
}

/// Says why the service may not know a statement that it once accepted.
fn gone_said(status: Status) -> Status {
    match status {
        Status::Gone(failure) => {
            let message = format!(
                "{} Redshift keeps a statement for 24 hours after its end and shows it only to the identity that ran \
                 it, so its end was not seen: look into the tables that it changes.",
                failure.message
            );
            Status::Gone(Failure { message, ..failure })
        }
        other => other,
    }
}

fn word(answer: &DescribeStatementOutput) -> &str {
    answer.status.as_ref().map_or("", |status| status.as_str())
}

fn broken(answer: &DescribeStatementOutput) -> Broken {
    let subs = answer.sub_statements.as_deref().unwrap_or_default();
    let is = |sub: &SubStatementData, state: &str| {
        sub.status.as_ref().is_some_and(|status| status.as_str() == state)
    };
    let said = |text: &Option<String>| text.clone().filter(|text| !text.trim().is_empty());
    let whole = said(&answer.error).unwrap_or_else(|| "redshift says FAILED and nothing more".to_owned());
    let at = subs.iter().position(|sub| is(sub, "FAILED"));
    let (error, sql) = match at.map(|at| &subs[at]) {
        Some(sub) => {
            (said(&sub.error).unwrap_or(whole), Some(sub.query_string.as_deref().unwrap_or_default()))
        }
        None => (whole, answer.query_string.as_deref()),
    };
    let finished = subs.iter().filter(|sub| is(sub, "FINISHED")).count();
    Broken { at, count: subs.len(), finished, error, sql: sql.map(shortened) }
}

impl Broken {
    /// Which statement it was, what the service says, and how the statement begins.
    pub(crate) fn text(&self) -> String {
        let mut text = self.error.clone();
        if let Some(at) = self.at {
            text = format!("statement {} of {} failed: {text}", at + 1, self.count);
        }
        if let Some(sql) = &self.sql {
            text = format!("{text}\n  {sql}");
        }
        text
    }
}

/// The beginning of a statement on one line.
fn shortened(sql: &str) -> String {
    let line = sql.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SQL_SHOWN) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

fn finished(answer: &DescribeStatementOutput) -> Finished {
    // The service's word for "no number" is −1.
    let known = |rows: i64| (rows >= 0).then_some(rows);
    let parts = match &answer.sub_statements {
        Some(subs) => subs
            .iter()
            .map(|sub| Part {
                id: sub.id.clone(),
                has_result: sub.has_result_set == Some(true),
                rows: known(sub.result_rows),
                nanoseconds: sub.duration,
            })
            .collect(),
        None => vec![Part {
            id: answer.id.clone(),
            has_result: answer.has_result_set == Some(true),
            rows: known(answer.result_rows),
            nanoseconds: answer.duration,
        }],
    };
    Finished { nanoseconds: answer.duration, is_batch: answer.sub_statements.is_some(), parts }
}

impl Finished {
    /// Which statement it was and how long it took.
    pub(crate) fn outcome(&self, handle: &Handle) -> Outcome {
        let mut outcome = Outcome::default();
        outcome.outputs.insert("statement_id".to_owned(), handle.id.clone().into());
        outcome.outputs.insert("duration_ms".to_owned(), milliseconds(self.nanoseconds));
        outcome
    }
}

impl Part {
    /// What becomes an output of it.
    pub(crate) fn shape(&self) -> Value {
        let mut shape = json!({ "duration_ms": milliseconds(self.nanoseconds) });
        if let Some(rows) = self.rows {
            shape[if self.has_result { "row_count" } else { "rows_affected" }] = rows.into();
        }
        shape
    }
}

/// Adds what statements of a person's own left: the rows that they changed, and those of the last result as far as the
/// handle's `fetch_rows` asks for them.
pub(crate) async fn add_rows(
    clients: &Clients,
    handle: &Handle,
    parts: &[Part],
    outcome: &mut Outcome,
) -> Result<(), Status> {
    let mut put = |name: &str, value: Value| outcome.outputs.insert(name.to_owned(), value);
    let changed: Vec<i64> = parts.iter().filter_map(|part| part.rows.filter(|_| !part.has_result)).collect();
    if !changed.is_empty() {
        put("rows_affected", changed.iter().sum::<i64>().into());
    }
    let result = parts.iter().rev().find(|part| part.has_result);
    if let Some(rows) = result.and_then(|part| part.rows) {
        put("row_count", rows.into());
    }
    let Some(limit) = handle.detail["fetch_rows"].as_u64() else { return Ok(()) };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let fetched = match result {
        None => {
            outcome.warnings.push("fetch_rows: no statement returned rows, so `rows` is empty".to_owned());
            Value::Array(Vec::new())
        }
        Some(part) => {
            let fetched =
                rows::fetch(clients, &handle.connection, &part.id, limit).await.map_err(gone_said)?;
            outcome.warnings.extend(fetched.warning);
            Value::Array(fetched.rows)
        }
    };
    outcome.outputs.insert("rows".to_owned(), fetched);
    Ok(())
}

fn milliseconds(nanoseconds: i64) -> Value {
    (nanoseconds.max(0) / 1_000_000).into()
}
