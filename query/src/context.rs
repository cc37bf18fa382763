//! What a session of the engine is set to, and how a query in Athena's SQL is planned.
//!
//! Which tables there are is each reader's own business.

use std::sync::Arc;

use datafusion::catalog::{CatalogProvider, MemoryCatalogProvider, MemorySchemaProvider};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::prelude::{DataFrame, Expr, SQLOptions, SessionConfig, SessionContext};
use datafusion::sql::parser::Statement;

use crate::sql_text::{Kind, tokens};
use crate::{EngineError, functions, trino};

/// Streams that one query reads and computes with at the same time.
pub const STREAMS: usize = 4;
/// The catalog's name in three-part table names.
pub const CATALOG: &str = "awsdatacatalog";
/// The schema of tables that no database has: views of a script, inputs of a transformation. No database can have
/// this name.
pub const VIEWS: &str = " views";

/// Whose SQL a session speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// The scripts of Glue jobs.
    Spark,
    /// Athena.
    Trino,
    /// Athena's, with functions of our own.
    Transform,
}

impl Dialect {
    /// Functions that only this dialect has.
    fn own_functions(self) -> &'static [&'static str] {
        match self {
            Self::Spark | Self::Trino => &[],
            Self::Transform => &functions::OWN,
        }
    }
}

/// A context without tables.
pub fn context(dialect: Dialect, runtime: Arc<RuntimeEnv>) -> SessionContext {
    let mut config = SessionConfig::new()
        .with_target_partitions(STREAMS)
        .with_information_schema(false)
        .with_create_default_catalog_and_schema(false)
        .with_default_catalog_and_schema(CATALOG, VIEWS);
    config.options_mut().sql_parser.map_string_types_to_utf8view = false;
    // Spark sorts nulls first, Trino last, whatever the direction.
    config.options_mut().sql_parser.default_null_ordering = match dialect {
        Dialect::Spark => "nulls_min".to_owned(),
        Dialect::Trino | Dialect::Transform => "nulls_last".to_owned(),
    };
    let context = SessionContext::new_with_config_rt(config, runtime);
    functions::register(&context, dialect);
    let catalog = MemoryCatalogProvider::new();
    // Registering in memory cannot fail; if it could, the first view would say so.
    drop(catalog.register_schema(VIEWS, Arc::new(MemorySchemaProvider::new())));
    context.register_catalog(CATALOG, Arc::new(catalog));
    context
}

/// A context for expressions alone.
pub fn bare_context() -> SessionContext {
    context(Dialect::Spark, Arc::new(RuntimeEnv::default()))
}

/// Memory and disk that queries share: what exceeds `memory_bytes` is spilled into `scratch`.
pub fn runtime(memory_bytes: usize, scratch: std::path::PathBuf) -> Result<Arc<RuntimeEnv>, EngineError> {
    std::fs::create_dir_all(&scratch).map_err(EngineError::internal)?;
    let pool = datafusion::execution::memory_pool::FairSpillPool::new(memory_bytes);
    Ok(RuntimeEnvBuilder::new().with_memory_pool(Arc::new(pool)).with_temp_file_path(scratch).build_arc()?)
}

/// Parses a statement.
pub fn parse(context: &SessionContext, sql: &str) -> Result<Statement, EngineError> {
    let dialect = context.copied_config().options().sql_parser.dialect;
    Ok(context.state().sql_to_statement(sql, &dialect)?)
}

/// Plans a parsed query without running it.
pub async fn plan(context: &SessionContext, statement: Statement) -> Result<DataFrame, EngineError> {
    let state = context.state();
    let plan = state.statement_to_plan(statement).await?;
    SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_dml(false)
        .with_allow_statements(false)
        .verify_plan(&plan)?;
    Ok(DataFrame::new(state, plan))
}

/// A query in Athena's SQL, checked and rewritten into the engine's.
#[derive(Debug)]
pub struct AthenaQuery {
    as_written: Statement,
    /// What the engine plans.
    pub statement: Statement,
}

/// A planned query of Athena.
pub struct Planned {
    /// The rows.
    pub rows: DataFrame,
    /// The columns' names as Athena shows them.
    pub names: Vec<String>,
}

impl AthenaQuery {
    /// Refuses by name what Athena refuses, and what means something else there.
    pub fn read(context: &SessionContext, dialect: Dialect, sql: &str) -> Result<Self, EngineError> {
        let as_written = parse(context, sql)?;
        trino::check(&as_written, dialect.own_functions())?;
        // Athena's names are the same whatever their case, also quoted ones.
        let mut statement = parse(context, &lower_quoted(sql))?;
        trino::rewrite(&mut statement)?;
        Ok(Self { as_written, statement })
    }

    /// The query with the rows that it was planned to.
    pub fn planned(&self, rows: DataFrame) -> Result<Planned, EngineError> {
        trino::check_types(rows.logical_plan())?;
        let planned: Vec<_> = rows.schema().fields().iter().map(|field| field.name().clone()).collect();
        Ok(Planned { names: trino::names(&self.as_written, &planned), rows })
    }
}

/// The same columns named `c0`, `c1`…, so that equal names do not matter.
pub fn numbered(rows: DataFrame) -> Result<DataFrame, EngineError> {
    let chosen = rows
        .schema()
        .columns()
        .into_iter()
        .enumerate()
        .map(|(at, column)| Expr::Column(column).alias(format!("c{at}")))
        .collect::<Vec<_>>();
    Ok(rows.select(chosen)?)
}

/// A statement with its quoted names in lower case.
fn lower_quoted(sql: &str) -> String {
    tokens(sql)
        .into_iter()
        .map(
            |token| {
                if token.kind == Kind::Quoted { token.text.to_lowercase() } else { token.text.to_owned() }
            },
        )
        .collect()
}
