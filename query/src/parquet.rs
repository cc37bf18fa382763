//! Parquet objects: reading the columns that are wanted, and the schema in the footer.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, new_null_array};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::reader::ChunkReader;

use super::EngineError;
use super::types::hive_type;

/// Reads a local file in batches, as [`read_from`].
pub fn read(
    path: &Path,
    schema: &SchemaRef,
    batch_rows: usize,
    batch: impl FnMut(RecordBatch) -> bool,
) -> Result<usize, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    read_from(file, schema, batch_rows, batch)
}

/// Reads Parquet in batches of `schema`'s columns, found by name whatever their case; missing ones are null.
/// `batch` returns whether to go on. Returns the number of rows read.
pub fn read_from(
    reader: impl ChunkReader + 'static,
    schema: &SchemaRef,
    batch_rows: usize,
    mut batch: impl FnMut(RecordBatch) -> bool,
) -> Result<usize, String> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(reader).map_err(|error| error.to_string())?;
    let in_file = Arc::clone(builder.schema());
    let place =
        |name: &str| in_file.fields().iter().position(|field| field.name().eq_ignore_ascii_case(name));
    let wanted: Vec<Option<usize>> = schema.fields().iter().map(|field| place(field.name())).collect();
    let mask = ProjectionMask::roots(builder.parquet_schema(), wanted.iter().flatten().copied());
    let reader = builder
        .with_projection(mask)
        .with_batch_size(batch_rows)
        .build()
        .map_err(|error| error.to_string())?;
    let mut count = 0;
    for read in reader {
        let read = read.map_err(|error| error.to_string())?;
        count += read.num_rows();
        let fitted = fit(&read, schema)?;
        if !batch(fitted) {
            break;
        }
    }
    Ok(count)
}

/// Reads columns in batches, as they are in the file and in its order. `wanted` is told each column's place and name,
/// `batch` returns whether to go on. Returns the names of all columns.
pub fn read_plain(
    reader: impl ChunkReader + 'static,
    batch_rows: usize,
    wanted: impl Fn(usize, &str) -> bool,
    mut batch: impl FnMut(&RecordBatch) -> Result<bool, String>,
) -> Result<Vec<String>, String> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(reader).map_err(|error| error.to_string())?;
    let names: Vec<String> = builder.schema().fields().iter().map(|field| field.name().clone()).collect();
    if let Some((_, name)) = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
        return Err(format!("two columns are named `{name}`"));
    }
    let places = (0..names.len()).filter(|place| wanted(*place, &names[*place]));
    let mask = ProjectionMask::roots(builder.parquet_schema(), places);
    let reader = builder.with_projection(mask).with_batch_size(batch_rows).build();
    for read in reader.map_err(|error| error.to_string())? {
        if !batch(&read.map_err(|error| error.to_string())?)? {
            break;
        }
    }
    Ok(names)
}

/// Brings a batch of the file into the table's shape.
fn fit(read: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, String> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let in_batch = read.schema();
    let arrays = schema
        .fields()
        .iter()
        .map(|field| {
            let found = in_batch.fields().iter().position(|own| own.name().eq_ignore_ascii_case(field.name()));
            let Some(at) = found else { return Ok(new_null_array(field.data_type(), read.num_rows())) };
            cast_with_options(read.column(at), field.data_type(), &options).map_err(|error| {
                format!(
                    "HIVE_BAD_DATA: Field {}'s type {} in parquet is incompatible with type {} of the table: {error}",
                    field.name(),
                    in_batch.field(at).data_type(),
                    field.data_type(),
                )
            })
        })
        .collect::<Result<Vec<ArrayRef>, String>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(read.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), arrays, &options).map_err(|error| error.to_string())
}

/// The columns of Parquet, from its footer.
pub fn schema(reader: impl ChunkReader + 'static) -> Result<SchemaRef, String> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(reader).map_err(|error| error.to_string())?;
    Ok(Arc::clone(builder.schema()))
}

/// Name and Hive type of each column of a file, from its footer.
pub fn columns(path: &Path) -> Result<Vec<(String, String)>, EngineError> {
    let bad = |error: &dyn std::fmt::Display| EngineError::BadData(error.to_string());
    let file = File::open(path).map_err(|error| bad(&error))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| bad(&error))?;
    builder
        .schema()
        .fields()
        .iter()
        .map(|field| Ok((field.name().to_lowercase(), hive_type(field.data_type())?)))
        .collect()
}
