//! Rows of a result as outputs: so many, so large, as objects by column.

use aws_sdk_redshiftdata::types::{ColumnMetadata, Field};
use serde_json::{Map, Value};

use crate::{
    aws::error::Trouble,
    clients::{Clients, Purpose},
    operator::{ErrorClass, Failure, Status},
};

/// Most bytes of all rows as JSON. Outputs are stored with the run and shown in mails and the grid; what is larger
/// belongs into a table or a bucket.
const ROWS_BYTES_MAX: usize = 64 * 1024;

/// Fetched rows, and what a person should know of them.
pub(super) struct Fetched {
    pub rows: Vec<Value>,
    pub warning: Option<String>,
}

/// The first `limit` rows of a result. The statement has ended well, so nothing here may be repeated by
/// running it again: what cannot be fetched for ever is a mistake in the definition.
pub(super) async fn fetch(
    clients: &Clients,
    connection: &str,
    id: &str,
    limit: usize,
) -> Result<Fetched, Status> {
    let redshift = clients.redshift_data(connection, Purpose::Read).await.map_err(Status::Unavailable)?;
    let mut rows = Vec::new();
    let mut bytes = 0;
    let mut token = None;
    let mut total = 0;
    loop {
        let page = redshift.get_statement_result().id(id).set_next_token(token.take()).send().await;
        let page = page.map_err(|error| Trouble::from(error).into_status())?;
        total = page.total_num_rows.max(total);
        let names = names(page.column_metadata.as_deref().unwrap_or_default()).map_err(wrong)?;
        for record in page.records.into_iter().take(limit - rows.len()) {
            let row = row(&names, record);
            bytes += row.to_string().len();
            if bytes > ROWS_BYTES_MAX {
                return Err(wrong(format!(
                    "the first {} rows of the result have more than {ROWS_BYTES_MAX} bytes as JSON, which is the most \
                     that outputs take",
                    rows.len() + 1
                )));
            }
            rows.push(row);
        }
        token = page.next_token.filter(|token| !token.is_empty());
        if token.is_none() || rows.len() >= limit {
            break;
        }
    }
    let fetched = i64::try_from(rows.len()).unwrap_or(i64::MAX);
    let more = total > fetched || token.is_some();
    let warning = more.then(|| {
        format!("the result has {} rows; the output `rows` holds the first {fetched}", total.max(fetched + 1))
    });
    Ok(Fetched { rows, warning })
}

fn wrong(message: String) -> Status {
    let text = format!("fetch_rows: {message}. The statement itself ran and is committed");
    Status::Failed(Failure::new(ErrorClass::Config, text))
}

/// The names of the columns, which must tell them apart.
fn names(columns: &[ColumnMetadata]) -> Result<Vec<String>, String> {
    let mut names: Vec<String> = Vec::with_capacity(columns.len());
    for column in columns {
        let name = column.label.clone().or_else(|| column.name.clone()).unwrap_or_default();
        if names.contains(&name) {
            return Err(format!(
                "two columns of the result are called `{name}`: give one another name with AS"
            ));
        }
        names.push(name);
    }
    Ok(names)
}

fn row(names: &[String], record: Vec<Field>) -> Value {
    let mut row = Map::new();
    for (at, field) in record.into_iter().enumerate() {
        let name = names.get(at).cloned().unwrap_or_else(|| format!("column_{}", at + 1));
        row.insert(name, value(field));
    }
    Value::Object(row)
}

fn value(field: Field) -> Value {
    match field {
        Field::BooleanValue(value) => value.into(),
        Field::LongValue(value) => value.into(),
        Field::DoubleValue(value) => value.into(),
        // Also dates, and decimals, whose digits a number would lose.
        Field::StringValue(value) => value.into(),
        Field::BlobValue(blob) => aws_smithy_types::base64::encode(blob).into(),
        // Nulls, and kinds of fields that this version does not know.
        _ => Value::Null,
    }
}
