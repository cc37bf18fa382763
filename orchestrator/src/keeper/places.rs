//! The files of the protocol, and the one way to wait for something.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::KeeperError;

/// A keeper's log longer than this (bytes) is set aside when the next keeper starts.
const LOG_LIMIT: u64 = 10 << 20;

/// What a client can ask the keeper for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    Postgres,
    Sandbox,
}

impl Want {
    fn file_name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Sandbox => "sandbox",
        }
    }
}

/// A project's `.trunkline` folder.
#[derive(Debug, Clone)]
pub(super) struct Places {
    dir: PathBuf,
}

impl Places {
    /// Makes the folder if it is missing. It is private, and git does not look into it.
    pub(super) fn make(dir: &Path) -> Result<Self, KeeperError> {
        let fresh = !dir.exists();
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(dir).map_err(KeeperError::file("creating", dir))?;
        let dir = dir.canonicalize().map_err(KeeperError::file("reading", dir))?;
        if fresh {
            let ignore = dir.join(".gitignore");
            std::fs::write(&ignore, "*\n").map_err(KeeperError::file("writing", &ignore))?;
        }
        Ok(Self { dir })
    }

    /// The folder, if it is there.
    pub(super) fn existing(dir: &Path) -> Option<Self> {
        dir.canonicalize().ok().map(|dir| Self { dir })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn clients(&self) -> PathBuf {
        self.dir.join("clients.lock")
    }

    pub(super) fn keeper(&self) -> PathBuf {
        self.dir.join("keeper.lock")
    }

    pub(super) fn state(&self) -> PathBuf {
        self.dir.join("keeper.json")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.dir.join("keeper.log")
    }

    pub(super) fn sandbox(&self) -> PathBuf {
        self.dir.join("sandbox")
    }

    /// Remembers the sandbox's port, so that its endpoint survives a keeper.
    pub(super) fn sandbox_port(&self) -> PathBuf {
        self.dir.join("sandbox.port")
    }

    fn wants(&self) -> PathBuf {
        self.dir.join("keeper.wants")
    }

    /// Asks for something; the wish stays until a keeper has ended for lack of clients.
    pub(super) fn ask_for(&self, want: Want) -> Result<(), KeeperError> {
        let folder = self.wants();
        std::fs::create_dir_all(&folder).map_err(KeeperError::file("creating", &folder))?;
        let path = folder.join(want.file_name());
        std::fs::write(&path, "").map_err(KeeperError::file("writing", &path))
    }

    pub(super) fn is_wanted(&self, want: Want) -> bool {
        self.wants().join(want.file_name()).exists()
    }

    /// Forgets all wishes.
    pub(super) fn forget_wants(&self) {
        let _ = std::fs::remove_dir_all(self.wants());
    }

    /// The keeper's log, for appending.
    pub(super) fn open_log(&self) -> Result<File, KeeperError> {
        let path = self.log();
        if std::fs::metadata(&path).is_ok_and(|found| found.len() > LOG_LIMIT) {
            std::fs::rename(&path, path.with_extension("log.1"))
                .map_err(KeeperError::file("setting aside", &path))?;
        }
        let mut options = OpenOptions::new();
        options.create(true).append(true).mode(0o600).open(&path).map_err(KeeperError::file("opening", &path))
    }
}

/// Opens a lock file, making it if it is missing.
pub(super) fn open_lock(path: &Path) -> Result<File, KeeperError> {
    let mut options = OpenOptions::new();
    let options = options.create(true).truncate(false).read(true).write(true).mode(0o600);
    options.open(path).map_err(KeeperError::file("opening", path))
}

/// How a lock is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    Shared,
    Exclusive,
}

/// Takes a lock if it is free now; the answer says whether it was.
pub(super) fn try_hold(file: &File, hold: Hold, path: &Path) -> Result<bool, KeeperError> {
    let tried = match hold {
        Hold::Shared => file.try_lock_shared(),
        Hold::Exclusive => file.try_lock(),
    };
    match tried {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(source)) => {
            Err(KeeperError::File { action: "locking", path: path.to_owned(), source })
        }
    }
}

/// Whether `path` still names the file that is open as `file`.
pub(super) fn is_still(path: &Path, file: &File) -> bool {
    let (Ok(named), Ok(open)) = (std::fs::metadata(path), file.metadata()) else { return false };
    (named.dev(), named.ino()) == (open.dev(), open.ino())
}

/// Asks `ready` every `step` until it yields a value or an error; `None` when `limit` has passed.
pub(super) async fn poll<T>(
    limit: Duration,
    step: Duration,
    mut ready: impl AsyncFnMut() -> Result<Option<T>, KeeperError>,
) -> Result<Option<T>, KeeperError> {
    let asking = async {
        let mut ticks = tokio::time::interval(step);
        loop {
            ticks.tick().await;
            if let Some(value) = ready().await? {
                return Ok(value);
            }
        }
    };
    match tokio::time::timeout(limit, asking).await {
        Ok(result) => result.map(Some),
        Err(_) => Ok(None),
    }
}
