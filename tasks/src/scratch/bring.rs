//! One object of S3 on this machine: a small one in memory, a large one on the disk.

use std::{
    fs::{File, OpenOptions},
    io::Seek as _,
    path::Path,
};

use aws_sdk_s3::Client;
use tokio::io::AsyncWriteExt as _;
use trunkline_query::transform::Content;

use crate::{
    load::files::File as Object,
    operator::{ErrorClass, Failure},
};

/// The largest object that is held in memory; some sixty are at the same time.
const MEMORY_BYTES_MAX: u64 = 2 * 1024 * 1024;
/// How often an object is begun whose bytes break off. The call itself is repeated by the SDK.
const TRIES: usize = 4;

/// Brings an object. `path` is nobody else's, and free again when this is done.
pub(crate) async fn bring(s3: &Client, object: &Object, path: &Path) -> Result<Content, Failure> {
    let mut tries = 1;
    loop {
        match fetch(s3, object, path).await {
            Err(Fetched::BrokenOff(_)) if tries < TRIES => tries += 1,
            Err(Fetched::BrokenOff(failure) | Fetched::Refused(failure)) => return Err(failure),
            Ok(content) => return Ok(content),
        }
    }
}

/// Why an object was not brought.
enum Fetched {
    Refused(Failure),
    /// The bytes ended before their end.
    BrokenOff(Failure),
}

async fn fetch(s3: &Client, object: &Object, path: &Path) -> Result<Content, Fetched> {
    let local = |error: std::io::Error| {
        let text = format!("the disk of this machine: {error}");
        Fetched::Refused(Failure::new(ErrorClass::System, text))
    };
    let broken = |error: String| Fetched::BrokenOff(object.named(Failure::new(ErrorClass::System, error)));
    let mut body = object.open(s3).await.map_err(Fetched::Refused)?;
    if body.size_hint().1.is_some_and(|bytes| bytes <= MEMORY_BYTES_MAX) {
        let bytes = body.collect().await.map_err(|error| broken(error.to_string()))?;
        return Ok(Content::Memory(bytes.to_vec()));
    }
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path);
    let file = file.map_err(local)?;
    // The name is not needed any more; the bytes are gone with the last reader.
    std::fs::remove_file(path).map_err(local)?;
    let mut writer = tokio::fs::File::from_std(file);
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|error| broken(error.to_string()))?;
        writer.write_all(&piece).await.map_err(local)?;
    }
    writer.flush().await.map_err(local)?;
    let mut file: File = writer.into_std().await;
    file.rewind().map_err(local)?;
    Ok(Content::Disk(file))
}
