//! Lists of objects as COPY reads them, written once for each attempt, and paths into JSON beside them.

use std::collections::HashSet;

use aws_sdk_s3::{Client, primitives::ByteStream};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    plan::{Listed, Paths, Planned, Work},
    wrong,
};
use crate::{
    aws::{address::Address, error::Trouble},
    load::files::{File, files},
    objects::look_at,
    operator::{ErrorClass, Failure},
};

/// Sizes that are asked for at once, of objects that were named one by one.
const LOOKS_AT_ONCE: usize = 16;

/// Writes the files that COPY will read, and says how many objects each list has.
pub(super) async fn write(s3: &Client, work: &Work) -> Result<Value, Failure> {
    let mut objects = Vec::with_capacity(work.tables.len());
    for table in &work.tables {
        let listed = one(s3, table).await.map_err(|failure| {
            let message = format!("{}: {}", table.table, failure.message);
            Failure { message, ..failure }
        })?;
        objects.push(listed);
    }
    serde_json::to_value(Listed { objects }).map_err(|error| wrong(error.to_string()))
}

async fn one(s3: &Client, table: &Planned) -> Result<usize, Failure> {
    if let Some(Paths { address, paths }) = &table.json_paths {
        // The same bytes in every try.
        let body = json!({ "jsonpaths": paths }).to_string();
        put(s3, address, body, false)
            .await
            .map_err(Trouble::into_failure)
            .map_err(|failure| at(address, failure))?;
    }
    let mut found = files(s3, &table.from).await?;
    let mut seen = HashSet::new();
    found.retain(|file| seen.insert(file.address()));
    if table.with_sizes {
        found = measured(s3, found).await?;
    }
    let body = json!({ "entries": found.iter().map(entry).collect::<Vec<_>>() }).to_string();
    match put(s3, &table.manifest, body, true).await {
        Ok(()) => Ok(found.len()),
        // Of this try's own answer that got lost, or of another try's: what was listed first counts.
        Err(trouble) if matches!(trouble.code(), "PreconditionFailed" | "ConditionalRequestConflict") => {
            entries(s3, &table.manifest).await
        }
        Err(trouble) => Err(at(&table.manifest, trouble.into_failure())),
    }
}

fn at(address: &str, failure: Failure) -> Failure {
    let message = format!("{address}: {}", failure.message);
    Failure { message, ..failure }
}

fn entry(file: &File) -> Value {
    let mut entry = json!({ "url": file.address(), "mandatory": true });
    if let Some(bytes) = file.bytes {
        entry["meta"] = json!({ "content_length": bytes });
    }
    entry
}

/// With their sizes, which COPY wants to know of columnar files.
async fn measured(s3: &Client, found: Vec<File>) -> Result<Vec<File>, Failure> {
    let looks = found.into_iter().map(|file| async move {
        if file.bytes.is_some() {
            return Ok(file);
        }
        match look_at(s3, &file.bucket, &file.key).await? {
            Some(object) => Ok(File { bytes: Some(object.bytes), ..file }),
            None => Err(wrong(format!("from: there is no object {}", file.address()))),
        }
    });
    stream::iter(looks.collect::<Vec<_>>()).buffered(LOOKS_AT_ONCE).try_collect().await
}

async fn put(s3: &Client, address: &str, body: String, only_once: bool) -> Result<(), Trouble> {
    let (bucket, key) = parts(address);
    let put = s3
        .put_object()
        .bucket(bucket)
        .key(key)
        .set_if_none_match(only_once.then(|| "*".to_owned()))
        .content_type("application/json")
        .body(ByteStream::from(body.into_bytes()));
    put.send().await.map(drop).map_err(Trouble::from)
}

/// Addresses of ours, which were checked when they were made.
fn parts(address: &str) -> (&str, &str) {
    Address::prefix(address, "manifests").map_or(("", ""), |address| (address.bucket, address.key))
}

/// How many objects a list has that is there already.
async fn entries(s3: &Client, address: &str) -> Result<usize, Failure> {
    #[derive(Deserialize)]
    struct Manifest {
        entries: Vec<serde::de::IgnoredAny>,
    }
    let broken = |text: String| Failure::new(ErrorClass::System, format!("{address}: {text}"));
    let (bucket, key) = parts(address);
    let answer = s3.get_object().bucket(bucket).key(key).send().await;
    let answer = answer.map_err(|error| at(address, Trouble::from(error).into_failure()))?;
    let bytes = answer.body.collect().await.map_err(|error| broken(error.to_string()))?.into_bytes();
    let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|error| broken(error.to_string()))?;
    Ok(manifest.entries.len())
}
