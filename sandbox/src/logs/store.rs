//! Events on disk: a folder for each group, a file for each stream, a line for each event.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::SandboxError;
use crate::catalog::{entries, file_name};
use crate::files::{read_json, replace_json};

/// The most bytes of one stream: a program that prints for ever must not fill the disk. On AWS there is no limit.
const STREAM_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// The longest event, as on AWS.
pub(super) const EVENT_BYTES_MAX: usize = 1024 * 1024;

/// All groups.
#[derive(Debug)]
pub(crate) struct Store {
    folder: PathBuf,
    groups: Mutex<BTreeMap<String, Group>>,
}

/// A group.
#[derive(Debug, Clone)]
pub(super) struct Group {
    pub about: About,
    pub streams: BTreeMap<String, Stream>,
}

/// What is kept of a group beside its streams.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct About {
    pub name: String,
    /// Milliseconds since the epoch.
    pub created: i64,
    #[serde(default)]
    pub retention_days: Option<u64>,
}

/// A stream; the first line of its file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Stream {
    pub stream: String,
    /// Milliseconds since the epoch.
    pub created: i64,
}

/// An event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Event {
    /// When it happened, in milliseconds since the epoch.
    pub timestamp: i64,
    /// When it came.
    pub ingested: i64,
    pub message: String,
}

impl Store {
    /// Reads which groups and streams there are; events are read when they are asked for.
    pub(crate) fn open(folder: PathBuf) -> Result<Self, SandboxError> {
        let mut groups = BTreeMap::new();
        for path in entries(&folder)? {
            let Some(about) = read_json::<About>(&path.join(GROUP_FILE))? else { continue };
            let mut streams = BTreeMap::new();
            for file in entries(&path)? {
                if file.extension().is_none_or(|ending| ending != "jsonl") {
                    continue;
                }
                // A file whose first line was cut off by a crash holds no event.
                if let Some(stream) = head_of(&file) {
                    streams.insert(stream.stream.clone(), stream);
                }
            }
            groups.insert(about.name.clone(), Group { about, streams });
        }
        Ok(Self { folder, groups: Mutex::new(groups) })
    }

    /// Adds a program's output, a line an event; the group and the stream are made where they are missing. A log
    /// that cannot be kept is no reason to fail what it tells of.
    pub(crate) fn append(&self, group: &str, stream: &str, text: &[u8], now: Timestamp) {
        let now = now.as_millisecond();
        let text = String::from_utf8_lossy(text);
        let events = text.lines().filter(|line| !line.is_empty()).map(|line| Event {
            timestamp: now,
            ingested: now,
            message: line.chars().take(EVENT_BYTES_MAX / 4).collect(),
        });
        let written = self.with_group(group, now, |found| {
            self.make_stream(found, stream, now)?;
            self.write(found, stream, events)
        });
        if let Err(error) = written {
            tracing::warn!(group, stream, %error, "a log could not be kept");
        }
    }

    /// The same for a whole file of output, which may be missing.
    pub(crate) fn append_file(&self, group: &str, stream: &str, file: &Path, from: u64, now: Timestamp) {
        if let Ok(content) = fs::read(file) {
            let from = usize::try_from(from).unwrap_or(0).min(content.len());
            self.append(group, stream, &content[from..], now);
        }
    }

    pub(super) fn groups(&self) -> MutexGuard<'_, BTreeMap<String, Group>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a group's own file, as it is now.
    pub(super) fn keep(&self, about: &About) -> io::Result<()> {
        replace_json(&self.group_folder(&about.name).join(GROUP_FILE), about)
    }

    pub(super) fn make_stream(&self, group: &mut Group, stream: &str, now: i64) -> io::Result<()> {
        if group.streams.contains_key(stream) {
            return Ok(());
        }
        let head = Stream { stream: stream.to_owned(), created: now };
        let path = self.stream_file(&group.about.name, stream);
        fs::create_dir_all(self.group_folder(&group.about.name))?;
        fs::write(path, format!("{}\n", serde_json::to_string(&head)?))?;
        group.streams.insert(stream.to_owned(), head);
        Ok(())
    }

    pub(super) fn write(
        &self,
        group: &Group,
        stream: &str,
        events: impl IntoIterator<Item = Event>,
    ) -> io::Result<()> {
        let path = self.stream_file(&group.about.name, stream);
        let mut file = OpenOptions::new().append(true).open(path)?;
        let mut length = file.metadata()?.len();
        let mut lines = String::new();
        for event in events {
            let line = serde_json::to_string(&event)?;
            length += line.len() as u64 + 1;
            if length > STREAM_BYTES_MAX {
                tracing::warn!(group = group.about.name, stream, "the log is full; the rest is left out");
                break;
            }
            lines.push_str(&line);
            lines.push('\n');
        }
        file.write_all(lines.as_bytes())
    }

    /// The events of a stream in the order of their times.
    pub(super) fn read(&self, group: &str, stream: &str) -> io::Result<Vec<Event>> {
        let file = BufReader::new(File::open(self.stream_file(group, stream))?);
        let mut events = Vec::new();
        for line in file.lines().skip(1) {
            // A last line that a dying process cut off is left out.
            events.extend(serde_json::from_str::<Event>(&line?));
        }
        events.sort_by_key(|event| event.timestamp);
        Ok(events)
    }

    pub(super) fn remove_group(&self, group: &str) -> io::Result<()> {
        match fs::remove_dir_all(self.group_folder(group)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    pub(super) fn remove_stream(&self, group: &str, stream: &str) -> io::Result<()> {
        fs::remove_file(self.stream_file(group, stream))
    }

    fn with_group<T>(
        &self,
        group: &str,
        now: i64,
        act: impl FnOnce(&mut Group) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut groups = self.groups();
        if !groups.contains_key(group) {
            let about = About { name: group.to_owned(), created: now, retention_days: None };
            self.keep(&about)?;
            groups.insert(group.to_owned(), Group { about, streams: BTreeMap::new() });
        }
        match groups.get_mut(group) {
            Some(found) => act(found),
            None => Err(io::Error::other("the group was deleted just now")),
        }
    }

    fn group_folder(&self, group: &str) -> PathBuf {
        self.folder.join(short(group))
    }

    fn stream_file(&self, group: &str, stream: &str) -> PathBuf {
        self.group_folder(group).join(format!("{}.jsonl", short(stream)))
    }
}

/// The file that tells of a group.
const GROUP_FILE: &str = "group.json";

/// The longest file name that is a name written out; file systems take 255 bytes.
const FILE_NAME_MAX: usize = 180;

/// A file name for any name: written out, or with its end as a digest where it would be too long.
fn short(name: &str) -> String {
    use sha2::{Digest as _, Sha256};
    let whole = file_name(name);
    if whole.len() <= FILE_NAME_MAX {
        return whole;
    }
    let digest = hex::encode(Sha256::digest(name.as_bytes()));
    format!("{}-{}", &whole[..FILE_NAME_MAX - 33], &digest[..32])
}

fn head_of(file: &Path) -> Option<Stream> {
    let mut line = String::new();
    BufReader::new(File::open(file).ok()?).read_line(&mut line).ok()?;
    serde_json::from_str(&line).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_kept_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("logs")).unwrap();
        let at = Timestamp::from_millisecond(1_500).unwrap();
        let long = format!("p/{}", "x/".repeat(200));
        store.append("/aws-glue/jobs/error", "jr_1", b"one\n\ntwo\xff\n", at);
        store.append("/aws-glue/jobs/error", &long, b"three", at);
        let again = Store::open(folder.path().join("logs")).unwrap();
        let messages = |stream: &str| -> Vec<String> {
            again
                .read("/aws-glue/jobs/error", stream)
                .unwrap()
                .into_iter()
                .map(|event| event.message)
                .collect()
        };
        assert_eq!(messages("jr_1"), ["one", "two\u{fffd}"]);
        assert_eq!(messages(&long), ["three"]);
        let streams: Vec<String> = again.groups()["/aws-glue/jobs/error"].streams.keys().cloned().collect();
        assert_eq!(streams, ["jr_1".to_owned(), long]);
        again.remove_group("/aws-glue/jobs/error").unwrap();
        assert!(Store::open(folder.path().join("logs")).unwrap().groups().is_empty());
    }
}
