//! Statements that write rows: `CREATE TABLE … AS` and `INSERT INTO`, both as Parquet.

use std::fs;
use std::sync::Arc;

use super::ddl::{parquet_table, partition_record};
use super::execute::{Failure, Work};
use super::results;
use super::statement::TableName;
use crate::catalog::{Column, TableRecord};
use crate::engine::{QueryRows, Session};
use crate::s3::parse_uri;
use trunkline_query::context::Planned;
use trunkline_query::folders::{NULL_VALUE, as_folder, folder};
use trunkline_query::{EngineError, write::WrittenFile};

/// Most partitions that one statement writes (the service's own limit).
const PARTITIONS_MAX: usize = 100;

/// Runs `CREATE TABLE … AS`. Gives the number of rows.
pub(super) async fn create_table_as(
    work: &Work<'_>,
    name: TableName,
    if_not_exists: bool,
    properties: &[(String, String)],
    sql: &str,
) -> Result<u64, Failure> {
    let (database, table) = place(work, name);
    let catalog = &work.glue.catalog;
    if catalog.table(&database, &table).is_some() {
        if if_not_exists {
            return Ok(0);
        }
        return Err(Failure::Text(format!("TABLE_ALREADY_EXISTS: Table '{table}' already exists")));
    }
    if catalog.database(&database).is_none() {
        return Err(Failure::Text(format!("SCHEMA_NOT_FOUND: Schema {database} not found")));
    }
    let wishes = Wishes::of(properties)?;
    if wishes.location.is_some() && work.query.location_enforced {
        return Err(Failure::Text(
            "The Create Table As Select query failed because it was submitted with an 'external_location' property to \
             an Athena Workgroup that enforces a centralized output location for all queries. Please remove the \
             'external_location' property and resubmit the query."
                .to_owned(),
        ));
    }
    let location = wishes.location.clone().unwrap_or_else(|| default_location(work));
    let planned = work.session.athena_query(sql).await?;
    let columns = named_columns(&planned)?;
    let split = columns.len().saturating_sub(wishes.keys.len());
    let last: Vec<_> = columns[split..].iter().map(|column| column.name.clone()).collect();
    if last != wishes.keys || split == 0 {
        return Err(Failure::Text(format!(
            "HIVE_COLUMN_ORDER_MISMATCH: Partition keys must be the last columns in the table and in the same order as \
             the table properties: [{}]",
            wishes.keys.join(", ")
        )));
    }
    ensure_empty(work, &location)?;
    let rows = Session::shaped(planned.rows, &columns)?;
    let files = stage(work, rows, &wishes.keys).await?;
    let input = parquet_table(&location, columns[..split].to_vec(), columns[split..].to_vec())?;
    let now = work.world.clock.now();
    place_files(work, &location, &wishes.keys, &files).await?;
    catalog.put_table(&database, &table, input, now, false)?;
    let record = catalog.require_table(&database, &table)?;
    add_partitions(work, &record, &wishes.keys, &files)?;
    Ok(rows_of(&files))
}

fn rows_of(files: &[WrittenFile]) -> u64 {
    files.iter().map(|file| file.rows as u64).sum()
}

/// Runs `INSERT INTO`. Gives the number of rows.
pub(super) async fn insert_into(work: &Work<'_>, name: TableName, sql: &str) -> Result<u64, Failure> {
    let (database, table) = place(work, name);
    let Some(record) = work.glue.catalog.table(&database, &table) else {
        return Err(EngineError::NoTable { database, table }.into());
    };
    if !record.serde_library().ends_with("ParquetHiveSerDe") {
        return Err(Failure::Text(
            "NOT_SUPPORTED: the sandbox's Athena inserts into Parquet tables only".to_owned(),
        ));
    }
    let mut wanted = record.columns();
    let keys: Vec<String> = record.partition_keys().into_iter().map(|key| key.name).collect();
    wanted.extend(record.partition_keys());
    let planned = work.session.athena_query(sql).await?;
    let given = Session::columns_of(&planned.rows)?;
    fits(&given, &wanted)?;
    let rows = Session::shaped(planned.rows, &wanted)?;
    let files = stage(work, rows, &keys).await?;
    place_files(work, record.location(), &keys, &files).await?;
    add_partitions(work, &record, &keys, &files)?;
    Ok(rows_of(&files))
}

/// Refuses rows that Athena would not convert by itself.
fn fits(given: &[Column], wanted: &[Column]) -> Result<(), Failure> {
    const NUMBERS: [&str; 6] = ["tinyint", "smallint", "int", "bigint", "float", "double"];
    let types = |columns: &[Column]| {
        columns.iter().map(|column| column.hive_type.as_str()).collect::<Vec<_>>().join(", ")
    };
    let rank = |name: &str| NUMBERS.iter().position(|number| *number == name);
    let pair_fits = |(given, wanted): (&Column, &Column)| {
        if let (Some(from), Some(to)) = (rank(&given.hive_type), rank(&wanted.hive_type)) {
            from <= to
        } else {
            let base = |name: &str| name.split('(').next().unwrap_or(name).to_owned();
            let (from, to) = (base(&given.hive_type), base(&wanted.hive_type));
            from == to || (from == "string" && (to == "varchar" || to == "char"))
        }
    };
    if given.len() == wanted.len() && given.iter().zip(wanted).all(pair_fits) {
        return Ok(());
    }
    Err(Failure::Text(format!(
        "TYPE_MISMATCH: Insert query has mismatched column types: Table: [{}], Query: [{}]",
        types(wanted),
        types(given)
    )))
}

/// The properties of `CREATE TABLE … AS` that the sandbox understands.
#[derive(Debug, Default)]
struct Wishes {
    location: Option<String>,
    keys: Vec<String>,
}

impl Wishes {
    fn of(properties: &[(String, String)]) -> Result<Self, Failure> {
        let mut wishes = Self::default();
        for (name, value) in properties {
            match (name.as_str(), value.to_uppercase().as_str()) {
                ("format", "PARQUET") | ("write_compression" | "parquet_compression", "SNAPPY") => {}
                ("external_location", _) => wishes.location = Some(as_folder(value)),
                ("partitioned_by", _) => {
                    wishes.keys =
                        value.split(',').filter(|key| !key.is_empty()).map(str::to_lowercase).collect();
                }
                _ => {
                    return Err(Failure::Text(format!(
                        "NOT_SUPPORTED: the sandbox's Athena does not know the property {name} = '{value}'; it has \
                         format = 'PARQUET', external_location and partitioned_by"
                    )));
                }
            }
        }
        Ok(wishes)
    }
}

fn place(work: &Work<'_>, name: TableName) -> (String, String) {
    let database = work.query.database.clone().unwrap_or_else(|| "default".to_owned());
    (name.0.unwrap_or(database), name.1)
}

fn default_location(work: &Work<'_>) -> String {
    let folder = work.query.output.rsplit_once('/').map_or("", |(folder, _)| folder);
    format!("{folder}/tables/{}/", work.query.id)
}

/// The columns of a new table: lower-case names, none missing, none twice.
fn named_columns(planned: &Planned) -> Result<Vec<Column>, Failure> {
    let mut columns: Vec<Column> = Vec::new();
    for (at, (column, name)) in
        Session::columns_of(&planned.rows)?.into_iter().zip(&planned.names).enumerate()
    {
        let name = name.to_lowercase();
        if name == format!("_col{at}") {
            return Err(Failure::Text(format!(
                "MISSING_COLUMN_NAME: Column name not specified at position {}",
                at + 1
            )));
        }
        if columns.iter().any(|known| known.name == name) {
            return Err(Failure::Text(format!(
                "DUPLICATE_COLUMN_NAME: Column name '{name}' specified more than once"
            )));
        }
        columns.push(Column::new(name, column.hive_type));
    }
    Ok(columns)
}

fn ensure_empty(work: &Work<'_>, location: &str) -> Result<(), Failure> {
    let (bucket, prefix) =
        parse_uri(location).ok_or_else(|| Failure::Text(format!("{location} is not an s3:// URI")))?;
    let objects = work.world.s3.list(bucket, prefix).map_err(|error| Failure::Text(error.to_string()))?;
    // A query that is run again after a crash finds its own files.
    if objects.iter().all(|object| object.key.contains(&work.query.id)) {
        return Ok(());
    }
    Err(Failure::Text(format!(
        "HIVE_PATH_ALREADY_EXISTS: Target directory for table already exists: {location}"
    )))
}

/// Runs the query into local files.
async fn stage(work: &Work<'_>, rows: QueryRows, keys: &[String]) -> Result<Vec<WrittenFile>, Failure> {
    let folder = work.world.s3.scratch().join(format!("athena-{}", work.query.id));
    fs::create_dir_all(&folder).map_err(EngineError::internal)?;
    let files = work.session.write(rows, keys, &folder).await?;
    if files.len() > PARTITIONS_MAX {
        return Err(Failure::Text(format!(
            "HIVE_TOO_MANY_OPEN_PARTITIONS: Exceeded limit of {PARTITIONS_MAX} open writers for partitions/buckets"
        )));
    }
    Ok(files)
}

/// Moves the files into the table's folders, and lists them in the query's manifest.
async fn place_files(
    work: &Work<'_>,
    location: &str,
    keys: &[String],
    files: &[WrittenFile],
) -> Result<(), Failure> {
    let (bucket, prefix) =
        parse_uri(location).ok_or_else(|| Failure::Text(format!("{location} is not an s3:// URI")))?;
    let prefix = as_folder(prefix);
    let moves: Vec<_> = files
        .iter()
        .enumerate()
        .map(|(at, file)| {
            (file.path.clone(), format!("{prefix}{}{}_{at:05}", path_of(keys, &file.values), work.query.id))
        })
        .collect();
    let (world, bucket, output) = (Arc::clone(work.world), bucket.to_owned(), work.query.output.clone());
    let scratch = world.s3.scratch().join(format!("athena-{}", work.query.id));
    // Once begun it goes to its end, even if the query is stopped meanwhile.
    let moved = tokio::task::spawn_blocking(move || {
        let mut manifest = String::new();
        for (path, key) in &moves {
            world.s3.adopt(&bucket, key, path).map_err(|error| error.to_string())?;
            manifest.extend(["s3://", &bucket, "/", key, "\n"]);
        }
        drop(fs::remove_dir_all(scratch));
        results::write(&world.s3, &format!("{output}-manifest.csv"), &manifest)
    });
    moved.await.map_err(EngineError::internal)?.map_err(Failure::Text)
}

fn add_partitions(
    work: &Work<'_>,
    table: &TableRecord,
    keys: &[String],
    files: &[WrittenFile],
) -> Result<(), Failure> {
    if keys.is_empty() {
        return Ok(());
    }
    let now = work.world.clock.now();
    let records = files
        .iter()
        .map(|file| {
            let location = format!("{}{}", as_folder(table.location()), path_of(keys, &file.values));
            let values = file
                .values
                .iter()
                .map(|value| value.clone().unwrap_or_else(|| NULL_VALUE.to_owned()))
                .collect();
            partition_record(table, values, &location, now)
        })
        .collect();
    work.glue.catalog.add_partitions(&table.database, &table.name, records)?;
    Ok(())
}

/// The folders of a partition, each with its slash; nothing without keys.
fn path_of(keys: &[String], values: &[Option<String>]) -> String {
    keys.iter().zip(values).map(|(key, value)| format!("{}/", folder(key, value.as_deref()))).collect()
}
