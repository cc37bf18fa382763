//! The plain interface to buckets and objects, for the other services and for [`super::protocol`].
//!
//! All calls block; run them on blocking threads. Writes are atomic: a file is finished in the scratch folder
//! and renamed into place, so readers see the old or the new object, whole.

use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

use super::about::{About, EtagCache};
use super::keys;
use super::notifications::{Made, NewObject, Notifications};
use super::walk::{Found, Walk};
use crate::SandboxError;
use crate::world::Clock;

/// How often a write into place is tried again when concurrent writes and deletes change the folders above it.
const PLACEMENT_TRIES: u32 = 32;

/// Why an object could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// There is no such bucket.
    #[error("bucket {0} does not exist")]
    NoSuchBucket(String),
    /// There is no such object.
    #[error("object s3://{bucket}/{key} does not exist")]
    NoSuchKey {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
    },
    /// The bucket still holds objects.
    #[error("bucket {0} is not empty")]
    BucketNotEmpty(String),
    /// A bucket's name is not one that S3 takes.
    #[error(
        "bucket name {0:?} is not valid: 3 to 63 of a-z, 0-9, `-` and `.`, beginning and ending with a letter or digit"
    )]
    BucketName(String),
    /// A key is longer than S3 takes.
    #[error("key of {0} bytes is longer than 1024")]
    KeyTooLong(usize),
    /// A condition of the write does not hold.
    #[error("at least one of the preconditions you specified did not hold")]
    Precondition,
    /// The file system failed.
    #[error("cannot access {path}")]
    Files {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// One object of a listing.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ObjectMeta {
    /// The key.
    pub key: String,
    /// Size in bytes.
    pub size: u64,
    /// When the object was written.
    pub modified: Timestamp,
    /// The file that holds it.
    pub path: PathBuf,
}

/// All buckets.
#[derive(Debug)]
pub(crate) struct Store {
    objects: PathBuf,
    about: PathBuf,
    work: PathBuf,
    etags: EtagCache,
    temporary: AtomicU64,
    /// Held while a conditional write looks and places, so that of two "create if absent" one wins.
    conditional: Mutex<()>,
    notifications: Notifications,
    clock: Clock,
}

impl Store {
    /// Opens the store below a sandbox's folder, clearing what an interrupted write left in the scratch folder.
    pub(crate) fn open(root: &Path) -> Result<Self, SandboxError> {
        let store = Self {
            objects: root.join("s3"),
            about: root.join("s3-about"),
            work: root.join("s3-work"),
            etags: EtagCache::default(),
            temporary: AtomicU64::new(0),
            conditional: Mutex::new(()),
            notifications: Notifications::open(root.join("s3-notifications"))?,
            clock: Clock,
        };
        let scratch = store.scratch();
        if scratch.exists() {
            fs::remove_dir_all(&scratch).map_err(|error| SandboxError::files("clear", &scratch, error))?;
        }
        for folder in [&store.objects, &store.about, &scratch, &store.uploads()] {
            fs::create_dir_all(folder).map_err(|error| SandboxError::files("make", folder, error))?;
        }
        Ok(store)
    }

    /// Makes a bucket; `false` if it was there already.
    pub(crate) fn create_bucket(&self, bucket: &str) -> Result<bool, StoreError> {
        if !s3s::path::check_bucket_name(bucket) {
            return Err(StoreError::BucketName(bucket.to_owned()));
        }
        let folder = self.objects.join(bucket);
        match fs::create_dir(&folder) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(StoreError::Files { path: folder, source: error }),
        }
    }

    /// Removes an empty bucket.
    pub(crate) fn delete_bucket(&self, bucket: &str) -> Result<(), StoreError> {
        let folder = self.bucket_folder(bucket)?;
        if self.any_object(bucket)? {
            return Err(StoreError::BucketNotEmpty(bucket.to_owned()));
        }
        fs::remove_dir_all(&folder).map_err(|error| StoreError::files(&folder, error))?;
        self.notifications.forget(bucket);
        Ok(())
    }

    /// Who hears of objects.
    pub(crate) fn notifications(&self) -> &Notifications {
        &self.notifications
    }

    /// Whether the bucket exists.
    pub(crate) fn bucket_exists(&self, bucket: &str) -> bool {
        self.bucket_folder(bucket).is_ok()
    }

    /// All buckets with the time they were made, in order of their names.
    pub(crate) fn buckets(&self) -> Result<Vec<(String, Timestamp)>, StoreError> {
        let fail = |error| StoreError::files(&self.objects, error);
        let mut buckets = Vec::new();
        for entry in fs::read_dir(&self.objects).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let metadata = entry.metadata().map_err(fail)?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if metadata.is_dir() && s3s::path::check_bucket_name(&name) {
                let made = metadata.created().or_else(|_| metadata.modified()).map_err(fail)?;
                buckets.push((name, Timestamp::try_from(made).unwrap_or_default()));
            }
        }
        buckets.sort();
        Ok(buckets)
    }

    /// All objects whose key begins with `prefix`, in order of their keys.
    pub(crate) fn list(&self, bucket: &str, prefix: &str) -> Result<Vec<ObjectMeta>, StoreError> {
        let mut objects = Vec::new();
        let walk = Walk { prefix: prefix.to_owned(), ..Walk::default() };
        self.walk(bucket, &walk, usize::MAX, &mut |found| {
            if let Found::Object(object) = found {
                objects.push(object);
            }
        })?;
        Ok(objects)
    }

    /// An object's content.
    pub(crate) fn read(&self, bucket: &str, key: &str) -> Result<Vec<u8>, StoreError> {
        let (path, _) = self.find(bucket, key)?;
        fs::read(&path).map_err(|error| StoreError::files(&path, error))
    }

    /// Replaces or makes an object, with no attributes.
    pub(crate) fn write(&self, bucket: &str, key: &str, content: &[u8]) -> Result<(), StoreError> {
        let temporary = self.temporary_file();
        fs::write(&temporary, content).map_err(|error| StoreError::files(&temporary, error))?;
        self.adopt(bucket, key, &temporary)
    }

    /// Moves a finished file of the same file system into place as an object with no attributes.
    pub(crate) fn adopt(&self, bucket: &str, key: &str, file: &Path) -> Result<(), StoreError> {
        self.place(bucket, key, file, About::default(), Made::Put).map(drop)
    }

    /// Removes an object; one that does not exist counts as removed.
    pub(crate) fn delete(&self, bucket: &str, key: &str) -> Result<(), StoreError> {
        let folder = self.bucket_folder(bucket)?;
        let path = self.path_of(bucket, key);
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if is_absent(&error) => return Ok(()),
            Err(error) => return Err(StoreError::files(&path, error)),
        }
        let about = self.about_path(bucket, key);
        drop(fs::remove_file(&about));
        self.etags.forget(&path);
        prune(path.parent(), &folder);
        prune(about.parent(), &self.about.join(bucket));
        Ok(())
    }

    /// The file of an object, whether or not it exists. Call again after writes nearby: an object moves aside
    /// when its key becomes a folder of other keys.
    pub(crate) fn path_of(&self, bucket: &str, key: &str) -> PathBuf {
        let plain = self.objects.join(bucket).join(keys::relative_path(key));
        let beside = keys::beside_folder(&plain);
        if beside.is_file() || plain.is_dir() { beside } else { plain }
    }

    /// A folder on the same file system for files that are being made; emptied at every start.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.work.join("scratch")
    }

    /// A new file name in the scratch folder.
    pub(crate) fn temporary_file(&self) -> PathBuf {
        let number = self.temporary.fetch_add(1, Ordering::Relaxed);
        self.scratch().join(format!("{number}.part"))
    }

    pub(super) fn uploads(&self) -> PathBuf {
        self.work.join("uploads")
    }

    pub(super) fn bucket_folder(&self, bucket: &str) -> Result<PathBuf, StoreError> {
        let folder = self.objects.join(bucket);
        let exists = s3s::path::check_bucket_name(bucket) && folder.is_dir();
        if exists { Ok(folder) } else { Err(StoreError::NoSuchBucket(bucket.to_owned())) }
    }

    /// The file and its metadata, or which of bucket and key is missing.
    pub(super) fn find(&self, bucket: &str, key: &str) -> Result<(PathBuf, Metadata), StoreError> {
        let path = self.path_of(bucket, key);
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => Ok((path, metadata)),
            Ok(_) => Err(self.missing(bucket, key)),
            Err(error) if is_absent(&error) => Err(self.missing(bucket, key)),
            Err(error) => Err(StoreError::files(&path, error)),
        }
    }

    fn missing(&self, bucket: &str, key: &str) -> StoreError {
        match self.bucket_folder(bucket) {
            Ok(_) => StoreError::NoSuchKey { bucket: bucket.to_owned(), key: key.to_owned() },
            Err(error) => error,
        }
    }

    /// What is recorded about an object, or can be computed from its content.
    pub(super) fn about(
        &self,
        bucket: &str,
        key: &str,
        path: &Path,
        metadata: &Metadata,
    ) -> Result<About, StoreError> {
        let recorded = About::read(&self.about_path(bucket, key), metadata);
        let mut about = recorded.unwrap_or_default();
        if about.etag.is_empty() {
            about.etag = self.etags.of(path, metadata).map_err(|error| StoreError::files(path, error))?;
        }
        Ok(about)
    }

    /// An object's entity tag alone, for listings.
    pub(super) fn etag(&self, bucket: &str, object: &ObjectMeta) -> Result<String, StoreError> {
        let metadata = fs::metadata(&object.path).map_err(|error| StoreError::files(&object.path, error))?;
        self.about(bucket, &object.key, &object.path, &metadata).map(|about| about.etag)
    }

    /// The MD5 of any file, from memory if it was seen before.
    pub(super) fn file_md5(&self, path: &Path) -> Result<String, StoreError> {
        let md5 = || self.etags.of(path, &fs::metadata(path)?);
        md5().map_err(|error| StoreError::files(path, error))
    }

    /// Runs a check and a placement so that no other conditional write comes between them.
    pub(super) fn exclusively<T>(
        &self,
        act: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let _held = self.conditional.lock().unwrap_or_else(PoisonError::into_inner);
        act()
    }

    /// Moves a finished file into place as an object; gives the attributes with the entity tag filled in.
    pub(super) fn place(
        &self,
        bucket: &str,
        key: &str,
        file: &Path,
        mut about: About,
        made: Made,
    ) -> Result<About, StoreError> {
        if key.len() > keys::KEY_MAX {
            return Err(StoreError::KeyTooLong(key.len()));
        }
        let folder = self.bucket_folder(bucket)?;
        let metadata = fs::metadata(file).map_err(|error| StoreError::files(file, error))?;
        if about.etag.is_empty() {
            about.etag = super::about::md5_of_file(file).map_err(|error| StoreError::files(file, error))?;
        }
        let about_path = self.about_path(bucket, key);
        about.write(&about_path, &metadata).map_err(|error| StoreError::files(&about_path, error))?;
        let path = self.rename_into(&folder, bucket, key, file)?;
        self.etags.remember(&path, &metadata, &about.etag);
        let object = NewObject { bucket, key, size: metadata.len(), etag: &about.etag, made };
        self.notifications.created(object, self.clock.now());
        Ok(about)
    }

    /// Renames into place. Other writers may at the same moment need a folder where this object lies, or
    /// remove the folder it goes into; then the place is worked out again.
    fn rename_into(
        &self,
        folder: &Path,
        bucket: &str,
        key: &str,
        file: &Path,
    ) -> Result<PathBuf, StoreError> {
        let mut last = io::Error::other("the folders above the object kept changing");
        for _ in 0..PLACEMENT_TRIES {
            let path = self.path_of(bucket, key);
            let parent = path.parent().unwrap_or(folder);
            match make_folders(folder, parent).and_then(|()| fs::rename(file, &path)) {
                Ok(()) => return Ok(path),
                Err(error) => last = error,
            }
            if !folder.is_dir() {
                return Err(StoreError::NoSuchBucket(bucket.to_owned()));
            }
        }
        Err(StoreError::files(&self.path_of(bucket, key), last))
    }

    fn about_path(&self, bucket: &str, key: &str) -> PathBuf {
        let path = self.about.join(bucket).join(keys::relative_path(key));
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push("%about");
        path.with_file_name(name)
    }

    fn any_object(&self, bucket: &str) -> Result<bool, StoreError> {
        let mut any = false;
        self.walk(bucket, &Walk::default(), 1, &mut |_| any = true)?;
        Ok(any)
    }
}

impl StoreError {
    /// A file error with its place.
    pub(super) fn files(path: &Path, source: io::Error) -> Self {
        Self::Files { path: path.to_owned(), source }
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Makes `parent` and the folders between it and `bucket`, moving objects aside that lie where a folder must be.
fn make_folders(bucket: &Path, parent: &Path) -> io::Result<()> {
    if parent.is_dir() {
        return Ok(());
    }
    let Ok(below) = parent.strip_prefix(bucket) else { return Ok(()) };
    let mut folder = bucket.to_owned();
    for name in below {
        folder.push(name);
        match fs::create_dir(&folder) {
            Ok(()) => {}
            Err(_) if folder.is_dir() => {}
            Err(_) if folder.is_file() => {
                fs::rename(&folder, keys::beside_folder(&folder))?;
                fs::create_dir(&folder)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Removes folders that became empty, from `folder` up to but not including `top`.
fn prune(folder: Option<&Path>, top: &Path) {
    let mut folder = folder;
    while let Some(path) = folder.filter(|path| path.starts_with(top) && *path != top) {
        if fs::remove_dir(path).is_err() {
            return;
        }
        folder = path.parent();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        assert!(store.create_bucket("raw-1").unwrap());
        assert!(!store.create_bucket("raw-1").unwrap());
        (folder, store)
    }

    fn keys_of(store: &Store, prefix: &str) -> Vec<String> {
        store.list("raw-1", prefix).unwrap().into_iter().map(|object| object.key).collect()
    }

    #[test]
    fn an_object_is_a_plain_file() {
        let (folder, store) = store();
        store.write("raw-1", "a/year=2026/x y.json", b"{}").unwrap();
        let path = folder.path().join("s3/raw-1/a/year=2026/x y.json");
        assert_eq!(fs::read(&path).unwrap(), b"{}");
        assert_eq!(store.path_of("raw-1", "a/year=2026/x y.json"), path);
        assert_eq!(store.read("raw-1", "a/year=2026/x y.json").unwrap(), b"{}");
    }

    #[test]
    fn a_key_may_be_both_object_and_folder() {
        let (_folder, store) = store();
        store.write("raw-1", "a", b"1").unwrap();
        store.write("raw-1", "a/b", b"2").unwrap();
        store.write("raw-1", "a/b/c", b"3").unwrap();
        store.write("raw-1", "a/", b"4").unwrap();
        assert_eq!(keys_of(&store, ""), ["a", "a/", "a/b", "a/b/c"]);
        assert_eq!(store.read("raw-1", "a").unwrap(), b"1");
        assert_eq!(store.read("raw-1", "a/b").unwrap(), b"2");
        store.write("raw-1", "a", b"5").unwrap();
        assert_eq!(store.read("raw-1", "a").unwrap(), b"5");
        for key in ["a/b/c", "a/b", "a/"] {
            store.delete("raw-1", key).unwrap();
        }
        assert_eq!(keys_of(&store, ""), ["a"]);
        store.write("raw-1", "a", b"6").unwrap();
        assert_eq!(keys_of(&store, ""), ["a"]);
        assert_eq!(store.read("raw-1", "a").unwrap(), b"6");
    }

    #[test]
    fn folder_first_then_object() {
        let (_folder, store) = store();
        store.write("raw-1", "a/b", b"2").unwrap();
        store.write("raw-1", "a", b"1").unwrap();
        assert_eq!(keys_of(&store, ""), ["a", "a/b"]);
        assert_eq!(store.read("raw-1", "a").unwrap(), b"1");
    }

    #[test]
    fn nothing_escapes_the_bucket() {
        let (folder, store) = store();
        store.write("raw-1", "../../outside", b"x").unwrap();
        assert!(!folder.path().join("outside").exists());
        assert_eq!(keys_of(&store, ""), ["../../outside"]);
        assert!(matches!(store.write("..", "x", b""), Err(StoreError::NoSuchBucket(_))));
    }

    #[test]
    fn deleting_removes_empty_folders_but_not_the_bucket() {
        let (folder, store) = store();
        store.write("raw-1", "a/b/c", b"x").unwrap();
        store.delete("raw-1", "a/b/c").unwrap();
        store.delete("raw-1", "a/b/c").unwrap();
        assert!(!folder.path().join("s3/raw-1/a").exists());
        assert!(store.bucket_exists("raw-1"));
        store.delete_bucket("raw-1").unwrap();
        assert!(matches!(store.list("raw-1", ""), Err(StoreError::NoSuchBucket(_))));
    }

    #[test]
    fn a_bucket_with_objects_is_kept() {
        let (_folder, store) = store();
        store.write("raw-1", "a/b", b"x").unwrap();
        assert!(matches!(store.delete_bucket("raw-1"), Err(StoreError::BucketNotEmpty(_))));
    }

    #[test]
    fn concurrent_writers_of_object_and_folder_both_win() {
        let (_folder, store) = store();
        std::thread::scope(|scope| {
            for key in ["a", "a/b", "a/b/c", "a/d"] {
                let store = &store;
                scope.spawn(move || {
                    for _ in 0..100 {
                        store.write("raw-1", key, key.as_bytes()).unwrap();
                    }
                });
            }
        });
        assert_eq!(keys_of(&store, ""), ["a", "a/b", "a/b/c", "a/d"]);
        for key in ["a", "a/b", "a/b/c", "a/d"] {
            assert_eq!(store.read("raw-1", key).unwrap(), key.as_bytes());
        }
    }
}
