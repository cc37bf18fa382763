//! Notifications: which queues hear of which objects that are made, and what they are told.
//!
//! A bucket's configuration is one record, which outlives the process. Objects that services of the sandbox
//! write are told of like those that clients put. Nothing is told of objects that are removed: the sandbox
//! refuses configurations that ask for that, by name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock, Weak};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::SandboxError;
use crate::files;
use crate::sqs::{Sqs, account_of_arn, name_of_arn};
use crate::wire::ApiError;

/// Queues that one bucket tells, as on AWS.
const QUEUES_MAX: usize = 100;

/// How an object was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Made {
    Put,
    Copy,
    Multipart,
}

impl Made {
    fn event(self) -> &'static str {
        match self {
            Self::Put => "ObjectCreated:Put",
            Self::Copy => "ObjectCreated:Copy",
            Self::Multipart => "ObjectCreated:CompleteMultipartUpload",
        }
    }
}

/// A queue that hears of objects of a bucket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Listener {
    /// The configuration's id.
    pub id: String,
    /// The queue.
    pub queue: String,
    /// What it hears of, e.g. `s3:ObjectCreated:*`.
    pub events: Vec<String>,
    /// Of objects whose keys begin so.
    #[serde(default)]
    pub prefix: String,
    /// And end so.
    #[serde(default)]
    pub suffix: String,
}

impl Listener {
    fn hears(&self, made: Made, key: &str) -> bool {
        let event = format!("s3:{}", made.event());
        let fits = |wanted: &String| *wanted == event || wanted == "s3:ObjectCreated:*";
        self.events.iter().any(fits) && key.starts_with(&self.prefix) && key.ends_with(&self.suffix)
    }
}

/// An object that was made.
#[derive(Debug, Clone, Copy)]
pub(super) struct NewObject<'a> {
    pub bucket: &'a str,
    pub key: &'a str,
    pub size: u64,
    pub etag: &'a str,
    pub made: Made,
}

/// The configurations of all buckets.
#[derive(Debug)]
pub(crate) struct Notifications {
    folder: PathBuf,
    buckets: RwLock<BTreeMap<String, Vec<Listener>>>,
    /// The queues of each account. They know the objects, so the objects only know them while they are there.
    queues: RwLock<BTreeMap<String, Weak<Sqs>>>,
    /// The last sequencer, in nanoseconds.
    last: Mutex<i128>,
}

impl Notifications {
    /// Reads the configurations.
    pub(super) fn open(folder: PathBuf) -> Result<Self, SandboxError> {
        let mut buckets = BTreeMap::new();
        for path in crate::catalog::entries(&folder)? {
            let bucket = path.file_stem().and_then(|name| name.to_str()).map(str::to_owned);
            let listeners = files::read_json(&path)?;
            // Others are half-written, and were never accepted.
            if let (Some(bucket), Some(listeners), true) = (bucket, listeners, is_record(&path)) {
                buckets.insert(bucket, listeners);
            }
        }
        let queues = RwLock::default();
        Ok(Self { folder, buckets: RwLock::new(buckets), queues, last: Mutex::default() })
    }

    /// From now on queues of this account can be told.
    pub(crate) fn listen(&self, account: &str, sqs: Weak<Sqs>) {
        self.queues.write().unwrap_or_else(PoisonError::into_inner).insert(account.to_owned(), sqs);
    }

    /// Who hears of a bucket's objects.
    pub(crate) fn of(&self, bucket: &str) -> Vec<Listener> {
        self.buckets.read().unwrap_or_else(PoisonError::into_inner).get(bucket).cloned().unwrap_or_default()
    }

    /// Replaces a bucket's configuration, and tries each queue with a test event unless that is not wanted.
    pub(crate) fn put(
        &self,
        bucket: &str,
        listeners: Vec<Listener>,
        tries: bool,
        now: Timestamp,
    ) -> Result<(), ApiError> {
        let wrong = |message: String| Err(ApiError::new(400, "InvalidArgument", message));
        if listeners.len() > QUEUES_MAX {
            return wrong(format!("more than {QUEUES_MAX} notification configurations"));
        }
        for (place, listener) in listeners.iter().enumerate() {
            if let Some(event) = listener.events.iter().find(|event| !event.starts_with("s3:ObjectCreated:"))
            {
                return wrong(format!(
                    "event {event} is not supported by the sandbox: only s3:ObjectCreated:*"
                ));
            }
            if listeners[..place].iter().any(|other| overlap(other, listener)) {
                return wrong(
                    "Configurations overlap. Configurations on the same bucket cannot share a common event type."
                        .to_owned(),
                );
            }
            if tries && self.queue(&listener.queue).is_none() {
                return wrong("Unable to validate the following destination configurations".to_owned());
            }
        }
        files::replace_json(&self.folder.join(format!("{bucket}.json")), &listeners)
            .map_err(ApiError::internal)?;
        if tries {
            let test = json!({
                "Service": "Amazon S3", "Event": "s3:TestEvent", "Time": now, "Bucket": bucket,
                "RequestId": "SANDBOX", "HostId": "sandbox",
            });
            for listener in &listeners {
                self.send(&listener.queue, &test, now)?;
            }
        }
        self.buckets.write().unwrap_or_else(PoisonError::into_inner).insert(bucket.to_owned(), listeners);
        Ok(())
    }

    /// Tells whoever hears of an object. A queue that is gone by now hears nothing, as on AWS.
    pub(super) fn created(&self, object: NewObject<'_>, now: Timestamp) {
        let listeners = self.of(object.bucket);
        let told = listeners.iter().filter(|listener| listener.hears(object.made, object.key));
        for listener in told {
            let body = json!({ "Records": [self.record(object, &listener.id, now)] });
            if let Err(error) = self.send(&listener.queue, &body, now) {
                tracing::warn!(
                    "{} was not told of s3://{}/{}: {error:?}",
                    listener.queue,
                    object.bucket,
                    object.key
                );
            }
        }
    }

    /// Forgets a bucket that was removed.
    pub(super) fn forget(&self, bucket: &str) {
        self.buckets.write().unwrap_or_else(PoisonError::into_inner).remove(bucket);
        drop(std::fs::remove_file(self.folder.join(format!("{bucket}.json"))));
    }

    fn record(&self, object: NewObject<'_>, id: &str, now: Timestamp) -> Value {
        let NewObject { bucket, key, size, etag, made } = object;
        json!({
            "eventVersion": "2.1",
            "eventSource": "aws:s3",
            "awsRegion": crate::world::REGION,
            "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string(),
            "eventName": made.event(),
            "userIdentity": { "principalId": "AWS:SANDBOX" },
            "requestParameters": { "sourceIPAddress": "127.0.0.1" },
            "responseElements": { "x-amz-request-id": "SANDBOX", "x-amz-id-2": "sandbox" },
            "s3": {
                "s3SchemaVersion": "1.0",
                "configurationId": id,
                "bucket": {
                    "name": bucket,
                    "ownerIdentity": { "principalId": "SANDBOX" },
                    "arn": format!("arn:aws:s3:::{bucket}"),
                },
                "object": { "key": encoded(key), "size": size, "eTag": etag, "sequencer": self.sequencer(now) },
            },
        })
    }

    /// A hexadecimal number that grows with each event.
    fn sequencer(&self, now: Timestamp) -> String {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = now.as_nanosecond().max(*last + 1);
        format!("{:018X}", *last)
    }

    fn queue(&self, arn: &str) -> Option<(std::sync::Arc<Sqs>, String)> {
        let queues = self.queues.read().unwrap_or_else(PoisonError::into_inner);
        let sqs = queues.get(account_of_arn(arn)?)?.upgrade()?;
        let name = name_of_arn(arn)?;
        sqs.has(name).then(|| (sqs, name.to_owned()))
    }

    fn send(&self, arn: &str, body: &Value, now: Timestamp) -> Result<(), ApiError> {
        let Some((sqs, name)) = self.queue(arn) else { return Ok(()) };
        sqs.notify(&name, body.to_string(), "s3", now)
    }
}

fn is_record(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "json")
}

/// Whether one object could be told of twice.
fn overlap(one: &Listener, other: &Listener) -> bool {
    let all = "s3:ObjectCreated:*".to_owned();
    let share = one.events.contains(&all)
        || other.events.contains(&all)
        || one.events.iter().any(|event| other.events.contains(event));
    let begins = |a: &str, b: &str| a.starts_with(b) || b.starts_with(a);
    let ends = |a: &str, b: &str| a.ends_with(b) || b.ends_with(a);
    share && begins(&one.prefix, &other.prefix) && ends(&one.suffix, &other.suffix)
}

/// A key as notifications have it: encoded like a form, slashes kept.
fn encoded(key: &str) -> String {
    let mut text = String::with_capacity(key.len());
    for byte in key.bytes() {
        match byte {
            b' ' => text.push('+'),
            byte if byte.is_ascii_alphanumeric() || b"-_.*/".contains(&byte) => text.push(char::from(byte)),
            byte => {
                text.push('%');
                text.push_str(&hex::encode_upper([byte]));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(prefix: &str, suffix: &str) -> Listener {
        let events = vec!["s3:ObjectCreated:*".to_owned()];
        Listener { id: "c".into(), queue: "q".into(), events, prefix: prefix.into(), suffix: suffix.into() }
    }

    #[test]
    fn keys_are_encoded_like_forms() {
        assert_eq!(encoded("a b+c/ü%3A.json"), "a+b%2Bc/%C3%BC%253A.json");
    }

    #[test]
    fn prefix_suffix_and_event_choose() {
        let copies = Listener { events: vec!["s3:ObjectCreated:Copy".into()], ..listener("in/", ".json") };
        assert!(listener("in/", ".json").hears(Made::Put, "in/a.json"));
        assert!(!listener("in/", ".json").hears(Made::Put, "out/a.json"));
        assert!(!listener("in/", ".json").hears(Made::Put, "in/a.csv"));
        assert!(copies.hears(Made::Copy, "in/a.json") && !copies.hears(Made::Put, "in/a.json"));
    }

    #[test]
    fn overlaps_are_seen() {
        assert!(overlap(&listener("", ""), &listener("in/", ".json")));
        assert!(!overlap(&listener("in/", ""), &listener("out/", "")));
        assert!(!overlap(&listener("", ".csv"), &listener("", ".json")));
    }

    #[test]
    fn sequencers_grow_whatever_the_clock_does() {
        let folder = tempfile::tempdir().unwrap();
        let notifications = Notifications::open(folder.path().join("n")).unwrap();
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let (first, second) = (notifications.sequencer(now), notifications.sequencer(now));
        let earlier = notifications.sequencer(Timestamp::UNIX_EPOCH);
        assert!(first < second && second < earlier, "{first} {second} {earlier}");
    }
}
