//! Objects in S3, for the operators that look at, copy and delete them: what is named (one
//! object or everything below a prefix), how it is listed page by page, what it sums up to.
//!
//! What is done with the objects is each operator's own business.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use aws_sdk_s3::{Client, primitives::DateTime};
use serde::{Deserialize, Serialize};

use crate::{
    aws::error::Trouble,
    operator::{ErrorClass, Failure, Status},
};

/// What S3 lists in one page, and deletes in one call.
pub(crate) const PAGE: usize = 1000;

/// The most objects that one task may handle: a hundred pages to count, seconds of work.
pub(crate) const OBJECTS_MAX: u64 = 100_000;

/// One object, or everything whose key begins with a prefix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Selection {
    pub(crate) bucket: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) prefix: Option<String>,
}

/// An object as it is listed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Object {
    pub(crate) key: String,
    pub(crate) bytes: u64,
    pub(crate) etag: Option<String>,
    /// By S3's clock.
    pub(crate) written: Option<DateTime>,
}

/// What a selection held when it was counted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Summary {
    pub(crate) count: u64,
    pub(crate) bytes: u64,
    /// When the newest object was written, by S3's clock, in milliseconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) newest_ms: Option<i64>,
}

impl Selection {
    /// As people write it.
    pub(crate) fn address(&self) -> String {
        let key = self.key.as_deref().or(self.prefix.as_deref()).unwrap_or_default();
        format!("s3://{}/{key}", self.bucket)
    }

    /// At most `size` objects behind `after`, in order of their keys; none at the end.
    pub(crate) async fn page(
        &self,
        s3: &Client,
        after: Option<&str>,
        size: usize,
    ) -> Result<Vec<Object>, Failure> {
        if let Some(key) = &self.key {
            let found = if after.is_none() { look_at(s3, &self.bucket, key).await? } else { None };
            return Ok(found.into_iter().collect());
        }
        let answer = s3
            .list_objects_v2()
            .bucket(&self.bucket)
            .set_prefix(self.prefix.clone())
            .set_start_after(after.map(str::to_owned))
            .max_keys(i32::try_from(size).unwrap_or(i32::MAX))
            .send()
            .await
            .map_err(|error| self.named(Trouble::from(error).into_failure()))?;
        let object = |listed: &aws_sdk_s3::types::Object| {
            Some(Object {
                key: listed.key()?.to_owned(),
                bytes: listed.size().and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
                etag: listed.e_tag().map(str::to_owned),
                written: listed.last_modified().copied(),
            })
        };
        Ok(answer.contents().iter().filter_map(object).collect())
    }

    /// Counts everything, up to one more than `most`; `check` may refuse an object.
    pub(crate) async fn count(
        &self,
        s3: &Client,
        most: u64,
        check: impl Fn(&Object) -> Result<(), Failure>,
    ) -> Result<Summary, Failure> {
        let mut summary = Summary::default();
        let mut after: Option<String> = None;
        loop {
            let page = self.page(s3, after.as_deref(), PAGE).await?;
            for object in &page {
                check(object)?;
                summary.add(object);
            }
            match page.last() {
                Some(last) if page.len() == PAGE && summary.count <= most => after = Some(last.key.clone()),
                _ => return Ok(summary),
            }
        }
    }

    /// The same failure with the address in its text: S3 itself names none.
    pub(crate) fn named(&self, mut failure: Failure) -> Failure {
        failure.message = format!("{}: {}", self.address(), failure.message);
        failure
    }
}

impl Summary {
    fn add(&mut self, object: &Object) {
        self.count += 1;
        self.bytes += object.bytes;
        self.newest_ms = self.newest_ms.max(object.written_ms());
    }
}

impl Object {
    /// When it was written, in milliseconds since the epoch.
    pub(crate) fn written_ms(&self) -> Option<i64> {
        self.written.and_then(|at| at.to_millis().ok())
    }
}

/// One object, or nothing. A bucket that does not exist is a failure.
pub(crate) async fn look_at(s3: &Client, bucket: &str, key: &str) -> Result<Option<Object>, Failure> {
    match s3.head_object().bucket(bucket).key(key).send().await.map_err(Trouble::from) {
        Ok(answer) => Ok(Some(Object {
            key: key.to_owned(),
            bytes: answer.content_length().and_then(|length| u64::try_from(length).ok()).unwrap_or(0),
            etag: answer.e_tag,
            written: answer.last_modified,
        })),
        // HEAD has no body, so a missing bucket looks like a missing object: ask.
        Err(trouble) if trouble.is_not_there() => {
            match s3.head_bucket().bucket(bucket).send().await.map_err(Trouble::from) {
                Ok(_) => Ok(None),
                Err(trouble) if trouble.is_not_there() => Err(no_bucket(bucket)),
                // The session may have ended between the two questions.
                Err(trouble) => Err(explained(s3, bucket, key, trouble).await),
            }
        }
        Err(trouble) => Err(explained(s3, bucket, key, trouble).await),
    }
}

/// What a refused HEAD means. It has no body, so ended credentials look like a bad request: a call whose refusal has
/// a body says what is wrong. If that is answered, the next look will be too.
async fn explained(s3: &Client, bucket: &str, key: &str, trouble: Trouble) -> Failure {
    if !trouble.is_unexplained() {
        return trouble.into_failure();
    }
    match s3.list_objects_v2().bucket(bucket).prefix(key).max_keys(1).send().await {
        Ok(_) => Failure { class: ErrorClass::System, ..trouble.into_failure() },
        Err(error) => Trouble::from(error).into_failure(),
    }
}

fn no_bucket(bucket: &str) -> Failure {
    Failure::new(ErrorClass::Config, format!("there is no bucket `{bucket}`")).with_code("NoSuchBucket")
}

/// What a failed step of work means: repeated as long as that can help.
pub(crate) fn status_of(failure: Failure) -> Status {
    match failure.class {
        ErrorClass::Throttled => Status::Throttled(failure),
        ErrorClass::System | ErrorClass::Capacity => Status::Unavailable(failure),
        _ => Status::Failed(failure),
    }
}

/// How far each job of this replica has come. Memory is enough: the work is such that another
/// replica, or this one after a crash, begins anew and finds what is done already.
#[derive(Debug)]
pub(crate) struct Progress<T>(Mutex<HashMap<String, T>>);

/// Jobs whose progress is kept. More are never under way at once; those that were given up
/// without an end are forgotten when this is reached.
const KEPT_MAX: usize = 10_000;

impl<T> Default for Progress<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Default> Progress<T> {
    /// Takes a job's progress out; the beginning if nothing is known.
    pub(crate) fn take(&self, id: &str) -> T {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id).unwrap_or_default()
    }

    /// Puts it back, if the job goes on after this status.
    pub(crate) fn keep(&self, id: &str, progress: T, status: &Status) {
        if !matches!(status, Status::Running { .. } | Status::Throttled(_) | Status::Unavailable(_)) {
            return;
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(id.to_owned(), progress);
    }
}
