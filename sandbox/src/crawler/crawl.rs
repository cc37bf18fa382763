//! One crawl: listing the objects, looking at some of them, writing tables and partitions into the catalog.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::formats::{look, storage, table_parameters};
use super::layout::{Folder, FoundTable, clean, partition_value};
use super::record::CrawlerRecord;
use crate::catalog::{Catalog, Column, PartitionRecord, TableRecord};
use crate::s3::{ObjectMeta, Store, parse_uri};
use trunkline_query::folders::{as_folder, is_data};

/// Objects that one crawl looks into, spread evenly over its folders. A schema does not get better by reading
/// every object, and a laptop should crawl 60,000 objects in a second.
const SAMPLES_MAX: usize = 5_000;
/// The least objects that are looked into per folder.
const SAMPLES_PER_FOLDER: usize = 1;
/// The database of a crawler that names none.
const DATABASE: &str = "default";

/// What a crawl did.
#[derive(Debug, Default)]
pub(super) struct Done {
    tables_added: Vec<String>,
    tables_updated: Vec<String>,
    partitions_added: usize,
    partitions_deleted: usize,
}

/// Crawls all targets. The error is the crawl's error message.
pub(super) fn crawl(
    store: &Store,
    catalog: &Catalog,
    crawler: &CrawlerRecord,
    now: Timestamp,
    stop: &CancellationToken,
) -> Result<Value, String> {
    let mut done = Done::default();
    for (path, exclusions) in crawler.targets() {
        let (bucket, prefix) =
            parse_uri(&path).ok_or_else(|| format!("The S3 location {path} is not an s3:// URI"))?;
        let crawl = Crawl { store, catalog, crawler, now, stop, bucket, prefix: as_folder(prefix) };
        crawl.target(&exclusions, &mut done)?;
    }
    Ok(json!({
        "TABLE": {"ADD": done.tables_added, "UPDATE": done.tables_updated},
        "PARTITION": {"ADD": done.partitions_added, "DELETE": done.partitions_deleted},
    }))
}

struct Crawl<'a> {
    store: &'a Store,
    catalog: &'a Catalog,
    crawler: &'a CrawlerRecord,
    now: Timestamp,
    stop: &'a CancellationToken,
    bucket: &'a str,
    prefix: String,
}

impl Crawl<'_> {
    fn target(&self, exclusions: &[String], done: &mut Done) -> Result<(), String> {
        if !self.store.bucket_exists(self.bucket) {
            return Err(format!("Service Exception: The specified bucket does not exist: {}", self.bucket));
        }
        let objects: Vec<_> = self
            .store
            .list(self.bucket, &self.prefix)
            .map_err(|error| format!("Service Exception: {error}"))?
            .into_iter()
            .filter(|object| {
                let relative = &object.key[self.prefix.len()..];
                object.size > 0
                    && is_data(relative)
                    && !exclusions.iter().any(|pattern| glob(pattern, relative))
            })
            .collect();
        if objects.is_empty() {
            return Ok(());
        }
        self.ensure_database()?;
        let known = self.known_folders();
        let tree = self.look_around(&objects, &known);
        if self.stop.is_cancelled() {
            return Ok(());
        }
        for table in tree.tables() {
            self.write(table, done)?;
        }
        if self.crawler.deletes_partitions() {
            self.delete_gone(&objects, done)?;
        }
        Ok(())
    }

    fn database(&self) -> String {
        let name = self.crawler.text("DatabaseName").to_lowercase();
        if name.is_empty() { DATABASE.to_owned() } else { name }
    }

    fn ensure_database(&self) -> Result<(), String> {
        let name = self.database();
        if self.catalog.database(&name).is_none() {
            self.catalog.put_database(&name, Map::new(), self.now, false).map_err(|error| error.message)?;
        }
        Ok(())
    }

    /// For a crawler that looks at new folders only: the folders that are in the catalog already.
    fn known_folders(&self) -> BTreeSet<String> {
        let mut known = BTreeSet::new();
        if !self.crawler.new_folders_only() {
            return known;
        }
        for table in self.own_tables() {
            if table.partition_keys().is_empty() {
                known.insert(as_folder(table.location()));
            }
            for partition in self.catalog.partitions(&table.database, &table.name) {
                known.extend(partition.location().map(as_folder));
            }
        }
        known
    }

    /// The tables of the crawler's database that lie in this target.
    fn own_tables(&self) -> Vec<TableRecord> {
        let target = self.uri("");
        let tables = self.catalog.tables(&self.database()).unwrap_or_default();
        tables.into_iter().filter(|table| as_folder(table.location()).starts_with(&target)).collect()
    }

    /// Builds the tree of folders and looks into some objects of each folder that is not known.
    fn look_around(&self, objects: &[ObjectMeta], known: &BTreeSet<String>) -> Folder {
        let mut folders: BTreeMap<&str, Vec<&ObjectMeta>> = BTreeMap::new();
        for object in objects {
            let relative = &object.key[self.prefix.len()..];
            let folder = relative.rsplit_once('/').map_or("", |(folder, _)| folder);
            folders.entry(folder).or_default().push(object);
        }
        folders.retain(|folder, _| !known.contains(&self.uri(&as_folder(folder))));
        let share = (SAMPLES_MAX / folders.len().max(1)).max(SAMPLES_PER_FOLDER);
        let mut root = Folder::default();
        for (path, objects) in folders {
            if self.stop.is_cancelled() {
                break;
            }
            let segments: Vec<_> = path.split('/').filter(|segment| !segment.is_empty()).collect();
            let folder = root.at(&segments);
            folder.objects = objects.len();
            let step = objects.len().div_ceil(share).max(1);
            for object in objects.iter().step_by(step) {
                if let Some(finding) = look(&object.path) {
                    folder.found(finding);
                }
            }
        }
        root
    }

    fn uri(&self, relative: &str) -> String {
        format!("s3://{}/{}{relative}", self.bucket, self.prefix)
    }

    fn write(&self, found: FoundTable, done: &mut Done) -> Result<(), String> {
        let relative = found.path.join("/");
        let location = self.uri(&as_folder(&relative));
        // In later crawls of new folders the tree holds only them, so their table is one that lies above.
        let above =
            self.own_tables().into_iter().filter(|table| location.starts_with(&as_folder(table.location())));
        let existing = above.max_by_key(|table| table.location().len());
        let table = match existing {
            Some(table) => {
                if self.crawler.updates_tables() && as_folder(table.location()) == location {
                    self.update(&table, &found, done)?;
                }
                table
            }
            None => self.create(&found, &location, done)?,
        };
        self.add_partitions(&table, &found, &location, done)
    }

    fn create(&self, found: &FoundTable, location: &str, done: &mut Done) -> Result<TableRecord, String> {
        let last = location.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        let mut name = format!("{}{}", self.crawler.text("TablePrefix").to_lowercase(), clean(last));
        let database = self.database();
        if self.catalog.table(&database, &name).is_some() {
            // Another folder has the name already.
            name = format!("{name}_{}", &hex::encode(Sha256::digest(location))[..8]);
        }
        let keys: Vec<_> = found.keys.iter().map(|key| Column::new(key, "string")).collect();
        let input = self.table_input(found, location, &keys);
        self.catalog.put_table(&database, &name, input, self.now, false).map_err(|error| error.message)?;
        let table = self.catalog.table(&database, &name).ok_or("the new table is gone")?;
        done.tables_added.push(name);
        Ok(table)
    }

    fn table_input(&self, found: &FoundTable, location: &str, keys: &[Column]) -> Map<String, Value> {
        let mut parameters = table_parameters(&found.finding);
        parameters.insert("UPDATED_BY_CRAWLER".to_owned(), self.crawler.name.clone().into());
        parameters.insert("CrawlerSchemaSerializerVersion".to_owned(), "1.0".into());
        parameters.insert("CrawlerSchemaDeserializerVersion".to_owned(), "1.0".into());
        let mut input = Map::new();
        input.insert("Owner".to_owned(), "owner".into());
        input.insert("Retention".to_owned(), 0.into());
        input.insert(
            "StorageDescriptor".to_owned(),
            storage(&found.finding, location, &found.finding.columns),
        );
        input.insert("PartitionKeys".to_owned(), json!(keys));
        input.insert("TableType".to_owned(), "EXTERNAL_TABLE".into());
        input.insert("Parameters".to_owned(), Value::Object(parameters));
        input
    }

    fn update(&self, table: &TableRecord, found: &FoundTable, done: &mut Done) -> Result<(), String> {
        // Columns that were not seen this time stay: Glue only adds columns and widens types.
        let mut columns = found.finding.columns.clone();
        for column in table.columns() {
            if !columns.iter().any(|known| known.name == column.name) {
                columns.push(column);
            }
        }
        let same = columns.len() == table.columns().len()
            && columns.iter().all(|column| table.columns().contains(column));
        if same || table.partition_keys().len() != found.keys.len() {
            return Ok(());
        }
        let mut input = table.input.clone();
        input.insert("StorageDescriptor".to_owned(), storage(&found.finding, table.location(), &columns));
        self.catalog
            .put_table(&table.database, &table.name, input, self.now, true)
            .map_err(|error| error.message)?;
        done.tables_updated.push(table.name.clone());
        Ok(())
    }

    fn add_partitions(
        &self,
        table: &TableRecord,
        found: &FoundTable,
        location: &str,
        done: &mut Done,
    ) -> Result<(), String> {
        let keys = table.partition_keys();
        if keys.is_empty() {
            return Ok(());
        }
        // Folder names between the table's own folder and the one that was found.
        let above: Vec<&str> = location[as_folder(table.location()).len()..]
            .split('/')
            .filter(|name| !name.is_empty())
            .collect();
        let columns = table.columns();
        let leaves = if found.partitions.is_empty() { vec![Vec::new()] } else { found.partitions.clone() };
        let added: Vec<_> = leaves
            .iter()
            .filter_map(|leaf| {
                let segments: Vec<&str> =
                    above.iter().copied().chain(leaf.iter().map(String::as_str)).collect();
                if segments.len() != keys.len() {
                    return None;
                }
                let values = segments
                    .iter()
                    .zip(&keys)
                    .map(|(segment, key)| partition_value(segment, &key.name))
                    .collect();
                let folder = as_folder(&format!("{}{}", as_folder(table.location()), segments.join("/")));
                let mut input = Map::new();
                input.insert("StorageDescriptor".to_owned(), storage(&found.finding, &folder, &columns));
                input.insert("Parameters".to_owned(), Value::Object(Map::new()));
                Some(PartitionRecord { values, created: self.now, input })
            })
            .collect();
        let offered = added.len();
        let existing = self
            .catalog
            .add_partitions(&table.database, &table.name, added)
            .map_err(|error| error.message)?;
        done.partitions_added += offered - existing.len();
        Ok(())
    }

    /// Removes the partitions whose folders hold nothing any more.
    fn delete_gone(&self, objects: &[ObjectMeta], done: &mut Done) -> Result<(), String> {
        let folders: BTreeSet<String> = objects
            .iter()
            .filter_map(|object| object.key.rsplit_once('/'))
            .map(|(folder, _)| format!("s3://{}/{folder}/", self.bucket))
            .collect();
        for table in self.own_tables() {
            let gone: Vec<_> = self
                .catalog
                .partitions(&table.database, &table.name)
                .into_iter()
                .filter(|partition| {
                    partition.location().is_some_and(|uri| !folders.contains(&as_folder(uri)))
                })
                .map(|partition| partition.values)
                .collect();
            self.catalog
                .delete_partitions(&table.database, &table.name, &gone)
                .map_err(|error| error.message)?;
            done.partitions_deleted += gone.len();
        }
        Ok(())
    }
}

/// Whether a path fits an exclusion pattern: `*` within a folder, `**` across folders, `?` one character.
fn glob(pattern: &str, path: &str) -> bool {
    fn fits(pattern: &[char], path: &[char]) -> bool {
        match pattern {
            [] => path.is_empty(),
            ['*', '*', rest @ ..] => (0..=path.len()).any(|skip| fits(rest, &path[skip..])),
            ['*', rest @ ..] => {
                let limit = path.iter().position(|c| *c == '/').unwrap_or(path.len());
                (0..=limit).any(|skip| fits(rest, &path[skip..]))
            }
            ['?', rest @ ..] => path.first().is_some_and(|c| *c != '/') && fits(rest, &path[1..]),
            [wanted, rest @ ..] => path.first() == Some(wanted) && fits(rest, &path[1..]),
        }
    }
    let (pattern, path): (Vec<char>, Vec<char>) = (pattern.chars().collect(), path.chars().collect());
    fits(&pattern, &path)
}

#[cfg(test)]
mod tests {
    use super::glob;

    #[test]
    fn exclusions_are_globs() {
        for (pattern, path, expected) in [
            ("**.csv", "a/b.csv", true),
            ("*.csv", "a/b.csv", false),
            ("*.csv", "b.csv", true),
            ("a/**", "a/b/c", true),
            ("?/b", "a/b", true),
            ("a", "b", false),
        ] {
            assert_eq!(glob(pattern, path), expected, "{pattern} on {path}");
        }
    }
}
