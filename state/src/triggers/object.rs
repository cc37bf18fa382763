//! Objects that were made in S3: what is told of one, how it is known again, which trigger takes it.

use std::cmp::Ordering;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::digest;

/// Names of events begin so where an object was made, by a put, a copy or an upload in parts.
const CREATED: &str = "ObjectCreated:";

/// What is told of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectEvent {
    /// Its bucket.
    pub bucket: String,
    /// Its key, decoded.
    pub key: String,
    /// What happened, e.g. `ObjectCreated:Put`.
    pub event: String,
    /// Its size in bytes.
    #[serde(default)]
    pub size: Option<u64>,
    /// The tag of its contents.
    #[serde(default)]
    pub etag: Option<String>,
    /// Its version, where the bucket keeps versions.
    #[serde(default)]
    pub version: Option<String>,
    /// Orders what happened to one key: a hexadecimal number.
    #[serde(default)]
    pub sequencer: Option<String>,
    /// When it happened.
    #[serde(default)]
    pub event_time: Option<Timestamp>,
}

/// Which objects a trigger takes, and which queue tells of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectSource {
    /// The queue: its URL, or its name in the connection's account and region.
    pub queue: String,
    /// The connection that leads to it.
    pub connection: String,
    /// Objects of this bucket only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<String>,
    /// Whose keys begin so.
    #[serde(default)]
    pub prefix: String,
    /// And end so.
    #[serde(default)]
    pub suffix: String,
    /// And begin with none of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
}

impl ObjectEvent {
    /// By what it is known again, however often and from whichever queue it comes: the same for the same
    /// version of the same object.
    pub fn dedupe_key(&self) -> String {
        let version = self.version.as_deref().or(self.etag.as_deref()).unwrap_or_default();
        let sequencer = self.sequencer.as_deref().unwrap_or_default();
        digest(&[&self.bucket, &self.key, version, sequencer, &self.event])
    }

    /// Whether an object was made.
    pub fn is_created(&self) -> bool {
        self.event.starts_with(CREATED)
    }

    /// What templates read of it.
    pub fn value(&self) -> Value {
        json!({
            "bucket": self.bucket, "key": self.key, "size": self.size, "etag": self.etag, "version": self.version,
            "event_time": self.event_time,
        })
    }

    /// By place, and for one key in the order in which things happened to it: events come in any order.
    pub fn order(&self, other: &Self) -> Ordering {
        let place = |event: &Self| (event.bucket.clone(), event.key.clone());
        place(self)
            .cmp(&place(other))
            .then_with(|| by_number(self.sequencer.as_deref(), other.sequencer.as_deref()))
    }
}

/// Two hexadecimal numbers of any length.
fn by_number(one: Option<&str>, other: Option<&str>) -> Ordering {
    let digits = |text: Option<&str>| text.unwrap_or_default().trim_start_matches('0').to_ascii_lowercase();
    let (one, other) = (digits(one), digits(other));
    one.len().cmp(&other.len()).then(one.cmp(&other))
}

impl ObjectSource {
    /// Whether the trigger takes an object.
    pub fn takes(&self, object: &ObjectEvent) -> bool {
        object.is_created()
            && self.bucket.as_ref().is_none_or(|bucket| *bucket == object.bucket)
            && object.key.starts_with(&self.prefix)
            && object.key.ends_with(&self.suffix)
            && !self.exclude.iter().any(|excluded| object.key.starts_with(excluded))
    }

    /// `s3://bucket/prefix*suffix`.
    pub fn label(&self) -> String {
        format!("s3://{}/{}*{}", self.bucket.as_deref().unwrap_or("*"), self.prefix, self.suffix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(key: &str) -> ObjectEvent {
        ObjectEvent {
            bucket: "raw".into(),
            key: key.into(),
            event: "ObjectCreated:Put".into(),
            etag: Some("e".into()),
            sequencer: Some("0A".into()),
            ..ObjectEvent::default()
        }
    }

    #[test]
    fn an_object_is_known_again_by_its_version() {
        let first = object("a");
        assert_eq!(first.dedupe_key(), object("a").dedupe_key());
        let told_later =
            ObjectEvent { size: Some(7), event_time: Some(Timestamp::UNIX_EPOCH), ..object("a") };
        assert_eq!(first.dedupe_key(), told_later.dedupe_key(), "what is told beside it does not matter");
        for other in [
            object("b"),
            ObjectEvent { bucket: "x".into(), ..object("a") },
            ObjectEvent { etag: Some("f".into()), ..object("a") },
            ObjectEvent { version: Some("v".into()), ..object("a") },
            ObjectEvent { sequencer: Some("0B".into()), ..object("a") },
            ObjectEvent { event: "ObjectCreated:Copy".into(), ..object("a") },
        ] {
            assert_ne!(first.dedupe_key(), other.dedupe_key(), "{other:?}");
        }
    }

    #[test]
    fn prefix_suffix_bucket_and_exclusions_choose() {
        let source = ObjectSource {
            bucket: Some("raw".into()),
            prefix: "connect/ctr/".into(),
            suffix: ".json".into(),
            exclude: vec!["connect/ctr/configs/".into()],
            ..ObjectSource::default()
        };
        assert!(source.takes(&object("connect/ctr/2026/a.json")));
        for key in ["connect/ctr/a.csv", "other/a.json", "connect/ctr/configs/agent.json", ""] {
            assert!(!source.takes(&object(key)), "{key}");
        }
        let removed = ObjectEvent { event: "ObjectRemoved:Delete".into(), ..object("connect/ctr/a.json") };
        let elsewhere = ObjectEvent { bucket: "other".into(), ..object("connect/ctr/a.json") };
        assert!(!source.takes(&removed) && !source.takes(&elsewhere));
        assert_eq!(source.label(), "s3://raw/connect/ctr/*.json");
    }

    #[test]
    fn what_happened_to_one_key_is_put_in_order() {
        let at = |sequencer: &str| ObjectEvent { sequencer: Some(sequencer.into()), ..object("a") };
        let mut events = [at("00FF"), at("0100"), at("2"), object("A"), at("0000000F")];
        events.sort_by(ObjectEvent::order);
        let order: Vec<&str> = events.iter().filter_map(|event| event.sequencer.as_deref()).collect();
        assert_eq!(order, ["0A", "2", "0000000F", "00FF", "0100"]);
    }
}
