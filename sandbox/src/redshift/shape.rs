//! Statements in the shapes of the Redshift Data API.

use serde_json::{Map, Value, json};

use super::record::{Mode, Part, StatementRecord};
use crate::glue::request::insert_some;
use crate::wire::epoch_seconds;

/// What the service says where a number has no meaning.
const NONE: i64 = -1;

/// A call as `DescribeStatement` shows it.
pub(super) fn described(record: &StatementRecord) -> Value {
    let mut shape = place(record);
    shape.insert("Id".into(), record.id.clone().into());
    shape.insert("Status".into(), record.state.name().into());
    shape.insert("UpdatedAt".into(), epoch_seconds(record.updated));
    insert_some(&mut shape, "Error", record.error.clone());
    let parts = &record.parts;
    shape.insert("Duration".into(), parts.iter().map(|part| part.done.nanoseconds).sum::<i64>().into());
    shape.insert("HasResultSet".into(), parts.iter().any(|part| part.done.has_result).into());
    shape.insert("ResultRows".into(), parts.iter().map(|part| part.done.rows).sum::<i64>().into());
    shape.insert("ResultSize".into(), parts.iter().map(|part| part.done.bytes).sum::<i64>().into());
    if record.is_batch {
        let subs = parts.iter().enumerate().map(|(at, part)| sub(record, at, part)).collect();
        shape.insert("SubStatements".into(), Value::Array(subs));
        let mode = match record.mode {
            Mode::Transaction => "TRANSACTION",
            Mode::AutoCommit => "AUTO_COMMIT",
        };
        shape.insert("ExecutionMode".into(), mode.into());
    } else if let Some(part) = parts.first() {
        shape.insert("QueryString".into(), part.sql.clone().into());
    }
    Value::Object(shape)
}

/// A statement of a batch as `DescribeStatement` shows it when it is asked for by its own id.
pub(super) fn described_part(record: &StatementRecord, at: usize, part: &Part) -> Value {
    let mut shape = place(record);
    if let Value::Object(sub) = sub(record, at, part) {
        shape.extend(sub);
    }
    Value::Object(shape)
}

/// A call as `ListStatements` shows it.
pub(super) fn listed(record: &StatementRecord) -> Value {
    let mut shape = Map::new();
    shape.insert("Id".into(), record.id.clone().into());
    shape.insert("Status".into(), record.state.name().into());
    shape.insert("CreatedAt".into(), epoch_seconds(record.submitted));
    shape.insert("UpdatedAt".into(), epoch_seconds(record.updated));
    shape.insert("IsBatchStatement".into(), record.is_batch.into());
    shape.insert("ResultFormat".into(), "JSON".into());
    insert_some(&mut shape, "StatementName", record.name.clone());
    insert_some(&mut shape, "SecretArn", record.secret_arn.clone());
    parameters(&mut shape, record);
    let texts: Vec<&str> = record.parts.iter().map(|part| part.sql.as_str()).collect();
    if record.is_batch {
        shape.insert("QueryStrings".into(), json!(texts));
    } else {
        shape.insert("QueryString".into(), json!(texts.first()));
    }
    Value::Object(shape)
}

/// The answer to `ExecuteStatement` and `BatchExecuteStatement`.
pub(super) fn accepted(record: &StatementRecord) -> Value {
    let mut shape = Map::new();
    shape.insert("Id".into(), record.id.clone().into());
    shape.insert("CreatedAt".into(), epoch_seconds(record.submitted));
    where_it_runs(&mut shape, record);
    shape.insert("DbGroups".into(), json!([]));
    Value::Object(shape)
}

fn place(record: &StatementRecord) -> Map<String, Value> {
    let mut shape = Map::new();
    shape.insert("CreatedAt".into(), epoch_seconds(record.submitted));
    shape.insert("RedshiftPid".into(), record.pid.into());
    shape.insert("RedshiftQueryId".into(), if record.is_batch { 0 } else { NONE }.into());
    shape.insert("ResultFormat".into(), "JSON".into());
    where_it_runs(&mut shape, record);
    parameters(&mut shape, record);
    shape
}

fn where_it_runs(shape: &mut Map<String, Value>, record: &StatementRecord) {
    shape.insert("Database".into(), record.database.clone().into());
    insert_some(shape, "ClusterIdentifier", record.cluster.clone());
    insert_some(shape, "WorkgroupName", record.workgroup.clone());
    insert_some(shape, "DbUser", record.db_user.clone());
    insert_some(shape, "SecretArn", record.secret_arn.clone());
}

fn parameters(shape: &mut Map<String, Value>, record: &StatementRecord) {
    if !record.parameters.is_empty() {
        shape.insert("QueryParameters".into(), json!(record.parameters));
    }
}

fn sub(record: &StatementRecord, at: usize, part: &Part) -> Value {
    let mut shape = Map::new();
    shape.insert("Id".into(), format!("{}:{}", record.id, at + 1).into());
    shape.insert("Status".into(), part.state.name().into());
    shape.insert("CreatedAt".into(), epoch_seconds(record.submitted));
    shape.insert("UpdatedAt".into(), epoch_seconds(part.updated));
    shape.insert("QueryString".into(), part.sql.clone().into());
    shape.insert("Duration".into(), part.done.nanoseconds.into());
    shape.insert("HasResultSet".into(), part.done.has_result.into());
    shape.insert("ResultRows".into(), part.done.rows.into());
    shape.insert("ResultSize".into(), part.done.bytes.into());
    shape.insert("RedshiftQueryId".into(), NONE.into());
    insert_some(&mut shape, "Error", part.error.clone());
    Value::Object(shape)
}
