//! What is known about an object beyond its bytes: attributes given at its upload, and its entity tag.
//!
//! Most objects need no record: their entity tag is the MD5 of their content and their attributes are the
//! defaults. A record lies in a folder of its own, never among the objects. It names the size and time of the
//! file it describes, so one that no longer fits (someone replaced the file in place) is simply not believed.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use s3s::crypto::{Checksum as _, Md5};
use serde::{Deserialize, Serialize};

use crate::files;

/// Above this size an entity tag is recorded even if nothing else is, so that it is not computed again after
/// each restart.
const COMPUTED_ANYWHERE_MAX: u64 = 1024 * 1024;

/// Entity tags kept in memory; about 20 MB. When it is full it is emptied.
const CACHE_MAX: usize = 100_000;

/// Attributes of an object.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct About {
    /// Without quotes; empty until it is computed.
    pub etag: String,
    /// `Content-Type`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// `Content-Encoding`, without `aws-chunked`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_encoding: Option<String>,
    /// `Content-Disposition`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_disposition: Option<String>,
    /// `Content-Language`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_language: Option<String>,
    /// `Cache-Control`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<String>,
    /// `Expires`, as it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// `x-amz-website-redirect-location`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub website_redirect: Option<String>,
    /// `x-amz-meta-*`, without the prefix.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
struct Record {
    size: u64,
    modified_ns: u128,
    about: About,
}

impl About {
    /// Reads the record of an object, if there is one and it describes this very file.
    pub(super) fn read(path: &Path, of: &Metadata) -> Option<Self> {
        let record: Record = files::read_json(path).ok()??;
        let same = record.size == of.len() && record.modified_ns == modified_ns(of);
        same.then_some(record.about)
    }

    /// Writes the record of a file that is about to be renamed into place, or removes an old one if none is
    /// needed.
    pub(super) fn write(&self, path: &Path, of: &Metadata) -> io::Result<()> {
        let plain = Self { etag: self.etag.clone(), ..Self::default() };
        let is_md5 = !self.etag.contains('-');
        if *self == plain && is_md5 && of.len() <= COMPUTED_ANYWHERE_MAX {
            return match fs::remove_file(path) {
                Err(error)
                    if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
                {
                    Err(error)
                }
                _ => Ok(()),
            };
        }
        let record = Record { size: of.len(), modified_ns: modified_ns(of), about: self.clone() };
        files::replace(path, &serde_json::to_vec(&record)?)
    }

    /// The user's metadata as the protocol layer wants it; `None` if there is none.
    pub(super) fn user_metadata(&self) -> Option<HashMap<String, String>> {
        let pairs = self.metadata.iter().map(|(name, value)| (name.clone(), value.clone()));
        (!self.metadata.is_empty()).then(|| pairs.collect())
    }
}

/// Entity tags of files that were seen, by path, size and time.
#[derive(Debug, Default)]
pub(super) struct EtagCache {
    known: Mutex<HashMap<PathBuf, Known>>,
}

#[derive(Debug)]
struct Known {
    size: u64,
    modified_ns: u128,
    etag: String,
}

impl EtagCache {
    /// The MD5 of a file, from memory if the file is unchanged.
    pub(super) fn of(&self, path: &Path, metadata: &Metadata) -> io::Result<String> {
        let (size, modified_ns) = (metadata.len(), modified_ns(metadata));
        {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let hit = known.get(path).filter(|known| known.size == size && known.modified_ns == modified_ns);
            if let Some(hit) = hit {
                return Ok(hit.etag.clone());
            }
        }
        let etag = md5_of_file(path)?;
        self.remember(path, metadata, &etag);
        Ok(etag)
    }

    /// Notes the tag of a file that was just written.
    pub(super) fn remember(&self, path: &Path, metadata: &Metadata, etag: &str) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= CACHE_MAX {
            known.clear();
        }
        let entry = Known { size: metadata.len(), modified_ns: modified_ns(metadata), etag: etag.to_owned() };
        known.insert(path.to_owned(), entry);
    }

    /// Forgets a file that was removed.
    pub(super) fn forget(&self, path: &Path) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(path);
    }
}

/// The MD5 of a file in lower-case hex.
pub(super) fn md5_of_file(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut md5 = Md5::new();
    let mut buffer = vec![0_u8; 128 * 1024];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok(hex::encode(md5.finalize()));
        }
        md5.update(&buffer[..count]);
    }
}

/// A file's modification time in nanoseconds since the epoch (0 for times before it).
fn modified_ns(metadata: &Metadata) -> u128 {
    let since = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.map_or(0, |since| since.as_nanos())
}
