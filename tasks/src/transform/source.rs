//! Objects of S3 as files for the engine: small ones in memory, large ones on the disk.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::Seek as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use aws_sdk_s3::Client;
use futures::future::BoxFuture;
use tokio::{io::AsyncWriteExt as _, runtime::Handle as Runtime};
use trunkline_query::transform::{Content, Source};

use crate::{
    load::files::File as Object,
    operator::{ErrorClass, Failure},
};

/// The largest object that is held in memory; some sixty are at the same time.
const MEMORY_BYTES_MAX: u64 = 2 * 1024 * 1024;
/// How often an object is begun whose bytes break off. The call itself is repeated by the SDK.
const TRIES: usize = 4;

/// The objects of all inputs.
pub(super) struct Objects {
    s3: Client,
    /// Where connections live: the engine runs on threads of its own, which end with it.
    runtime: Runtime,
    inputs: Vec<Vec<Object>>,
    scratch: PathBuf,
    number: AtomicU64,
}

/// A failure on its way through the engine.
#[derive(Debug)]
pub(super) struct Fetch(pub(super) Failure);

impl fmt::Display for Fetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Fetch {}

impl Objects {
    pub(super) fn new(s3: Client, inputs: Vec<Vec<Object>>, scratch: &Path) -> Self {
        let (scratch, number) = (scratch.to_owned(), AtomicU64::new(0));
        Self { s3, runtime: Runtime::current(), inputs, scratch, number }
    }
}

impl Source for Objects {
    fn open(
        &self,
        input: usize,
        file: usize,
    ) -> BoxFuture<'static, Result<Content, Box<dyn std::error::Error + Send + Sync>>> {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let path = self.scratch.join(format!("object-{number}"));
        let (s3, object) = (self.s3.clone(), self.inputs[input][file].clone());
        let fetched = self.runtime.spawn(async move {
            let mut tries = 1;
            loop {
                match fetch(&s3, &object, &path).await {
                    Err(Fetched::BrokenOff(_)) if tries < TRIES => tries += 1,
                    Err(Fetched::BrokenOff(failure) | Fetched::Refused(failure)) => {
                        return Err(Fetch(failure));
                    }
                    Ok(content) => return Ok(content),
                }
            }
        });
        Box::pin(async move { Ok(fetched.await??) })
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
