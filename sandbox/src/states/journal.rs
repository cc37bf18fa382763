//! The history of one execution: what `GetExecutionHistory` shows, and what an interrupted execution is
//! continued from.
//!
//! Every event has a key that follows from its place in the execution. An execution that is continued walks its
//! definition from the beginning and finds, under the same keys, everything that had happened already: a key is
//! recorded once, however often it is asked for.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::SandboxError;
use crate::wire::epoch_seconds;

/// Most events of one execution (the service's own limit).
pub(super) const EVENTS_MAX: u64 = 25_000;

/// The event after which what failed is forgotten, so that it is tried again.
pub(super) const REDRIVEN: &str = "ExecutionRedriven";

/// The key of the event that ends an execution.
pub(super) const END: &str = "end";

/// One event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Event {
    /// Its place in the execution.
    pub key: String,
    /// From 1 on.
    pub id: u64,
    /// When.
    pub at: Timestamp,
    /// The service's word.
    #[serde(rename = "type")]
    pub kind: String,
    /// The event that led to it; 0 for none.
    pub previous: u64,
    /// The members that the API shows.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub details: Map<String, Value>,
    /// What continuing needs and the API does not show.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub data: Value,
}

/// What is to be recorded.
#[derive(Debug)]
pub(super) struct News {
    pub key: String,
    pub kind: String,
    pub previous: u64,
    pub details: Map<String, Value>,
    pub data: Value,
}

/// Why nothing was recorded.
#[derive(Debug, thiserror::Error)]
pub(super) enum JournalError {
    /// The execution has ended.
    #[error("the execution has ended")]
    Closed,
    /// There are [`EVENTS_MAX`] events.
    #[error("The execution reached the maximum number of history events ({EVENTS_MAX}).")]
    Full,
    /// The file could not be written.
    #[error("the history cannot be written: {0}")]
    Files(#[from] io::Error),
}

/// The file of one execution.
#[derive(Debug)]
pub(super) struct Journal {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: File,
    known: HashMap<String, Arc<Event>>,
    last: u64,
}

impl Journal {
    /// Opens the file, cutting off a last line that a dying process left unfinished.
    pub(super) fn open(path: &Path) -> Result<Self, SandboxError> {
        let fail = |error| SandboxError::files("open", path, error);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(fail)?;
        }
        let events = read(path)?;
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(fail)?;
        let whole = fs::read(path).map_err(fail)?;
        let whole = whole.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        file.set_len(whole as u64).map_err(fail)?;
        let mut inner = Inner { file, known: HashMap::new(), last: 0 };
        for event in events {
            inner.remember(event);
        }
        Ok(Self { inner: Mutex::new(inner) })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is recorded under a key.
    pub(super) fn get(&self, key: &str) -> Option<Arc<Event>> {
        self.lock().known.get(key).cloned()
    }

    /// Records an event, unless its key is recorded already. Once this returned, the event survives the death
    /// of the process.
    pub(super) fn record(&self, news: News, now: Timestamp) -> Result<Arc<Event>, JournalError> {
        let mut inner = self.lock();
        if let Some(known) = inner.known.get(&news.key) {
            return Ok(Arc::clone(known));
        }
        if inner.known.contains_key(END) && news.kind != REDRIVEN {
            return Err(JournalError::Closed);
        }
        if inner.last >= EVENTS_MAX && news.key != END {
            return Err(JournalError::Full);
        }
        let News { key, kind, previous, details, data } = news;
        let event = Event { key, id: inner.last + 1, at: now, kind, previous, details, data };
        let mut line = serde_json::to_vec(&event).map_err(io::Error::from)?;
        line.push(b'\n');
        inner.file.write_all(&line)?;
        Ok(inner.remember(event))
    }

    /// Jobs below a place that were started and whose end is not recorded.
    pub(super) fn open_submissions(&self, below: &str) -> Vec<Arc<Event>> {
        let inner = self.lock();
        let is_open = |event: &&Arc<Event>| {
            let Some(place) = event.key.strip_suffix(":submitted") else { return false };
            let ended =
                ["done", "failed"].iter().any(|end| inner.known.contains_key(&format!("{place}:{end}")));
            place.starts_with(below) && !ended
        };
        inner.known.values().filter(is_open).cloned().collect()
    }
}

impl Inner {
    fn remember(&mut self, event: Event) -> Arc<Event> {
        self.last = self.last.max(event.id);
        if event.kind == REDRIVEN {
            // What went well stays; everything of tries that did not is tried again.
            self.known.retain(|_, event| {
                event.kind.ends_with("StateEntered")
                    || event.kind.ends_with("StateExited")
                    || event.kind == "ExecutionStarted"
            });
        }
        let event = Arc::new(event);
        self.known.insert(event.key.clone(), Arc::clone(&event));
        event
    }
}

/// Every event of a file, oldest first; a last line that is not complete is left out.
pub(super) fn read(path: &Path) -> Result<Vec<Event>, SandboxError> {
    let content = match fs::read(path) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(SandboxError::files("read", path, error)),
    };
    let whole = content.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    let lines = content[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let corrupt =
        |error: serde_json::Error| SandboxError::Corrupt { path: path.to_owned(), reason: error.to_string() };
    lines.map(|line| serde_json::from_slice(line).map_err(corrupt)).collect()
}

impl Event {
    /// As `GetExecutionHistory` shows it.
    pub(super) fn shape(&self, with_data: bool) -> Value {
        let mut shape = self.details.clone();
        if !with_data {
            for details in shape.values_mut().filter_map(Value::as_object_mut) {
                for member in ["input", "output", "parameters", "assignedVariables", "error", "cause"] {
                    // `parameters` must be there, even where data is left out.
                    if member == "parameters" && details.contains_key(member) {
                        details.insert(member.to_owned(), "".into());
                    } else {
                        details.remove(member);
                    }
                }
            }
        }
        shape.insert("id".to_owned(), self.id.into());
        shape.insert("previousEventId".to_owned(), self.previous.into());
        shape.insert("timestamp".to_owned(), epoch_seconds(self.at));
        shape.insert("type".to_owned(), self.kind.clone().into());
        Value::Object(shape)
    }
}

impl News {
    /// An event without details.
    pub(super) fn new(key: impl Into<String>, kind: impl Into<String>, previous: u64) -> Self {
        Self { key: key.into(), kind: kind.into(), previous, details: Map::new(), data: Value::Null }
    }

    /// With the details that the API shows.
    pub(super) fn details(mut self, name: &str, details: Value) -> Self {
        self.details.insert(name.to_owned(), details);
        self
    }

    /// With what continuing needs.
    pub(super) fn data(mut self, data: Value) -> Self {
        self.data = data;
        self
    }
}

/// A text of an event with the member that says that it is whole.
pub(super) fn whole_text(name: &str, text: &str) -> Map<String, Value> {
    let details = json!({ "truncated": false });
    Map::from_iter([(name.to_owned(), Value::from(text)), (format!("{name}Details"), details)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn news(key: &str, kind: &str) -> News {
        News::new(key, kind, 0)
    }

    #[test]
    fn a_key_is_recorded_once_also_by_another_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("e.jsonl");
        let journal = Journal::open(&path).unwrap();
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(journal.record(news("a", "TaskStateEntered"), now).unwrap().id, 1);
        assert_eq!(journal.record(news("b", "TaskScheduled"), now).unwrap().id, 2);
        drop(journal);
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"key\":\"c\",").unwrap();
        let journal = Journal::open(&path).unwrap();
        assert_eq!(journal.record(news("a", "TaskStateEntered"), now).unwrap().id, 1);
        assert_eq!(journal.record(news("c", "TaskStarted"), now).unwrap().id, 3);
        assert_eq!(read(&path).unwrap().len(), 3);
    }

    #[test]
    fn after_the_end_only_a_redrive_is_recorded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("e.jsonl");
        let journal = Journal::open(&path).unwrap();
        let now = Timestamp::UNIX_EPOCH;
        for (key, kind) in [
            ("/0:in", "TaskStateEntered"),
            ("/0#0:submitted", "TaskSubmitted"),
            ("/0#0:failed", "TaskFailed"),
            (END, "ExecutionFailed"),
        ] {
            journal.record(news(key, kind), now).unwrap();
        }
        assert!(matches!(journal.record(news("x", "TaskStarted"), now), Err(JournalError::Closed)));
        assert!(journal.open_submissions("").is_empty());
        journal.record(news("redrive/1", REDRIVEN), now).unwrap();
        for journal in [journal, Journal::open(&path).unwrap()] {
            assert!(journal.get("/0:in").is_some() && journal.get("/0#0:failed").is_none());
            assert!(journal.get(END).is_none());
        }
    }

    #[test]
    fn jobs_without_an_end_are_open() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(&folder.path().join("e.jsonl")).unwrap();
        let now = Timestamp::UNIX_EPOCH;
        for key in ["/0/b0/0#0:submitted", "/0/b1/0#0:submitted", "/0/b1/0#0:done", "/1#0:submitted"] {
            journal.record(news(key, "TaskSubmitted"), now).unwrap();
        }
        let open = |below: &str| {
            let mut keys: Vec<String> =
                journal.open_submissions(below).iter().map(|event| event.key.clone()).collect();
            keys.sort();
            keys
        };
        assert_eq!(open("/0/"), ["/0/b0/0#0:submitted"]);
        assert_eq!(open("").len(), 2);
    }
}
