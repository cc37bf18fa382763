//! The folder of one attempt: what the two sides, operator and supervisor, tell each other.
//!
//! | file | written by | means |
//! |---|---|---|
//! | `command.json` | operator | what to run |
//! | `lock` | supervisor, held | it lives; freed by the kernel however it ends |
//! | `started.json` | supervisor, before the command | the command was or is about to be run |
//! | `child.json` | supervisor | the command's process |
//! | `ended.json` | supervisor | how it ended |
//! | `abandoned.json` | operator, under the lock | intents up to this time must not start any more |
//! | `cancel` | operator | please stop it |
//! | `output/` | supervisor | what it printed |
//!
//! A file either exists whole or does not exist: each is written aside and renamed.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use indexmap::IndexMap;
use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::operator::Outputs;

/// What to run.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub(super) struct Launch {
    pub(super) argv: Vec<String>,
    #[serde(default)]
    pub(super) env: IndexMap<String, String>,
    #[serde(default)]
    pub(super) cwd: Option<PathBuf>,
    pub(super) timeout_milliseconds: u64,
    pub(super) intent_at: Timestamp,
    /// Whether a [`Secret`] comes through the supervisor's standard input: without it the
    /// command is not started.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) secret: bool,
}

/// What is never written into the folder.
#[derive(Default, Deserialize, Serialize)]
pub(super) struct Secret {
    /// Variables with secrets in them.
    pub(super) env: IndexMap<String, String>,
    /// The secrets, to be masked in what the command prints.
    pub(super) mask: Vec<String>,
}

/// The mark that intents up to a time were given up.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Abandoned {
    pub(super) intent_at: Timestamp,
}

/// The command's process, recognisable after its number was given to another.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub(super) struct Child {
    pub(super) pid: i32,
    /// When it was started, in the kernel's own count and since which boot; where the system
    /// tells.
    pub(super) born: Option<String>,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub(super) struct Ended {
    pub(super) how: How,
    #[serde(default)]
    pub(super) exit_code: Option<i32>,
    #[serde(default)]
    pub(super) signal: Option<i32>,
    #[serde(default)]
    pub(super) message: String,
    /// The last line of its standard output, where that is a JSON object.
    #[serde(default)]
    pub(super) outputs: Outputs,
}

/// The ways to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum How {
    Exited,
    TimedOut,
    Cancelled,
    /// The program could not be run.
    NotRun,
}

/// The folder of one attempt.
#[derive(Clone, Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn output(&self) -> PathBuf {
        self.0.join("output")
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.join(name).exists()
    }

    /// Reads a file; `None` where it does not exist or cannot be read as what it should be.
    pub(super) fn read<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_slice(&fs::read(self.0.join(name)).ok()?).ok()
    }

    /// Writes a file whole. It is on disk when this returns.
    pub(super) fn write<T: Serialize>(&self, name: &str, value: &T) -> io::Result<()> {
        let aside = self.0.join(format!("{name}.{}", std::process::id()));
        let mut file = File::create(&aside)?;
        file.write_all(&serde_json::to_vec(value)?)?;
        file.sync_all()?;
        fs::rename(&aside, self.0.join(name))
    }

    pub(super) fn touch(&self, name: &str) -> io::Result<()> {
        File::create(self.0.join(name)).map(drop)
    }

    /// Takes the lock that a living supervisor holds; `None` if it is held.
    pub(super) fn try_lock(&self) -> io::Result<Option<File>> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(self.0.join("lock"))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }
}

/// The identity of the folder that holds the attempts: a replica that sees another one cannot
/// know what runs there. Drawn once, when the folder is first used.
#[expect(
    clippy::disallowed_methods,
    reason = "the identity of a folder on this machine is drawn where it is made"
)]
pub(super) fn identity(root: &Path) -> io::Result<String> {
    let path = root.join("identity");
    if let Ok(text) = fs::read_to_string(&path)
        && !text.is_empty()
    {
        return Ok(text);
    }
    fs::create_dir_all(root)?;
    let drawn = Uuid::new_v4().to_string();
    let aside = root.join(format!("identity.{drawn}"));
    fs::write(&aside, &drawn)?;
    // The first one to link wins; everybody reads what stands there then.
    let linked = fs::hard_link(&aside, &path);
    fs::remove_file(&aside)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => fs::read_to_string(&path),
    }
}

/// When a process was started, as text that no other process of this machine ever has; `None`
/// where the system does not tell or the process is gone.
pub(super) fn born(pid: i32) -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; the start time is the 20th word after it.
    let ticks = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?;
    Some(format!("{}/{ticks}", boot.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_keeps_its_identity() {
        let root = tempfile::tempdir().unwrap();
        let first = identity(root.path()).unwrap();
        assert_eq!(identity(root.path()).unwrap(), first);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }

    #[test]
    fn only_one_holds_the_lock() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::new(root.path());
        let held = folder.try_lock().unwrap();
        assert!(held.is_some());
        assert!(folder.try_lock().unwrap().is_none());
        drop(held);
        assert!(folder.try_lock().unwrap().is_some());
    }
}
