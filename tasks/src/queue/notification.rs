//! What S3 says of objects: notifications as they stand in messages of a queue.
//!
//! Keys are URL-encoded there, with `+` for a space, and are decoded here, once. A message that is not a whole
//! notification of S3 is told apart, never guessed at.

use jiff::Timestamp;
use serde::Deserialize;

/// The longest message that is read. S3's own have some kilobytes; SQS took no more than this for long.
pub const BODY_BYTES_MAX: usize = 256 * 1024;

/// Records of one message; S3 sends one.
const RECORDS_MAX: usize = 1_000;

/// The longest part of a message that is shown.
const SHOWN: usize = 60;

/// The longest explanation of the parser that is shown.
const WORDS_SHOWN: usize = 200;

/// What a message tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// S3 tried whether it can reach the queue: of no further interest.
    Test,
    /// What happened to objects.
    Objects(Vec<ObjectTold>),
}

/// What happened to an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectTold {
    /// Its bucket.
    pub bucket: String,
    /// Its key, decoded.
    pub key: String,
    /// What happened, e.g. `ObjectCreated:Put`.
    pub event: String,
    /// Its size in bytes.
    pub size: Option<u64>,
    /// The tag of its contents.
    pub etag: Option<String>,
    /// Its version, where the bucket keeps versions.
    pub version: Option<String>,
    /// Orders what happened to one key.
    pub sequencer: Option<String>,
    /// When it happened.
    pub event_time: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Body {
    #[serde(rename = "Records")]
    records: Option<Vec<Record>>,
    #[serde(rename = "Service")]
    service: Option<String>,
    #[serde(rename = "Event")]
    event: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    event_source: String,
    event_name: String,
    #[serde(default)]
    event_time: Option<String>,
    s3: S3Part,
}

#[derive(Deserialize)]
struct S3Part {
    bucket: BucketPart,
    object: ObjectPart,
}

#[derive(Deserialize)]
struct BucketPart {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ObjectPart {
    key: String,
    #[serde(default)]
    size: Option<u64>,
    #[serde(default, rename = "eTag")]
    etag: Option<String>,
    #[serde(default)]
    version_id: Option<String>,
    #[serde(default)]
    sequencer: Option<String>,
}

/// Reads a message, or says why it cannot be read. Depth and length are bounded: what is deeper than any
/// notification, or longer, is refused by the parser before it costs anything.
pub fn read(body: &str) -> Result<Told, String> {
    if body.len() > BODY_BYTES_MAX {
        return Err(format!("it has {} bytes; at most {BODY_BYTES_MAX} are read", body.len()));
    }
    let parsed: Body = serde_json::from_str(body).map_err(|error| {
        // The parser's words can hold a whole text of the message.
        let words: String = error.to_string().chars().take(WORDS_SHOWN).collect();
        format!("it is no notification of S3: {words}; it begins with {:?}", head(body))
    })?;
    let Some(records) = parsed.records else {
        let is_test = parsed.event.as_deref() == Some("s3:TestEvent")
            && parsed.service.as_deref().is_none_or(|service| service == "Amazon S3");
        return if is_test {
            Ok(Told::Test)
        } else {
            Err("it is no notification of S3: it has no Records".to_owned())
        };
    };
    if records.is_empty() || records.len() > RECORDS_MAX {
        return Err(format!("it has {} Records; from 1 to {RECORDS_MAX} are read", records.len()));
    }
    records.into_iter().map(object).collect::<Result<_, _>>().map(Told::Objects)
}

fn object(record: Record) -> Result<ObjectTold, String> {
    if record.event_source != "aws:s3" {
        return Err(format!("it tells of {:?}, not of S3", head(&record.event_source)));
    }
    let ObjectPart { key, size, etag, version_id, sequencer } = record.s3.object;
    let key =
        decoded(&key).ok_or_else(|| format!("the object's key {:?} is not URL-encoded UTF-8", head(&key)))?;
    let told = ObjectTold {
        bucket: record.s3.bucket.name,
        key,
        event: record.event_name,
        size,
        etag,
        version: version_id,
        sequencer,
        event_time: record.event_time.and_then(|text| text.parse().ok()),
    };
    if told.bucket.is_empty() || told.key.is_empty() {
        return Err("it names an object without bucket or key".to_owned());
    }
    // A store of text keeps no NUL, and nothing that S3 sends holds one.
    let texts = [Some(&told.bucket), Some(&told.key), Some(&told.event)];
    let texts = texts.into_iter().chain([told.etag.as_ref(), told.version.as_ref(), told.sequencer.as_ref()]);
    if texts.flatten().any(|text| text.contains('\0')) {
        return Err("it holds a NUL character".to_owned());
    }
    Ok(told)
}

/// A key as it was before S3 encoded it.
fn decoded(key: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(key.len());
    let mut rest = key.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => digit(rest.next()?)? * 16 + digit(rest.next()?)?,
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// The beginning of a text, for a message about it.
fn head(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}
