//! Folders of this machine's disk for files on their way, gone when the job is, or the process.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};

#[cfg(feature = "transform")]
mod bring;

#[cfg(feature = "transform")]
pub(crate) use bring::bring;

/// Held locked as long as its folder is used; the system lets go of it with the process.
const LOCK: &str = "lock";

/// A folder that is removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Scratch {
    pub(crate) path: PathBuf,
    _lock: File,
}

impl Scratch {
    /// A new folder below `root`. What processes that are gone left there is removed.
    pub(crate) fn new(root: &Path, token: &str) -> std::io::Result<Self> {
        fs::create_dir_all(root)?;
        sweep(root)?;
        // The process is part of the name: two of them may work on the same attempt.
        let path = root.join(format!("{token}-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        let lock = File::create(path.join(LOCK))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Self { path, _lock: lock })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left is swept by the next job.
        drop(fs::remove_dir_all(&self.path));
    }
}

fn sweep(root: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(root)? {
        let folder = entry?.path();
        // A folder without a lock is being made.
        let Ok(lock) = File::open(folder.join(LOCK)) else { continue };
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            drop(fs::remove_dir_all(&folder));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_uses_any_more_is_removed() {
        let root = tempfile::tempdir().unwrap();
        let left = root.path().join("old-1");
        fs::create_dir_all(left.join("spill")).unwrap();
        fs::write(left.join(LOCK), "").unwrap();
        let used = Scratch::new(root.path(), "a").unwrap();
        assert!(!left.exists());
        let other = Scratch::new(root.path(), "b").unwrap();
        assert!(used.path.exists());
        let path = other.path.clone();
        drop(other);
        assert!(!path.exists() && used.path.exists());
    }
}
