//! `s3_delete`: deletes one object, or everything below a prefix.
//!
//! **Safe start**: deleting what is gone changes nothing, so an interrupted task simply goes on.
//! What must not happen is that more is deleted than was meant. So everything is counted before
//! the intent is committed, and more than `max_objects` is refused before anything is deleted;
//! and only what was there at that count is deleted: objects written later, by S3's own clock,
//! stay, also when the task is taken over by another replica. (S3 shows that clock in seconds;
//! what is written within the same second as the newest counted object is taken for counted.)
//!
//! The work is done in steps of one `DeleteObjects` each, between which the task can be
//! cancelled. In a bucket with versions, deleting adds delete markers and removes nothing.

use std::time::Duration;

use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    access::{Finding, Needs, Place},
    aws::{address::Address, console_host, error::Trouble, url_part},
    clients::Clients,
    clock::Clock,
    objects::{OBJECTS_MAX, Object, PAGE, Progress, Selection, Summary, status_of},
    operator::{
        Call, ErrorClass, Failure, Found, Handle, Intent, Operator, Outcome, PrepareContext, Rate, Request,
        Sent, Status,
    },
    registry::Options,
    released::Released,
};

mod access;

#[cfg(test)]
mod tests;

/// How often everything is gone through again for objects that S3 failed to delete just then.
const PASSES_MAX: u32 = 3;

/// Keys that are named in a failure.
const NAMED_MAX: usize = 5;

/// Answers about single keys that pass.
const PASSING: [&str; 4] = ["InternalError", "SlowDown", "ServiceUnavailable", "RequestTimeout"];

/// The operator.
#[derive(Debug)]
pub struct S3Delete {
    clock: Clock,
    released: Released,
    progress: Progress<Done>,
}

/// Settings of an `s3_delete` task: a `key` or a `prefix`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct S3DeleteConfig {
    /// The address of one object, e.g. `s3://bucket/day/_SUCCESS`. One that is not there is no
    /// error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// An address that objects begin with, e.g. `s3://bucket/day/`; never a whole bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// If more objects than this are there, nothing is deleted and the task fails.
    #[serde(default = "thousand")]
    #[schemars(range(min = 1, max = OBJECTS_MAX))]
    pub max_objects: u64,
}

fn thousand() -> u64 {
    1000
}

/// What a handle says.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Detail {
    #[serde(flatten)]
    selection: Selection,
    counted: Summary,
}

/// How far a job has come.
#[derive(Debug, Default)]
struct Done {
    /// The last key that was gone through.
    after: Option<String>,
    deleted: u64,
    /// Objects of this pass that S3 failed to delete for a reason that passes.
    left: u64,
    passes: u32,
    /// Objects that S3 refuses to delete, and what it says of the first ones.
    refused: u64,
    told: Vec<String>,
}

impl S3Delete {
    /// Takes the clock of the options.
    pub fn new(options: &Options) -> Self {
        Self { clock: options.clock.clone(), released: Released::default(), progress: Progress::default() }
    }

    /// One step; `None` when it was the last.
    async fn step(
        &self,
        clients: &Clients,
        handle: &Handle,
        done: &mut Done,
    ) -> Result<Option<Status>, Failure> {
        let detail = detail_of(handle)?;
        let s3 = clients.s3(&handle.connection).await?;
        let page = detail.selection.page(s3, done.after.as_deref(), PAGE).await?;
        let last = page.last().map(|object| object.key.clone());
        let is_end = page.len() < PAGE;
        let newest = detail.counted.newest_ms;
        let counted = |object: &Object| object.written_ms() <= newest;
        let keys: Vec<String> = page.into_iter().filter(counted).map(|object| object.key).collect();
        if !keys.is_empty() {
            delete(s3, &detail.selection, keys, done).await?;
        }
        done.after = last.or(done.after.take());
        if is_end {
            if done.left == 0 {
                return Ok(None);
            }
            done.passes += 1;
            if done.passes >= PASSES_MAX {
                let message = format!(
                    "{} of {} objects: S3 kept failing to delete them",
                    done.left, detail.counted.count
                );
                return Err(Failure::new(
                    ErrorClass::Failed,
                    format!("{}: {message}", detail.selection.address()),
                ));
            }
            done.after = None;
            done.left = 0;
            return Ok(Some(Status::Running { remote_state: done.so_far(&detail), poll_at: None }));
        }
        Ok(Some(Status::Running { remote_state: done.so_far(&detail), poll_at: Some(self.clock.now()) }))
    }

    fn ended(handle: &Handle, done: &Done) -> Status {
        let detail = match detail_of(handle) {
            Ok(detail) => detail,
            Err(failure) => return Status::Failed(failure),
        };
        if done.refused == 0 {
            return Status::Succeeded(outcome(&detail.counted));
        }
        let more = done.refused.saturating_sub(done.told.len() as u64);
        let more = if more > 0 { format!("\n  and {more} more") } else { String::new() };
        Status::Failed(Failure::new(
            ErrorClass::Config,
            format!(
                "{} of {} objects below {} could not be deleted, the others are gone:\n  {}{more}",
                done.refused,
                detail.counted.count,
                detail.selection.address(),
                done.told.join("\n  "),
            ),
        ))
    }
}

impl Operator for S3Delete {
    const TYPE: &'static str = "s3_delete";
    const EXAMPLE: &'static str = "\
type: s3_delete
prefix: s3://reports/tmp/2026-11-19/
max_objects: 5000
";
    const GUARANTEE: &'static str = "Deleting again what is gone changes nothing; an interrupted task goes on, and \
         deletes only what was there when it was counted.";
    type Config = S3DeleteConfig;

    fn default_timeout(&self) -> Duration {
        // The most objects take minutes; hours mean that S3 keeps throttling.
        Duration::from_secs(4 * 60 * 60)
    }

    fn label(&self, request: &Request) -> String {
        format!("S3 delete {}", address(&request.body))
    }

    fn prepare(&self, config: &S3DeleteConfig, cx: &PrepareContext<'_>) -> Result<Request, Failure> {
        let wrong = |message: String| Failure::new(ErrorClass::Config, message);
        let mut body = match (&config.key, &config.prefix) {
            (Some(key), None) => {
                let Address { bucket, key } = Address::object(key, "key")?;
                json!({ "Bucket": bucket, "Key": key })
            }
            (None, Some(prefix)) => {
                let Address { bucket, key } = Address::prefix(prefix, "prefix")?;
                if key.is_empty() || key == "/" {
                    let message = format!("prefix: `{prefix}` is a whole bucket; name a folder in it");
                    return Err(wrong(message));
                }
                json!({ "Bucket": bucket, "Prefix": key })
            }
            _ => {
                return Err(wrong(
                    "say either `key` (one object) or `prefix` (everything below it)".to_owned(),
                ));
            }
        };
        if !(1..=OBJECTS_MAX).contains(&config.max_objects) {
            return Err(wrong(format!("max_objects: must be from 1 to {OBJECTS_MAX}")));
        }
        body["MaxObjects"] = json!(config.max_objects);
        Ok(Request { token: cx.attempt_id.to_string(), connection: cx.connection.to_owned(), body })
    }

    fn needs_baseline(&self) -> bool {
        true
    }

    async fn baseline(&self, clients: &Clients, request: &Request) -> Result<Value, Failure> {
        let selection = selection_of(&request.body)?;
        let most = request.body["MaxObjects"].as_u64().unwrap_or(0);
        let s3 = clients.s3(&request.connection).await?;
        let counted = selection.count(s3, most, |_| Ok(())).await?;
        if counted.count > most {
            let message = format!(
                "max_objects: there are more than {most} objects below {}; nothing was deleted",
                selection.address()
            );
            return Err(Failure::new(ErrorClass::Config, message));
        }
        serde_json::to_value(counted).map_err(|error| Failure::new(ErrorClass::Config, error.to_string()))
    }

    async fn send(&self, _: &Clients, intent: &Intent<'_>) -> Sent {
        match handle(intent) {
            Ok((_, counted)) if counted.count == 0 => Sent::Done(outcome(&counted)),
            Ok((handle, _)) => Sent::Accepted(handle),
            Err(failure) => Sent::Refused(failure),
        }
    }

    async fn find(&self, _: &Clients, intent: &Intent<'_>) -> Found {
        match handle(intent) {
            Ok((handle, _)) => Found::Found(handle),
            Err(_) => Found::ProvedAbsent,
        }
    }

    fn works_in_poll(&self) -> bool {
        true
    }

    async fn poll(&self, clients: &Clients, handles: &[Handle]) -> Vec<Status> {
        let mut statuses = Vec::with_capacity(handles.len());
        for handle in handles {
            let mut done = self.progress.take(&handle.id);
            if self.released.contains(&handle.id) {
                self.released.remove(&handle.id);
                let message = format!("stopped after {} objects were deleted", done.deleted);
                statuses.push(Status::Cancelled(Failure::new(ErrorClass::Cancelled, message)));
                continue;
            }
            let status = match self.step(clients, handle, &mut done).await {
                Ok(None) => Self::ended(handle, &done),
                Ok(Some(status)) => status,
                Err(failure) => status_of(failure),
            };
            self.progress.keep(&handle.id, done, &status);
            statuses.push(status);
        }
        statuses
    }

    async fn cancel(&self, _: &Clients, handle: &Handle) -> Result<(), Failure> {
        self.released.add(&handle.id);
        Ok(())
    }

    fn rate(&self, call: Call) -> Option<Rate> {
        // S3 takes 3,500 deletions a second below a prefix, and each call is a thousand.
        (call == Call::Read).then(|| Rate { api: "s3:DeleteObjects".into(), per_second: 3.0, burst: 6.0 })
    }

    fn console_url(&self, region: &str, handle: &Handle) -> Option<String> {
        let selection = Selection::deserialize(&handle.detail).ok()?;
        let key = selection.key.or(selection.prefix)?;
        let (host, bucket) = (console_host(region), selection.bucket);
        Some(format!("https://{host}/s3/buckets/{bucket}?region={region}&prefix={}", url_part(&key)))
    }

    fn needs(&self, request: &Request, place: &Place) -> Option<Needs> {
        Some(access::needs(request, place))
    }

    async fn check(&self, clients: &Clients, request: &Request, _: &Place) -> Vec<Finding> {
        access::check(clients, request).await
    }
}

impl Done {
    fn so_far(&self, detail: &Detail) -> String {
        format!("{} of {} objects deleted", self.deleted, detail.counted.count)
    }
}

/// One call for up to a thousand keys; what it says of single keys goes into `done`.
async fn delete(
    s3: &aws_sdk_s3::Client,
    selection: &Selection,
    keys: Vec<String>,
    done: &mut Done,
) -> Result<(), Failure> {
    let asked = keys.len() as u64;
    let invalid = |error: &dyn std::fmt::Display| Failure::new(ErrorClass::Config, error.to_string());
    let mut objects = Delete::builder().quiet(true);
    for key in keys {
        objects =
            objects.objects(ObjectIdentifier::builder().key(key).build().map_err(|error| invalid(&error))?);
    }
    let answer = s3
        .delete_objects()
        .bucket(&selection.bucket)
        .delete(objects.build().map_err(|error| invalid(&error))?)
        .send()
        .await
        .map_err(|error| selection.named(Trouble::from(error).into_failure()))?;
    let mut not_deleted = 0;
    for error in answer.errors() {
        let code = error.code().unwrap_or("no code");
        if code == "NoSuchKey" {
            continue;
        }
        not_deleted += 1;
        if PASSING.contains(&code) {
            done.left += 1;
            continue;
        }
        done.refused += 1;
        if done.told.len() < NAMED_MAX {
            let (key, text) = (error.key().unwrap_or_default(), error.message().unwrap_or_default());
            done.told.push(format!("{key}: {code}: {text}"));
        }
    }
    done.deleted += asked.saturating_sub(not_deleted);
    Ok(())
}

fn outcome(counted: &Summary) -> Outcome {
    let mut outcome = Outcome::default();
    outcome.outputs.insert("count".into(), counted.count.into());
    outcome.outputs.insert("bytes".into(), counted.bytes.into());
    outcome
}

fn handle(intent: &Intent<'_>) -> Result<(Handle, Summary), Failure> {
    let selection = selection_of(&intent.request.body)?;
    let counted = Summary::deserialize(intent.baseline).map_err(|error| unreadable(&error))?;
    let id = format!("{} {}", selection.address(), intent.request.token);
    let detail = Detail { selection, counted: counted.clone() };
    let detail = serde_json::to_value(detail).map_err(|error| unreadable(&error))?;
    Ok((Handle { connection: intent.request.connection.clone(), id, detail }, counted))
}

fn detail_of(handle: &Handle) -> Result<Detail, Failure> {
    Detail::deserialize(&handle.detail).map_err(|error| unreadable(&error))
}

fn selection_of(body: &Value) -> Result<Selection, Failure> {
    Selection::deserialize(body).map_err(|error| unreadable(&error))
}

fn unreadable(error: &serde_json::Error) -> Failure {
    Failure::new(ErrorClass::Config, format!("what was stored of this attempt cannot be read: {error}"))
}

fn address(body: &Value) -> String {
    selection_of(body).map(|selection| selection.address()).unwrap_or_default()
}
