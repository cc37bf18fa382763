//! Rows of a result as outputs: so many, so large, as objects by column; and how many rows a
//! statement wrote.

use aws_sdk_athena::types::{ColumnInfo, Row};
use serde_json::{Map, Value};

use crate::{
    aws::error::Trouble,
    clients::{Clients, Purpose},
    operator::{ErrorClass, Failure, Handle, Outcome, Status},
};

use super::MoreRows;

/// The most rows that `fetch_rows` may ask for: what is longer belongs into a table or a bucket.
pub(super) const FETCH_ROWS_MAX: u32 = 1000;

/// Most bytes of all rows as JSON. Outputs are stored with the run and shown in mails and the grid.
const ROWS_BYTES_MAX: usize = 64 * 1024;

/// What `GetQueryResults` gives in one page.
const PAGE: usize = 1000;

/// Adds the first `limit` rows of a result to what the query left.
pub(super) async fn fetch(
    clients: &Clients,
    handle: &Handle,
    limit: usize,
    more_rows: MoreRows,
    outcome: &mut Outcome,
) -> Result<(), Status> {
    let athena = clients.athena(&handle.connection, Purpose::Read).await.map_err(Status::Unavailable)?;
    let mut rows: Vec<Value> = Vec::new();
    let mut bytes = 0;
    let mut token = None;
    let mut is_first = true;
    loop {
        // One more than asked for, and the header: enough to know whether there are more.
        let wanted = i32::try_from((limit - rows.len() + 2).min(PAGE)).unwrap_or(i32::MAX);
        let page = athena.get_query_results().query_execution_id(&handle.id).max_results(wanted);
        let page = page.set_next_token(token.take()).send().await;
        let page = page.map_err(|error| unreadable(Trouble::from(error)))?;
        let set = page.result_set.unwrap_or_else(|| aws_sdk_athena::types::ResultSet::builder().build());
        let metadata = set.result_set_metadata.and_then(|metadata| metadata.column_info).unwrap_or_default();
        check_names(&metadata).map_err(wrong)?;
        let mut found = set.rows.unwrap_or_default();
        if std::mem::take(&mut is_first) && found.first().is_some_and(|row| is_header(row, &metadata)) {
            found.remove(0);
        }
        token = page.next_token.filter(|token| !token.is_empty());
        let more = found.len() > limit - rows.len();
        for record in found.into_iter().take(limit - rows.len()) {
            let row = object(&metadata, record);
            bytes += row.to_string().len();
            if bytes > ROWS_BYTES_MAX {
                return Err(wrong(format!(
                    "the first {} rows of the result have more than {ROWS_BYTES_MAX} bytes as JSON, which is the most \
                     that outputs take; select less, or read the CSV at `output_location`",
                    rows.len() + 1
                )));
            }
            rows.push(row);
        }
        if more || (rows.len() >= limit && token.is_some()) {
            if more_rows == MoreRows::Warn {
                outcome.warnings.push(format!(
                    "the result has more than {limit} rows; the output `rows` holds the first {limit}"
                ));
            }
            break;
        }
        if token.is_none() {
            break;
        }
    }
    outcome.outputs.insert("row_count".into(), rows.len().into());
    outcome.outputs.insert("rows".into(), Value::Array(rows));
    Ok(())
}

/// How many rows a statement wrote; `None` where Athena does not say.
pub(super) async fn written(clients: &Clients, connection: &str, id: &str) -> Result<Option<u64>, Failure> {
    let athena = clients.athena(connection, Purpose::Read).await?;
    let page = athena.get_query_results().query_execution_id(id).max_results(1).send().await;
    let page = page.map_err(|error| Trouble::from(error).into_failure())?;
    Ok(page.update_count.and_then(|count| u64::try_from(count).ok()))
}

/// The query has ended, so a refusal to show its rows is final, unlike one to tell its state.
fn unreadable(trouble: Trouble) -> Status {
    match trouble.into_status() {
        Status::Unavailable(failure) if failure.class == ErrorClass::Config => Status::Failed(failure),
        other => other,
    }
}

fn wrong(message: String) -> Status {
    let text = format!("fetch_rows: {message}. The query itself ran");
    Status::Failed(Failure::new(ErrorClass::Config, text))
}

/// Athena gives the names of a SELECT's columns as its first row; other statements have none.
fn is_header(row: &Row, columns: &[ColumnInfo]) -> bool {
    let cells = row.data.as_deref().unwrap_or_default();
    cells.len() == columns.len()
        && cells
            .iter()
            .zip(columns)
            .all(|(cell, column)| cell.var_char_value.as_deref() == Some(&column.name))
}

/// The names of the columns must tell them apart.
fn check_names(columns: &[ColumnInfo]) -> Result<(), String> {
    for (at, column) in columns.iter().enumerate() {
        if columns[..at].iter().any(|other| other.name == column.name) {
            return Err(format!(
                "two columns of the result are called `{}`: give one another name with AS",
                column.name
            ));
        }
    }
    Ok(())
}

fn object(columns: &[ColumnInfo], record: Row) -> Value {
    let mut row = Map::new();
    for (at, cell) in record.data.unwrap_or_default().into_iter().enumerate() {
        let (name, kind) = match columns.get(at) {
            Some(column) => (column.name.clone(), column.r#type.as_str()),
            None => (format!("_col{at}"), "varchar"),
        };
        row.insert(name, cell.var_char_value.map_or(Value::Null, |text| value(kind, text)));
    }
    Value::Object(row)
}

/// A cell by the type of its column. Dates are texts, and decimals too, whose digits a number would lose.
fn value(kind: &str, text: String) -> Value {
    let number = match kind {
        "tinyint" | "smallint" | "integer" | "int" | "bigint" => text.parse::<i64>().ok().map(Value::from),
        "float" | "real" | "double" => text.parse::<f64>().ok().and_then(finite),
        "boolean" => text.parse::<bool>().ok().map(Value::from),
        _ => None,
    };
    number.unwrap_or(Value::String(text))
}

/// JSON has no word for infinity; it stays the text that Athena wrote.
fn finite(number: f64) -> Option<Value> {
    serde_json::Number::from_f64(number).map(Value::Number)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cells_keep_their_types() {
        for (kind, text, expected) in [
            ("bigint", "9007199254740993", json!(9_007_199_254_740_993_i64)),
            ("double", "1.5E3", json!(1500.0)),
            ("double", "Infinity", json!("Infinity")),
            ("boolean", "true", json!(true)),
            ("decimal", "1.10", json!("1.10")),
            ("varchar", "5", json!("5")),
        ] {
            assert_eq!(value(kind, text.to_owned()), expected, "{kind} {text}");
        }
    }
}
