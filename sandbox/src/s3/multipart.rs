//! Multipart uploads: parts wait in a folder of their own until they are joined.
//!
//! Uploads survive a restart. They are never thrown away on their own, as on AWS without a lifecycle rule.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

use jiff::Timestamp;
use s3s::crypto::{Checksum as _, Md5};
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};
use serde::{Deserialize, Serialize};

use super::about::About;
use super::store::{Store, StoreError};
use super::upload::ScratchFile;
use crate::files;

/// The smallest part but the last, in bytes.
const PART_MIN: u64 = 5 * 1024 * 1024;

/// The highest part number.
pub(super) const PART_NUMBER_MAX: i32 = 10_000;

/// What was said when an upload began.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Upload {
    /// The upload's id.
    pub id: String,
    /// Where the object goes.
    pub bucket: String,
    /// Where the object goes.
    pub key: String,
    /// When it began.
    pub initiated: Timestamp,
    /// The object's attributes.
    pub about: About,
}

/// A part that has arrived.
#[derive(Debug, Clone)]
pub(super) struct Part {
    /// Its number, from 1.
    pub number: i32,
    /// MD5 in lower-case hex.
    pub md5: String,
    /// Size in bytes.
    pub size: u64,
    /// When it arrived.
    pub modified: Option<SystemTime>,
}

/// Parts joined into one file, not yet in place.
#[derive(Debug)]
pub(super) struct Joined {
    /// The file.
    pub file: ScratchFile,
    /// The attributes, with the entity tag of a multipart object.
    pub about: About,
}

impl Upload {
    /// Notes a new upload.
    pub(super) fn begin(&self, store: &Store) -> Result<(), StoreError> {
        let path = self.folder(store).join("upload.json");
        files::replace_json(&path, self).map_err(|error| StoreError::files(&path, error))
    }

    /// Finds the upload that a request names.
    pub(super) fn find(store: &Store, id: &str, bucket: &str, key: &str) -> S3Result<Self> {
        // Ids come from clients and become folder names.
        let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        let path = store.uploads().join(id).join("upload.json");
        let upload = if is_id { files::read_json::<Self>(&path).ok().flatten() } else { None };
        upload
            .filter(|upload| upload.bucket == bucket && upload.key == key)
            .ok_or_else(|| S3Error::new(S3ErrorCode::NoSuchUpload))
    }

    /// All uploads to a bucket that are under way, in order of key and time.
    pub(super) fn all(store: &Store, bucket: &str) -> Result<Vec<Self>, StoreError> {
        let folder = store.uploads();
        let fail = |error| StoreError::files(&folder, error);
        let mut uploads = Vec::new();
        for entry in fs::read_dir(&folder).map_err(fail)? {
            let path = entry.map_err(fail)?.path().join("upload.json");
            uploads.extend(files::read_json::<Self>(&path).ok().flatten());
        }
        uploads.retain(|upload| upload.bucket == bucket);
        uploads.sort_by(|one, other| (&one.key, one.initiated).cmp(&(&other.key, other.initiated)));
        Ok(uploads)
    }

    /// Where a part goes.
    pub(super) fn part_path(&self, store: &Store, number: i32) -> PathBuf {
        self.folder(store).join(format!("part-{number:05}"))
    }

    /// All parts that have arrived, in order.
    pub(super) fn parts(&self, store: &Store) -> Result<Vec<Part>, StoreError> {
        let folder = self.folder(store);
        let fail = |error| StoreError::files(&folder, error);
        let mut parts = Vec::new();
        for entry in fs::read_dir(&folder).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix("part-")?.parse().ok());
            let Some(number) = number else { continue };
            let metadata = entry.metadata().map_err(fail)?;
            parts.push(Part {
                number,
                md5: store.file_md5(&entry.path())?,
                size: metadata.len(),
                modified: metadata.modified().ok(),
            });
        }
        parts.sort_by_key(|part| part.number);
        Ok(parts)
    }

    /// Joins the parts that the client lists, each with the entity tag it was told.
    pub(super) fn join(&self, store: &Store, wanted: &[(i32, Option<String>)]) -> S3Result<Joined> {
        let arrived = self.parts(store).map_err(S3Error::from)?;
        if wanted.is_empty() {
            return Err(s3_error!(MalformedXML, "You must specify at least one part"));
        }
        if !wanted.is_sorted_by(|(one, _), (other, _)| one < other) {
            return Err(S3Error::new(S3ErrorCode::InvalidPartOrder));
        }
        let file = ScratchFile(store.temporary_file());
        let mut output = File::create(&file.0).map_err(S3Error::internal_error)?;
        let mut md5s = Md5::new();
        for (index, (number, etag)) in wanted.iter().enumerate() {
            let part = arrived
                .iter()
                .find(|part| part.number == *number)
                .filter(|part| etag.as_ref().is_none_or(|etag| *etag == part.md5))
                .ok_or_else(|| S3Error::new(S3ErrorCode::InvalidPart))?;
            if index + 1 < wanted.len() && part.size < PART_MIN {
                return Err(S3Error::new(S3ErrorCode::EntityTooSmall));
            }
            md5s.update(&hex::decode(&part.md5).unwrap_or_default());
            let mut input = File::open(self.part_path(store, *number)).map_err(S3Error::internal_error)?;
            io::copy(&mut input, &mut output).map_err(S3Error::internal_error)?;
        }
        let mut about = self.about.clone();
        about.etag = format!("{}-{}", hex::encode(md5s.finalize()), wanted.len());
        Ok(Joined { file, about })
    }

    /// Forgets the upload and its parts.
    pub(super) fn end(&self, store: &Store) -> Result<(), StoreError> {
        let folder = self.folder(store);
        fs::remove_dir_all(&folder).map_err(|error| StoreError::files(&folder, error))
    }

    fn folder(&self, store: &Store) -> PathBuf {
        store.uploads().join(&self.id)
    }
}

impl From<StoreError> for S3Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NoSuchBucket(_) => s3_error!(NoSuchBucket, "The specified bucket does not exist"),
            StoreError::NoSuchKey { .. } => s3_error!(NoSuchKey, "The specified key does not exist."),
            StoreError::BucketNotEmpty(_) => {
                s3_error!(BucketNotEmpty, "The bucket you tried to delete is not empty")
            }
            StoreError::BucketName(_) => s3_error!(InvalidBucketName, "The specified bucket is not valid."),
            StoreError::KeyTooLong(_) => s3_error!(KeyTooLongError, "Your key is too long"),
            StoreError::Precondition => {
                s3_error!(PreconditionFailed, "At least one of the pre-conditions you specified did not hold")
            }
            StoreError::Files { .. } => S3Error::internal_error(error),
        }
    }
}
