//! Folders of S3 whose files are replaced as one: who wrote them stands in a record beside them.
//!
//! The record is moved only by whoever saw its last state (`If-Match`), and it names every file that may lie there
//! before the first is written: whatever breaks off, the next one knows what to put right. Files keep their names, so
//! that most of a folder is written over in place; objects that no record names are never touched.

use std::path::PathBuf;

use aws_sdk_s3::{Client, primitives::ByteStream};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};

use crate::{
    aws::{address::Address, error::Trouble},
    operator::{ErrorClass, Failure, Outcome},
};

/// The record's name. Hive, Spark, Athena and Redshift's COPY pass over names that begin so.
const RECORD: &str = "_transform.json";
/// Most bytes of a record: ten thousand files with long names.
const RECORD_BYTES_MAX: i64 = 8 * 1024 * 1024;
/// Calls at the same time.
const AT_ONCE: usize = 8;

/// A local file and its name in the folder.
#[derive(Debug)]
pub(super) struct New {
    pub(super) name: String,
    pub(super) path: PathBuf,
}

/// Whose files lie in a folder.
#[derive(Debug, Default, PartialEq, Deserialize, Serialize)]
struct Record {
    /// The attempt that wrote last.
    token: String,
    /// Every file that may lie here.
    files: Vec<String>,
    /// Whether they are exactly these.
    done: bool,
    /// Of the last folder of a task: what the attempt left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    outcome: Option<Outcome>,
}

/// A folder.
#[derive(Clone, Copy)]
pub(super) struct Folder<'a> {
    s3: &'a Client,
    bucket: &'a str,
    key: &'a str,
}

impl<'a> Folder<'a> {
    pub(super) fn new(s3: &'a Client, text: &'a str) -> Result<Self, Failure> {
        let Address { bucket, key } = Address::prefix(text, "to")?;
        Ok(Self { s3, bucket, key })
    }

    /// What the attempt left, if this was its last folder and it came to its end.
    pub(super) async fn ended(self, token: &str) -> Result<Option<Outcome>, Failure> {
        let (record, _) = self.read().await?;
        Ok(record.filter(|record| record.done && record.token == token).and_then(|record| record.outcome))
    }

    /// The folder becomes these files.
    pub(super) async fn replace(
        self,
        token: &str,
        files: &[New],
        outcome: Option<Outcome>,
    ) -> Result<(), Failure> {
        let (before, tag) = self.read().await?;
        let before = before.unwrap_or_default();
        let now: Vec<String> = files.iter().map(|file| file.name.clone()).collect();
        let gone: Vec<&String> = before.files.iter().filter(|name| !now.contains(name)).collect();
        let all = now.iter().chain(gone.iter().copied()).cloned().collect();
        let pending = Record { token: token.to_owned(), files: all, done: false, outcome: None };
        let tag = self.write(&pending, tag).await?;
        let puts: Vec<_> = files.iter().map(|file| self.put(file)).collect();
        stream::iter(puts).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        let deletes: Vec<_> = gone.into_iter().map(|name| self.delete(name)).collect();
        stream::iter(deletes).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        let done = Record { token: token.to_owned(), files: now, done: true, outcome };
        self.write(&done, Some(tag)).await.map(drop)
    }

    /// As people write it.
    pub(super) fn address(self, name: &str) -> String {
        format!("s3://{}/{}{name}", self.bucket, self.key)
    }

    async fn read(self) -> Result<(Option<Record>, Option<String>), Failure> {
        let key = format!("{}{RECORD}", self.key);
        let answer = self.s3.get_object().bucket(self.bucket).key(&key).send().await.map_err(Trouble::from);
        let answer = match answer {
            Ok(answer) => answer,
            Err(trouble) if trouble.is_not_there() && trouble.code() != "NoSuchBucket" => {
                return Ok((None, None));
            }
            Err(trouble) => return Err(self.failed(RECORD, trouble)),
        };
        let broken = |text: &str| {
            let text =
                format!("{}: {text}; if it is not Trunkline's, choose another folder", self.address(RECORD));
            Failure::new(ErrorClass::Config, text)
        };
        if answer.content_length().is_some_and(|length| length > RECORD_BYTES_MAX) {
            return Err(broken("it is too large"));
        }
        let tag = answer.e_tag;
        let bytes = answer.body.collect().await.map_err(|error| {
            Failure::new(ErrorClass::System, format!("{}: {error}", self.address(RECORD)))
        })?;
        let record =
            serde_json::from_slice(&bytes.into_bytes()).map_err(|error| broken(&error.to_string()))?;
        Ok((Some(record), tag))
    }

    /// Moves the record on from the state with this tag; the tag of the new one.
    async fn write(self, record: &Record, tag: Option<String>) -> Result<String, Failure> {
        let text = serde_json::to_vec(record)
            .map_err(|error| Failure::new(ErrorClass::Config, error.to_string()))?;
        let key = format!("{}{RECORD}", self.key);
        let put = self.s3.put_object().bucket(self.bucket).key(key).content_type("application/json");
        let put = match tag {
            Some(tag) => put.if_match(tag),
            None => put.if_none_match("*"),
        };
        let no_tag = || Failure::new(ErrorClass::System, "S3 gave the record no tag");
        match put.body(ByteStream::from(text)).send().await.map_err(Trouble::from) {
            Ok(answer) => answer.e_tag.ok_or_else(no_tag),
            Err(trouble) if matches!(trouble.code(), "PreconditionFailed" | "ConditionalRequestConflict") => {
                // It may be this very call, whose first answer was lost.
                match self.read().await? {
                    (Some(found), Some(tag)) if found == *record => Ok(tag),
                    _ => Err(Failure::new(
                        ErrorClass::Failed,
                        format!(
                            "{}: another task, or another try of this one, writes here at the same time",
                            self.address("")
                        ),
                    )),
                }
            }
            Err(trouble) => Err(self.failed(RECORD, trouble)),
        }
    }

    async fn put(self, file: &New) -> Result<(), Failure> {
        let body = ByteStream::from_path(&file.path).await.map_err(|error| {
            Failure::new(ErrorClass::System, format!("the disk of this machine: {error}"))
        })?;
        let key = format!("{}{}", self.key, file.name);
        let put = self.s3.put_object().bucket(self.bucket).key(key).body(body).send().await;
        put.map(drop).map_err(|error| self.failed(&file.name, error.into()))
    }

    async fn delete(self, name: &str) -> Result<(), Failure> {
        let key = format!("{}{name}", self.key);
        let deleted = self.s3.delete_object().bucket(self.bucket).key(key).send().await;
        deleted.map(drop).map_err(|error| self.failed(name, error.into()))
    }

    fn failed(self, name: &str, trouble: Trouble) -> Failure {
        let failure = trouble.into_failure();
        Failure { message: format!("{}: {}", self.address(name), failure.message), ..failure }
    }
}
