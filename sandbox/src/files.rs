//! Durable small files: read them if they exist, replace them in one step.
//!
//! The sandbox promises to survive the death of its process, not of the machine, so nothing is synced: a
//! rename is all that is needed for a reader to see either the old or the new content.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::SandboxError;

/// Distinguishes the temporary names of concurrent writers in this process.
static WRITES: AtomicU64 = AtomicU64::new(0);

/// Replaces `path` with `content` in one step, making its folder if needed.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let temporary = temporary_beside(path);
    let written = fs::write(&temporary, content).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // The first error is the one worth telling; a leftover temporary file is harmless.
        drop(fs::remove_file(&temporary));
    }
    written
}

/// Replaces `path` with `value` as indented JSON, in one step.
pub(crate) fn replace_json(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let mut content = serde_json::to_vec_pretty(value)?;
    content.push(b'\n');
    replace(path, &content)
}

/// Reads a JSON record; `None` if the file does not exist.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, SandboxError> {
    let content = match fs::read(path) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(SandboxError::files("read", path, error)),
    };
    serde_json::from_slice(&content)
        .map(Some)
        .map_err(|error| SandboxError::Corrupt { path: path.to_owned(), reason: error.to_string() })
}

fn temporary_beside(path: &Path) -> PathBuf {
    let number = WRITES.fetch_add(1, Ordering::Relaxed);
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    path.with_file_name(format!(".{name}.{}-{number}.tmp", std::process::id()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_and_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b.json");
        assert_eq!(read_json::<Vec<u32>>(&path).unwrap(), None);
        replace_json(&path, &vec![1, 2]).unwrap();
        replace_json(&path, &vec![3]).unwrap();
        assert_eq!(read_json::<Vec<u32>>(&path).unwrap(), Some(vec![3]));
        assert_eq!(fs::read_dir(folder.path().join("a")).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn names_the_corrupt_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b.json");
        fs::write(&path, "{").unwrap();
        let error = read_json::<Vec<u32>>(&path).unwrap_err();
        assert!(error.to_string().contains("b.json"), "{error}");
    }
}
