//! What is in a database: the operations that list databases, schemas, tables and columns.

use serde::Deserialize;
use serde_json::{Value, json};

use super::Redshift;
use super::api::{INVALID, invalid};
use super::database::{DatabaseError, Session};
use super::warehouse::Target;
use crate::glue::request::{listed, page, parse};
use crate::wire::ApiError;

/// Page size of all lists (the API's own maximum).
const PAGE_MAX: usize = 1_000;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Request {
    cluster_identifier: Option<String>,
    workgroup_name: Option<String>,
    database: Option<String>,
    connected_database: Option<String>,
    schema_pattern: Option<String>,
    table_pattern: Option<String>,
    schema: Option<String>,
    table: Option<String>,
    next_token: Option<String>,
    max_results: Option<usize>,
}

impl Redshift {
    pub(super) fn list_databases(&self, body: Value) -> Result<Value, ApiError> {
        let request: Request = parse(body, INVALID)?;
        let target = self.target(&request)?;
        let found = target.databases().into_iter().map(Value::from).collect();
        request.listed("Databases", found)
    }

    pub(super) async fn list_schemas(&self, body: Value) -> Result<Value, ApiError> {
        let request: Request = parse(body, INVALID)?;
        let mut session = self.inside(&request).await?;
        let found = session.schemas(pattern(request.schema_pattern.as_deref())).await.map_err(failed)?;
        request.listed("Schemas", found.into_iter().map(Value::from).collect())
    }

    pub(super) async fn list_tables(&self, body: Value) -> Result<Value, ApiError> {
        let request: Request = parse(body, INVALID)?;
        let mut session = self.inside(&request).await?;
        let (schema, table) =
            (pattern(request.schema_pattern.as_deref()), pattern(request.table_pattern.as_deref()));
        let found = session.tables(schema, table).await.map_err(failed)?;
        let shapes = found
            .into_iter()
            .map(|(schema, name, kind)| json!({"schema": schema, "name": name, "type": kind}))
            .collect();
        request.listed("Tables", shapes)
    }

    pub(super) async fn describe_table(&self, body: Value) -> Result<Value, ApiError> {
        let request: Request = parse(body, INVALID)?;
        let Some(table) = request.table.clone() else { return Err(invalid("Table must be specified.")) };
        let mut session = self.inside(&request).await?;
        let schema = request.schema.as_deref().unwrap_or("public");
        let found = session.columns(schema, &table).await.map_err(failed)?;
        let mut answer = request.listed("ColumnList", found)?;
        answer["TableName"] = table.into();
        Ok(answer)
    }

    fn target(&self, request: &Request) -> Result<Target, ApiError> {
        self.warehouses.target(request.cluster_identifier.as_deref(), request.workgroup_name.as_deref())
    }

    async fn inside(&self, request: &Request) -> Result<Session, ApiError> {
        let target = self.target(request)?;
        let database = request.connected_database.as_deref().or(request.database.as_deref());
        let database = database.ok_or_else(|| invalid("Database name must be specified."))?;
        let place =
            target.place_of(database).map_err(|message| failed(DatabaseError { code: None, message }))?;
        self.server.looking(&place).await.map_err(failed)
    }
}

impl Request {
    fn listed(&self, name: &str, items: Vec<Value>) -> Result<Value, ApiError> {
        let size = self.max_results.filter(|size| *size > 0);
        let (items, next) = page(items, self.next_token.as_deref(), size, PAGE_MAX, INVALID)?;
        Ok(listed(name, items, next))
    }
}

fn pattern(asked: Option<&str>) -> &str {
    asked.filter(|pattern| !pattern.is_empty()).unwrap_or("%")
}

fn failed(error: DatabaseError) -> ApiError {
    ApiError::new(400, "DatabaseConnectionException", error.message)
}
