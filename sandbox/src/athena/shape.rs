//! Queries in the shapes of the Athena API.

use serde_json::{Map, Value, json};

use super::record::QueryRecord;
use crate::catalog::Column;
use crate::glue::request::insert_some;
use crate::wire::epoch_seconds;

/// A query as `GetQueryExecution` shows it.
pub(super) fn query_shape(query: &QueryRecord) -> Value {
    let mut status = Map::new();
    status.insert("State".into(), query.state.name().into());
    status.insert("SubmissionDateTime".into(), epoch_seconds(query.submitted));
    insert_some(&mut status, "CompletionDateTime", query.completed.map(epoch_seconds));
    if let Some(error) = &query.error {
        status.insert("StateChangeReason".into(), error.message.clone().into());
        status.insert(
            "AthenaError".into(),
            json!({
                "ErrorCategory": error.category,
                "ErrorType": error.kind,
                "Retryable": error.retryable,
                "ErrorMessage": error.message,
            }),
        );
    }
    let mut context = Map::new();
    insert_some(&mut context, "Database", query.database.clone());
    context.insert("Catalog".into(), "awsdatacatalog".into());
    let total = query.completed.map_or(0, |end| end.as_millisecond() - query.submitted.as_millisecond());
    let mut shape = Map::new();
    shape.insert("QueryExecutionId".into(), query.id.clone().into());
    shape.insert("Query".into(), query.sql.clone().into());
    shape.insert("StatementType".into(), query.statement_type.clone().into());
    shape.insert("ResultConfiguration".into(), json!({"OutputLocation": query.output}));
    shape.insert(
        "ResultReuseConfiguration".into(),
        json!({"ResultReuseByAgeConfiguration": {"Enabled": false}}),
    );
    shape.insert("QueryExecutionContext".into(), Value::Object(context));
    shape.insert("Status".into(), Value::Object(status));
    shape.insert(
        "Statistics".into(),
        json!({
            "EngineExecutionTimeInMillis": query.engine_milliseconds,
            "DataScannedInBytes": query.scanned_bytes,
            "TotalExecutionTimeInMillis": total,
            "QueryQueueTimeInMillis": (total - query.engine_milliseconds).max(0),
            "ServiceProcessingTimeInMillis": 0,
            "ResultReuseInformation": {"ReusedPreviousResult": false},
        }),
    );
    shape.insert("WorkGroup".into(), query.workgroup.clone().into());
    shape.insert(
        "EngineVersion".into(),
        json!({"SelectedEngineVersion": "AUTO", "EffectiveEngineVersion": "Athena engine version 3"}),
    );
    if !query.parameters.is_empty() {
        shape.insert("ExecutionParameters".into(), json!(query.parameters));
    }
    Value::Object(shape)
}

/// A column of a result as `GetQueryResults` shows it.
pub(super) fn column_shape(column: &Column) -> Value {
    let (name, precision, scale) = athena_type(&column.hive_type);
    json!({
        "CatalogName": "hive",
        "SchemaName": "",
        "TableName": "",
        "Name": column.name,
        "Label": column.name,
        "Type": name,
        "Precision": precision,
        "Scale": scale,
        "Nullable": "UNKNOWN",
        "CaseSensitive": name == "varchar",
    })
}

/// Athena's name, precision and scale of a Hive type in a result.
fn athena_type(hive: &str) -> (String, u64, u64) {
    let base = hive.split(['<', '(']).next().unwrap_or(hive);
    let precision = match base {
        "tinyint" => 3,
        "smallint" => 5,
        "int" => return ("integer".to_owned(), 10, 0),
        "bigint" => 19,
        "float" | "double" => 17,
        "string" => return ("varchar".to_owned(), 2_147_483_647, 0),
        "binary" => return ("varbinary".to_owned(), 1_073_741_824, 0),
        "timestamp" => 3,
        "struct" => return ("row".to_owned(), 0, 0),
        "decimal" => {
            let mut numbers = hive.trim_start_matches("decimal(").trim_end_matches(')').split(',');
            let mut next = || numbers.next().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
            return (base.to_owned(), next(), next());
        }
        _ => 0,
    };
    (base.to_owned(), precision, 0)
}

#[cfg(test)]
mod tests {
    use super::athena_type;

    #[test]
    fn names_types_as_athena_does() {
        assert_eq!(athena_type("string"), ("varchar".to_owned(), 2_147_483_647, 0));
        assert_eq!(athena_type("decimal(12,2)"), ("decimal".to_owned(), 12, 2));
        assert_eq!(athena_type("array<int>"), ("array".to_owned(), 0, 0));
        assert_eq!(athena_type("struct<a:int>"), ("row".to_owned(), 0, 0));
    }
}
