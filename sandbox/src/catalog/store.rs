//! The catalog in memory, and its writing through to disk.
//!
//! Every change is on disk before it is visible to the next call. Names are lower-case, as Glue keeps them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::files::{DATABASE_FILE, PARTITIONS_ENDING, TABLE_ENDING, entries, file_name};
use super::record::{DatabaseRecord, PartitionRecord, TableRecord};
use crate::SandboxError;
use crate::files::{read_json, replace_json};
use crate::wire::ApiError;

/// Longest name of a database or table that Glue accepts.
const NAME_MAX: usize = 255;

/// All databases with their tables and partitions.
#[derive(Debug)]
pub(crate) struct Catalog {
    root: PathBuf,
    databases: RwLock<BTreeMap<String, Database>>,
}

#[derive(Debug)]
struct Database {
    record: DatabaseRecord,
    tables: BTreeMap<String, Table>,
}

#[derive(Debug)]
struct Table {
    record: TableRecord,
    partitions: BTreeMap<Vec<String>, PartitionRecord>,
}

impl Catalog {
    /// Reads what an earlier process wrote below `root`.
    pub(crate) fn open(root: &Path) -> Result<Self, SandboxError> {
        let root = root.join("glue").join("catalog");
        let mut databases = BTreeMap::new();
        for folder in entries(&root)? {
            let Some(record) = read_json::<DatabaseRecord>(&folder.join(DATABASE_FILE))? else { continue };
            let tables = open_tables(&folder)?;
            databases.insert(record.name.clone(), Database { record, tables });
        }
        Ok(Self { root, databases: RwLock::new(databases) })
    }

    /// A database by name.
    pub(crate) fn database(&self, name: &str) -> Option<DatabaseRecord> {
        self.read(|databases| databases.get(&name.to_lowercase()).map(|database| database.record.clone()))
    }

    /// All databases, by name.
    pub(crate) fn databases(&self) -> Vec<DatabaseRecord> {
        self.read(|databases| databases.values().map(|database| database.record.clone()).collect())
    }

    /// Adds a database, or replaces the definition of one if `replace`.
    pub(crate) fn put_database(
        &self,
        name: &str,
        input: Map<String, Value>,
        now: Timestamp,
        replace: bool,
    ) -> Result<(), ApiError> {
        let name = legal_name(name)?;
        self.write(|databases| {
            let created = match (databases.get(&name), replace) {
                (Some(_), false) => return Err(already_exists("Database", &name)),
                (None, true) => return Err(no_database(&name)),
                (Some(database), true) => database.record.created,
                (None, false) => now,
            };
            let record = DatabaseRecord { name: name.clone(), created, input };
            replace_json(&self.database_folder(&name).join(DATABASE_FILE), &record)
                .map_err(ApiError::internal)?;
            let tables = databases.remove(&name).map(|database| database.tables).unwrap_or_default();
            databases.insert(name, Database { record, tables });
            Ok(())
        })
    }

    /// Removes a database with its tables; the files that they point to stay.
    pub(crate) fn delete_database(&self, name: &str) -> Result<(), ApiError> {
        let name = name.to_lowercase();
        self.write(|databases| {
            if !databases.contains_key(&name) {
                return Err(no_database(&name));
            }
            fs::remove_dir_all(self.database_folder(&name)).map_err(ApiError::internal)?;
            databases.remove(&name);
            Ok(())
        })
    }

    /// A table by name.
    pub(crate) fn table(&self, database: &str, name: &str) -> Option<TableRecord> {
        self.read(|databases| {
            let tables = &databases.get(&database.to_lowercase())?.tables;
            tables.get(&name.to_lowercase()).map(|table| table.record.clone())
        })
    }

    /// A table by name, or the error that Glue gives.
    pub(crate) fn require_table(&self, database: &str, name: &str) -> Result<TableRecord, ApiError> {
        if self.database(database).is_none() {
            return Err(no_database(database));
        }
        self.table(database, name).ok_or_else(|| no_table(name))
    }

    /// All tables of a database, by name; `None` if there is no such database.
    pub(crate) fn tables(&self, database: &str) -> Option<Vec<TableRecord>> {
        self.read(|databases| {
            let database = databases.get(&database.to_lowercase())?;
            Some(database.tables.values().map(|table| table.record.clone()).collect())
        })
    }

    /// Adds a table, or replaces the definition of one if `replace`.
    pub(crate) fn put_table(
        &self,
        database: &str,
        name: &str,
        input: Map<String, Value>,
        now: Timestamp,
        replace: bool,
    ) -> Result<(), ApiError> {
        self.put_table_at(database, name, input, now, replace, None)
    }

    /// The same; of a table that is replaced, only if this is still its version.
    pub(crate) fn put_table_at(
        &self,
        database: &str,
        name: &str,
        input: Map<String, Value>,
        now: Timestamp,
        replace: bool,
        expected: Option<&str>,
    ) -> Result<(), ApiError> {
        let (database, name) = (database.to_lowercase(), legal_name(name)?);
        self.write(|databases| {
            let tables = &mut databases.get_mut(&database).ok_or_else(|| no_database(&database))?.tables;
            let (created, version) = match (tables.get(&name), replace) {
                (Some(table), true)
                    if expected.is_some_and(|expected| expected != table.record.version.to_string()) =>
                {
                    let text = "Update table failed due to concurrent modifications.";
                    return Err(ApiError::new(400, "ConcurrentModificationException", text));
                }
                (Some(_), false) => return Err(already_exists("Table", &name)),
                (None, true) => return Err(no_table(&name)),
                (Some(table), true) => (table.record.created, table.record.version + 1),
                (None, false) => (now, 0),
            };
            let record = TableRecord {
                database: database.clone(),
                name: name.clone(),
                created,
                updated: now,
                version,
                input,
            };
            replace_json(&self.table_file(&database, &name, TABLE_ENDING), &record)
                .map_err(ApiError::internal)?;
            let partitions = tables.remove(&name).map(|table| table.partitions).unwrap_or_default();
            tables.insert(name, Table { record, partitions });
            Ok(())
        })
    }

    /// Removes a table with its partitions; the files that it points to stay.
    pub(crate) fn delete_table(&self, database: &str, name: &str) -> Result<(), ApiError> {
        let (database, name) = (database.to_lowercase(), name.to_lowercase());
        self.write(|databases| {
            let tables = &mut databases.get_mut(&database).ok_or_else(|| no_database(&database))?.tables;
            if !tables.contains_key(&name) {
                return Err(no_table(&name));
            }
            // The definition goes first: partitions without a table are never read.
            fs::remove_file(self.table_file(&database, &name, TABLE_ENDING)).map_err(ApiError::internal)?;
            match fs::remove_file(self.table_file(&database, &name, PARTITIONS_ENDING)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(ApiError::internal(error));
                }
                _ => {}
            }
            tables.remove(&name);
            Ok(())
        })
    }

    /// All partitions of a table, by values; empty if there is no such table.
    pub(crate) fn partitions(&self, database: &str, table: &str) -> Vec<PartitionRecord> {
        self.read(|databases| {
            databases
                .get(&database.to_lowercase())
                .and_then(|database| database.tables.get(&table.to_lowercase()))
                .map(|table| table.partitions.values().cloned().collect())
                .unwrap_or_default()
        })
    }

    /// Adds partitions, leaving those alone that exist; returns the values of these.
    pub(crate) fn add_partitions(
        &self,
        database: &str,
        table: &str,
        added: Vec<PartitionRecord>,
    ) -> Result<Vec<Vec<String>>, ApiError> {
        self.change_partitions(database, table, |partitions| {
            let mut existing = Vec::new();
            for partition in added {
                if partitions.contains_key(&partition.values) {
                    existing.push(partition.values);
                } else {
                    partitions.insert(partition.values.clone(), partition);
                }
            }
            existing
        })
    }

    /// Replaces the partition of the given values by another one (its values may differ).
    pub(crate) fn replace_partition(
        &self,
        database: &str,
        table: &str,
        values: &[String],
        partition: PartitionRecord,
    ) -> Result<(), ApiError> {
        let replaced = self.change_partitions(database, table, |partitions| {
            let found = partitions.remove(values).is_some();
            if found {
                partitions.insert(partition.values.clone(), partition);
            }
            found
        })?;
        if replaced { Ok(()) } else { Err(no_partition(values)) }
    }

    /// Removes partitions; returns the values of those that did not exist.
    pub(crate) fn delete_partitions(
        &self,
        database: &str,
        table: &str,
        removed: &[Vec<String>],
    ) -> Result<Vec<Vec<String>>, ApiError> {
        self.change_partitions(database, table, |partitions| {
            removed.iter().filter(|values| partitions.remove(*values).is_none()).cloned().collect()
        })
    }

    fn change_partitions<T>(
        &self,
        database: &str,
        table: &str,
        change: impl FnOnce(&mut BTreeMap<Vec<String>, PartitionRecord>) -> T,
    ) -> Result<T, ApiError> {
        let (database, name) = (database.to_lowercase(), table.to_lowercase());
        self.write(|databases| {
            let tables = &mut databases.get_mut(&database).ok_or_else(|| no_database(&database))?.tables;
            let table = tables.get_mut(&name).ok_or_else(|| no_table(&name))?;
            let mut partitions = table.partitions.clone();
            let result = change(&mut partitions);
            if partitions != table.partitions {
                let list: Vec<_> = partitions.values().collect();
                replace_json(&self.table_file(&database, &name, PARTITIONS_ENDING), &list)
                    .map_err(ApiError::internal)?;
                table.partitions = partitions;
            }
            Ok(result)
        })
    }

    fn read<T>(&self, look: impl FnOnce(&BTreeMap<String, Database>) -> T) -> T {
        look(&self.databases.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, change: impl FnOnce(&mut BTreeMap<String, Database>) -> T) -> T {
        change(&mut self.databases.write().unwrap_or_else(PoisonError::into_inner))
    }

    fn database_folder(&self, database: &str) -> PathBuf {
        self.root.join(file_name(database))
    }

    fn table_file(&self, database: &str, table: &str, ending: &str) -> PathBuf {
        self.database_folder(database).join(format!("{}{ending}", file_name(table)))
    }
}

fn open_tables(folder: &Path) -> Result<BTreeMap<String, Table>, SandboxError> {
    let mut tables = BTreeMap::new();
    for path in entries(folder)? {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let Some(stem) = name.strip_suffix(TABLE_ENDING) else { continue };
        let Some(record) = read_json::<TableRecord>(&path)? else { continue };
        let list: Vec<PartitionRecord> =
            read_json(&folder.join(format!("{stem}{PARTITIONS_ENDING}")))?.unwrap_or_default();
        let partitions = list.into_iter().map(|partition| (partition.values.clone(), partition)).collect();
        tables.insert(record.name.clone(), Table { record, partitions });
    }
    Ok(tables)
}

fn legal_name(name: &str) -> Result<String, ApiError> {
    let name = name.to_lowercase();
    if name.is_empty() || name.len() > NAME_MAX || name.chars().any(char::is_control) {
        return Err(ApiError::new(
            400,
            "InvalidInputException",
            format!("a name must have 1 to {NAME_MAX} bytes and no control characters"),
        ));
    }
    Ok(name)
}

/// Glue's words for a database that is not there.
pub(super) fn no_database(name: &str) -> ApiError {
    ApiError::new(400, "EntityNotFoundException", format!("Database {} not found.", name.to_lowercase()))
}

/// Glue's words for a table that is not there.
pub(super) fn no_table(name: &str) -> ApiError {
    ApiError::new(400, "EntityNotFoundException", format!("Table {} not found.", name.to_lowercase()))
}

/// Glue's words for a partition that is not there.
pub(super) fn no_partition(values: &[String]) -> ApiError {
    ApiError::new(
        400,
        "EntityNotFoundException",
        format!("Cannot find partition. Values: [{}]", values.join(", ")),
    )
}

fn already_exists(what: &str, name: &str) -> ApiError {
    ApiError::new(400, "AlreadyExistsException", format!("{what} {name} already exists."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(values: &[&str]) -> PartitionRecord {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        PartitionRecord { values, created: Timestamp::UNIX_EPOCH, input: Map::new() }
    }

    #[test]
    fn survives_being_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let now = Timestamp::UNIX_EPOCH;
        let catalog = Catalog::open(folder.path()).unwrap();
        catalog.put_database("Lake", Map::new(), now, false).unwrap();
        catalog.put_table("lake", "Odd name/.", Map::new(), now, false).unwrap();
        let known =
            catalog.add_partitions("lake", "odd name/.", vec![partition(&["a"]), partition(&["b"])]).unwrap();
        assert!(known.is_empty());
        catalog.delete_partitions("lake", "odd name/.", &[vec!["b".to_owned()]]).unwrap();

        let again = Catalog::open(folder.path()).unwrap();
        assert_eq!(again.databases().len(), 1);
        assert_eq!(again.table("LAKE", "ODD NAME/.").map(|table| table.name), Some("odd name/.".to_owned()));
        assert_eq!(again.partitions("lake", "odd name/."), [partition(&["a"])]);
        again.delete_table("lake", "odd name/.").unwrap();
        assert!(Catalog::open(folder.path()).unwrap().tables("lake").unwrap().is_empty());
    }

    #[test]
    fn refuses_doubles_and_strangers() {
        let folder = tempfile::tempdir().unwrap();
        let now = Timestamp::UNIX_EPOCH;
        let catalog = Catalog::open(folder.path()).unwrap();
        let missing = catalog.put_table("lake", "t", Map::new(), now, false).unwrap_err();
        assert_eq!(missing.code, "EntityNotFoundException");
        catalog.put_database("lake", Map::new(), now, false).unwrap();
        let twice = catalog.put_database("LAKE", Map::new(), now, false).unwrap_err();
        assert_eq!(twice.code, "AlreadyExistsException");
        catalog.put_table("lake", "t", Map::new(), now, false).unwrap();
        catalog.add_partitions("lake", "t", vec![partition(&["a"])]).unwrap();
        let known = catalog.add_partitions("lake", "t", vec![partition(&["a"])]).unwrap();
        assert_eq!(known, [vec!["a".to_owned()]]);
        assert_eq!(
            catalog.put_table("lake", "", Map::new(), now, false).unwrap_err().code,
            "InvalidInputException"
        );
    }
}
