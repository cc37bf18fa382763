//! The catalog in the shapes of the Glue API.

mod partitions;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::store::{no_database, no_table};
use super::{Catalog, DatabaseRecord, TableRecord};
use crate::glue::request::{insert_some, listed, page, parse};
use crate::wire::{ApiError, CallContext, epoch_seconds};

/// The exception for requests that make no sense.
pub(super) const INVALID: &str = "InvalidInputException";

/// Page sizes of the list operations (the API's own maximum is 100 for both).
const PAGE_MAX: usize = 100;

/// Most tables that one `BatchDeleteTable` takes (the API's own limit).
const BATCH_DELETE_TABLES_MAX: usize = 100;

/// Answers the catalog's operations; `None` if the operation is not one of them.
pub(crate) fn call(
    catalog: &Catalog,
    cx: &CallContext,
    operation: &str,
    body: &Value,
) -> Option<Result<Value, ApiError>> {
    let body = body.clone();
    Some(match operation {
        "CreateDatabase" => put_database(catalog, cx, body, false),
        "UpdateDatabase" => put_database(catalog, cx, body, true),
        "GetDatabase" => get_database(catalog, cx, body),
        "GetDatabases" => get_databases(catalog, cx, body),
        "DeleteDatabase" => delete_database(catalog, body),
        "CreateTable" => put_table(catalog, cx, body, false),
        "UpdateTable" => put_table(catalog, cx, body, true),
        "GetTable" => get_table(catalog, cx, body),
        "GetTables" => get_tables(catalog, cx, body),
        "DeleteTable" => delete_table(catalog, body),
        "BatchDeleteTable" => batch_delete_table(catalog, body),
        _ => return partitions::call(catalog, cx, operation, body),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Named {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutDatabase {
    name: Option<String>,
    database_input: Map<String, Value>,
}

fn put_database(catalog: &Catalog, cx: &CallContext, body: Value, replace: bool) -> Result<Value, ApiError> {
    let request: PutDatabase = parse(body, INVALID)?;
    let mut input = request.database_input;
    let given = take_name(&mut input, "DatabaseInput")?;
    let name = request.name.filter(|_| replace).unwrap_or(given);
    input.remove("CreateTableDefaultPermissions");
    catalog.put_database(&name, input, cx.now, replace)?;
    Ok(json!({}))
}

fn get_database(catalog: &Catalog, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
    let request: Named = parse(body, INVALID)?;
    let database = catalog.database(&request.name).ok_or_else(|| no_database(&request.name))?;
    Ok(json!({"Database": database_shape(&database, cx)}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListRequest {
    database_name: Option<String>,
    expression: Option<String>,
    next_token: Option<String>,
    max_results: Option<usize>,
}

fn get_databases(catalog: &Catalog, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
    let request: ListRequest = parse(body, INVALID)?;
    let shapes = catalog.databases().iter().map(|database| database_shape(database, cx)).collect();
    let (items, next) = page(shapes, request.next_token.as_deref(), request.max_results, PAGE_MAX, INVALID)?;
    Ok(listed("DatabaseList", items, next))
}

fn delete_database(catalog: &Catalog, body: Value) -> Result<Value, ApiError> {
    let request: Named = parse(body, INVALID)?;
    catalog.delete_database(&request.name)?;
    Ok(json!({}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutTable {
    database_name: String,
    table_input: Map<String, Value>,
    version_id: Option<String>,
}

fn put_table(catalog: &Catalog, cx: &CallContext, body: Value, replace: bool) -> Result<Value, ApiError> {
    let request: PutTable = parse(body, INVALID)?;
    let mut input = request.table_input;
    let name = take_name(&mut input, "TableInput")?;
    let version = request.version_id.as_deref();
    catalog.put_table_at(&request.database_name, &name, input, cx.now, replace, version)?;
    Ok(json!({}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OneTable {
    database_name: String,
    name: String,
}

fn get_table(catalog: &Catalog, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
    let request: OneTable = parse(body, INVALID)?;
    let table = catalog.require_table(&request.database_name, &request.name)?;
    Ok(json!({"Table": table_shape(&table, cx)}))
}

fn get_tables(catalog: &Catalog, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
    let request: ListRequest = parse(body, INVALID)?;
    let database = request.database_name.unwrap_or_default();
    let tables = catalog.tables(&database).ok_or_else(|| no_database(&database))?;
    let pattern = request.expression.as_deref().unwrap_or("*").to_lowercase();
    let shapes = tables
        .iter()
        .filter(|table| pattern.split('|').any(|part| name_matches(part, &table.name)))
        .map(|table| table_shape(table, cx))
        .collect();
    let (items, next) = page(shapes, request.next_token.as_deref(), request.max_results, PAGE_MAX, INVALID)?;
    Ok(listed("TableList", items, next))
}

/// Whether a name fits a Hive pattern: `*` (or `.*`) stands for any text.
fn name_matches(pattern: &str, name: &str) -> bool {
    let pattern = pattern.replace(".*", "*");
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

fn delete_table(catalog: &Catalog, body: Value) -> Result<Value, ApiError> {
    let request: OneTable = parse(body, INVALID)?;
    catalog.delete_table(&request.database_name, &request.name)?;
    Ok(json!({}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ManyTables {
    database_name: String,
    tables_to_delete: Vec<String>,
}

fn batch_delete_table(catalog: &Catalog, body: Value) -> Result<Value, ApiError> {
    let request: ManyTables = parse(body, INVALID)?;
    if request.tables_to_delete.len() > BATCH_DELETE_TABLES_MAX {
        return Err(ApiError::new(
            400,
            INVALID,
            format!("at most {BATCH_DELETE_TABLES_MAX} tables can be deleted at once"),
        ));
    }
    let mut errors = Vec::new();
    for name in &request.tables_to_delete {
        if let Err(error) = catalog.delete_table(&request.database_name, name) {
            errors.push(json!({"TableName": name, "ErrorDetail": error_detail(&error)}));
        }
    }
    Ok(if errors.is_empty() { json!({}) } else { json!({"Errors": errors}) })
}

/// An error as a member of a batch answer.
pub(super) fn error_detail(error: &ApiError) -> Value {
    json!({"ErrorCode": error.code, "ErrorMessage": error.message})
}

fn take_name(input: &mut Map<String, Value>, what: &str) -> Result<String, ApiError> {
    match input.remove("Name") {
        Some(Value::String(name)) => Ok(name),
        _ => Err(ApiError::new(400, INVALID, format!("{what}.Name is required"))),
    }
}

fn database_shape(database: &DatabaseRecord, cx: &CallContext) -> Value {
    let mut shape = database.input.clone();
    shape.insert("Name".into(), database.name.clone().into());
    shape.insert("CreateTime".into(), epoch_seconds(database.created));
    shape.insert("CatalogId".into(), (*cx.account).into());
    Value::Object(shape)
}

fn table_shape(table: &TableRecord, cx: &CallContext) -> Value {
    let mut shape = table.input.clone();
    // Members of TableInput that the Table shape does not have.
    for name in ["PartitionIndexes", "ViewDefinition"] {
        shape.remove(name);
    }
    shape.insert("Name".into(), table.name.clone().into());
    shape.insert("DatabaseName".into(), table.database.clone().into());
    shape.insert("CreateTime".into(), epoch_seconds(table.created));
    shape.insert("UpdateTime".into(), epoch_seconds(table.updated));
    shape.entry("Retention").or_insert_with(|| 0.into());
    shape.entry("PartitionKeys").or_insert_with(|| json!([]));
    shape.insert("IsRegisteredWithLakeFormation".into(), false.into());
    shape.insert("CatalogId".into(), (*cx.account).into());
    insert_some(&mut shape, "VersionId", Some(table.version.to_string()));
    Value::Object(shape)
}

/// The table of a request about partitions, or Glue's error.
pub(super) fn existing_table(
    catalog: &Catalog,
    database: &str,
    table: &str,
) -> Result<TableRecord, ApiError> {
    if catalog.database(database).is_none() {
        return Err(no_database(database));
    }
    catalog.table(database, table).ok_or_else(|| no_table(table))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_hive_patterns() {
        for (pattern, name, expected) in [
            ("*", "t", true),
            ("t", "t", true),
            ("t", "tt", false),
            ("raw_*", "raw_source_1", true),
            ("raw.*_1", "raw_source_1", true),
            ("*x*", "abc", false),
        ] {
            assert_eq!(name_matches(pattern, name), expected, "{pattern} on {name}");
        }
    }

    #[test]
    fn what_goes_in_comes_out() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(folder.path()).unwrap();
        let cx = CallContext::for_tests("glue", "CreateDatabase");
        let ask = |operation: &str, body: Value| {
            call(&catalog, &cx, operation, &body).expect("a catalog operation")
        };
        ask("CreateDatabase", json!({"DatabaseInput": {"Name": "Lake", "Description": "d"}})).unwrap();
        ask(
            "CreateTable",
            json!({"DatabaseName": "lake", "TableInput": {"Name": "T", "Parameters": {"k": "v"}}}),
        )
        .unwrap();
        let table = ask("GetTable", json!({"DatabaseName": "lake", "Name": "t"})).unwrap();
        assert_eq!(table["Table"]["Parameters"]["k"], "v");
        assert_eq!(table["Table"]["DatabaseName"], "lake");
        let error = ask("GetTable", json!({"DatabaseName": "lake", "Name": "u"})).unwrap_err();
        assert_eq!(error.message, "Table u not found.");
        let gone =
            ask("BatchDeleteTable", json!({"DatabaseName": "lake", "TablesToDelete": ["t", "u"]})).unwrap();
        assert_eq!(gone["Errors"][0]["TableName"], "u");
    }
}
