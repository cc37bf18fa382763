//! Writing a query's rows as Parquet, CSV or JSON lines: one file per partition, more where it grows too large.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::csv;
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::arrow::json::LineDelimitedWriter;
use datafusion::prelude::{DataFrame, ident};
use futures::StreamExt;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use super::EngineError;

/// Most partitions that one statement writes: more is a mistake in the choice of keys.
const PARTITIONS_MAX: usize = 10_000;

/// A time in CSV, as Athena and Redshift read it.
const CSV_TIME: &str = "%Y-%m-%d %H:%M:%S%.3f";

/// What a writer of Parquet holds in memory before it ends a group of rows: columns of a few million values each read
/// well, and a million wide rows would be a gigabyte.
const GROUP_BYTES: usize = 32 * 1024 * 1024;

/// Writes rows of Parquet and keeps little of them in memory.
pub(crate) fn write_parquet<W: Write + Send>(
    writer: &mut ArrowWriter<W>,
    batch: &RecordBatch,
) -> Result<(), EngineError> {
    writer.write(batch).map_err(EngineError::internal)?;
    if writer.in_progress_size() >= GROUP_BYTES {
        writer.flush().map_err(EngineError::internal)?;
    }
    Ok(())
}

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFormat {
    /// Parquet, compressed with Snappy.
    Parquet,
    /// CSV with a line of names; nulls are empty.
    Csv,
    /// JSON, one object in each line; nulls are left out.
    Json,
}

/// Where rows go.
#[derive(Debug, Clone)]
pub struct Target {
    /// A local folder that is there.
    pub folder: PathBuf,
    /// How they are written.
    pub format: FileFormat,
    /// Who wrote them, as Parquet has it.
    pub created_by: &'static str,
    /// A file that has so many bytes is ended; the next one begins.
    pub file_bytes: u64,
}

impl Target {
    /// One Parquet file per partition, however large.
    pub fn parquet(folder: &Path, created_by: &'static str) -> Self {
        Self { folder: folder.to_owned(), format: FileFormat::Parquet, created_by, file_bytes: u64::MAX }
    }
}

/// A finished local file.
#[derive(Debug, Clone)]
pub struct WrittenFile {
    /// Values of the partition keys.
    pub values: Vec<Option<String>>,
    /// Where it lies.
    pub path: PathBuf,
    /// Rows in it.
    pub rows: usize,
}

/// Runs a query and writes its rows into the target's folder. Columns named by `keys` choose the file and are not
/// in it.
///
/// The rows are sorted by the keys, so that only one file is open at a time.
pub async fn partitioned(
    rows: DataFrame,
    keys: &[String],
    target: Target,
) -> Result<Vec<WrittenFile>, EngineError> {
    let schema: SchemaRef = Arc::new(rows.schema().as_arrow().clone());
    let places = keys
        .iter()
        .map(|key| {
            let place = schema.fields().iter().position(|field| field.name() == key);
            place.ok_or_else(|| {
                EngineError::Analysis(format!("partition column {key} is not in the query's result"))
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let kept: Vec<usize> = (0..schema.fields().len()).filter(|at| !places.contains(at)).collect();
    if kept.is_empty() {
        return Err(EngineError::Analysis("the query's result has only partition columns".to_owned()));
    }
    let in_file =
        Arc::new(Schema::new(schema.project(&kept).map_err(EngineError::internal)?.fields().clone()));
    if target.format == FileFormat::Csv
        && let Some(nested) = in_file.fields().iter().find(|field| field.data_type().is_nested())
    {
        let text = format!("column {} is nested, which CSV cannot hold", nested.name());
        return Err(EngineError::Analysis(text));
    }
    let sorted = if keys.is_empty() {
        rows
    } else {
        rows.sort(keys.iter().map(|key| ident(key).sort(true, true)).collect())?
    };
    let mut batches = sorted.execute_stream().await?;
    let mut output = Output { target, schema: in_file, open: None, written: Vec::new() };
    let mut seen: HashSet<Vec<Option<String>>> = HashSet::new();
    while let Some(batch) = batches.next().await {
        let batch = batch?;
        for (values, from, rows) in runs(&batch, &places)? {
            if output.open.as_ref().is_none_or(|open| open.values != values) {
                output.finish()?;
                if !seen.insert(values.clone()) {
                    return Err(EngineError::internal("rows came unsorted"));
                }
                if seen.len() > PARTITIONS_MAX {
                    return Err(EngineError::Execution(format!(
                        "the result has more than {PARTITIONS_MAX} partitions"
                    )));
                }
                output.begin(values)?;
            }
            let part = batch.slice(from, rows).project(&kept).map_err(EngineError::internal)?;
            output.write(&part)?;
        }
    }
    output.finish()?;
    Ok(output.written)
}

/// Consecutive rows with the same keys: values, first row, number of rows.
type KeyedRun = (Vec<Option<String>>, usize, usize);

fn runs(batch: &RecordBatch, places: &[usize]) -> Result<Vec<KeyedRun>, EngineError> {
    let columns = places
        .iter()
        .map(|place| cast(batch.column(*place), &DataType::Utf8).map_err(EngineError::internal))
        .collect::<Result<Vec<_>, _>>()?;
    let values_at = |row: usize| -> Vec<Option<String>> {
        columns
            .iter()
            .map(|column| {
                let texts = column.as_string::<i32>();
                // An empty text has no folder name; Hive takes it for null.
                (texts.is_valid(row) && !texts.value(row).is_empty()).then(|| texts.value(row).to_owned())
            })
            .collect()
    };
    let mut found: Vec<KeyedRun> = Vec::new();
    for row in 0..batch.num_rows() {
        if places.is_empty() && row > 0 {
            break;
        }
        let values = values_at(row);
        match found.last_mut() {
            Some((last, _, rows)) if *last == values => *rows += 1,
            _ => found.push((values, row, 1)),
        }
    }
    if places.is_empty()
        && let Some((_, _, rows)) = found.first_mut()
    {
        *rows = batch.num_rows();
    }
    Ok(found)
}

struct Output {
    target: Target,
    schema: SchemaRef,
    open: Option<Open>,
    written: Vec<WrittenFile>,
}

struct Open {
    values: Vec<Option<String>>,
    path: PathBuf,
    rows: usize,
    writer: Writer,
}

enum Writer {
    Parquet(Box<ArrowWriter<File>>),
    Csv(Box<csv::Writer<BufWriter<File>>>),
    Json(LineDelimitedWriter<BufWriter<File>>),
}

impl Writer {
    fn new(file: File, schema: &SchemaRef, target: &Target) -> Result<Self, EngineError> {
        Ok(match target.format {
            FileFormat::Parquet => {
                let properties = WriterProperties::builder()
                    .set_compression(Compression::SNAPPY)
                    .set_created_by(target.created_by.to_owned())
                    .build();
                let writer = ArrowWriter::try_new(file, Arc::clone(schema), Some(properties));
                Self::Parquet(Box::new(writer.map_err(EngineError::internal)?))
            }
            FileFormat::Csv => {
                let builder = csv::WriterBuilder::new()
                    .with_header(true)
                    .with_timestamp_format(CSV_TIME.to_owned())
                    .with_timestamp_tz_format(format!("{CSV_TIME}+00"));
                Self::Csv(Box::new(builder.build(BufWriter::new(file))))
            }
            FileFormat::Json => Self::Json(LineDelimitedWriter::new(BufWriter::new(file))),
        })
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<(), EngineError> {
        match self {
            Self::Parquet(writer) => write_parquet(writer, batch),
            Self::Csv(writer) => writer.write(batch).map_err(EngineError::internal),
            Self::Json(writer) => writer.write(batch).map_err(EngineError::internal),
        }
    }

    /// Bytes of the file so far, but for what is still in buffers.
    fn bytes(&self, path: &Path) -> u64 {
        match self {
            Self::Parquet(writer) => (writer.bytes_written() + writer.in_progress_size()) as u64,
            Self::Csv(_) | Self::Json(_) => std::fs::metadata(path).map_or(0, |file| file.len()),
        }
    }

    fn finish(self) -> Result<(), EngineError> {
        match self {
            Self::Parquet(writer) => writer.close().map(drop).map_err(EngineError::internal),
            Self::Csv(writer) => writer.into_inner().flush().map_err(EngineError::internal),
            Self::Json(mut writer) => {
                writer.finish().map_err(EngineError::internal)?;
                writer.into_inner().flush().map_err(EngineError::internal)
            }
        }
    }
}

impl Output {
    fn begin(&mut self, values: Vec<Option<String>>) -> Result<(), EngineError> {
        let path = self.target.folder.join(format!("part-{:05}", self.written.len()));
        let file = File::create(&path).map_err(EngineError::internal)?;
        let writer = Writer::new(file, &self.schema, &self.target)?;
        self.open = Some(Open { values, path, rows: 0, writer });
        Ok(())
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<(), EngineError> {
        let Some(open) = &mut self.open else { return Ok(()) };
        // Only nullability may differ between the plan's schema and the batch's.
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), batch.columns().to_vec())
            .map_err(EngineError::internal)?;
        open.writer.write(&batch)?;
        open.rows += batch.num_rows();
        if open.writer.bytes(&open.path) >= self.target.file_bytes {
            let values = open.values.clone();
            self.finish()?;
            self.begin(values)?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), EngineError> {
        if let Some(open) = self.open.take() {
            open.writer.finish()?;
            // What was begun when the one before was full, and got nothing.
            if open.rows > 0 {
                self.written.push(WrittenFile { values: open.values, path: open.path, rows: open.rows });
            }
        }
        Ok(())
    }
}
