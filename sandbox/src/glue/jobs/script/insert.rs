//! `INSERT OVERWRITE DIRECTORY`: staging a query's rows, then replacing partitions with them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use super::Script;
use super::statement::Insert;
use crate::s3::parse_uri;
use crate::world::World;
use trunkline_query::folders::{as_folder, folder, parse_folder};
use trunkline_query::{EngineError, write::WrittenFile};

/// Most quarantined objects that are copied; more means that the table is not JSON at all.
const QUARANTINED_MAX: usize = 10_000;

/// Values of the partition keys.
type Values = Vec<Option<String>>;

impl Script {
    pub(super) async fn insert(&mut self, insert: Insert) -> Result<(), EngineError> {
        let (bucket, prefix) = self.target(&insert)?;
        let files = self.stage(&insert).await?;
        self.quarantine().await?;
        let removed = self.replaced_objects(&insert, &bucket, &prefix, &files).await?;

        self.outputs.files += files.len();
        self.outputs.rows += files.iter().map(|file| file.rows).sum::<usize>();
        self.outputs.partitions += if insert.keys.is_empty() { 0 } else { files.len() };
        if files.is_empty() {
            self.warnings.push(format!("no rows to write to {}", insert.target));
        }
        self.logs.line(&format!("  replacing {} objects by {}", removed.len(), files.len()));
        let change = Change {
            world: Arc::clone(&self.world),
            run: self.run.clone(),
            bucket,
            prefix,
            keys: insert.keys,
            removed,
            files,
        };
        // Once begun it goes to its end, even if the run is stopped meanwhile.
        tokio::task::spawn_blocking(move || change.make()).await.map_err(EngineError::internal)?
    }

    fn target(&self, insert: &Insert) -> Result<(String, String), EngineError> {
        let (bucket, prefix) = parse_uri(&insert.target)
            .ok_or_else(|| EngineError::Analysis(format!("`{}` is not an s3:// URI", insert.target)))?;
        if prefix.is_empty() && insert.replace.is_none() {
            return Err(EngineError::Unsupported("replacing a whole bucket; name a folder".to_owned()));
        }
        if !self.world.s3.bucket_exists(bucket) {
            return Err(EngineError::Execution(format!("The specified bucket does not exist: {bucket}")));
        }
        Ok((bucket.to_owned(), as_folder(prefix)))
    }

    /// Writes the rows into local files.
    async fn stage(&mut self, insert: &Insert) -> Result<Vec<WrittenFile>, EngineError> {
        let staging = self.scratch.join(format!("{}", self.outputs.files));
        let made = staging.clone();
        fs::create_dir_all(&made).map_err(EngineError::internal)?;
        match self.session.query(&insert.query).await {
            Ok(rows) => self.session.write(rows, &insert.keys, &staging).await,
            Err(EngineError::NoTable { database, table }) if self.missing_is_empty() => {
                self.warnings.push(format!("table {database}.{table} is not in the catalog; read as empty"));
                Ok(Vec::new())
            }
            Err(error) => Err(error),
        }
    }

    /// Copies the objects that could not be read, or fails if nobody said where to.
    async fn quarantine(&mut self) -> Result<(), EngineError> {
        let bad: BTreeMap<_, _> = self
            .session
            .reading()
            .report()
            .bad
            .into_iter()
            .filter(|(place, _)| !self.quarantined.contains(place))
            .collect();
        let Some(((bucket, key), reason)) = bad.iter().next() else { return Ok(()) };
        let Some(uri) = self.settings.get("quarantine").cloned() else {
            let text = format!(
                "Malformed records are detected in s3://{bucket}/{key}: {reason} ({} objects)",
                bad.len()
            );
            return Err(EngineError::BadData(text));
        };
        if bad.len() > QUARANTINED_MAX {
            return Err(EngineError::BadData(format!("more than {QUARANTINED_MAX} objects are not JSON")));
        }
        let copies: Vec<_> = bad.keys().cloned().collect();
        for ((bucket, key), reason) in bad {
            self.warnings.push(format!("quarantined s3://{bucket}/{key}: {reason}"));
            self.quarantined.insert((bucket, key));
        }
        let world = Arc::clone(&self.world);
        tokio::task::spawn_blocking(move || {
            let (to_bucket, prefix) = parse_uri(&uri).ok_or_else(|| {
                EngineError::Analysis(format!(
                    "the setting quarantine is `{uri}`; give an s3:// URI of a folder"
                ))
            })?;
            for (bucket, key) in copies {
                let content = world.s3.read(&bucket, &key).map_err(EngineError::internal)?;
                let copy = format!("{}{key}", as_folder(prefix));
                world.s3.write(to_bucket, &copy, &content).map_err(EngineError::internal)?;
            }
            Ok(())
        })
        .await
        .map_err(EngineError::internal)?
    }

    /// The keys that the statement removes, after checking that it writes nothing outside of what it owns.
    async fn replaced_objects(
        &self,
        insert: &Insert,
        bucket: &str,
        prefix: &str,
        files: &[WrittenFile],
    ) -> Result<Vec<String>, EngineError> {
        let (world, bucket, folder_prefix) = (Arc::clone(&self.world), bucket.to_owned(), prefix.to_owned());
        let objects = tokio::task::spawn_blocking(move || world.s3.list(&bucket, &folder_prefix))
            .await
            .map_err(EngineError::internal)?
            .map_err(EngineError::internal)?;
        let Some(replace) = &insert.replace else {
            return Ok(objects.into_iter().map(|object| object.key).collect());
        };
        let written: Vec<Values> = files.iter().map(|file| file.values.clone()).collect();
        let owned = self.session.matching(replace, &insert.keys, &written)?;
        if let Some((values, _)) = written.iter().zip(&owned).find(|(_, owned)| !**owned) {
            return Err(EngineError::Execution(format!(
                "the result has rows for {}, which REPLACE WHERE {replace} does not cover",
                path_of(&insert.keys, values)
            )));
        }
        let placed: Vec<(String, Values)> = objects
            .into_iter()
            .filter_map(|object| {
                let values = values_of(&object.key[prefix.len()..], &insert.keys)?;
                Some((object.key, values))
            })
            .collect();
        let existing: BTreeSet<Values> = placed.iter().map(|(_, values)| values.clone()).collect();
        let existing: Vec<Values> = existing.into_iter().collect();
        let replaced = self.session.matching(replace, &insert.keys, &existing)?;
        let replaced: BTreeSet<&Values> = existing
            .iter()
            .zip(replaced)
            .filter_map(|(values, replaced)| replaced.then_some(values))
            .collect();
        Ok(placed
            .iter()
            .filter(|(_, values)| replaced.contains(values))
            .map(|(key, _)| key.clone())
            .collect())
    }
}

struct Change {
    world: Arc<World>,
    run: String,
    bucket: String,
    prefix: String,
    keys: Vec<String>,
    removed: Vec<String>,
    files: Vec<WrittenFile>,
}

impl Change {
    /// Removes the old objects and moves the new ones in. If it is interrupted, the run is repeated as a whole
    /// and does the same again.
    fn make(self) -> Result<(), EngineError> {
        for key in &self.removed {
            self.world.s3.delete(&self.bucket, key).map_err(EngineError::internal)?;
        }
        for file in &self.files {
            let key = format!("{}{}", self.prefix, self.file_name(&file.values));
            let path: &PathBuf = &file.path;
            self.world.s3.adopt(&self.bucket, &key, path).map_err(EngineError::internal)?;
        }
        Ok(())
    }

    fn file_name(&self, values: &Values) -> String {
        let name = format!("part-00000-{}.snappy.parquet", self.run);
        if self.keys.is_empty() { name } else { format!("{}/{name}", path_of(&self.keys, values)) }
    }
}

fn path_of(keys: &[String], values: &Values) -> String {
    let folders: Vec<_> = keys.iter().zip(values).map(|(key, value)| folder(key, value.as_deref())).collect();
    folders.join("/")
}

/// The partition values in an object's path below the target; `None` if it is not in a partition.
fn values_of(path: &str, keys: &[String]) -> Option<Values> {
    let mut segments = path.split('/');
    keys.iter()
        .map(|key| {
            let (name, value) = parse_folder(segments.next()?)?;
            (name == *key).then_some(value)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_go_to_paths_and_back() {
        let keys = ["year".to_owned(), "hour".to_owned()];
        let values = vec![Some("2026".to_owned()), None];
        let path = path_of(&keys, &values);
        assert_eq!(path, "year=2026/hour=__HIVE_DEFAULT_PARTITION__");
        assert_eq!(values_of(&format!("{path}/part-0"), &keys), Some(values));
        assert_eq!(values_of("year=2026/part-0", &keys), None);
        assert_eq!(values_of("hour=1/year=2/x", &keys), None);
    }
}
