//! From settings to the exact call: `StartQueryExecution`, its comment, its limits. Pure.

use serde_json::{Value, json};
use uuid::Uuid;

use super::{AthenaQueryConfig, QUERY_BYTES_MAX, replace::Plan};
use crate::{
    aws::merge,
    operator::{ErrorClass, Failure, PrepareContext},
    scalar::Parameter,
};

/// The longest value for a question mark that Athena takes, as SQL, in characters.
const PARAMETER_MAX: usize = 1024;

/// The call of an attempt; of one that replaces a table, the statement that builds its new data.
pub(super) fn start_query_execution(
    config: &AthenaQueryConfig,
    plan: Option<&Plan>,
    cx: &PrepareContext<'_>,
    token: &str,
) -> Result<Value, Failure> {
    // Athena takes one statement and no semicolon before a comment.
    let query = config.query.trim_end_matches(|c: char| c.is_whitespace() || c == ';');
    if query.trim().is_empty() {
        return Err(wrong("query: there is no statement".to_owned()));
    }
    let query = match plan {
        Some(plan) => plan.build_statement(query)?,
        None => query.to_owned(),
    };
    let mut call = json!({ "QueryString": query });
    if let Some(database) = &config.database {
        call["QueryExecutionContext"]["Database"] = json!(database);
    }
    if let Some(catalog) = &config.catalog {
        call["QueryExecutionContext"]["Catalog"] = json!(catalog);
    }
    if let Some(location) = &config.output_location {
        if !location.starts_with("s3://") {
            return Err(wrong(format!(
                "output_location: `{location}` is no S3 prefix: write s3://bucket/prefix/"
            )));
        }
        call["ResultConfiguration"]["OutputLocation"] = json!(location);
    }
    if let Some(workgroup) = &config.workgroup {
        call["WorkGroup"] = json!(workgroup);
    }
    if !config.parameters.is_empty() {
        let literals = config.parameters.iter().enumerate().map(|(at, value)| literal(at, value));
        call["ExecutionParameters"] = literals.collect::<Result<_, _>>()?;
    }
    merge(&mut call, &Value::Object(config.request.clone()));
    call["ClientRequestToken"] = json!(token);
    if call.get("ResultReuseConfiguration").is_none() {
        let text = call["QueryString"].as_str().unwrap_or_default();
        call["QueryString"] = json!(format!("{text}\n{}", comment(cx.attempt_id)));
    }
    let bytes = call["QueryString"].as_str().map_or(0, str::len);
    if bytes > QUERY_BYTES_MAX {
        return Err(wrong(format!("query: {bytes} bytes, Athena takes {QUERY_BYTES_MAX}")));
    }
    Ok(call)
}

/// The comment by which a query is found again.
pub(super) fn comment(attempt_id: Uuid) -> String {
    format!("-- trunkline:{attempt_id}")
}

/// The first word of a statement in capitals, behind comments and brackets.
pub(super) fn first_word(sql: &str) -> String {
    let mut rest = sql.trim_start();
    loop {
        rest = if let Some(after) = rest.strip_prefix("--") {
            after.split_once('\n').map_or("", |(_, next)| next)
        } else if let Some(after) = rest.strip_prefix("/*") {
            after.split_once("*/").map_or("", |(_, next)| next)
        } else if let Some(after) = rest.strip_prefix('(') {
            after
        } else {
            break;
        }
        .trim_start();
    }
    rest.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default().to_uppercase()
}

/// The SQL literal that Athena puts in for a question mark.
fn literal(at: usize, value: &Parameter) -> Result<Value, Failure> {
    let literal = match value {
        Parameter::Boolean(value) => value.to_string(),
        Parameter::Integer(number) => number.to_string(),
        Parameter::Number(number) => number.to_string(),
        Parameter::Text(text) => format!("'{}'", text.replace('\'', "''")),
        Parameter::Null => "NULL".to_owned(),
    };
    let length = literal.chars().count();
    if length > PARAMETER_MAX {
        let number = at + 1;
        return Err(wrong(format!(
            "parameters: value {number} has {length} characters with its quotes, Athena takes {PARAMETER_MAX}"
        )));
    }
    Ok(literal.into())
}

fn wrong(message: String) -> Failure {
    Failure::new(ErrorClass::Config, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_word_stands_behind_comments() {
        for (sql, word) in [
            ("select 1", "SELECT"),
            ("-- a\n  /* b\n */ WITH x AS (SELECT 1)", "WITH"),
            ("((SELECT 1))", "SELECT"),
            ("-- only a comment", ""),
            ("INSERT INTO t", "INSERT"),
        ] {
            assert_eq!(first_word(sql), word, "{sql}");
        }
    }
}
