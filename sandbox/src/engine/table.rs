//! A table as the engine reads it: columns, format, and the folders that hold its objects.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use datafusion::arrow::datatypes::DataType;
use trunkline_query::EngineError;
use trunkline_query::folders::as_folder;
use trunkline_query::text::Delimited;
use trunkline_query::types::arrow_type;

use crate::catalog::{Catalog, Column, TableRecord};
use crate::s3::parse_uri;

/// Which reader's rules apply to values and objects that do not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strictness {
    /// Spark's: values that do not fit are null, objects that are not JSON are set aside and reported.
    Lenient,
    /// Athena's: both fail the query.
    Strict,
}

/// How rows lie in objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Format {
    /// JSON objects.
    Json,
    /// Delimited text.
    Text(Delimited),
    /// Parquet.
    Parquet,
}

/// A folder of objects.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    /// One value per partition key.
    pub values: Vec<Option<String>>,
    /// Bucket of the folder.
    pub bucket: String,
    /// Key prefix, ending in a slash unless it is the whole bucket.
    pub prefix: String,
}

/// A table of the catalog, ready to be read.
#[derive(Debug, Clone)]
pub(crate) struct DeclaredTable {
    /// `database.table`, for messages.
    pub name: String,
    /// Columns in the objects.
    pub(super) columns: Vec<(String, DataType)>,
    /// Columns in the folders.
    pub(super) keys: Vec<(String, DataType)>,
    pub(super) format: Format,
    pub(super) folders: Vec<Folder>,
}

impl DeclaredTable {
    /// Reads the definition of a table; `None` if there is none.
    pub(crate) fn find(catalog: &Catalog, database: &str, table: &str) -> Result<Option<Self>, EngineError> {
        let Some(record) = catalog.table(database, table) else { return Ok(None) };
        if record.table_type() == "VIRTUAL_VIEW" {
            return Err(EngineError::Unsupported(format!("views of the catalog ({database}.{table})")));
        }
        if record.parameter("projection.enabled").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Err(EngineError::Unsupported(format!("partition projection ({database}.{table})")));
        }
        let keys = typed(&record.partition_keys())?;
        let folders = folders_of(catalog, &record, keys.len())?;
        let format = format_of(&record)?;
        let text_only = record.serde_library().ends_with("OpenCSVSerde");
        let mut columns = typed(&record.columns())?;
        if text_only {
            // This SerDe gives text whatever the table says; Athena converts what the table declares.
            for (_, data_type) in &mut columns {
                if data_type.is_nested() {
                    *data_type = DataType::Utf8;
                }
            }
        }
        Ok(Some(Self {
            name: format!("{}.{}", record.database, record.name),
            columns,
            keys,
            format,
            folders,
        }))
    }

    /// A table that is not there, read as no rows.
    pub(crate) fn empty(name: String, columns: &[Column], keys: &[String]) -> Result<Self, EngineError> {
        let keys = keys.iter().map(|key| (key.clone(), DataType::Utf8)).collect();
        Ok(Self { name, columns: typed(columns)?, keys, format: Format::Json, folders: Vec::new() })
    }

    /// The same objects read with other columns, and with partition keys as text.
    pub(crate) fn with_columns(mut self, columns: &[Column]) -> Result<Self, EngineError> {
        self.columns = typed(columns)?;
        for (_, data_type) in &mut self.keys {
            *data_type = DataType::Utf8;
        }
        Ok(self)
    }

    /// The names of the partition keys.
    pub(crate) fn key_names(&self) -> Vec<&str> {
        self.keys.iter().map(|(name, _)| name.as_str()).collect()
    }
}

fn typed(columns: &[Column]) -> Result<Vec<(String, DataType)>, EngineError> {
    columns.iter().map(|column| Ok((column.name.clone(), arrow_type(&column.hive_type)?))).collect()
}

fn folders_of(catalog: &Catalog, record: &TableRecord, keys: usize) -> Result<Vec<Folder>, EngineError> {
    let place = |uri: &str| {
        let (bucket, prefix) = parse_uri(uri).ok_or_else(|| {
            EngineError::Analysis(format!(
                "table {}.{} has no S3 location: `{uri}`",
                record.database, record.name
            ))
        })?;
        Ok::<_, EngineError>((bucket.to_owned(), as_folder(prefix)))
    };
    if keys == 0 {
        let (bucket, prefix) = place(record.location())?;
        return Ok(vec![Folder { values: Vec::new(), bucket, prefix }]);
    }
    catalog
        .partitions(&record.database, &record.name)
        .into_iter()
        .filter(|partition| partition.values.len() == keys)
        .map(|partition| {
            let (bucket, prefix) = place(partition.location().unwrap_or_default())?;
            let values = partition
                .values
                .into_iter()
                .map(|value| (value != trunkline_query::folders::NULL_VALUE).then_some(value))
                .collect();
            Ok(Folder { values, bucket, prefix })
        })
        .collect()
}

fn format_of(record: &TableRecord) -> Result<Format, EngineError> {
    let library = record.serde_library().rsplit('.').next().unwrap_or_default().to_owned();
    Ok(match library.as_str() {
        "JsonSerDe" => Format::Json,
        "ParquetHiveSerDe" => Format::Parquet,
        "LazySimpleSerDe" => Format::Text(Delimited {
            delimiter: character(record, &["field.delim", "serialization.format"], b'\x01')?,
            quote: None,
            escape: optional_character(record, "escape.delim")?,
            skipped_lines: skipped_lines(record)?,
        }),
        "OpenCSVSerde" => Format::Text(Delimited {
            delimiter: character(record, &["separatorChar"], b',')?,
            quote: Some(character(record, &["quoteChar"], b'"')?),
            escape: Some(character(record, &["escapeChar"], b'\\')?),
            skipped_lines: skipped_lines(record)?,
        }),
        other => {
            return Err(EngineError::Unsupported(format!(
                "the SerDe `{other}` of table {}.{}; use JSON, CSV or Parquet",
                record.database, record.name
            )));
        }
    })
}

fn skipped_lines(record: &TableRecord) -> Result<usize, EngineError> {
    record.parameter("skip.header.line.count").map_or(Ok(0), |text| {
        text.trim().parse().map_err(|_| {
            EngineError::Analysis(format!(
                "table {}.{}: skip.header.line.count is `{text}`",
                record.database, record.name
            ))
        })
    })
}

fn character(record: &TableRecord, names: &[&str], default: u8) -> Result<u8, EngineError> {
    for name in names {
        if let Some(found) = optional_character(record, name)? {
            return Ok(found);
        }
    }
    Ok(default)
}

/// A one-byte setting: the character itself, an escape such as `\t`, or a number such as Hive's `1`.
fn optional_character(record: &TableRecord, name: &str) -> Result<Option<u8>, EngineError> {
    let Some(text) = record.serde_parameter(name) else { return Ok(None) };
    let byte = match text {
        "" => return Ok(None),
        "\\t" => b'\t',
        "\\n" => b'\n',
        "\\\\" => b'\\',
        "\\001" | "\\u0001" => 1,
        text if name == "serialization.format" && text.len() == 1 && text.as_bytes()[0].is_ascii_digit() => {
            text.as_bytes()[0] - b'0'
        }
        text if text.len() == 1 => text.as_bytes()[0],
        other => {
            return Err(EngineError::Unsupported(format!(
                "`{other}` as {name} of table {}.{}",
                record.database, record.name
            )));
        }
    };
    Ok(Some(byte))
}

/// What the scans of one session read.
#[derive(Debug, Default, Clone)]
pub(crate) struct ReadReport {
    /// Bytes of all objects that were read; an object read twice counts twice, as Athena bills it.
    pub bytes: u64,
    /// Rows per object that was read.
    pub rows: BTreeMap<(String, String), usize>,
    /// Why an object was set aside, per bucket and key.
    pub bad: BTreeMap<(String, String), String>,
    /// Objects found per table.
    pub found: BTreeMap<String, usize>,
}

/// Shared by the scans of one session.
#[derive(Debug)]
pub(crate) struct Reading {
    /// Which reader's rules apply.
    pub strictness: Strictness,
    report: Mutex<ReadReport>,
}

impl Reading {
    /// A reading that has read nothing yet.
    pub(crate) fn new(strictness: Strictness) -> Self {
        Self { strictness, report: Mutex::new(ReadReport::default()) }
    }

    /// What was read so far.
    pub(crate) fn report(&self) -> ReadReport {
        self.lock().clone()
    }

    /// Counts an object that was read.
    pub(super) fn read(&self, bucket: &str, key: &str, bytes: u64, rows: usize) {
        let mut report = self.lock();
        report.bytes += bytes;
        report.rows.insert((bucket.to_owned(), key.to_owned()), rows);
    }

    /// Remembers an object that was set aside.
    pub(super) fn set_aside(&self, bucket: &str, key: &str, bytes: u64, reason: String) {
        let mut report = self.lock();
        report.bytes += bytes;
        report.bad.insert((bucket.to_owned(), key.to_owned()), reason);
    }

    /// Counts the objects that a scan found.
    pub(super) fn found(&self, table: &str, objects: usize) {
        *self.lock().found.entry(table.to_owned()).or_default() += objects;
    }

    fn lock(&self) -> MutexGuard<'_, ReadReport> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
