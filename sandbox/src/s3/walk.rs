//! Walks a bucket's folders in the order of keys.
//!
//! The file system is the only index: a page of a listing reads the folders it needs and no others, so a
//! bucket of many thousand objects pages quickly, and files that people put in place by hand are seen.

use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use jiff::Timestamp;

use super::keys::{self, Piece};
use super::store::{ObjectMeta, Store, StoreError};

/// Which part of a bucket to walk.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// Only keys that begin with this.
    pub prefix: String,
    /// Only keys that come after this one.
    pub after: String,
    /// Whether keys that begin with `after` are left out too (it was a folder that is done with).
    pub after_is_folder: bool,
    /// Report folders below the prefix as one find each, instead of the objects in them.
    pub fold_folders: bool,
}

/// One find.
#[derive(Debug)]
pub(super) enum Found {
    /// An object.
    Object(ObjectMeta),
    /// A folder with at least one object somewhere in it; its key prefix with the closing slash.
    Folder(String),
}

struct Entry {
    /// The key, or the key prefix with its closing slash (without one for the beginning of a long segment).
    sort_key: String,
    name: std::ffi::OsString,
    is_folder: bool,
    is_continued: bool,
}

struct Visit<'a> {
    walk: &'a Walk,
    left: usize,
    found: &'a mut dyn FnMut(Found),
}

impl Store {
    /// Gives up to `limit` finds, in order of their keys.
    pub(super) fn walk(
        &self,
        bucket: &str,
        walk: &Walk,
        limit: usize,
        found: &mut dyn FnMut(Found),
    ) -> Result<(), StoreError> {
        let mut folder = self.bucket_folder(bucket)?;
        // The folder in which all keys with this prefix lie is known without reading those above it.
        let base = walk.prefix.rfind('/').map_or("", |slash| &walk.prefix[..=slash]);
        if let Some(whole) = base.strip_suffix('/') {
            folder.push(keys::relative_path(whole));
        }
        let mut visit = Visit { walk, left: limit, found };
        if limit > 0 {
            // Only how it ended early is in the flow's value, and that is of no interest here.
            let _: ControlFlow<()> = visit.folder(&folder, base)?;
        }
        Ok(())
    }
}

impl Visit<'_> {
    fn folder(&mut self, folder: &Path, base: &str) -> Result<ControlFlow<()>, StoreError> {
        let mut entries = self.entries(folder, base)?;
        entries.sort_unstable_by(|one, other| one.sort_key.cmp(&other.sort_key));
        for entry in entries {
            let path = folder.join(&entry.name);
            let flow =
                if entry.is_folder { self.subfolder(&path, &entry)? } else { self.object(&path, entry)? };
            if flow.is_break() {
                return Ok(flow);
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn entries(&self, folder: &Path, base: &str) -> Result<Vec<Entry>, StoreError> {
        let listing = match fs::read_dir(folder) {
            Ok(listing) => listing,
            Err(error) if is_gone(&error) => return Ok(Vec::new()),
            Err(error) => return Err(StoreError::files(folder, error)),
        };
        let mut entries = Vec::new();
        for entry in listing {
            let entry = entry.map_err(|error| StoreError::files(folder, error))?;
            // Links are followed, so that a folder of large files can be linked into a bucket.
            let is_folder = match entry.file_type() {
                Ok(kind) if kind.is_symlink() => entry.path().is_dir(),
                Ok(kind) => kind.is_dir(),
                Err(error) if is_gone(&error) => continue,
                Err(error) => return Err(StoreError::files(folder, error)),
            };
            let name = entry.file_name();
            let Some(piece) = name.to_str().and_then(|name| keys::piece(name, is_folder)) else { continue };
            let (text, is_continued) = match &piece {
                Piece::Whole(text) => (text, false),
                Piece::Continued(text) => (text, true),
            };
            let slash = if is_folder && !is_continued { "/" } else { "" };
            let sort_key = format!("{base}{text}{slash}");
            if self.wants(&sort_key, is_folder) {
                entries.push(Entry { sort_key, name, is_folder, is_continued });
            }
        }
        Ok(entries)
    }

    fn wants(&self, key: &str, is_folder: bool) -> bool {
        let Walk { prefix, after, after_is_folder, .. } = self.walk;
        let fits = key.starts_with(prefix.as_str()) || (is_folder && prefix.starts_with(key));
        if after.is_empty() {
            return fits;
        }
        let done_with = *after_is_folder && key.starts_with(after.as_str());
        // A folder that lies above the last key seen may hold later ones.
        let later = key > after.as_str() || (is_folder && after.starts_with(key) && !done_with);
        fits && later && !done_with
    }

    fn subfolder(&mut self, path: &Path, entry: &Entry) -> Result<ControlFlow<()>, StoreError> {
        let below_prefix = entry.sort_key.len() > self.walk.prefix.len();
        if self.walk.fold_folders && below_prefix && !entry.is_continued {
            return if holds_object(path)? {
                Ok(self.give(Found::Folder(entry.sort_key.clone())))
            } else {
                Ok(ControlFlow::Continue(()))
            };
        }
        self.folder(path, &entry.sort_key)
    }

    fn object(&mut self, path: &Path, entry: Entry) -> Result<ControlFlow<()>, StoreError> {
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if is_gone(&error) => return Ok(ControlFlow::Continue(())),
            Err(error) => return Err(StoreError::files(path, error)),
        };
        let modified = metadata.modified().ok().and_then(|time| Timestamp::try_from(time).ok());
        Ok(self.give(Found::Object(ObjectMeta {
            key: entry.sort_key,
            size: metadata.len(),
            modified: modified.unwrap_or_default(),
            path: path.to_owned(),
        })))
    }

    fn give(&mut self, found: Found) -> ControlFlow<()> {
        (self.found)(found);
        self.left -= 1;
        if self.left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// Whether any object lies in a folder, however deep. Folders without one are remains of people's own work.
fn holds_object(folder: &Path) -> Result<bool, StoreError> {
    let any = Walk::default();
    let mut found = false;
    let mut visit = Visit { walk: &any, left: 1, found: &mut |_| found = true };
    let _: ControlFlow<()> = visit.folder(folder, "")?;
    Ok(found)
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(keys: &[&str]) -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        store.create_bucket("bucket").unwrap();
        for key in keys {
            store.write("bucket", key, b"x").unwrap();
        }
        (folder, store)
    }

    fn run(store: &Store, walk: &Walk, limit: usize) -> Vec<String> {
        let mut seen = Vec::new();
        store
            .walk("bucket", walk, limit, &mut |found| {
                seen.push(match found {
                    Found::Object(object) => object.key,
                    Found::Folder(prefix) => prefix,
                });
            })
            .unwrap();
        seen
    }

    #[test]
    fn keys_come_in_byte_order_across_folders() {
        let mut keys = vec!["a", "a/b", "a.txt", "a/", "a0", "b//c", "é/x", "z", "A/q", "..", "a/b/c"];
        let (_folder, store) = filled(&keys);
        keys.sort_unstable();
        assert_eq!(run(&store, &Walk::default(), usize::MAX), keys);
    }

    #[test]
    fn every_page_size_gives_the_same_keys() {
        let mut keys: Vec<String> = (0..40).map(|n| format!("p/{}/{}.json", n % 7, n)).collect();
        keys.push("p/3".to_owned());
        keys.push("p.x".to_owned());
        keys.push(format!("p/{}/t", "l".repeat(500)));
        keys.push(format!("p/{}", "l".repeat(500)));
        let (_folder, store) = filled(&keys.iter().map(String::as_str).collect::<Vec<_>>());
        keys.sort_unstable();
        for page in [1, 3, 7, 100] {
            let mut all: Vec<String> = Vec::new();
            loop {
                let after = all.last().cloned().unwrap_or_default();
                let walk = Walk { prefix: "p".into(), after, ..Walk::default() };
                let next = run(&store, &walk, page);
                if next.is_empty() {
                    break;
                }
                all.extend(next);
            }
            assert_eq!(all, keys, "page size {page}");
        }
    }

    #[test]
    fn prefixes_need_not_end_at_a_slash() {
        let (_folder, store) = filled(&["logs/2026/a", "logs/2027/b", "logs2/c", "log"]);
        let keys = |prefix: &str| run(&store, &Walk { prefix: prefix.into(), ..Walk::default() }, usize::MAX);
        assert_eq!(keys("logs/202"), ["logs/2026/a", "logs/2027/b"]);
        assert_eq!(keys("log"), ["log", "logs/2026/a", "logs/2027/b", "logs2/c"]);
        assert_eq!(keys("logs/2026/a"), ["logs/2026/a"]);
        assert!(keys("nothing/here").is_empty());
        assert!(keys("../").is_empty());
    }

    #[test]
    fn folders_fold_and_are_left_behind() {
        let (folder, store) = filled(&["a/1", "a/2", "b", "c/d/e", "c/f"]);
        fs::create_dir_all(folder.path().join("s3/bucket/empty/deep")).unwrap();
        let fold = |prefix: &str, after: &str, after_is_folder| Walk {
            prefix: prefix.into(),
            after: after.into(),
            after_is_folder,
            fold_folders: true,
        };
        assert_eq!(run(&store, &fold("", "", false), usize::MAX), ["a/", "b", "c/"]);
        assert_eq!(run(&store, &fold("", "a/", true), usize::MAX), ["b", "c/"]);
        assert_eq!(run(&store, &fold("c/", "", false), usize::MAX), ["c/d/", "c/f"]);
    }
}
