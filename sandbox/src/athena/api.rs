//! Queries: the operations of the Athena API.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::record::{QueryRecord, QueryState};
use super::shape::{column_shape, query_shape};
use super::workgroups::{PRIMARY, no_workgroup};
use super::{Athena, results, statement};
use crate::files::replace_json;
use crate::glue::request::{insert_some, page, parse};
use crate::ledger::Accepted;
use crate::s3::parse_uri;
use crate::wire::{ApiError, CallContext, epoch_seconds};
use trunkline_query::folders::as_folder;

/// The exception for requests that make no sense.
pub(super) const INVALID: &str = "InvalidRequestException";
/// Longest statement in bytes (the API's own limit).
const QUERY_BYTES_MAX: usize = 262_144;
/// Length of a client token (the API's own limits).
const TOKEN_LENGTH: std::ops::RangeInclusive<usize> = 32..=128;
/// Most ids that one `BatchGetQueryExecution` takes (the API's own limit).
const BATCH_MAX: usize = 50;
/// Page size of `ListQueryExecutions` (the API's own maximum).
const LIST_PAGE_MAX: usize = 50;
/// Page size of `GetQueryResults` (the API's own maximum).
const RESULTS_PAGE_MAX: usize = 1_000;

impl Athena {
    pub(super) fn answer(
        self: &Arc<Self>,
        cx: &CallContext,
        operation: &str,
        body: Value,
    ) -> Result<Value, ApiError> {
        match operation {
            "StartQueryExecution" => self.start(cx, body),
            "GetQueryExecution" => self.get(cx, body),
            "BatchGetQueryExecution" => self.batch_get(cx, body),
            "ListQueryExecutions" => self.list(cx, body),
            "StopQueryExecution" => self.stop(body),
            "GetQueryResults" => self.get_results(body),
            "CreateWorkGroup" => self.create_workgroup(cx, body),
            "UpdateWorkGroup" => self.update_workgroup(body),
            "GetWorkGroup" => self.get_workgroup(body),
            "DeleteWorkGroup" => self.delete_workgroup(body),
            "ListWorkGroups" => self.list_workgroups(body),
            "GetDatabase" => self.get_database(body),
            "GetTableMetadata" => self.get_table(body),
            _ => Err(ApiError::unknown_operation(cx)),
        }
    }

    fn start(self: &Arc<Self>, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
        let fingerprint = fingerprint(&body);
        let request: Start = parse(body, INVALID)?;
        request.check()?;
        let id = self.world.new_uuid().to_string();
        {
            let mut state = self.lock();
            if let Some(token) = &request.client_request_token
                && let Some(known) = state.tokens.get(token).and_then(|id| state.queries.get(id))
            {
                if known.request != fingerprint {
                    return Err(invalid("Idempotent parameters do not match"));
                }
                return Ok(json!({"QueryExecutionId": known.id}));
            }
            let group = request.work_group.as_deref().unwrap_or(PRIMARY);
            let group = state.workgroups.get(group).ok_or_else(|| no_workgroup(group))?;
            if group.state == "DISABLED" {
                return Err(invalid(format!("WorkGroup {} is disabled.", group.name)));
            }
            let asked = request.result_configuration.output_location.as_deref();
            let Some(location) = group.output(asked) else {
                return Err(invalid(
                    "No output location provided. An output location is required either through the Workgroup result \
                     configuration setting or as an API input.",
                ));
            };
            if parse_uri(&location).is_none() {
                return Err(invalid(format!("outputLocation is not a valid S3 path: {location}")));
            }
            let kind = statement::kind_of(&request.query_string);
            let query = QueryRecord {
                id: id.clone(),
                statement_type: kind.statement_type().to_owned(),
                database: request.query_execution_context.database.map(|name| name.to_lowercase()),
                workgroup: group.name.clone(),
                output: format!("{}{id}{}", as_folder(&location), kind.result_ending()),
                sql: request.query_string,
                parameters: request.execution_parameters,
                token: request.client_request_token,
                request: fingerprint,
                state: QueryState::Queued,
                submitted: cx.now,
                completed: None,
                error: None,
                scanned_bytes: 0,
                engine_milliseconds: 0,
                columns: Vec::new(),
                rows: 0,
                location_enforced: group.enforces_location(),
            };
            replace_json(&self.query_file(&id), &query).map_err(ApiError::internal)?;
            let accepted = Accepted { marker: query.token.clone(), id: &id, subject: &query.workgroup };
            self.world.ledger.accepted(cx, accepted).map_err(ApiError::internal)?;
            state.remember(query);
        }
        self.spawn(id.clone());
        Ok(json!({"QueryExecutionId": id}))
    }

    fn get(&self, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
        let request: One = parse(body, INVALID)?;
        let state = self.lock();
        let query = state
            .queries
            .get(&request.query_execution_id)
            .ok_or_else(|| no_query(&request.query_execution_id))?;
        let mut shape = query_shape(query);
        if let Some(odd) = self.world.faults.unknown_state(&cx.service, &cx.operation, cx.now) {
            shape["Status"]["State"] = odd.into();
        }
        Ok(json!({"QueryExecution": shape}))
    }

    fn batch_get(&self, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Request {
            query_execution_ids: Vec<String>,
        }
        let request: Request = parse(body, INVALID)?;
        let ids = request.query_execution_ids;
        if ids.is_empty() || ids.len() > BATCH_MAX {
            return Err(invalid(format!("from 1 to {BATCH_MAX} query executions can be asked for at once")));
        }
        let odd = self.world.faults.unknown_state(&cx.service, &cx.operation, cx.now);
        let state = self.lock();
        let (found, missing): (Vec<_>, Vec<_>) = ids.iter().partition(|id| state.queries.contains_key(*id));
        let mut shapes: Vec<_> =
            found.into_iter().filter_map(|id| state.queries.get(id)).map(query_shape).collect();
        if let (Some(odd), Some(first)) = (odd, shapes.first_mut()) {
            first["Status"]["State"] = odd.into();
        }
        let unprocessed: Vec<_> = missing
            .into_iter()
            .map(|id| {
                let message = format!("QueryExecution {id} was not found");
                json!({"QueryExecutionId": id, "ErrorCode": "INVALID_QUERY_EXECUTION_ID", "ErrorMessage": message})
            })
            .collect();
        Ok(json!({"QueryExecutions": shapes, "UnprocessedQueryExecutionIds": unprocessed}))
    }

    fn list(&self, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Request {
            work_group: Option<String>,
            next_token: Option<String>,
            max_results: Option<usize>,
        }
        let request: Request = parse(body, INVALID)?;
        let group = request.work_group.as_deref().unwrap_or(PRIMARY);
        let lag = self.world.faults.list_lag(&cx.service, &cx.operation, cx.now);
        let state = self.lock();
        if !state.workgroups.contains_key(group) {
            return Err(no_workgroup(group));
        }
        let ids: Vec<_> = state
            .order
            .iter()
            .rev()
            .filter_map(|id| state.queries.get(id))
            .filter(|query| query.workgroup == group)
            .filter(|query| {
                lag.is_none_or(|lag| cx.now.duration_since(query.submitted).unsigned_abs() >= lag)
            })
            .map(|query| Value::from(query.id.clone()))
            .collect();
        let (items, next) =
            page(ids, request.next_token.as_deref(), request.max_results, LIST_PAGE_MAX, INVALID)?;
        let mut answer = Map::new();
        answer.insert("QueryExecutionIds".to_owned(), Value::Array(items));
        insert_some(&mut answer, "NextToken", next);
        Ok(Value::Object(answer))
    }

    fn stop(&self, body: Value) -> Result<Value, ApiError> {
        let request: One = parse(body, INVALID)?;
        let state = self.lock();
        if !state.queries.contains_key(&request.query_execution_id) {
            return Err(no_query(&request.query_execution_id));
        }
        // A query that has ended stays as it ended.
        if let Some(stop) = state.live.get(&request.query_execution_id) {
            stop.cancel();
        }
        Ok(json!({}))
    }

    fn get_results(&self, body: Value) -> Result<Value, ApiError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Request {
            query_execution_id: String,
            next_token: Option<String>,
            max_results: Option<usize>,
        }
        let request: Request = parse(body, INVALID)?;
        let query = self.lock().queries.get(&request.query_execution_id).cloned();
        let query = query.ok_or_else(|| no_query(&request.query_execution_id))?;
        match query.state {
            QueryState::Succeeded => {}
            QueryState::Failed | QueryState::Cancelled => {
                return Err(invalid(format!(
                    "Query did not finish successfully. Final query state: {}",
                    query.state.name()
                )));
            }
            state => {
                return Err(invalid(format!("Query has not yet finished. Current state: {}", state.name())));
            }
        }
        let rows = results::read(&self.world.s3, &query.output)
            .map_err(|error| invalid(format!("Could not find results: {error}")))?;
        let token = request.next_token.as_deref();
        let (rows, next) = page(rows, token, request.max_results, RESULTS_PAGE_MAX, INVALID)?;
        let rows: Vec<_> = rows.into_iter().map(results::row_shape).collect();
        let columns: Vec<_> = query.columns.iter().map(column_shape).collect();
        let mut answer = Map::new();
        answer.insert("UpdateCount".to_owned(), query.rows.into());
        answer.insert(
            "ResultSet".to_owned(),
            json!({"Rows": rows, "ResultSetMetadata": {"ColumnInfo": columns}}),
        );
        insert_some(&mut answer, "NextToken", next);
        Ok(Value::Object(answer))
    }

    fn get_database(&self, body: Value) -> Result<Value, ApiError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Request {
            database_name: String,
        }
        let request: Request = parse(body, INVALID)?;
        let database = self.glue.catalog.database(&request.database_name).ok_or_else(|| {
            metadata(format!("EntityNotFoundException: Database {} not found.", request.database_name))
        })?;
        Ok(json!({"Database": {"Name": database.name}}))
    }

    fn get_table(&self, body: Value) -> Result<Value, ApiError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Request {
            database_name: String,
            table_name: String,
        }
        let request: Request = parse(body, INVALID)?;
        let table = self.glue.catalog.require_table(&request.database_name, &request.table_name);
        let table = table.map_err(|error| metadata(error.to_string()))?;
        let parameters = table.input.get("Parameters").cloned().unwrap_or_else(|| json!({}));
        Ok(json!({"TableMetadata": {
            "Name": table.name,
            "CreateTime": epoch_seconds(table.created),
            "TableType": table.table_type(),
            "Columns": table.columns(),
            "PartitionKeys": table.partition_keys(),
            "Parameters": parameters,
        }}))
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct ResultConfiguration {
    output_location: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct QueryContext {
    database: Option<String>,
    catalog: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Start {
    query_string: String,
    client_request_token: Option<String>,
    #[serde(default)]
    query_execution_context: QueryContext,
    #[serde(default)]
    result_configuration: ResultConfiguration,
    work_group: Option<String>,
    #[serde(default)]
    execution_parameters: Vec<String>,
}

impl Start {
    fn check(&self) -> Result<(), ApiError> {
        if self.query_string.trim().is_empty() {
            return Err(invalid("QueryString must not be empty"));
        }
        if self.query_string.len() > QUERY_BYTES_MAX {
            return Err(invalid(format!("QueryString is longer than {QUERY_BYTES_MAX} bytes")));
        }
        if let Some(token) = &self.client_request_token
            && !TOKEN_LENGTH.contains(&token.len())
        {
            return Err(invalid("ClientRequestToken must have 32 to 128 characters"));
        }
        if let Some(catalog) = &self.query_execution_context.catalog
            && !catalog.eq_ignore_ascii_case("awsdatacatalog")
        {
            return Err(invalid(format!("the sandbox has no data catalog {catalog}; use AwsDataCatalog")));
        }
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct One {
    query_execution_id: String,
}

/// A hash of a request without its token, whatever the order of its members.
fn fingerprint(body: &Value) -> String {
    fn sorted(value: &Value) -> Value {
        match value {
            Value::Object(map) => {
                let mut members: Vec<_> = map.iter().collect();
                members.sort_by_key(|(name, _)| name.as_str());
                Value::Object(
                    members.into_iter().map(|(name, value)| (name.clone(), sorted(value))).collect(),
                )
            }
            Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
            other => other.clone(),
        }
    }
    let mut body = sorted(body);
    if let Some(map) = body.as_object_mut() {
        map.remove("ClientRequestToken");
    }
    hex::encode(Sha256::digest(body.to_string()))
}

pub(super) fn invalid(text: impl Into<String>) -> ApiError {
    ApiError::new(400, INVALID, text)
}

fn metadata(text: String) -> ApiError {
    ApiError::new(400, "MetadataException", text)
}

fn no_query(id: &str) -> ApiError {
    invalid(format!("QueryExecution {id} was not found"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_compared_without_token_and_order() {
        let one = json!({"QueryString": "SELECT 1", "ClientRequestToken": "a", "WorkGroup": "w"});
        let other = json!({"WorkGroup": "w", "QueryString": "SELECT 1", "ClientRequestToken": "b"});
        assert_eq!(fingerprint(&one), fingerprint(&other));
        assert_ne!(fingerprint(&one), fingerprint(&json!({"QueryString": "SELECT 2", "WorkGroup": "w"})));
    }
}
