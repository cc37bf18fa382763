//! Bookmarks of jobs: that they were reset. Scripts of the sandbox keep none, so there is nothing else to know.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Jobs;
use crate::catalog::file_name;
use crate::files::{read_json, replace_json};
use crate::glue::request::parse;
use crate::ledger::Accepted;
use crate::wire::{ApiError, CallContext};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Named {
    job_name: String,
}

/// A bookmark that was reset.
#[derive(Debug, Serialize, Deserialize)]
struct Bookmark {
    /// Counts the resets.
    version: u32,
    reset: Timestamp,
}

impl Jobs {
    pub(super) fn get_bookmark(&self, body: Value) -> Result<Value, ApiError> {
        let name = parse::<Named>(body, "InvalidInputException")?.job_name;
        let kept: Option<Bookmark> = read_json(&self.bookmark_file(&name)).map_err(ApiError::internal)?;
        let kept = kept.ok_or_else(|| no_bookmark(&name))?;
        Ok(json!({ "JobBookmarkEntry": entry(&name, &kept) }))
    }

    pub(super) fn reset_bookmark(&self, cx: &CallContext, body: Value) -> Result<Value, ApiError> {
        let name = parse::<Named>(body, "InvalidInputException")?.job_name;
        // Under the lock, so that two resets count as two.
        let state = self.lock();
        if !state.jobs.contains_key(&name) {
            return Err(no_bookmark(&name));
        }
        let path = self.bookmark_file(&name);
        let kept: Option<Bookmark> = read_json(&path).map_err(ApiError::internal)?;
        let version = kept.map_or(0, |kept| kept.version) + 1;
        let bookmark = Bookmark { version, reset: cx.now };
        replace_json(&path, &bookmark).map_err(ApiError::internal)?;
        let accepted = Accepted { marker: None, id: &version.to_string(), subject: &name };
        self.world.ledger.accepted(cx, accepted).map_err(ApiError::internal)?;
        Ok(json!({ "JobBookmarkEntry": entry(&name, &bookmark) }))
    }

    fn bookmark_file(&self, job: &str) -> PathBuf {
        self.world.root.join("glue").join("bookmarks").join(format!("{}.json", file_name(job)))
    }
}

fn entry(job: &str, bookmark: &Bookmark) -> Value {
    json!({ "JobName": job, "Version": bookmark.version, "Run": 0, "Attempt": 0 })
}

fn no_bookmark(job: &str) -> ApiError {
    ApiError::new(400, "EntityNotFoundException", format!("Continuation for job {job} not found"))
}
