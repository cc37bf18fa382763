//! `s3_wait`: waits until an object, or enough objects under a prefix, are in S3.
//!
//! **Safe start**: waiting changes nothing outside. The first look is part of the start, so
//! that a wrong bucket or a missing permission is said at once; an interrupted start simply
//! goes on looking. S3 lists what was written a moment ago, so what was seen is there.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    access::{Finding, Needs, Place},
    aws::{address::Address, error::Trouble},
    clients::Clients,
    objects,
    operator::{
        Call, ErrorClass, Failure, Found, Handle, Intent, Operator, Outcome, Outputs, PrepareContext, Rate,
        Request, Sent, Status,
    },
    registry::Options,
    released::Released,
};

mod access;

/// Pages of a listing that one look reads: 100,000 objects, or what was asked for.
const PAGES_MAX: usize = 100;

/// The most objects that can be asked for; what one look reads.
const COUNT_MAX: u64 = 100_000;

/// The operator.
#[derive(Debug)]
pub struct S3Wait {
    released: Released,
}

/// Settings of an `s3_wait` task: a `key` or a `prefix`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct S3WaitConfig {
    /// The address of one object, e.g. `s3://bucket/day/_SUCCESS`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// An address that objects begin with, e.g. `s3://bucket/day/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Objects that must be there, under a prefix. Folder markers (empty, ending in `/`) do not
    /// count. With 0 it looks once, and warns where nothing is.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = COUNT_MAX))]
    pub min_count: u64,
    /// Bytes that they must have together.
    #[serde(default)]
    pub min_bytes: u64,
}

fn one() -> u64 {
    1
}

/// What is waited for, as it stands in the request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Wanted {
    bucket: String,
    #[serde(default)]
    key: Option<String>,
    #[serde(default)]
    prefix: Option<String>,
    min_count: u64,
    min_bytes: u64,
}

/// What a look saw.
#[derive(Debug, Default)]
struct Seen {
    count: u64,
    bytes: u64,
    /// The newest object.
    newest: Option<(aws_sdk_s3::primitives::DateTime, String)>,
}

impl S3Wait {
    /// Needs nothing of the options.
    pub fn new(_options: &Options) -> Self {
        Self { released: Released::default() }
    }
}

impl Operator for S3Wait {
    const TYPE: &'static str = "s3_wait";
    const EXAMPLE: &'static str = "\
type: s3_wait
prefix: s3://partner-drop/2026/11/19/
min_count: 24
timeout: 6h
";
    const GUARANTEE: &'static str = "Waiting changes nothing outside; an interrupted wait goes on looking.";
    type Config = S3WaitConfig;

    fn default_timeout(&self) -> Duration {
        // Nothing limits the wait but ourselves: a day, so that a file that never comes is said.
        Duration::from_secs(24 * 60 * 60)
    }

    fn label(&self, request: &Request) -> String {
        format!("S3 {}", address(request))
    }

    fn prepare(&self, config: &S3WaitConfig, cx: &PrepareContext<'_>) -> Result<Request, Failure> {
        let wrong = |message: &str| Failure::new(ErrorClass::Config, message);
        let mut body = match (&config.key, &config.prefix) {
            (Some(key), None) => {
                let Address { bucket, key } = Address::object(key, "key")?;
                if config.min_count != 1 {
                    return Err(wrong("min_count: a key is one object; say `prefix` to count"));
                }
                json!({ "Bucket": bucket, "Key": key })
            }
            (None, Some(prefix)) => {
                let Address { bucket, key } = Address::prefix(prefix, "prefix")?;
                json!({ "Bucket": bucket, "Prefix": key })
            }
            _ => return Err(wrong("say either `key` (one object) or `prefix` (everything below it)")),
        };
        if config.min_count > COUNT_MAX {
            return Err(wrong(&format!("min_count: must be at most {COUNT_MAX}")));
        }
        body["MinCount"] = json!(config.min_count);
        body["MinBytes"] = json!(config.min_bytes);
        Ok(Request { token: cx.attempt_id.to_string(), connection: cx.connection.to_owned(), body })
    }

    async fn send(&self, clients: &Clients, intent: &Intent<'_>) -> Sent {
        match look(clients, &intent.request.connection, &intent.request.body).await {
            Ok(Ok(outcome)) => Sent::Done(outcome),
            Ok(Err(_)) => Sent::Accepted(handle(intent.request)),
            // A look starts nothing, so every failure of it is certain.
            Err(failure) if failure.class == ErrorClass::Config => Sent::Refused(failure),
            Err(failure) => Sent::Throttled(failure),
        }
    }

    async fn find(&self, _: &Clients, intent: &Intent<'_>) -> Found {
        Found::Found(handle(intent.request))
    }

    async fn poll(&self, clients: &Clients, handles: &[Handle]) -> Vec<Status> {
        let mut statuses = Vec::with_capacity(handles.len());
        for handle in handles {
            if self.released.contains(&handle.id) {
                self.released.remove(&handle.id);
                let failure = Failure::new(ErrorClass::Cancelled, "the wait was cut short");
                statuses.push(Status::Cancelled(failure));
                continue;
            }
            statuses.push(match look(clients, &handle.connection, &handle.detail).await {
                Ok(Ok(outcome)) => Status::Succeeded(outcome),
                Ok(Err(seen)) => Status::Running { remote_state: seen.so_far(), poll_at: None },
                Err(failure) if failure.class == ErrorClass::Throttled => Status::Throttled(failure),
                // What was seen to be allowed at the start and is refused now (a bucket that
                // was deleted, a permission that was withdrawn) will not come by waiting.
                Err(failure) if failure.class == ErrorClass::Config => Status::Failed(failure),
                Err(failure) => Status::Unavailable(failure),
            });
        }
        statuses
    }

    async fn cancel(&self, _: &Clients, handle: &Handle) -> Result<(), Failure> {
        self.released.add(&handle.id);
        Ok(())
    }

    fn rate(&self, call: Call) -> Option<Rate> {
        // S3 allows thousands per prefix and second; this only keeps a storm of waits apart.
        (call == Call::Read).then(|| Rate { api: "s3:ListObjectsV2".into(), per_second: 50.0, burst: 50.0 })
    }

    fn console_url(&self, region: &str, handle: &Handle) -> Option<String> {
        let bucket = handle.detail["Bucket"].as_str()?;
        let key = handle.detail["Prefix"].as_str().or_else(|| handle.detail["Key"].as_str())?;
        let host = crate::aws::console_host(region);
        let key = crate::aws::url_part(key);
        Some(format!("https://{host}/s3/buckets/{bucket}?region={region}&prefix={key}"))
    }

    fn needs(&self, request: &Request, place: &Place) -> Option<Needs> {
        Some(access::needs(request, place))
    }

    async fn check(&self, clients: &Clients, request: &Request, _: &Place) -> Vec<Finding> {
        access::check(clients, request).await
    }
}

impl Seen {
    fn add(&mut self, key: &str, bytes: u64, written: Option<aws_sdk_s3::primitives::DateTime>) {
        self.count += 1;
        self.bytes += bytes;
        if let Some(written) = written
            && self.newest.as_ref().is_none_or(|(newest, _)| *newest < written)
        {
            self.newest = Some((written, key.to_owned()));
        }
    }

    fn is_enough(&self, wanted: &Wanted) -> bool {
        self.count >= wanted.min_count && self.bytes >= wanted.min_bytes
    }

    fn so_far(&self) -> String {
        format!("{} objects, {} bytes", self.count, self.bytes)
    }

    fn outcome(self, wanted: &Wanted) -> Outcome {
        let mut outputs = Outputs::new();
        outputs.insert("count".into(), self.count.into());
        outputs.insert("bytes".into(), self.bytes.into());
        if let Some((_, key)) = self.newest {
            outputs.insert("newest_key".into(), key.into());
        }
        let mut warnings = Vec::new();
        if self.count == 0 {
            warnings.push(format!(
                "there is nothing below s3://{}/{}",
                wanted.bucket,
                wanted.prefix.as_deref().unwrap_or_default()
            ));
        }
        Outcome { outputs, warnings, ..Outcome::default() }
    }
}

fn handle(request: &Request) -> Handle {
    Handle {
        connection: request.connection.clone(),
        id: format!("{} {}", address(request), request.token),
        detail: request.body.clone(),
    }
}

fn address(request: &Request) -> String {
    let part = |name: &str| request.body[name].as_str().unwrap_or_default();
    format!("s3://{}/{}{}", part("Bucket"), part("Prefix"), part("Key"))
}

/// The outcome, if what is wanted is there; else what is.
async fn look(clients: &Clients, connection: &str, body: &Value) -> Result<Result<Outcome, Seen>, Failure> {
    let wanted = Wanted::deserialize(body).map_err(|error| {
        Failure::new(ErrorClass::Config, format!("the stored request cannot be read: {error}"))
    })?;
    let s3 = clients.s3(connection).await?;
    let seen = match &wanted.key {
        Some(key) => look_at(s3, &wanted.bucket, key).await?,
        None => look_below(s3, &wanted).await?,
    };
    Ok(if seen.is_enough(&wanted) { Ok(seen.outcome(&wanted)) } else { Err(seen) })
}

async fn look_at(s3: &aws_sdk_s3::Client, bucket: &str, key: &str) -> Result<Seen, Failure> {
    let mut seen = Seen::default();
    if let Some(found) = objects::look_at(s3, bucket, key).await? {
        seen.add(key, found.bytes, found.written);
    }
    Ok(seen)
}

async fn look_below(s3: &aws_sdk_s3::Client, wanted: &Wanted) -> Result<Seen, Failure> {
    let mut seen = Seen::default();
    let mut token = None;
    for _ in 0..PAGES_MAX {
        let page = s3
            .list_objects_v2()
            .bucket(&wanted.bucket)
            .set_prefix(wanted.prefix.clone())
            .set_continuation_token(token.take())
            .send()
            .await
            .map_err(|error| Trouble::from(error).into_failure())?;
        for object in page.contents() {
            let (key, size) = (object.key().unwrap_or_default(), object.size().unwrap_or(0));
            let bytes = u64::try_from(size).unwrap_or(0);
            if bytes > 0 || !key.ends_with('/') {
                seen.add(key, bytes, object.last_modified().copied());
            }
        }
        token = page.next_continuation_token;
        // More than enough is not counted: the listing of a large prefix costs money.
        if token.is_none() || seen.is_enough(wanted) {
            break;
        }
    }
    Ok(seen)
}

#[cfg(test)]
#[path = "s3_wait/tests.rs"]
mod tests;
