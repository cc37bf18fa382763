//! `keeper.json`: what the keeper has to offer, true as long as the keeper holds the file.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::error::KeeperError;
use super::places::{Hold, Places, is_still, try_hold};

/// The file is a few hundred bytes; anything longer is not ours.
const LENGTH_LIMIT: u64 = 64 << 10;

/// What a live keeper offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The keeper's process id.
    pub pid: i32,
    /// The program's version that the keeper runs.
    pub version: String,
    /// The private Postgres.
    pub postgres: KeptPostgres,
    /// The sandbox.
    pub sandbox: KeptSandbox,
}

/// The private Postgres, as the keeper sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptPostgres {
    /// Works with psql; `None` while it does not run.
    pub url: Option<String>,
    /// The postmaster's process id.
    pub pid: Option<i32>,
    /// Major version, for example 15.
    pub major: Option<u32>,
    /// Why the last start failed.
    pub failed: Option<String>,
    /// How often this keeper has tried to start it.
    pub tries: u32,
}

/// The sandbox, as the keeper sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptSandbox {
    /// `http://127.0.0.1:<port>`; `None` while it does not run.
    pub endpoint: Option<String>,
    /// Where mails to subscribers are put.
    pub mailbox: Option<PathBuf>,
    /// Why the last start failed.
    pub failed: Option<String>,
    /// How often this keeper has tried to start it.
    pub tries: u32,
}

/// Publishes `kept`. The returned file holds it true: drop it after the next one is published.
pub(super) fn publish(places: &Places, kept: &Kept) -> Result<File, KeeperError> {
    let path = places.state();
    let scratch = path.with_extension(format!("json.new-{}", std::process::id()));
    let failed = |action| KeeperError::file(action, &scratch);
    let mut options = OpenOptions::new();
    let mut file = options
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&scratch)
        .map_err(failed("creating"))?;
    file.lock().map_err(failed("locking"))?;
    let text = serde_json::to_string_pretty(kept)
        .map_err(|error| failed("writing")(std::io::Error::other(error)))?;
    file.write_all(text.as_bytes()).map_err(failed("writing"))?;
    std::fs::rename(&scratch, &path).map_err(KeeperError::file("writing", &path))?;
    Ok(file)
}

/// What the live keeper offers; `None` if there is no keeper or it has published nothing yet.
pub(super) fn read(places: &Places) -> Result<Option<Kept>, KeeperError> {
    let path = places.state();
    let file = loop {
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(KeeperError::File { action: "opening", path, source }),
        };
        if !try_hold(&file, Hold::Shared, &path)? {
            break file;
        }
        if is_still(&path, &file) {
            // Nobody holds it: its writer is dead.
            return Ok(None);
        }
        // It was replaced since it was opened: look at the new one.
    };
    let mut text = String::new();
    file.take(LENGTH_LIMIT).read_to_string(&mut text).map_err(KeeperError::file("reading", &path))?;
    // What is locked and cannot be read belongs to another version of the program.
    serde_json::from_str(&text).map(Some).map_err(|error| KeeperError::File {
        action: "understanding",
        path,
        source: std::io::Error::other(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(pid: i32) -> Kept {
        let (postgres, sandbox) = (KeptPostgres::default(), KeptSandbox::default());
        Kept { pid, version: "0".to_owned(), postgres, sandbox }
    }

    #[test]
    fn a_state_is_true_exactly_as_long_as_it_is_held() {
        let folder = tempfile::tempdir().expect("a folder");
        let places = Places::make(folder.path()).expect("places");
        assert_eq!(read(&places).expect("read"), None);
        let first = publish(&places, &kept(1)).expect("published");
        assert_eq!(read(&places).expect("read"), Some(kept(1)));
        let second = publish(&places, &kept(2)).expect("published");
        drop(first);
        assert_eq!(read(&places).expect("read"), Some(kept(2)));
        drop(second);
        assert_eq!(read(&places).expect("read"), None);
    }

    #[test]
    fn readers_do_not_disturb_each_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let places = Places::make(folder.path()).expect("places");
        drop(publish(&places, &kept(1)).expect("published"));
        let other = File::open(places.state()).expect("open");
        other.try_lock_shared().expect("free");
        assert_eq!(read(&places).expect("read"), None);
    }
}
