//! The conditions of conditional reads, writes and copies.

use std::fs::Metadata;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use s3s::dto::{ETag, ETagCondition, Timestamp};
use s3s::{S3Error, S3ErrorCode, S3Result};

/// What must hold of an object that is there.
#[derive(Debug, Default)]
#[expect(clippy::struct_field_names, reason = "the names of the headers, which all begin with if")]
pub(super) struct Conditions {
    /// The object's tag must be this (or there must be an object).
    pub if_match: Option<ETagCondition>,
    /// The object's tag must not be this (or there must be no object).
    pub if_none_match: Option<ETagCondition>,
    /// The object must be younger than this.
    pub if_modified_since: Option<Timestamp>,
    /// The object must not be younger than this.
    pub if_unmodified_since: Option<Timestamp>,
}

/// How a read that finds its object unchanged is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unchanged {
    /// A read: 304.
    NotModified,
    /// A copy: 412.
    PreconditionFailed,
}

impl Conditions {
    /// Checks the conditions of a read; a match of tags overrides what is said about times, as RFC 9110 has it.
    pub(super) fn check_read(&self, etag: &str, metadata: &Metadata, unchanged: Unchanged) -> S3Result<()> {
        let modified = metadata.modified().map(whole_seconds).ok();
        let failed = || Err(S3Error::new(S3ErrorCode::PreconditionFailed));
        match (&self.if_match, &self.if_unmodified_since) {
            (Some(condition), _) if !is_met(condition, etag) => return failed(),
            (None, Some(limit)) if modified.as_ref().is_some_and(|modified| modified > limit) => {
                return failed();
            }
            _ => {}
        }
        let is_unchanged = match (&self.if_none_match, &self.if_modified_since) {
            (Some(condition), _) => is_met(condition, etag),
            (None, Some(limit)) => modified.as_ref().is_some_and(|modified| modified <= limit),
            (None, None) => false,
        };
        match unchanged {
            _ if !is_unchanged => Ok(()),
            Unchanged::NotModified => {
                let mut error = S3Error::new(S3ErrorCode::NotModified);
                error.set_status_code(http::StatusCode::NOT_MODIFIED);
                Err(error)
            }
            Unchanged::PreconditionFailed => failed(),
        }
    }

    /// Whether a write may replace what is there (`None` for nothing).
    pub(super) fn allow_write(&self, etag: Option<&str>) -> bool {
        let met = |condition: &ETagCondition| etag.is_some_and(|etag| is_met(condition, etag));
        let matched = self.if_match.as_ref().is_none_or(met);
        let excluded = self.if_none_match.as_ref().is_some_and(met);
        matched && !excluded
    }

    /// Whether anything is asked of what is there.
    pub(super) fn any(&self) -> bool {
        self.if_match.is_some() || self.if_none_match.is_some()
    }
}

fn is_met(condition: &ETagCondition, etag: &str) -> bool {
    match condition {
        ETagCondition::Any => true,
        ETagCondition::ETag(wanted) => *wanted == ETag::Strong(etag.to_owned()),
    }
}

/// HTTP dates have whole seconds, so comparisons must not see more.
fn whole_seconds(at: SystemTime) -> Timestamp {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from(UNIX_EPOCH + Duration::from_secs(since.as_secs()))
}
