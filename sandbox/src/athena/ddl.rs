//! Statements that change or show the catalog.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::execute::Failure;
use super::record::QueryRecord;
use super::statement::{CreateTable, Partition, Statement, TableName};
use crate::catalog::{Catalog, Column, PartitionRecord, TableRecord};
use crate::glue::Glue;
use crate::s3::parse_uri;
use crate::world::World;
use trunkline_query::folders::{NULL_VALUE, as_folder, folder, is_data, parse_folder};

/// What a statement shows.
#[derive(Debug, Default)]
pub(super) struct Shown {
    pub columns: Vec<Column>,
    pub lines: Vec<String>,
}

impl Shown {
    fn of(name: &str, lines: Vec<String>) -> Self {
        Self { columns: vec![Column::new(name, "string")], lines }
    }
}

/// Runs a statement.
pub(super) fn run(
    world: &World,
    glue: &Glue,
    query: &QueryRecord,
    statement: Statement,
) -> Result<Shown, Failure> {
    let database = query.database.clone().unwrap_or_else(|| "default".to_owned());
    let run = Run { world, catalog: &glue.catalog, database };
    match statement {
        Statement::CreateDatabase { name, if_not_exists } => run.create_database(&name, if_not_exists)?,
        Statement::DropDatabase { name, if_exists, cascade } => {
            run.drop_database(&name, if_exists, cascade)?;
        }
        Statement::CreateTable(table) => run.create_table(table)?,
        Statement::DropTable { name, if_exists } => run.drop_table(name, if_exists)?,
        Statement::RepairTable { name } => return run.repair_table(name),
        Statement::AddPartitions { name, if_not_exists, partitions } => {
            run.add_partitions(name, if_not_exists, partitions)?;
        }
        Statement::DropPartitions { name, if_exists, partitions } => {
            run.drop_partitions(name, if_exists, partitions)?;
        }
        Statement::ShowDatabases => {
            let names = run.catalog.databases().into_iter().map(|database| database.name).collect();
            return Ok(Shown::of("database_name", names));
        }
        Statement::ShowTables { database, pattern } => return run.show_tables(database, pattern),
        Statement::ShowPartitions { name } => return run.show_partitions(name),
        Statement::Query(_) | Statement::CreateTableAs { .. } | Statement::InsertInto { .. } => {
            return Err(Failure::Text("GENERIC_INTERNAL_ERROR: this statement has rows".to_owned()));
        }
    }
    Ok(Shown::default())
}

struct Run<'a> {
    world: &'a World,
    catalog: &'a Catalog,
    database: String,
}

impl Run<'_> {
    fn place(&self, name: TableName) -> (String, String) {
        (name.0.unwrap_or_else(|| self.database.clone()), name.1)
    }

    fn table(&self, name: TableName) -> Result<TableRecord, Failure> {
        let (database, table) = self.place(name);
        Ok(self.catalog.require_table(&database, &table)?)
    }

    fn create_database(&self, name: &str, if_not_exists: bool) -> Result<(), Failure> {
        if if_not_exists && self.catalog.database(name).is_some() {
            return Ok(());
        }
        Ok(self.catalog.put_database(name, Map::new(), self.world.clock.now(), false)?)
    }

    fn drop_database(&self, name: &str, if_exists: bool, cascade: bool) -> Result<(), Failure> {
        match self.catalog.tables(name) {
            None if if_exists => return Ok(()),
            Some(tables) if !tables.is_empty() && !cascade => {
                return Err(Failure::Text(format!(
                    "FAILED: Execution Error: Database {name} is not empty. One or more tables exist."
                )));
            }
            _ => {}
        }
        Ok(self.catalog.delete_database(name)?)
    }

    fn create_table(&self, table: CreateTable) -> Result<(), Failure> {
        let (database, name) = self.place(table.name.clone());
        if table.if_not_exists && self.catalog.table(&database, &name).is_some() {
            return Ok(());
        }
        if parse_uri(&table.location).is_none() {
            return Err(Failure::Text(format!("FAILED: LOCATION `{}` is not an s3:// URI", table.location)));
        }
        let input = table_input(&table)?;
        Ok(self.catalog.put_table(&database, &name, input, self.world.clock.now(), false)?)
    }

    fn drop_table(&self, name: TableName, if_exists: bool) -> Result<(), Failure> {
        let (database, table) = self.place(name);
        if if_exists && self.catalog.table(&database, &table).is_none() {
            return Ok(());
        }
        Ok(self.catalog.delete_table(&database, &table)?)
    }

    /// Adds the partitions whose Hive-style folders hold objects.
    fn repair_table(&self, name: TableName) -> Result<Shown, Failure> {
        let table = self.table(name)?;
        let keys: Vec<String> = table.partition_keys().into_iter().map(|key| key.name).collect();
        if keys.is_empty() {
            return Err(Failure::Text(format!(
                "FAILED: Execution Error: Table {} is not a partitioned table",
                table.name
            )));
        }
        let (bucket, prefix) = parse_uri(table.location())
            .ok_or_else(|| Failure::Text("FAILED: the table has no location".to_owned()))?;
        let prefix = as_folder(prefix);
        let objects =
            self.world.s3.list(bucket, &prefix).map_err(|error| Failure::Text(error.to_string()))?;
        let mut found = BTreeSet::new();
        for object in objects {
            let relative = &object.key[prefix.len()..];
            let mut segments = relative.split('/');
            let values: Option<Vec<String>> = keys
                .iter()
                .map(|key| {
                    let (name, value) = parse_folder(segments.next()?)?;
                    name.eq_ignore_ascii_case(key).then(|| value.unwrap_or_else(|| NULL_VALUE.to_owned()))
                })
                .collect();
            if let Some(values) = values.filter(|_| is_data(relative)) {
                let depth: usize =
                    relative.split('/').take(keys.len()).map(|segment| segment.len() + 1).sum();
                found.insert((values, format!("s3://{bucket}/{prefix}{}", &relative[..depth])));
            }
        }
        let known: BTreeSet<_> = self
            .catalog
            .partitions(&table.database, &table.name)
            .into_iter()
            .map(|known| known.values)
            .collect();
        let added: Vec<_> = found.into_iter().filter(|(values, _)| !known.contains(values)).collect();
        let lines = added
            .iter()
            .map(|(values, location)| {
                format!("Repair: Added partition to metastore {}:{} {location}", table.name, values.join("/"))
            })
            .collect();
        let records =
            added.into_iter().map(|(values, location)| self.partition(&table, values, &location)).collect();
        self.catalog.add_partitions(&table.database, &table.name, records)?;
        Ok(Shown { columns: Vec::new(), lines })
    }

    fn partition(&self, table: &TableRecord, values: Vec<String>, location: &str) -> PartitionRecord {
        partition_record(table, values, location, self.world.clock.now())
    }

    fn add_partitions(
        &self,
        name: TableName,
        if_not_exists: bool,
        partitions: Vec<Partition>,
    ) -> Result<(), Failure> {
        let table = self.table(name)?;
        let mut records = Vec::new();
        for partition in partitions {
            let values = ordered(&table, &partition)?;
            let location = partition.location.unwrap_or_else(|| folder_of(&table, &values));
            records.push(self.partition(&table, values, &as_folder(&location)));
        }
        let existing = self.catalog.add_partitions(&table.database, &table.name, records)?;
        if !if_not_exists && !existing.is_empty() {
            return Err(Failure::Text("FAILED: Execution Error: Partition already exists.".to_owned()));
        }
        Ok(())
    }

    fn drop_partitions(
        &self,
        name: TableName,
        if_exists: bool,
        partitions: Vec<Partition>,
    ) -> Result<(), Failure> {
        let table = self.table(name)?;
        let removed =
            partitions.iter().map(|partition| ordered(&table, partition)).collect::<Result<Vec<_>, _>>()?;
        let missing = self.catalog.delete_partitions(&table.database, &table.name, &removed)?;
        if !if_exists && !missing.is_empty() {
            return Err(Failure::Text("FAILED: Execution Error: Partition not found".to_owned()));
        }
        Ok(())
    }

    fn show_tables(&self, database: Option<String>, pattern: Option<String>) -> Result<Shown, Failure> {
        let database = database.unwrap_or_else(|| self.database.clone());
        let Some(tables) = self.catalog.tables(&database) else {
            return Err(Failure::Text(format!(
                "FAILED: SemanticException [Error 10072]: Database does not exist: {database}"
            )));
        };
        let pattern = pattern.map(|text| text.to_lowercase());
        let fits = |name: &str| match &pattern {
            None => true,
            Some(pattern) => match pattern.split_once('*') {
                Some((first, "")) => name.starts_with(first),
                Some((first, last)) => {
                    name.len() >= first.len() + last.len() && name.starts_with(first) && name.ends_with(last)
                }
                None => name == pattern,
            },
        };
        let names = tables.into_iter().map(|table| table.name).filter(|name| fits(name)).collect();
        Ok(Shown::of("tab_name", names))
    }

    fn show_partitions(&self, name: TableName) -> Result<Shown, Failure> {
        let table = self.table(name)?;
        let keys = table.partition_keys();
        let lines = self
            .catalog
            .partitions(&table.database, &table.name)
            .into_iter()
            .map(|partition| {
                let parts: Vec<_> = keys
                    .iter()
                    .zip(&partition.values)
                    .map(|(key, value)| format!("{}={value}", key.name))
                    .collect();
                parts.join("/")
            })
            .collect();
        Ok(Shown::of("partition", lines))
    }
}

/// The values of a partition in the order of the table's keys.
fn ordered(table: &TableRecord, partition: &Partition) -> Result<Vec<String>, Failure> {
    let keys = table.partition_keys();
    let values: Option<Vec<String>> = keys
        .iter()
        .map(|key| {
            partition.values.iter().find(|(name, _)| *name == key.name).map(|(_, value)| value.clone())
        })
        .collect();
    values.filter(|_| partition.values.len() == keys.len()).ok_or_else(|| {
        let names: Vec<_> = keys.into_iter().map(|key| key.name).collect();
        Failure::Text(format!(
            "FAILED: SemanticException: a partition of {} needs the keys {}",
            table.name,
            names.join(", ")
        ))
    })
}

fn folder_of(table: &TableRecord, values: &[String]) -> String {
    let keys = table.partition_keys();
    let folders: Vec<_> =
        keys.iter().zip(values).map(|(key, value)| folder(&key.name, Some(value))).collect();
    format!("{}{}/", as_folder(table.location()), folders.join("/"))
}

/// A partition of a table with the table's own format.
pub(super) fn partition_record(
    table: &TableRecord,
    values: Vec<String>,
    location: &str,
    now: jiff::Timestamp,
) -> PartitionRecord {
    let mut storage = table.input.get("StorageDescriptor").cloned().unwrap_or_else(|| json!({}));
    storage["Location"] = location.into();
    let input = Map::from_iter([("StorageDescriptor".to_owned(), storage)]);
    PartitionRecord { values, created: now, input }
}

fn table_input(table: &CreateTable) -> Result<Map<String, Value>, Failure> {
    const TEXT: [&str; 2] = [
        "org.apache.hadoop.mapred.TextInputFormat",
        "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat",
    ];
    const PARQUET: [&str; 2] = [
        "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
        "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat",
    ];
    const PARQUET_SERDE: &str = "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe";
    let (formats, usual) = match table.stored_as.as_deref() {
        None | Some("TEXTFILE") => (TEXT, "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe"),
        Some("PARQUET") => (PARQUET, PARQUET_SERDE),
        Some(class) if class == TEXT[0] => (TEXT, "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe"),
        Some(class) if class == PARQUET[0] => (PARQUET, PARQUET_SERDE),
        Some(other) => {
            return Err(Failure::Text(format!(
                "NOT_SUPPORTED: the sandbox's Athena does not store tables as {other}"
            )));
        }
    };
    let library = table.serde.as_deref().unwrap_or(usual);
    // Athena also knows JSON by Hive's own class; both read one record per line.
    let library = if library == "org.apache.hive.hcatalog.data.JsonSerDe" {
        "org.openx.data.jsonserde.JsonSerDe"
    } else {
        library
    };
    let pairs = |list: &[(String, String)]| -> Map<String, Value> {
        list.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect()
    };
    if table
        .serde_properties
        .iter()
        .any(|(name, value)| name.starts_with("ignore.malformed") && value == "true")
    {
        return Err(Failure::Text(
            "NOT_SUPPORTED: the sandbox's Athena does not ignore malformed JSON".to_owned(),
        ));
    }
    let mut properties = pairs(&table.properties);
    properties.insert("EXTERNAL".to_owned(), "TRUE".into());
    let Value::Object(input) = json!({
        "Owner": "hadoop",
        "TableType": "EXTERNAL_TABLE",
        "Parameters": properties,
        "PartitionKeys": table.keys,
        "StorageDescriptor": {
            "Columns": table.columns,
            "Location": as_folder(&table.location),
            "InputFormat": formats[0],
            "OutputFormat": formats[1],
            "Compressed": false,
            "NumberOfBuckets": -1,
            "SerdeInfo": {"SerializationLibrary": library, "Parameters": pairs(&table.serde_properties)},
            "SortColumns": [],
            "StoredAsSubDirectories": false,
        },
    }) else {
        return Ok(Map::new());
    };
    Ok(input)
}

/// The input of a Parquet table that a query fills.
pub(super) fn parquet_table(
    location: &str,
    columns: Vec<Column>,
    keys: Vec<Column>,
) -> Result<Map<String, Value>, Failure> {
    table_input(&CreateTable {
        columns,
        keys,
        location: location.to_owned(),
        stored_as: Some("PARQUET".to_owned()),
        properties: vec![
            ("classification".to_owned(), "parquet".to_owned()),
            ("parquet.compression".to_owned(), "SNAPPY".to_owned()),
        ],
        ..CreateTable::default()
    })
}
