//! The ledger: one line for every call that started or sent something, and a count of all calls.
//!
//! The ledger is the oracle of every duplicate check: whoever claims "nothing was started twice" compares its
//! own records with these lines. So a line is written after the start is durable and before it is answered,
//! and lines are never changed. Who may call what, and whether a start is legal, is not decided here.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::SandboxError;
use crate::wire::CallContext;

/// What a service accepted.
#[derive(Debug)]
pub(crate) struct Accepted<'a> {
    /// The client's token or marker, if the request carried one.
    pub marker: Option<String>,
    /// The id that the service gave to what it started.
    pub id: &'a str,
    /// Name of the job, crawler, workgroup or topic.
    pub subject: &'a str,
}

/// One line of the ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// 1 for the first line of the file.
    pub sequence: u64,
    /// When the call was accepted.
    pub at: Timestamp,
    /// Service as in the credential scope: `glue`, `athena`, `sns`.
    pub service: String,
    /// Operation in the API's own words.
    pub operation: String,
    /// Name of the job, crawler, workgroup or topic.
    pub subject: String,
    /// The client's token or marker.
    pub marker: Option<String>,
    /// The id that the service gave.
    pub id: String,
    /// Access key of the caller.
    pub caller: String,
    /// The account that the caller belongs to, which owns what was started.
    #[serde(default = "first_account")]
    pub account: String,
    /// ARN of the assumed role, where the caller had the credentials of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The date that the caller signed.
    pub signed_at: Option<Timestamp>,
    /// Request id of the answer.
    pub request_id: String,
}

/// The account of lines that were written before there were others.
fn first_account() -> String {
    crate::world::ACCOUNT.to_owned()
}

/// The append-only file and the counters.
#[derive(Debug)]
pub(crate) struct Ledger {
    path: PathBuf,
    tail: Mutex<Tail>,
    calls: Mutex<BTreeMap<(String, String), u64>>,
}

#[derive(Debug)]
struct Tail {
    file: File,
    sequence: u64,
}

impl Ledger {
    /// Opens the file, cutting off a last line that a dying process left unfinished.
    pub(crate) fn open(path: &Path) -> Result<Self, SandboxError> {
        let fail = |error| SandboxError::files("open", path, error);
        let content = match fs::read(path) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(fail(error)),
        };
        let whole = content.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let sequence = content[..whole].split_inclusive(|byte| *byte == b'\n').count() as u64;
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(fail)?;
        file.set_len(whole as u64).map_err(fail)?;
        Ok(Self {
            path: path.to_owned(),
            tail: Mutex::new(Tail { file, sequence }),
            calls: Mutex::new(BTreeMap::new()),
        })
    }

    /// Writes one line. Once this returned, the line survives the death of the process.
    pub(crate) fn accepted(&self, cx: &CallContext, what: Accepted<'_>) -> io::Result<()> {
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = Entry {
            sequence: tail.sequence + 1,
            at: cx.now,
            service: cx.service.clone(),
            operation: cx.operation.clone(),
            subject: what.subject.to_owned(),
            marker: what.marker,
            id: what.id.to_owned(),
            caller: cx.caller.clone(),
            account: cx.account.to_string(),
            session: cx.session.clone(),
            signed_at: cx.signed_at,
            request_id: cx.request_id.clone(),
        };
        let mut line = serde_json::to_vec(&entry)?;
        line.push(b'\n');
        tail.file.write_all(&line)?;
        tail.sequence = entry.sequence;
        Ok(())
    }

    /// All lines after the given sequence number (0 for all).
    pub(crate) fn entries_after(&self, sequence: u64) -> Result<Vec<Entry>, SandboxError> {
        let content =
            fs::read_to_string(&self.path).map_err(|error| SandboxError::files("read", &self.path, error))?;
        let skip = usize::try_from(sequence).unwrap_or(usize::MAX);
        content
            .lines()
            .skip(skip)
            .map(|line| {
                serde_json::from_str(line).map_err(|error| SandboxError::Corrupt {
                    path: self.path.clone(),
                    reason: error.to_string(),
                })
            })
            .collect()
    }

    /// Counts one call, whether it is answered, refused or dropped.
    pub(crate) fn count(&self, service: &str, operation: &str) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        *calls.entry((service.to_owned(), operation.to_owned())).or_default() += 1;
    }

    /// Calls since this process started: service, operation, count.
    pub(crate) fn calls(&self) -> Vec<(String, String, u64)> {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls
            .iter()
            .map(|((service, operation), count)| (service.clone(), operation.clone(), *count))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn continues_after_an_unfinished_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.jsonl");
        let cx = CallContext::for_tests("glue", "StartJobRun");
        let ledger = Ledger::open(&path).unwrap();
        ledger.accepted(&cx, Accepted { marker: Some("m1".into()), id: "jr_1", subject: "etl" }).unwrap();
        drop(ledger);
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"sequence\":2,").unwrap();

        let ledger = Ledger::open(&path).unwrap();
        ledger.accepted(&cx, Accepted { marker: None, id: "jr_2", subject: "etl" }).unwrap();
        let entries = ledger.entries_after(0).unwrap();
        let seen: Vec<_> = entries.iter().map(|entry| (entry.sequence, entry.id.as_str())).collect();
        assert_eq!(seen, [(1, "jr_1"), (2, "jr_2")]);
        assert_eq!(ledger.entries_after(1).unwrap().len(), 1);
    }

    #[test]
    fn counts_calls_per_operation() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&folder.path().join("l")).unwrap();
        ledger.count("glue", "GetJobRun");
        ledger.count("glue", "GetJobRun");
        ledger.count("athena", "GetQueryExecution");
        let calls = ledger.calls();
        assert_eq!(calls[1], ("glue".to_owned(), "GetJobRun".to_owned(), 2));
    }
}
