//! Durable records of one kind, by id: each a small file, all of them in memory.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::SandboxError;
use crate::catalog::{entries, file_name};
use crate::files::{read_json, replace_json};

/// The most records of one kind: a sandbox is for one project, and each record is a file and some memory.
pub(crate) const RECORDS_MAX: usize = 100_000;

/// All records of one kind.
#[derive(Debug)]
pub(crate) struct Records<T> {
    folder: PathBuf,
    all: Mutex<BTreeMap<String, T>>,
}

/// A record that is kept under its own id.
pub(crate) trait Record: Clone + Serialize + DeserializeOwned {
    /// Its id.
    fn id(&self) -> &str;
}

impl<T: Record> Records<T> {
    /// Reads what an earlier process left in a folder.
    pub(crate) fn open(folder: PathBuf) -> Result<Self, SandboxError> {
        let mut all = BTreeMap::new();
        for path in entries(&folder)? {
            if path.extension().is_none_or(|ending| ending != "json") {
                continue;
            }
            if let Some(record) = read_json::<T>(&path)? {
                all.insert(record.id().to_owned(), record);
            }
        }
        Ok(Self { folder, all: Mutex::new(all) })
    }

    /// The record of this id.
    pub(crate) fn get(&self, id: &str) -> Option<T> {
        self.lock().get(id).cloned()
    }

    /// The first record for which this holds, in the order of ids.
    pub(crate) fn find(&self, wanted: impl Fn(&T) -> bool) -> Option<T> {
        self.lock().values().find(|record| wanted(record)).cloned()
    }

    /// Everything for which this holds, in the order of ids.
    pub(crate) fn select(&self, wanted: impl Fn(&T) -> bool) -> Vec<T> {
        self.lock().values().filter(|record| wanted(record)).cloned().collect()
    }

    /// Keeps a record, on disk first.
    pub(crate) fn put(&self, record: T) -> std::io::Result<()> {
        let mut all = self.lock();
        if all.len() >= RECORDS_MAX && !all.contains_key(record.id()) {
            return Err(std::io::Error::other(format!(
                "the sandbox keeps at most {RECORDS_MAX} records in {}; delete the folder to start empty",
                self.folder.display()
            )));
        }
        replace_json(&self.path(record.id()), &record)?;
        all.insert(record.id().to_owned(), record);
        Ok(())
    }

    /// Changes a record, on disk first; `None` if there is none of this id.
    pub(crate) fn change(&self, id: &str, change: impl FnOnce(&mut T)) -> std::io::Result<Option<T>> {
        let mut all = self.lock();
        let Some(record) = all.get_mut(id) else { return Ok(None) };
        let mut changed = record.clone();
        change(&mut changed);
        replace_json(&self.path(id), &changed)?;
        *record = changed.clone();
        Ok(Some(changed))
    }

    fn path(&self, id: &str) -> PathBuf {
        self.folder.join(format!("{}.json", file_name(id)))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, T>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Thing {
        id: String,
        size: u32,
    }

    impl Record for Thing {
        fn id(&self) -> &str {
            &self.id
        }
    }

    #[test]
    fn records_outlive_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let things = Records::open(folder.path().join("t")).unwrap();
        things.put(Thing { id: "a/b:1".into(), size: 1 }).unwrap();
        things.change("a/b:1", |thing| thing.size = 2).unwrap().unwrap();
        assert_eq!(things.change("c", |thing| thing.size = 2).unwrap(), None);
        let again = Records::<Thing>::open(folder.path().join("t")).unwrap();
        assert_eq!(again.get("a/b:1"), Some(Thing { id: "a/b:1".into(), size: 2 }));
        assert_eq!(again.select(|thing| thing.size > 2), []);
    }
}
