//! Reading a table in DataFusion: choosing folders, listing their objects, streaming their rows.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream};
use trunkline_query::folders::is_data;
use trunkline_query::json::{BadJson, Record, batch_of, records_by_line, records_of};
use trunkline_query::{BadDataError, EngineError, csv, parquet};

use super::prune::matching_filters;
use super::table::{DeclaredTable, Folder, Format, Reading, Strictness};
use crate::s3::Store;
use crate::world::World;

/// Rows of one batch; DataFusion's own default.
const BATCH_ROWS: usize = 8_192;
/// Largest JSON or text object, as it is held in memory as a whole. Parquet objects are streamed.
const OBJECT_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// Most objects that one query reads, so that a mistaken location ends with an answer.
const OBJECTS_MAX: usize = 5_000_000;
/// Batches that wait between a reader and the query.
const BATCHES_AHEAD: usize = 2;

/// A table of the catalog in one session.
#[derive(Debug)]
pub(super) struct CatalogTable {
    table: Arc<DeclaredTable>,
    schema: SchemaRef,
    world: Arc<World>,
    reading: Arc<Reading>,
}

impl CatalogTable {
    pub(super) fn new(table: DeclaredTable, world: Arc<World>, reading: Arc<Reading>) -> Self {
        let columns = table.columns.iter().chain(&table.keys);
        let fields: Vec<_> =
            columns.map(|(name, data_type)| Field::new(name, data_type.clone(), true)).collect();
        Self { table: Arc::new(table), schema: Arc::new(Schema::new(fields)), world, reading }
    }

    fn chosen_folders(&self, state: &dyn Session, filters: &[Expr]) -> Result<Vec<Folder>> {
        let folders = self.table.folders.clone();
        if filters.is_empty() || self.table.keys.is_empty() {
            return Ok(folders);
        }
        let values: Vec<_> = folders.iter().map(|folder| folder.values.clone()).collect();
        let create = |expr, schema: &_| state.create_physical_expr(expr, schema);
        let kept = matching_filters(filters, create, &self.table.keys, &values)?;
        Ok(folders.into_iter().zip(kept).filter_map(|(folder, kept)| kept.then_some(folder)).collect())
    }

    fn only_keys(&self, filter: &Expr) -> bool {
        let columns = filter.column_refs();
        !columns.is_empty()
            && !filter.is_volatile()
            && columns.iter().all(|column| self.table.keys.iter().any(|(name, _)| name == &column.name))
    }
}

#[async_trait]
impl TableProvider for CatalogTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        // Inexact: the filter chooses folders and is applied to their rows again.
        Ok(filters
            .iter()
            .map(|filter| {
                if self.only_keys(filter) {
                    TableProviderFilterPushDown::Inexact
                } else {
                    TableProviderFilterPushDown::Unsupported
                }
            })
            .collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let folders: Arc<[Folder]> = self.chosen_folders(state, filters)?.into();
        let (world, listed) = (Arc::clone(&self.world), Arc::clone(&folders));
        let objects = tokio::task::spawn_blocking(move || objects_of(&world.s3, &listed))
            .await
            .map_err(|error| DataFusionError::External(Box::new(error)))?
            .map_err(|error| DataFusionError::External(Box::new(error)))?;
        self.reading.found(&self.table.name, objects.len());

        let all: Vec<usize> = (0..self.schema.fields().len()).collect();
        let chosen = projection.unwrap_or(&all);
        let shape = Arc::new(Shape::new(&self.table, &self.schema, chosen)?);
        let share = objects.len().div_ceil(state.config().target_partitions()).max(1);
        let mut streams: Vec<Arc<dyn PartitionStream>> =
            objects.chunks(share).map(|share| self.reader(share.to_vec(), &folders, &shape)).collect();
        if streams.is_empty() {
            streams.push(self.reader(Vec::new(), &folders, &shape));
        }
        let schema = Arc::clone(&shape.projected);
        Ok(Arc::new(StreamingTableExec::try_new(schema, streams, None, [], false, None)?))
    }
}

impl CatalogTable {
    fn reader(
        &self,
        objects: Vec<Object>,
        folders: &Arc<[Folder]>,
        shape: &Arc<Shape>,
    ) -> Arc<dyn PartitionStream> {
        Arc::new(Reader {
            work: Arc::new(Work {
                table: Arc::clone(&self.table),
                reading: Arc::clone(&self.reading),
                folders: Arc::clone(folders),
                shape: Arc::clone(shape),
                objects,
            }),
        })
    }
}

/// An object to read.
#[derive(Debug, Clone)]
struct Object {
    /// Index into the chosen folders.
    folder: usize,
    key: String,
    path: PathBuf,
    size: u64,
}

fn objects_of(store: &Store, folders: &[Folder]) -> Result<Vec<Object>, EngineError> {
    let mut objects = Vec::new();
    for (at, folder) in folders.iter().enumerate() {
        if !store.bucket_exists(&folder.bucket) {
            return Err(EngineError::Execution(format!(
                "The specified bucket does not exist: {}",
                folder.bucket
            )));
        }
        for found in store.list(&folder.bucket, &folder.prefix).map_err(EngineError::internal)? {
            if found.size > 0 && is_data(&found.key[folder.prefix.len()..]) {
                objects.push(Object { folder: at, key: found.key, path: found.path, size: found.size });
            }
        }
        if objects.len() > OBJECTS_MAX {
            return Err(EngineError::Unsupported(format!("queries over more than {OBJECTS_MAX} objects")));
        }
    }
    Ok(objects)
}

/// Which columns are read, and how a batch of the table's objects becomes one of the query.
#[derive(Debug)]
struct Shape {
    /// The query's columns.
    projected: SchemaRef,
    /// Those of them that are in the objects.
    in_objects: SchemaRef,
    /// Their places among the objects' columns.
    positions: Vec<usize>,
    /// For each of the query's columns where it comes from.
    sources: Vec<Source>,
}

#[derive(Debug, Clone, Copy)]
enum Source {
    Column(usize),
    Key(usize),
}

impl Shape {
    fn new(table: &DeclaredTable, schema: &SchemaRef, chosen: &[usize]) -> Result<Self> {
        let mut positions = Vec::new();
        let sources = chosen
            .iter()
            .map(|at| {
                if *at < table.columns.len() {
                    positions.push(*at);
                    Source::Column(positions.len() - 1)
                } else {
                    Source::Key(at - table.columns.len())
                }
            })
            .collect();
        Ok(Self {
            projected: Arc::new(schema.project(chosen)?),
            in_objects: Arc::new(schema.project(&positions)?),
            positions,
            sources,
        })
    }
}

#[derive(Debug)]
struct Work {
    table: Arc<DeclaredTable>,
    reading: Arc<Reading>,
    folders: Arc<[Folder]>,
    shape: Arc<Shape>,
    objects: Vec<Object>,
}

#[derive(Debug)]
struct Reader {
    work: Arc<Work>,
}

impl PartitionStream for Reader {
    fn schema(&self) -> &SchemaRef {
        &self.work.shape.projected
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let schema = Arc::clone(&self.work.shape.projected);
        let mut builder = RecordBatchReceiverStreamBuilder::new(schema, BATCHES_AHEAD);
        let (work, tx) = (Arc::clone(&self.work), builder.tx());
        builder.spawn_blocking(move || {
            // A closed channel means that the query needs no more rows.
            let mut send = |batch: RecordBatch| tx.blocking_send(Ok(batch)).is_ok();
            match work.table.format {
                Format::Json => work.json(&mut send),
                Format::Text(_) | Format::Parquet => work.one_by_one(&mut send),
            }
        });
        builder.build()
    }
}

/// Consecutive rows of one folder.
struct Run {
    folder: usize,
    rows: usize,
}

impl Work {
    /// Reads JSON objects, packing the rows of many small objects into one batch.
    fn json(&self, send: &mut dyn FnMut(RecordBatch) -> bool) -> Result<()> {
        let strict = self.reading.strictness == Strictness::Strict;
        let mut records: Vec<Record> = Vec::new();
        let mut runs: Vec<Run> = Vec::new();
        for object in &self.objects {
            let bucket = &self.folders[object.folder].bucket;
            let content = self.content(object)?;
            let read = if strict { records_by_line(&content) } else { records_of(&content) };
            match read {
                Ok(mut found) => {
                    self.reading.read(bucket, &object.key, object.size, found.len());
                    runs.push(Run { folder: object.folder, rows: found.len() });
                    records.append(&mut found);
                }
                Err(error) if strict => return Err(bad_data(bucket, &object.key, &error.to_string())),
                Err(error) => self.reading.set_aside(bucket, &object.key, object.size, error.to_string()),
            }
            if records.len() >= BATCH_ROWS {
                if !self.flush(&records, &runs, send)? {
                    return Ok(());
                }
                records.clear();
                runs.clear();
            }
        }
        self.flush(&records, &runs, send).map(drop)
    }

    fn flush(
        &self,
        records: &[Record],
        runs: &[Run],
        send: &mut dyn FnMut(RecordBatch) -> bool,
    ) -> Result<bool> {
        if records.is_empty() {
            return Ok(true);
        }
        let strict = self.reading.strictness == Strictness::Strict;
        let batch = batch_of(records, &self.shape.in_objects, strict)
            .map_err(|BadJson(reason)| DataFusionError::External(Box::new(BadDataError(reason))))?;
        Ok(send(self.with_keys(&batch, runs)?))
    }

    /// Reads objects that are large enough to be batches of their own.
    fn one_by_one(&self, send: &mut dyn FnMut(RecordBatch) -> bool) -> Result<()> {
        for object in &self.objects {
            let mut wanted = true;
            let mut failed = None;
            let mut pass_on = |batch: RecordBatch| {
                let run = Run { folder: object.folder, rows: batch.num_rows() };
                match self.with_keys(&batch, &[run]) {
                    Ok(batch) => wanted = send(batch),
                    Err(error) => failed = Some(error),
                }
                wanted && failed.is_none()
            };
            let read = self.one(object, &mut pass_on);
            if let Some(error) = failed {
                return Err(error);
            }
            let bucket = &self.folders[object.folder].bucket;
            match read {
                Ok(rows) => self.reading.read(bucket, &object.key, object.size, rows),
                Err(ReadError::Bad(reason)) => return Err(bad_data(bucket, &object.key, &reason)),
                Err(ReadError::Other(error)) => return Err(error),
            }
            if !wanted {
                break;
            }
        }
        Ok(())
    }

    fn one(&self, object: &Object, send: &mut dyn FnMut(RecordBatch) -> bool) -> Result<usize, ReadError> {
        let strict = self.reading.strictness == Strictness::Strict;
        match &self.table.format {
            Format::Text(format) => {
                let content = self.content(object).map_err(ReadError::Other)?;
                let batch =
                    csv::batch_of(&content, *format, &self.shape.in_objects, &self.shape.positions, strict)
                        .map_err(ReadError::Bad)?;
                let rows = batch.num_rows();
                send(batch);
                Ok(rows)
            }
            Format::Json | Format::Parquet => {
                parquet::read(&object.path, &self.shape.in_objects, BATCH_ROWS, send).map_err(ReadError::Bad)
            }
        }
    }

    fn content(&self, object: &Object) -> Result<Vec<u8>> {
        let place = || format!("s3://{}/{}", self.folders[object.folder].bucket, object.key);
        if object.size > OBJECT_BYTES_MAX {
            let text = format!("JSON and text objects larger than {OBJECT_BYTES_MAX} bytes ({})", place());
            return Err(DataFusionError::External(Box::new(EngineError::Unsupported(text))));
        }
        std::fs::read(&object.path).map_err(|error| {
            DataFusionError::External(Box::new(EngineError::Internal(format!(
                "cannot read {}: {error}",
                place()
            ))))
        })
    }

    fn with_keys(&self, batch: &RecordBatch, runs: &[Run]) -> Result<RecordBatch> {
        let arrays = self
            .shape
            .sources
            .iter()
            .map(|source| match source {
                Source::Column(at) => Ok(Arc::clone(batch.column(*at))),
                Source::Key(at) => self.key_column(*at, runs),
            })
            .collect::<Result<Vec<ArrayRef>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.shape.projected), arrays, &options)?)
    }

    fn key_column(&self, key: usize, runs: &[Run]) -> Result<ArrayRef> {
        let texts: StringArray = runs
            .iter()
            .flat_map(|run| {
                let value = self.folders[run.folder].values.get(key).and_then(Option::as_deref);
                std::iter::repeat_n(value, run.rows)
            })
            .collect();
        let data_type = &self.table.keys[key].1;
        if data_type == &DataType::Utf8 {
            return Ok(Arc::new(texts));
        }
        Ok(cast(&texts, data_type)?)
    }
}

enum ReadError {
    Bad(String),
    Other(DataFusionError),
}

fn bad_data(bucket: &str, key: &str, reason: &str) -> DataFusionError {
    DataFusionError::External(Box::new(BadDataError(format!("{reason} (s3://{bucket}/{key})"))))
}
