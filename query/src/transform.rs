//! Records of many files, judged one by one, through queries into files.
//!
//! Three steps, each with all of the data on the local disk and little of it in memory: every file is read once and
//! its records that fit go into Parquet ([`land`]); what does not fit is kept with its place and the reason; then each
//! query runs over what landed, and its rows are written in files ([`crate::write`]). Where files come from and where
//! they go is the caller's business.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::TableReference;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::prelude::{DataFrame, SessionContext, cast, ident};
use futures::future::BoxFuture;

use self::landed::Landed;
use crate::context::{AthenaQuery, CATALOG, Planned, VIEWS, context, numbered, plan, runtime};
use crate::types::arrow_type;
use crate::write::{FileFormat, Target, WrittenFile, partitioned};
use crate::{Dialect, EngineError};

mod judge;
mod land;
mod landed;
mod records;
mod rejected;

#[cfg(test)]
mod tests;

/// The column that says which file a record came from.
pub const FILE: &str = "_file";
/// The column that says which record of its file it was, from 1 on.
pub const RECORD: &str = "_record";
/// A file of an output is ended when it has so many bytes: what Athena and Redshift like to read.
const FILE_BYTES: u64 = 256 * 1024 * 1024;

/// What is read and what is made of it.
#[derive(Debug)]
pub struct Transformation {
    /// Tables for the queries.
    pub inputs: Vec<Input>,
    /// Queries and where their rows go.
    pub outputs: Vec<Output>,
    /// Whether records that do not fit are kept aside. Without, the first one ends everything.
    pub sets_aside: bool,
}

/// Files that are one table.
#[derive(Debug)]
pub struct Input {
    /// The table's name.
    pub name: String,
    /// How the files are written.
    pub format: InputFormat,
    /// Names and types; of Parquet there may be none, then those of the first file count.
    pub columns: Vec<Column>,
    /// Their names, for messages and the column [`FILE`].
    pub files: Vec<String>,
}

/// A column of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name, whatever its case.
    pub name: String,
    /// Its type in the words of Hive and Athena.
    pub hive_type: String,
    /// Whether a record without it does not fit.
    pub required: bool,
}

/// How files are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputFormat {
    /// JSON objects: in lines, over several lines, in arrays or with nothing between them.
    Json,
    /// CSV with a line of names.
    Csv {
        /// Between two cells.
        delimiter: u8,
    },
    /// Parquet.
    Parquet,
}

/// A query and how its rows are written.
#[derive(Debug)]
pub struct Output {
    /// A name for messages.
    pub name: String,
    /// A query in Athena's SQL.
    pub query: String,
    /// How files are written.
    pub format: FileFormat,
    /// Columns that choose the file.
    pub partition_by: Vec<String>,
}

/// A file's bytes.
#[derive(Debug)]
pub enum Content {
    /// Of a small file.
    Memory(Vec<u8>),
    /// Of a large one, in an open local file.
    Disk(std::fs::File),
}

/// Where files come from.
pub trait Source: Send + Sync + 'static {
    /// Brings a file of an input. Called for several files at the same time.
    fn open(
        &self,
        input: usize,
        file: usize,
    ) -> BoxFuture<'static, Result<Content, Box<dyn std::error::Error + Send + Sync>>>;
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Report {
    /// For each input how many records fitted.
    pub records: Vec<u64>,
    /// For each output its files.
    pub outputs: Vec<Vec<WrittenFile>>,
    /// The records that did not fit, as lines of JSON, if there are any.
    pub rejected: Option<Rejected>,
}

/// The records that did not fit.
#[derive(Debug)]
pub struct Rejected {
    /// A local file of JSON lines: `input`, `file`, `record`, `reason`, `text`.
    pub path: PathBuf,
    /// How many.
    pub count: u64,
    /// The first one by file and record, for a message.
    pub example: String,
}

/// Why there is nothing.
#[derive(Debug, thiserror::Error)]
pub enum TransformError {
    /// A file could not be brought.
    #[error("{0}")]
    Source(Box<dyn std::error::Error + Send + Sync>),
    /// A record does not fit, and none may.
    #[error("{0}")]
    Record(String),
    /// The columns of an input make no sense.
    #[error("inputs.{input}: {error}")]
    Input {
        /// Its name.
        input: String,
        /// What is wrong.
        error: EngineError,
    },
    /// A query cannot be run, or failed.
    #[error("outputs.{output}: {error}")]
    Output {
        /// Its name.
        output: String,
        /// What is wrong.
        error: EngineError,
    },
    /// The local disk, or the engine itself.
    #[error("{0}")]
    Internal(String),
}

impl TransformError {
    fn internal(error: impl std::fmt::Display) -> Self {
        Self::Internal(error.to_string())
    }
}

/// Says what is wrong with a transformation before anything is read, as far as columns are known.
pub fn check(transformation: &Transformation) -> Result<(), TransformError> {
    let schemas = schemas(transformation)?;
    let known: Option<Vec<SchemaRef>> = schemas.into_iter().collect();
    let context = context(Dialect::Transform, Arc::new(RuntimeEnv::default()));
    if let Some(schemas) = &known {
        register(&context, transformation, schemas, &[])?;
    }
    for output in &transformation.outputs {
        let planned = match known {
            Some(_) => futures::executor::block_on(planned(&context, output)).map(drop),
            None => AthenaQuery::read(&context, Dialect::Transform, &output.query).map(drop),
        };
        planned.map_err(|error| TransformError::Output { output: output.name.clone(), error })?;
    }
    Ok(())
}

/// Runs a transformation. `scratch` is a folder of its own; everything that it leaves lies there.
pub async fn run(
    transformation: &Transformation,
    source: Arc<dyn Source>,
    scratch: &Path,
    memory_bytes: usize,
) -> Result<Report, TransformError> {
    let mut resolved = Vec::with_capacity(transformation.inputs.len());
    for (at, schema) in schemas(transformation)?.into_iter().enumerate() {
        let input = &transformation.inputs[at];
        resolved.push(match schema {
            Some(schema) => schema,
            None => land::schema_of_first(input, at, &*source).await?,
        });
    }
    let runtime = runtime(memory_bytes, scratch.join("spill")).map_err(TransformError::internal)?;
    let context = context(Dialect::Transform, runtime);
    // A mistake in the last query is told before the first file is read.
    register(&context, transformation, &resolved, &[])?;
    for output in &transformation.outputs {
        planned(&context, output)
            .await
            .map_err(|error| TransformError::Output { output: output.name.clone(), error })?;
    }
    let aside = rejected::Aside::new(scratch.join("rejected.json"), transformation.sets_aside);
    let aside = Arc::new(std::sync::Mutex::new(aside));
    let mut report = Report::default();
    let mut parts = Vec::with_capacity(resolved.len());
    for (at, schema) in resolved.iter().enumerate() {
        let folder = scratch.join(format!("input-{at}"));
        let landing = land::Landing { input: &transformation.inputs[at], at, schema, folder, aside: &aside };
        let landed = landing.run(&source).await?;
        report.records.push(landed.records);
        parts.push(landed.parts);
    }
    report.rejected = rejected::finish(&aside)?;
    register(&context, transformation, &resolved, &parts)?;
    for (at, output) in transformation.outputs.iter().enumerate() {
        let folder = scratch.join(format!("output-{at}"));
        std::fs::create_dir_all(&folder).map_err(TransformError::internal)?;
        let written = write(&context, output, folder).await;
        report
            .outputs
            .push(written.map_err(|error| TransformError::Output { output: output.name.clone(), error })?);
    }
    Ok(report)
}

/// The columns of each input, where they are said.
fn schemas(transformation: &Transformation) -> Result<Vec<Option<SchemaRef>>, TransformError> {
    transformation
        .inputs
        .iter()
        .map(|input| {
            if input.columns.is_empty() && input.format == InputFormat::Parquet {
                return Ok(None);
            }
            let fields: Result<Vec<Field>, EngineError> = input
                .columns
                .iter()
                .map(|column| {
                    Ok(Field::new(column.name.to_lowercase(), arrow_type(&column.hive_type)?, true))
                })
                .collect();
            let fields = fields
                .and_then(with_place)
                .map_err(|error| TransformError::Input { input: input.name.clone(), error })?;
            Ok(Some(fields))
        })
        .collect()
}

/// Columns with those that say where a record came from.
fn with_place(mut fields: Vec<Field>) -> Result<SchemaRef, EngineError> {
    fields.push(Field::new(FILE, DataType::Utf8, true));
    fields.push(Field::new(RECORD, DataType::Int64, true));
    for (at, field) in fields.iter().enumerate() {
        if fields[..at].iter().any(|other| other.name() == field.name()) {
            return Err(EngineError::Analysis(format!("two columns are named {}", field.name())));
        }
    }
    Ok(Arc::new(Schema::new(fields)))
}

fn register(
    context: &SessionContext,
    transformation: &Transformation,
    schemas: &[SchemaRef],
    parts: &[Vec<PathBuf>],
) -> Result<(), TransformError> {
    for (at, input) in transformation.inputs.iter().enumerate() {
        let parts = parts.get(at).cloned().unwrap_or_default();
        let table = Arc::new(Landed::new(Arc::clone(&schemas[at]), parts));
        let name = TableReference::full(CATALOG, VIEWS, input.name.to_lowercase());
        context
            .deregister_table(name.clone())
            .and_then(|_| context.register_table(name, table))
            .map_err(TransformError::internal)?;
    }
    Ok(())
}

/// An output's rows under the names that its query gives them.
async fn planned(context: &SessionContext, output: &Output) -> Result<DataFrame, EngineError> {
    let query = AthenaQuery::read(context, Dialect::Transform, &output.query)?;
    for table in context.state().resolve_table_references(&query.statement)? {
        if !context.table_exist(table.clone())? {
            return Err(EngineError::Analysis(format!("there is no input `{table}`")));
        }
    }
    let rows = plan(context, query.statement.clone()).await?;
    let Planned { rows, names } = query.planned(rows)?;
    for (at, name) in names.iter().enumerate() {
        if names[..at].iter().any(|other| other.eq_ignore_ascii_case(name)) {
            return Err(EngineError::Analysis(format!("two columns of the result are named {name}")));
        }
    }
    for key in &output.partition_by {
        if !names.contains(key) {
            return Err(EngineError::Analysis(format!("partition_by: the result has no column {key}")));
        }
    }
    let types: Vec<DataType> =
        rows.schema().fields().iter().map(|field| plain_type(field.data_type())).collect();
    let chosen = types.into_iter().zip(&names).enumerate();
    let chosen: Vec<_> =
        chosen.map(|(at, (data_type, name))| cast(ident(format!("c{at}")), data_type).alias(name)).collect();
    Ok(numbered(rows)?.select(chosen)?)
}

/// A column without a type, such as `NULL AS note`, is text to those who read the files.
fn plain_type(data_type: &DataType) -> DataType {
    if data_type == &DataType::Null { DataType::Utf8 } else { data_type.clone() }
}

async fn write(
    context: &SessionContext,
    output: &Output,
    folder: PathBuf,
) -> Result<Vec<WrittenFile>, EngineError> {
    let rows = planned(context, output).await?;
    let target = Target { folder, format: output.format, created_by: "trunkline", file_bytes: FILE_BYTES };
    partitioned(rows, &output.partition_by, target).await
}
