//! The partitions of a table in the shapes of the Glue API.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{INVALID, error_detail, existing_table};
use crate::catalog::store::no_partition;
use crate::catalog::{Catalog, PartitionRecord};
use crate::engine;
use crate::glue::request::{listed, page, parse};
use crate::wire::{ApiError, CallContext, epoch_seconds};

/// Most partitions of one page of `GetPartitions` (the API's own limit).
const PAGE_MAX: usize = 1_000;
/// Most partitions that one `BatchCreatePartition` takes (the API's own limit).
const BATCH_CREATE_MAX: usize = 100;
/// Most partitions that one `BatchUpdatePartition` takes (the API's own limit).
const BATCH_UPDATE_MAX: usize = 100;
/// Most partitions that one `BatchDeletePartition` takes (the API's own limit).
const BATCH_DELETE_MAX: usize = 25;
/// Most partitions that one `BatchGetPartition` takes (the API's own limit).
const BATCH_GET_MAX: usize = 1_000;

/// Answers the operations on partitions; `None` if the operation is not one of them.
pub(super) fn call(
    catalog: &Catalog,
    cx: &CallContext,
    operation: &str,
    body: Value,
) -> Option<Result<Value, ApiError>> {
    Some(match operation {
        "CreatePartition" => create(catalog, cx, body),
        "BatchCreatePartition" => batch_create(catalog, cx, body),
        "GetPartition" => get(catalog, cx, body),
        "GetPartitions" => get_many(catalog, cx, body),
        "BatchGetPartition" => batch_get(catalog, cx, body),
        "UpdatePartition" => update(catalog, cx, body),
        "BatchUpdatePartition" => batch_update(catalog, cx, body),
        "DeletePartition" => delete(catalog, body),
        "BatchDeletePartition" => batch_delete(catalog, body),
        _ => return None,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Place {
    database_name: String,
    table_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Create {
    #[serde(flatten)]
    place: Place,
    partition_input: Map<String, Value>,
}

fn create(catalog: &Catalog, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
    let request: Create = parse(body, INVALID)?;
    let Place { database_name, table_name } = request.place;
    let keys = existing_table(catalog, &database_name, &table_name)?.partition_keys().len();
    let partition = record(request.partition_input, keys, cx)?;
    match catalog.add_partitions(&database_name, &table_name, vec![partition])?.first() {
        Some(_) => Err(partition_exists()),
        None => Ok(json!({})),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BatchCreate {
    #[serde(flatten)]
    place: Place,
    partition_input_list: Vec<Map<String, Value>>,
}

fn batch_create(catalog: &Catalog, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
    let request: BatchCreate = parse(body, INVALID)?;
    let Place { database_name, table_name } = request.place;
    let keys = existing_table(catalog, &database_name, &table_name)?.partition_keys().len();
    at_most(request.partition_input_list.len(), BATCH_CREATE_MAX)?;
    let partitions = request
        .partition_input_list
        .into_iter()
        .map(|input| record(input, keys, cx))
        .collect::<Result<Vec<_>, _>>()?;
    let existing = catalog.add_partitions(&database_name, &table_name, partitions)?;
    Ok(errors_shape(existing, &partition_exists()))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct One {
    #[serde(flatten)]
    place: Place,
    partition_values: Vec<String>,
}

fn get(catalog: &Catalog, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
    let request: One = parse(body, INVALID)?;
    let Place { database_name, table_name } = &request.place;
    existing_table(catalog, database_name, table_name)?;
    let found = catalog
        .partitions(database_name, table_name)
        .into_iter()
        .find(|partition| partition.values == request.partition_values)
        .ok_or_else(|| no_partition(&request.partition_values))?;
    Ok(json!({"Partition": shape(&found, &request.place, cx)}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetMany {
    #[serde(flatten)]
    place: Place,
    expression: Option<String>,
    next_token: Option<String>,
    max_results: Option<usize>,
}

fn get_many(catalog: &Catalog, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
    let request: GetMany = parse(body, INVALID)?;
    let Place { database_name, table_name } = &request.place;
    let table = existing_table(catalog, database_name, table_name)?;
    let mut partitions = catalog.partitions(database_name, table_name);
    if let Some(expression) = request.expression.filter(|text| !text.trim().is_empty()) {
        let values: Vec<_> = partitions.iter().map(|partition| partition.values.clone()).collect();
        let kept =
            engine::partitions_matching(&expression, &table.partition_keys(), &values).map_err(|error| {
                ApiError::new(400, INVALID, format!("Unsupported expression '{expression}': {error}"))
            })?;
        let mut kept = kept.into_iter();
        partitions.retain(|_| kept.next().unwrap_or(false));
    }
    let shapes = partitions.iter().map(|partition| shape(partition, &request.place, cx)).collect();
    let (items, next) = page(shapes, request.next_token.as_deref(), request.max_results, PAGE_MAX, INVALID)?;
    Ok(listed("Partitions", items, next))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ValueList {
    values: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BatchGet {
    #[serde(flatten)]
    place: Place,
    partitions_to_get: Vec<ValueList>,
}

fn batch_get(catalog: &Catalog, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
    let request: BatchGet = parse(body, INVALID)?;
    let Place { database_name, table_name } = &request.place;
    existing_table(catalog, database_name, table_name)?;
    at_most(request.partitions_to_get.len(), BATCH_GET_MAX)?;
    let wanted: std::collections::BTreeSet<_> =
        request.partitions_to_get.into_iter().map(|list| list.values).collect();
    let found: Vec<_> = catalog
        .partitions(database_name, table_name)
        .iter()
        .filter(|partition| wanted.contains(&partition.values))
        .map(|partition| shape(partition, &request.place, cx))
        .collect();
    Ok(json!({"Partitions": found, "UnprocessedKeys": []}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Update {
    #[serde(flatten)]
    place: Place,
    partition_value_list: Vec<String>,
    partition_input: Map<String, Value>,
}

fn update(catalog: &Catalog, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
    let request: Update = parse(body, INVALID)?;
    let Place { database_name, table_name } = request.place;
    let keys = existing_table(catalog, &database_name, &table_name)?.partition_keys().len();
    let partition = record(request.partition_input, keys, cx)?;
    catalog.replace_partition(&database_name, &table_name, &request.partition_value_list, partition)?;
    Ok(json!({}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BatchUpdate {
    #[serde(flatten)]
    place: Place,
    entries: Vec<UpdateEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UpdateEntry {
    partition_value_list: Vec<String>,
    partition_input: Map<String, Value>,
}

fn batch_update(catalog: &Catalog, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
    let request: BatchUpdate = parse(body, INVALID)?;
    let Place { database_name, table_name } = request.place;
    let keys = existing_table(catalog, &database_name, &table_name)?.partition_keys().len();
    at_most(request.entries.len(), BATCH_UPDATE_MAX)?;
    let mut errors = Vec::new();
    for entry in request.entries {
        let values = entry.partition_value_list;
        let done = record(entry.partition_input, keys, cx)
            .and_then(|partition| catalog.replace_partition(&database_name, &table_name, &values, partition));
        if let Err(error) = done {
            errors.push(json!({"PartitionValueList": values, "ErrorDetail": error_detail(&error)}));
        }
    }
    Ok(if errors.is_empty() { json!({}) } else { json!({"Errors": errors}) })
}

fn delete(catalog: &Catalog, body: Value) -> Result<Value, ApiError> {
    let request: One = parse(body, INVALID)?;
    let Place { database_name, table_name } = request.place;
    existing_table(catalog, &database_name, &table_name)?;
    match catalog.delete_partitions(&database_name, &table_name, &[request.partition_values])?.first() {
        Some(values) => Err(no_partition(values)),
        None => Ok(json!({})),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BatchDelete {
    #[serde(flatten)]
    place: Place,
    partitions_to_delete: Vec<ValueList>,
}

fn batch_delete(catalog: &Catalog, body: Value) -> Result<Value, ApiError> {
    let request: BatchDelete = parse(body, INVALID)?;
    let Place { database_name, table_name } = request.place;
    existing_table(catalog, &database_name, &table_name)?;
    at_most(request.partitions_to_delete.len(), BATCH_DELETE_MAX)?;
    let removed: Vec<_> = request.partitions_to_delete.into_iter().map(|list| list.values).collect();
    let missing = catalog.delete_partitions(&database_name, &table_name, &removed)?;
    Ok(errors_shape(missing, &no_partition(&[])))
}

fn record(mut input: Map<String, Value>, keys: usize, cx: &CallContext) -> Result<PartitionRecord, ApiError> {
    let values: Vec<String> = match input.remove("Values") {
        Some(values) => parse(values, INVALID)?,
        None => Vec::new(),
    };
    if values.len() != keys {
        let text = "The number of partition keys do not match the number of partition values";
        return Err(ApiError::new(400, INVALID, text));
    }
    Ok(PartitionRecord { values, created: cx.now, input })
}

fn at_most(count: usize, limit: usize) -> Result<(), ApiError> {
    if count > limit {
        return Err(ApiError::new(400, INVALID, format!("at most {limit} partitions can be given at once")));
    }
    Ok(())
}

fn partition_exists() -> ApiError {
    ApiError::new(400, "AlreadyExistsException", "Partition already exists.")
}

fn errors_shape(values: Vec<Vec<String>>, error: &ApiError) -> Value {
    if values.is_empty() {
        return json!({});
    }
    let list: Vec<_> = values
        .into_iter()
        .map(|values| json!({"PartitionValues": values, "ErrorDetail": error_detail(error)}))
        .collect();
    json!({"Errors": list})
}

fn shape(partition: &PartitionRecord, place: &Place, cx: &CallContext) -> Value {
    let mut shape = partition.input.clone();
    shape.insert("Values".into(), json!(partition.values));
    shape.insert("DatabaseName".into(), place.database_name.clone().into());
    shape.insert("TableName".into(), place.table_name.clone().into());
    shape.insert("CreationTime".into(), epoch_seconds(partition.created));
    shape.insert("CatalogId".into(), (*cx.account).into());
    Value::Object(shape)
}
