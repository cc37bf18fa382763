//! `s3_copy`: copies one object, or everything below a prefix, within S3.
//!
//! **Safe start**: copying again what was copied changes nothing, so an interrupted task simply
//! goes on: an object whose copy is there already, with the same size and the same `ETag`, is
//! skipped. (A copy of an object that was uploaded in parts, or that is encrypted with a key,
//! has an `ETag` of its own and is made anew.)
//!
//! S3 copies by itself, no byte passes through here. Everything is counted before the intent is
//! committed: more than `max_objects`, or one object over the 5 GB that S3 copies in one call,
//! is refused before anything is copied. The work is done in steps, between which the task can
//! be cancelled.

use std::time::Duration;

use aws_smithy_types::timeout::TimeoutConfig;
use futures::{StreamExt as _, stream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    access::{Finding, Needs, Place},
    aws::{address::Address, console_host, error::Trouble, url_part},
    clients::Clients,
    clock::Clock,
    objects::{self, OBJECTS_MAX, Object, Progress, Selection, Summary, status_of},
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

/// The largest object that S3 copies in one call.
const OBJECT_BYTES_MAX: u64 = 5 * 1024 * 1024 * 1024;

/// Objects of one step: a second or two of work.
const STEP_OBJECTS: usize = 200;

/// A step ends with the object that reaches this: S3 copies some 100 MB a second.
const STEP_BYTES: u64 = 1024 * 1024 * 1024;

/// Copies under way at once, of one step.
const COPIES_AT_ONCE: usize = 16;

/// The longest that one copy may take; S3 answers when it is done.
const COPY_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// The operator.
#[derive(Debug)]
pub struct S3Copy {
    clock: Clock,
    released: Released,
    progress: Progress<Done>,
}

/// Settings of an `s3_copy` task: a `key` or a `prefix`, and where `to`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct S3CopyConfig {
    /// The address of one object, e.g. `s3://bucket/day/report.csv`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// An address that objects begin with, e.g. `s3://bucket/day/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Where the copy goes. For a `key`, an address of an object, or of a folder (with a slash at
    /// its end), in which the copy has the same name. For a `prefix`, an address that takes the
    /// prefix's place in each key.
    pub to: String,
    /// If more objects than this are there, nothing is copied and the task fails.
    #[serde(default = "ten_thousand")]
    #[schemars(range(min = 1, max = OBJECTS_MAX))]
    pub max_objects: u64,
}

fn ten_thousand() -> u64 {
    10_000
}

/// What is copied where, as it stands in the request and in the handle.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Plan {
    from: Selection,
    to_bucket: String,
    /// The key of the one copy, or what takes the prefix's place.
    to_key: String,
    max_objects: u64,
}

/// How far a job has come.
#[derive(Debug, Default)]
struct Done {
    /// The last key that was gone through.
    after: Option<String>,
    count: u64,
    bytes: u64,
    copied: u64,
    vanished: u64,
}

/// What became of one object.
enum Copied {
    Now,
    Before,
    Vanished,
}

impl S3Copy {
    /// Takes the clock of the options.
    pub fn new(options: &Options) -> Self {
        Self { clock: options.clock.clone(), released: Released::default(), progress: Progress::default() }
    }

    /// One step: some of the objects behind the last one.
    async fn step(&self, clients: &Clients, handle: &Handle, done: &mut Done) -> Result<Status, Failure> {
        let plan = plan_of(&handle.detail)?;
        let s3 = clients.s3(&handle.connection).await?;
        let page = plan.from.page(s3, done.after.as_deref(), STEP_OBJECTS).await?;
        let (now, is_end) = first_of(page);
        if done.count + now.len() as u64 > plan.max_objects {
            let message = format!(
                "max_objects: objects keep being added below {}; stopped after {}",
                plan.from.address(),
                done.count
            );
            return Err(Failure::new(ErrorClass::Config, message));
        }
        let copies: Vec<_> = now.iter().map(|object| copy(s3, &plan, object)).collect();
        let results: Vec<Result<Copied, Failure>> =
            stream::iter(copies).buffer_unordered(COPIES_AT_ONCE).collect().await;
        // Nothing is remembered of a step that failed: what it did copy is skipped next time.
        let mut copied = 0;
        let mut vanished = 0;
        for result in results {
            match result? {
                Copied::Now => copied += 1,
                Copied::Vanished => vanished += 1,
                Copied::Before => {}
            }
        }
        done.copied += copied;
        done.vanished += vanished;
        done.count += now.len() as u64;
        done.bytes += now.iter().map(|object| object.bytes).sum::<u64>();
        done.after = now.last().map(|object| object.key.clone()).or(done.after.take());
        if is_end {
            return Ok(Status::Succeeded(done.outcome(&plan)));
        }
        let remote_state = format!("{} objects, {} bytes", done.count, done.bytes);
        Ok(Status::Running { remote_state, poll_at: Some(self.clock.now()) })
    }
}

impl Operator for S3Copy {
    const TYPE: &'static str = "s3_copy";
    const EXAMPLE: &'static str = "\
type: s3_copy
prefix: s3://partner-drop/2026-11-19/
to: s3://raw/partner/day=2026-11-19/
";
    const GUARANTEE: &'static str = "Copying again changes nothing; an interrupted task goes on and skips what has \
         the same size and ETag already.";
    type Config = S3CopyConfig;

    fn default_timeout(&self) -> Duration {
        // The most objects, each of the largest size, would take longer; then say so.
        Duration::from_secs(12 * 60 * 60)
    }

    fn label(&self, request: &Request) -> String {
        plan_of(&request.body).map_or_else(
            |_| "S3 copy".to_owned(),
            |plan| format!("S3 copy {} to s3://{}/{}", plan.from.address(), plan.to_bucket, plan.to_key),
        )
    }

    fn prepare(&self, config: &S3CopyConfig, cx: &PrepareContext<'_>) -> Result<Request, Failure> {
        let plan = plan(config)?;
        let body = serde_json::to_value(plan).map_err(|error| unreadable(&error))?;
        Ok(Request { token: cx.attempt_id.to_string(), connection: cx.connection.to_owned(), body })
    }

    fn needs_baseline(&self) -> bool {
        true
    }

    async fn baseline(&self, clients: &Clients, request: &Request) -> Result<Value, Failure> {
        let plan = plan_of(&request.body)?;
        let (from, most) = (&plan.from, plan.max_objects);
        let s3 = clients.s3(&request.connection).await?;
        let counted = from.count(s3, most, |object| check_size(from, object)).await?;
        let refuse = |message: String| Err(Failure::new(ErrorClass::Config, message));
        if counted.count > most {
            let address = from.address();
            return refuse(format!(
                "max_objects: there are more than {most} objects below {address}; nothing was copied"
            ));
        }
        if counted.count == 0 && from.key.is_some() {
            return refuse(format!(
                "there is no object {}; nothing was copied (s3_wait waits for one)",
                from.address()
            ));
        }
        serde_json::to_value(counted).map_err(|error| unreadable(&error))
    }

    async fn send(&self, _: &Clients, intent: &Intent<'_>) -> Sent {
        match (plan_of(&intent.request.body), Summary::deserialize(intent.baseline)) {
            (Ok(plan), Ok(counted)) if counted.count == 0 => Sent::Done(Done::default().outcome(&plan)),
            (Ok(plan), Ok(_)) => Sent::Accepted(handle(intent.request, &plan)),
            (Err(failure), _) => Sent::Refused(failure),
            (_, Err(error)) => Sent::Refused(unreadable(&error)),
        }
    }

    async fn find(&self, _: &Clients, intent: &Intent<'_>) -> Found {
        match plan_of(&intent.request.body) {
            Ok(plan) => Found::Found(handle(intent.request, &plan)),
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
                let message = format!("stopped after {} objects were copied", done.copied);
                statuses.push(Status::Cancelled(Failure::new(ErrorClass::Cancelled, message)));
                continue;
            }
            let status = self.step(clients, handle, &mut done).await.unwrap_or_else(status_of);
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
        // S3 takes 3,500 copies a second below a prefix, and each step makes up to 200.
        (call == Call::Read).then(|| Rate { api: "s3:CopyObject".into(), per_second: 10.0, burst: 20.0 })
    }

    fn console_url(&self, region: &str, handle: &Handle) -> Option<String> {
        let plan = plan_of(&handle.detail).ok()?;
        let (host, bucket) = (console_host(region), plan.to_bucket);
        Some(format!("https://{host}/s3/buckets/{bucket}?region={region}&prefix={}", url_part(&plan.to_key)))
    }

    fn needs(&self, request: &Request, place: &Place) -> Option<Needs> {
        Some(access::needs(request, place))
    }

    async fn check(&self, clients: &Clients, request: &Request, _: &Place) -> Vec<Finding> {
        access::check(clients, request).await
    }
}

impl Done {
    fn outcome(&self, plan: &Plan) -> Outcome {
        let mut outcome = Outcome::default();
        let mut set = |name: &str, value: u64| outcome.outputs.insert(name.to_owned(), value.into());
        set("count", self.count - self.vanished);
        set("bytes", self.bytes);
        set("copied", self.copied);
        let address = plan.from.address();
        if self.count == 0 {
            outcome.warnings.push(format!("there is nothing below {address}; nothing was copied"));
        }
        if self.vanished > 0 {
            let gone = self.vanished;
            outcome
                .warnings
                .push(format!("{gone} objects below {address} were deleted before they were copied"));
        }
        outcome
    }
}

impl Plan {
    /// The key of an object's copy.
    fn target(&self, key: &str) -> String {
        match &self.from.prefix {
            Some(prefix) => format!("{}{}", self.to_key, key.strip_prefix(prefix.as_str()).unwrap_or(key)),
            None => self.to_key.clone(),
        }
    }
}

/// What the settings ask for.
fn plan(config: &S3CopyConfig) -> Result<Plan, Failure> {
    let wrong = |message: String| Err(Failure::new(ErrorClass::Config, message));
    let to = Address::prefix(&config.to, "to")?;
    let (from, to_key) = match (&config.key, &config.prefix) {
        (Some(key), None) => {
            let Address { bucket, key } = Address::object(key, "key")?;
            let name = key.rsplit('/').next().unwrap_or(key);
            let is_folder = to.key.is_empty() || to.key.ends_with('/');
            let to_key = if is_folder { format!("{}{name}", to.key) } else { to.key.to_owned() };
            if bucket == to.bucket && key == to_key {
                return wrong(format!("to: `{}` is the object itself", config.to));
            }
            (Selection { bucket: bucket.to_owned(), key: Some(key.to_owned()), prefix: None }, to_key)
        }
        (None, Some(prefix)) => {
            let Address { bucket, key } = Address::prefix(prefix, "prefix")?;
            if bucket == to.bucket && to.key.starts_with(key) {
                return wrong(format!(
                    "to: `{}` lies below `{prefix}`: the copies would be copied again",
                    config.to
                ));
            }
            if !key.is_empty() && key.ends_with('/') && !to.key.is_empty() && !to.key.ends_with('/') {
                return wrong(format!(
                    "to: `{}` takes the place of a folder: end it with a slash",
                    config.to
                ));
            }
            let from = Selection { bucket: bucket.to_owned(), key: None, prefix: Some(key.to_owned()) };
            (from, to.key.to_owned())
        }
        _ => return wrong("say either `key` (one object) or `prefix` (everything below it)".to_owned()),
    };
    if !(1..=OBJECTS_MAX).contains(&config.max_objects) {
        return wrong(format!("max_objects: must be from 1 to {OBJECTS_MAX}"));
    }
    Ok(Plan { from, to_bucket: to.bucket.to_owned(), to_key, max_objects: config.max_objects })
}

fn check_size(from: &Selection, object: &Object) -> Result<(), Failure> {
    if object.bytes <= OBJECT_BYTES_MAX {
        return Ok(());
    }
    let message = format!(
        "s3://{}/{} has {} bytes, and S3 copies at most {OBJECT_BYTES_MAX} in one call; nothing was copied. \
         Leave it out, or copy it with a Glue job or a command",
        from.bucket, object.key, object.bytes
    );
    Err(Failure::new(ErrorClass::Config, message).with_code("EntityTooLarge"))
}

/// The objects of one step, and whether nothing follows them.
fn first_of(mut page: Vec<Object>) -> (Vec<Object>, bool) {
    let mut bytes = 0;
    let full = page.iter().position(|object| {
        bytes += object.bytes;
        bytes >= STEP_BYTES
    });
    let is_end = page.len() < STEP_OBJECTS;
    match full.map(|position| position + 1).filter(|count| *count < page.len()) {
        Some(count) => {
            page.truncate(count);
            (page, false)
        }
        None => (page, is_end),
    }
}

async fn copy(s3: &aws_sdk_s3::Client, plan: &Plan, object: &Object) -> Result<Copied, Failure> {
    check_size(&plan.from, object)?;
    let target = plan.target(&object.key);
    let named = |mut failure: Failure| {
        failure.message = format!(
            "s3://{}/{} to s3://{}/{target}: {}",
            plan.from.bucket, object.key, plan.to_bucket, failure.message
        );
        failure
    };
    let there = objects::look_at(s3, &plan.to_bucket, &target).await.map_err(named)?;
    if there
        .is_some_and(|there| there.bytes == object.bytes && there.etag.is_some() && there.etag == object.etag)
    {
        return Ok(Copied::Before);
    }
    let patience = TimeoutConfig::builder()
        .operation_attempt_timeout(COPY_TIMEOUT)
        .operation_timeout(COPY_TIMEOUT)
        .build();
    let answer = s3
        .copy_object()
        .copy_source(copy_source(&plan.from.bucket, &object.key))
        .bucket(&plan.to_bucket)
        .key(&target)
        .customize()
        .config_override(aws_sdk_s3::config::Builder::new().timeout_config(patience))
        .send()
        .await;
    match answer.map_err(Trouble::from) {
        Ok(_) => Ok(Copied::Now),
        Err(trouble) if trouble.code() == "NoSuchKey" => Ok(Copied::Vanished),
        Err(trouble) => Err(named(trouble.into_failure())),
    }
}

/// A source as the header takes it: each part of the key percent-encoded.
fn copy_source(bucket: &str, key: &str) -> String {
    let parts: Vec<String> = key.split('/').map(url_part).collect();
    format!("{bucket}/{}", parts.join("/"))
}

fn handle(request: &Request, plan: &Plan) -> Handle {
    Handle {
        connection: request.connection.clone(),
        id: format!("{} {}", plan.from.address(), request.token),
        detail: json!(plan),
    }
}

fn plan_of(stored: &Value) -> Result<Plan, Failure> {
    Plan::deserialize(stored).map_err(|error| unreadable(&error))
}

fn unreadable(error: &serde_json::Error) -> Failure {
    Failure::new(ErrorClass::Config, format!("what was stored of this attempt cannot be read: {error}"))
}
