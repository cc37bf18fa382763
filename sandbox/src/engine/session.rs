//! A session: one query or one script over the catalog.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::catalog::MemorySchemaProvider;
use datafusion::common::TableReference;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::prelude::{DataFrame, SessionContext, cast, ident};
use datafusion::sql::parser::Statement;
use trunkline_query::context::{self, AthenaQuery, CATALOG, Planned, VIEWS};
use trunkline_query::types::{arrow_type, hive_type};
use trunkline_query::write::{Target, WrittenFile, partitioned};
use trunkline_query::{Dialect, EngineError};

use super::prune;
use super::read::CatalogTable;
use super::table::{DeclaredTable, Reading, Strictness};
use crate::catalog::{Catalog, Column};
use crate::world::World;

/// Memory of all queries of one sandbox together; sorts and joins beyond it spill to disk. A laptop runs the
/// orchestrator, Postgres and an editor beside it.
const MEMORY_MAX: usize = 1024 * 1024 * 1024;

/// What all sessions share.
#[derive(Debug)]
pub(crate) struct Engine {
    runtime: Arc<RuntimeEnv>,
    catalog: Arc<Catalog>,
    world: Arc<World>,
}

impl Engine {
    /// An engine over a catalog, spilling into `scratch`.
    pub(crate) fn new(
        catalog: Arc<Catalog>,
        world: Arc<World>,
        scratch: PathBuf,
    ) -> Result<Self, EngineError> {
        let runtime = context::runtime(MEMORY_MAX, scratch)?;
        Ok(Self { runtime, catalog, world })
    }

    /// The catalog that sessions read.
    pub(crate) fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// A new session. Table names without a database are looked up in `database`.
    pub(crate) fn session(&self, dialect: Dialect, database: Option<&str>) -> Session {
        let context = context::context(dialect, Arc::clone(&self.runtime));
        let strictness = match dialect {
            Dialect::Spark => Strictness::Lenient,
            Dialect::Trino | Dialect::Transform => Strictness::Strict,
        };
        Session {
            context,
            catalog: Arc::clone(&self.catalog),
            world: Arc::clone(&self.world),
            reading: Arc::new(Reading::new(strictness)),
            database: database.map(str::to_lowercase),
        }
    }
}

/// One query or one script.
pub(crate) struct Session {
    context: SessionContext,
    catalog: Arc<Catalog>,
    world: Arc<World>,
    reading: Arc<Reading>,
    database: Option<String>,
}

/// The rows of a query that is planned and not yet run.
pub(crate) type QueryRows = DataFrame;

/// A query's result, held in memory.
#[derive(Debug)]
pub(crate) struct Rows {
    /// Name and Hive type of each column.
    pub columns: Vec<Column>,
    batches: Vec<RecordBatch>,
}

impl Session {
    /// What the session's queries read so far.
    pub(crate) fn reading(&self) -> &Reading {
        &self.reading
    }

    /// Parses a statement.
    pub(crate) fn parse(&self, sql: &str) -> Result<Statement, EngineError> {
        context::parse(&self.context, sql)
    }

    /// Plans a query in Athena's SQL.
    pub(crate) async fn athena_query(&self, sql: &str) -> Result<Planned, EngineError> {
        let query = AthenaQuery::read(&self.context, Dialect::Trino, sql)?;
        let rows = self.query_statement(query.statement.clone()).await?;
        query.planned(rows)
    }

    /// The same rows under other names, converted to the types of columns.
    pub(crate) fn shaped(rows: DataFrame, columns: &[Column]) -> Result<DataFrame, EngineError> {
        let renamed = context::numbered(rows)?;
        let chosen = columns
            .iter()
            .enumerate()
            .map(|(at, column)| {
                let data_type = arrow_type(&column.hive_type)?;
                Ok(cast(ident(format!("c{at}")), data_type).alias(&column.name))
            })
            .collect::<Result<Vec<_>, EngineError>>()?;
        Ok(renamed.select(chosen)?)
    }

    /// Names and types of a query's columns.
    pub(crate) fn columns_of(rows: &DataFrame) -> Result<Vec<Column>, EngineError> {
        let fields = rows.schema().fields();
        fields.iter().map(|field| Ok(Column::new(field.name(), hive_type(field.data_type())?))).collect()
    }

    /// Plans a query without running it.
    pub(crate) async fn query(&self, sql: &str) -> Result<DataFrame, EngineError> {
        let statement = self.parse(sql)?;
        self.query_statement(statement).await
    }

    /// Plans a parsed query without running it.
    pub(crate) async fn query_statement(&self, statement: Statement) -> Result<DataFrame, EngineError> {
        self.find_tables(&statement)?;
        context::plan(&self.context, statement).await
    }

    /// Runs a query and keeps at most `rows_max` rows in memory; more is an error.
    pub(crate) async fn collect(&self, rows: DataFrame, rows_max: usize) -> Result<Rows, EngineError> {
        let columns = Self::columns_of(&rows)?;
        let mut stream = rows.execute_stream().await?;
        let mut batches = Vec::new();
        let mut count = 0;
        while let Some(batch) = futures::StreamExt::next(&mut stream).await {
            let batch = batch?;
            count += batch.num_rows();
            if count > rows_max {
                return Err(EngineError::Unsupported(format!("results of more than {rows_max} rows")));
            }
            batches.push(batch);
        }
        Ok(Rows { columns, batches })
    }

    /// Runs a query and writes its rows as Parquet files into a local folder.
    pub(crate) async fn write(
        &self,
        rows: DataFrame,
        keys: &[String],
        folder: &Path,
    ) -> Result<Vec<WrittenFile>, EngineError> {
        partitioned(rows, keys, Target::parquet(folder, "trunkline sandbox")).await
    }

    /// Gives a query a name for the rest of the session.
    pub(crate) fn add_view(&self, name: &str, rows: DataFrame) -> Result<(), EngineError> {
        let name = TableReference::full(CATALOG, VIEWS, name);
        self.context.register_table(name, rows.into_view())?;
        Ok(())
    }

    /// Gives a table a name for the rest of the session.
    pub(crate) fn add_table(&self, name: &str, table: DeclaredTable) -> Result<(), EngineError> {
        let table = CatalogTable::new(table, Arc::clone(&self.world), Arc::clone(&self.reading));
        self.context.register_table(TableReference::full(CATALOG, VIEWS, name), Arc::new(table))?;
        Ok(())
    }

    /// For each row of partition values whether the expression holds.
    pub(crate) fn matching(
        &self,
        expression: &str,
        keys: &[String],
        rows: &[Vec<Option<String>>],
    ) -> Result<Vec<bool>, EngineError> {
        let keys: Vec<_> = keys.iter().map(|key| (key.clone(), DataType::Utf8)).collect();
        prune::matching(&self.context, expression, &keys, rows)
    }

    fn place_of(&self, reference: &TableReference) -> Option<(String, String)> {
        let table = reference.table().to_owned();
        match (reference.schema(), &self.database) {
            (Some(database), _) => Some((database.to_owned(), table)),
            (None, _) if self.is_view(&table) => None,
            (None, Some(database)) => Some((database.clone(), table)),
            (None, None) => Some((String::new(), table)),
        }
    }

    fn is_view(&self, name: &str) -> bool {
        self.context.table_exist(TableReference::full(CATALOG, VIEWS, name)).unwrap_or(false)
    }

    /// Registers the tables that a statement names.
    fn find_tables(&self, statement: &Statement) -> Result<(), EngineError> {
        for reference in self.context.state().resolve_table_references(statement)? {
            if let Some(catalog) = reference.catalog()
                && catalog != CATALOG
            {
                return Err(EngineError::Analysis(format!("Catalog '{catalog}' does not exist")));
            }
            let Some((database, table)) = self.place_of(&reference) else { continue };
            let (database_key, table_key) = (database.to_lowercase(), table.to_lowercase());
            let Some(found) = DeclaredTable::find(&self.catalog, &database_key, &table_key)? else {
                return Err(EngineError::NoTable { database: database_key, table: table_key });
            };
            let provider = CatalogTable::new(found, Arc::clone(&self.world), Arc::clone(&self.reading));
            let schema = if reference.schema().is_some() { database.as_str() } else { VIEWS };
            self.ensure_schema(schema)?;
            self.context.register_table(TableReference::full(CATALOG, schema, table), Arc::new(provider))?;
        }
        Ok(())
    }

    fn ensure_schema(&self, name: &str) -> Result<(), EngineError> {
        if let Some(catalog) = self.context.catalog(CATALOG)
            && catalog.schema(name).is_none()
        {
            catalog.register_schema(name, Arc::new(MemorySchemaProvider::new()))?;
        }
        Ok(())
    }
}

/// An array, row or map as Athena writes it: `[a, b]`, `{name=a}`; `None` for other values.
fn nested_text(column: &ArrayRef, at: usize, options: &FormatOptions<'_>) -> Option<String> {
    let item = |column: &ArrayRef, at: usize| {
        if column.is_null(at) {
            return "null".to_owned();
        }
        nested_text(column, at, options).unwrap_or_else(|| {
            let formatter = ArrayFormatter::try_new(column, options);
            formatter.map_or_else(|error| error.to_string(), |formatter| formatter.value(at).to_string())
        })
    };
    match column.data_type() {
        DataType::List(_) => {
            let items = column.as_list::<i32>().value(at);
            let texts: Vec<_> = (0..items.len()).map(|at| item(&items, at)).collect();
            Some(format!("[{}]", texts.join(", ")))
        }
        DataType::Struct(fields) => {
            let columns = column.as_struct().columns().iter().zip(fields);
            let texts: Vec<_> =
                columns.map(|(column, field)| format!("{}={}", field.name(), item(column, at))).collect();
            Some(format!("{{{}}}", texts.join(", ")))
        }
        DataType::Map(..) => {
            let entries = column.as_map().value(at);
            let [keys, values] = entries.columns() else { return None };
            let texts: Vec<_> =
                (0..entries.len()).map(|at| format!("{}={}", item(keys, at), item(values, at))).collect();
            Some(format!("{{{}}}", texts.join(", ")))
        }
        _ => None,
    }
}

impl Rows {
    /// Calls `row` with the texts of each row; nulls are `None`.
    pub(crate) fn each(&self, mut row: impl FnMut(Vec<Option<String>>)) -> Result<(), EngineError> {
        let options = FormatOptions::default()
            .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.3f"))
            .with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S%.3f UTC"))
            .with_date_format(Some("%Y-%m-%d"));
        for batch in &self.batches {
            let formatters = batch
                .columns()
                .iter()
                .map(|column| ArrayFormatter::try_new(column, &options).map_err(EngineError::internal))
                .collect::<Result<Vec<_>, _>>()?;
            for at in 0..batch.num_rows() {
                row(formatters
                    .iter()
                    .zip(batch.columns())
                    .map(|(formatter, column)| {
                        let plain = || formatter.value(at).to_string();
                        column.is_valid(at).then(|| nested_text(column, at, &options).unwrap_or_else(plain))
                    })
                    .collect());
            }
        }
        Ok(())
    }
}
