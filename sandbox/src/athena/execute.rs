//! The work of one query, from its text to its result object.

use std::sync::Arc;

use super::record::{QueryError, QueryRecord};
use super::statement::{Statement, parse};
use super::{ddl, parameters, results, write};
use crate::catalog::Column;
use crate::engine::Session;
use crate::glue::Glue;
use crate::glue::request::insert_some;
use crate::wire::ApiError;
use crate::world::World;
use trunkline_query::{Dialect, EngineError};

/// Most rows of a result, as it is held in memory as a whole.
const ROWS_MAX: usize = 2_000_000;

/// Athena's numbers of kinds of errors.
const SYNTAX: u16 = 1006;
const NOT_FOUND: u16 = 1301;
const BAD_DATA: u16 = 1100;
const INTERNAL: u16 = 1;

/// What a query came to.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub error: Option<QueryError>,
    pub scanned_bytes: u64,
    pub columns: Vec<Column>,
    /// Rows that a statement wrote.
    pub rows: u64,
}

impl Done {
    /// The query ran longer than it may.
    pub(super) fn timed_out() -> Self {
        let message = "Query timeout".to_owned();
        let error = QueryError { category: 2, kind: 1003, retryable: false, message };
        Self { error: Some(error), ..Self::default() }
    }
}

/// Why a query failed, on its way to [`QueryError`].
#[derive(Debug)]
pub(super) enum Failure {
    /// What the statement or the data is.
    Engine(EngineError),
    /// A text with Athena's own code in front.
    Text(String),
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::Text(format!("FAILED: Execution Error: {}", error.message))
    }
}

/// Runs a query and writes its result. Dropping the future ends it at once.
pub(super) async fn execute(world: &Arc<World>, glue: &Arc<Glue>, query: &QueryRecord) -> Done {
    let session = glue.engine.session(Dialect::Trino, Some(query.database.as_deref().unwrap_or("default")));
    let work = Work { world, glue, query, session: &session };
    let scanned = || session.reading().report().bytes;
    match work.run().await {
        Ok(Made { columns, rows }) => Done { error: None, scanned_bytes: scanned(), columns, rows },
        Err(failure) => {
            Done { error: Some(query_error(failure)), scanned_bytes: scanned(), ..Done::default() }
        }
    }
}

/// What a statement made: the columns of its result, the rows that it wrote.
#[derive(Debug, Default)]
struct Made {
    columns: Vec<Column>,
    rows: u64,
}

/// One query at work.
pub(super) struct Work<'a> {
    pub world: &'a Arc<World>,
    pub glue: &'a Arc<Glue>,
    pub query: &'a QueryRecord,
    pub session: &'a Session,
}

impl Work<'_> {
    async fn run(&self) -> Result<Made, Failure> {
        let sql = parameters::fill(&self.query.sql, &self.query.parameters).map_err(Failure::Text)?;
        match parse(&sql).map_err(Failure::Text)? {
            Statement::Query(sql) => Ok(Made { columns: self.select(&sql).await?, rows: 0 }),
            Statement::CreateTableAs { name, if_not_exists, properties, query } => {
                let rows = write::create_table_as(self, name, if_not_exists, &properties, &query).await?;
                Ok(Made { rows, ..Made::default() })
            }
            Statement::InsertInto { name, query } => {
                let rows = write::insert_into(self, name, &query).await?;
                Ok(Made { rows, ..Made::default() })
            }
            definition => {
                let (world, glue, record) =
                    (Arc::clone(self.world), Arc::clone(self.glue), self.query.clone());
                let columns = tokio::task::spawn_blocking(move || {
                    let shown = ddl::run(&world, &glue, &record, definition)?;
                    let text: String = shown.lines.iter().map(|line| format!("{line}\n")).collect();
                    results::write(&world.s3, &record.output, &text).map_err(Failure::Text)?;
                    Ok::<_, Failure>(Made { columns: shown.columns, rows: 0 })
                });
                columns.await.map_err(EngineError::internal)?
            }
        }
    }

    async fn select(&self, sql: &str) -> Result<Vec<Column>, Failure> {
        let planned = self.session.athena_query(sql).await?;
        let rows = self.session.collect(planned.rows, ROWS_MAX).await?;
        let columns: Vec<Column> = planned
            .names
            .into_iter()
            .zip(&rows.columns)
            .map(|(name, column)| Column::new(name, &*column.hive_type))
            .collect();
        let mut csv = String::new();
        let header: Vec<_> = columns.iter().map(|column| Some(column.name.clone())).collect();
        results::push_row(&mut csv, &header);
        rows.each(|row| results::push_row(&mut csv, &row))?;
        let metadata = metadata_of(&columns);
        let (world, output) = (Arc::clone(self.world), self.query.output.clone());
        let written = tokio::task::spawn_blocking(move || {
            results::write(&world.s3, &output, &csv)?;
            results::write(&world.s3, &format!("{output}.metadata"), &metadata)
        });
        written.await.map_err(EngineError::internal)?.map_err(Failure::Text)?;
        Ok(columns)
    }
}

/// The content of the `.metadata` object. Athena's is in an undocumented binary form that no client reads.
fn metadata_of(columns: &[Column]) -> String {
    let mut metadata = serde_json::Map::new();
    let list = serde_json::to_value(columns).ok();
    insert_some(&mut metadata, "Columns", list);
    serde_json::Value::Object(metadata).to_string()
}

fn query_error(failure: Failure) -> QueryError {
    let (category, kind, message) = match failure {
        Failure::Text(text) => (2, SYNTAX, text),
        Failure::Engine(error) => match error {
            EngineError::Syntax(text) => (2, SYNTAX, format!("SYNTAX_ERROR: {text}")),
            EngineError::Analysis(text) if text.contains("TYPE_MISMATCH") => (2, SYNTAX, text),
            EngineError::Analysis(text) if text.contains("No field named") => {
                (2, NOT_FOUND, format!("COLUMN_NOT_FOUND: {text}"))
            }
            EngineError::Analysis(text) => (2, SYNTAX, format!("SYNTAX_ERROR: {text}")),
            EngineError::NoTable { database, table } => {
                let text =
                    format!("TABLE_NOT_FOUND: Table 'awsdatacatalog.{database}.{table}' does not exist");
                (2, NOT_FOUND, text)
            }
            EngineError::BadData(text) if text.starts_with("HIVE_") => (2, BAD_DATA, text),
            EngineError::BadData(text) => (2, BAD_DATA, format!("HIVE_BAD_DATA: {text}")),
            EngineError::Execution(text) => (2, BAD_DATA, text),
            EngineError::Unsupported(text) => {
                (2, SYNTAX, format!("NOT_SUPPORTED: the sandbox does not support {text}"))
            }
            EngineError::Internal(text) => (1, INTERNAL, format!("GENERIC_INTERNAL_ERROR: {text}")),
        },
    };
    QueryError { category, kind, retryable: category == 1, message }
}
