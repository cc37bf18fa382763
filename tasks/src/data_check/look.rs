//! Asking the questions, and what their answers mean.

use serde_json::{Value, json};
use sqlx::Connection as _;

use super::{Question, Severity, Wanted, Work};
use crate::{
    operator::{ErrorClass, Failure, Outcome},
    postgres::{self, failure, ledger::session_name},
    sql::statements::bound,
};

/// The longest example, in characters: it shows which row, not all of it.
const EXAMPLE_MAX: usize = 200;

/// Asks all questions in one snapshot.
pub(super) async fn look(work: &Work, token: &str) -> Result<Outcome, Failure> {
    let mut connection = postgres::snapshot(&work.url, &session_name(token), work.timeout_seconds).await?;
    let mut seen = Vec::with_capacity(work.questions.len());
    for question in &work.questions {
        let asked = bound(question.statement.sql.clone(), &question.statement.values);
        let row = asked.fetch_one(&mut connection).await;
        let answer: (i64, Option<String>) =
            row.and_then(|row| sqlx::FromRow::from_row(&row)).map_err(|error| {
                let failure = failure::of(&error);
                Failure { message: format!("{}: {}", question.name, failure.message), ..failure }
            })?;
        seen.push(answer);
    }
    drop(connection.close().await);
    judged(&work.table, &work.questions, &seen)
}

/// What the answers mean: mistakes that fail, and ones that warn.
pub(super) fn judged(
    table: &str,
    questions: &[Question],
    seen: &[(i64, Option<String>)],
) -> Result<Outcome, Failure> {
    let mut outcome = Outcome::default();
    let mut mistakes = Vec::new();
    let mut checks: Vec<Value> = Vec::new();
    for (question, (count, example)) in questions.iter().zip(seen) {
        let mistake = mistake(question, *count, example.as_deref());
        checks.push(json!({ "name": question.name, "count": count, "passed": mistake.is_none() }));
        match (mistake, question.severity) {
            (Some(text), Severity::Warn) => outcome.warnings.push(format!("{table}: {text}")),
            (Some(text), Severity::Fail) => mistakes.push(text),
            (None, _) => {}
        }
    }
    if mistakes.is_empty() {
        outcome.outputs.insert("checks".into(), Value::Array(checks));
        return Ok(outcome);
    }
    let (failed, all) = (mistakes.len(), questions.len());
    let mut text = format!("{table}: {failed} of {all} checks failed");
    for line in mistakes.iter().chain(&outcome.warnings) {
        text.push_str(&format!("\n{line}"));
    }
    Err(Failure::new(ErrorClass::Failed, text))
}

fn mistake(question: &Question, count: i64, example: Option<&str>) -> Option<String> {
    let name = &question.name;
    match question.wanted {
        Wanted::Between { min, max } => {
            let number = u64::try_from(count).unwrap_or_default();
            let is_wrong = min.is_some_and(|min| number < min) || max.is_some_and(|max| number > max);
            let bounds = match (min, max) {
                (Some(min), Some(max)) => format!("{min} to {max}"),
                (Some(min), None) => format!("at least {min}"),
                (None, Some(max)) => format!("at most {max}"),
                (None, None) => "any number".to_owned(),
            };
            is_wrong.then(|| format!("{name}: {number}, and it should be {bounds}"))
        }
        Wanted::None if count == 0 => None,
        Wanted::None => {
            let example = example.unwrap_or_default();
            let cut: String = example.chars().take(EXAMPLE_MAX).collect();
            let more = if cut.len() < example.len() { "…" } else { "" };
            if name.starts_with("fresh ") {
                return Some(format!("{name}: {cut}{more}"));
            }
            Some(format!("{name}: {count} wrong, such as {cut}{more}"))
        }
    }
}
