//! States of statements, and what a finished one leaves behind.

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
pub(super) fn is_terminal(state: &str) -> bool {
    matches!(state, "FINISHED" | "FAILED" | "ABORTED")
}

/// The state of a statement in the service's word.
pub(super) async fn state_of(clients: &Clients, handle: &Handle) -> Result<String, Status> {
    Ok(word(&describe(clients, handle).await?).to_owned())
}

pub(super) async fn poll(clients: &Clients, handle: &Handle) -> Status {
    let answer = match describe(clients, handle).await {
        Ok(answer) => answer,
        Err(status) => return status,
    };
    match word(&answer) {
        "FINISHED" => finished(clients, handle, &answer).await,
        "FAILED" => Status::Failed(failed(handle, &answer)),
        "ABORTED" => {
            let text = answer.error.clone().unwrap_or_else(|| "the statement was stopped".to_owned());
            Status::Cancelled(Failure::new(ErrorClass::Cancelled, text).with_code("ABORTED"))
        }
        // SUBMITTED, PICKED, STARTED, and every word that is not known.
        other => Status::Running { remote_state: other.to_owned(), poll_at: None },
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

fn failed(handle: &Handle, answer: &DescribeStatementOutput) -> Failure {
    let subs = answer.sub_statements.as_deref().unwrap_or_default();
    let is = |sub: &SubStatementData, state: &str| {
        sub.status.as_ref().is_some_and(|status| status.as_str() == state)
    };
    let whole = || answer.error.clone().filter(|text| !text.trim().is_empty());
    let mut text = whole().unwrap_or_else(|| "redshift says FAILED and nothing more".to_owned());
    if let Some((at, sub)) = subs.iter().enumerate().find(|(_, sub)| is(sub, "FAILED")) {
        let own = sub.error.clone().filter(|text| !text.trim().is_empty()).unwrap_or(text);
        let sql = shortened(sub.query_string.as_deref().unwrap_or_default());
        text = format!("statement {} of {} failed: {own}\n  {sql}", at + 1, subs.len());
    } else if let Some(sql) = answer.query_string.as_deref() {
        text = format!("{text}\n  {}", shortened(sql));
    }
    let committed = subs.iter().filter(|sub| is(sub, "FINISHED")).count();
    if handle.detail["execution_mode"] == "AUTO_COMMIT" && committed > 0 {
        let text = format!(
            "{text}\n{committed} of {} statements are committed, so the task is not repeated by itself: clear it when \
             they may run again",
            subs.len()
        );
        // The class that is never repeated.
        return Failure::new(ErrorClass::Config, text).with_code("FAILED");
    }
    Failure::new(ErrorClass::Failed, text).with_code("FAILED")
}

/// The beginning of a statement on one line.
fn shortened(sql: &str) -> String {
    let line = sql.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SQL_SHOWN) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

async fn finished(clients: &Clients, handle: &Handle, answer: &DescribeStatementOutput) -> Status {
    let parts = parts_of(answer);
    let mut outcome = Outcome::default();
    let mut put = |name: &str, value: Value| outcome.outputs.insert(name.to_owned(), value);
    put("statement_id", handle.id.clone().into());
    put("duration_ms", milliseconds(answer.duration));
    let changed: Vec<i64> = parts.iter().filter_map(|part| part.rows.filter(|_| !part.has_result)).collect();
    if !changed.is_empty() {
        put("rows_affected", changed.iter().sum::<i64>().into());
    }
    let result = parts.iter().rev().find(|part| part.has_result);
    if let Some(rows) = result.and_then(|part| part.rows) {
        put("row_count", rows.into());
    }
    if answer.sub_statements.is_some() {
        put("statements", parts.iter().map(Part::shape).collect());
    }
    let Some(limit) = handle.detail["fetch_rows"].as_u64() else { return Status::Succeeded(outcome) };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let fetched = match result {
        None => {
            outcome.warnings.push("fetch_rows: no statement returned rows, so `rows` is empty".to_owned());
            Value::Array(Vec::new())
        }
        Some(part) => match rows::fetch(clients, &handle.connection, &part.id, limit).await {
            Ok(fetched) => {
                outcome.warnings.extend(fetched.warning);
                Value::Array(fetched.rows)
            }
            Err(status) => return gone_said(status),
        },
    };
    outcome.outputs.insert("rows".to_owned(), fetched);
    Status::Succeeded(outcome)
}

/// One statement that ran.
struct Part {
    id: String,
    has_result: bool,
    /// Rows that were returned or changed, where the service says.
    rows: Option<i64>,
    nanoseconds: i64,
}

impl Part {
    fn shape(&self) -> Value {
        let mut shape = json!({ "duration_ms": milliseconds(self.nanoseconds) });
        if let Some(rows) = self.rows {
            shape[if self.has_result { "row_count" } else { "rows_affected" }] = rows.into();
        }
        shape
    }
}

fn parts_of(answer: &DescribeStatementOutput) -> Vec<Part> {
    // The service's word for "no number" is −1.
    let known = |rows: i64| (rows >= 0).then_some(rows);
    match &answer.sub_statements {
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
    }
}

fn milliseconds(nanoseconds: i64) -> Value {
    (nanoseconds.max(0) / 1_000_000).into()
}
