//! `COPY` from S3: what the statement says ([`CopyPlan`]), the objects that it means, and their records as rows.
//!
//! JSON (`auto`, `auto ignorecase`, a file of paths), CSV and Parquet are read; formats and options that are not are refused
//! by name. As in Redshift a prefix means every object whose key begins with it, hidden ones excepted, a manifest names
//! its own; objects in JSON may stand back to back; lengths of texts are counted in bytes; what does not fit fails the
//! whole statement. The error says what Redshift writes into `stl_load_errors`, because nobody could ask for it later.

mod columnar;
mod options;
pub(crate) mod paths;
mod rows;

use serde_json::Value;

pub(crate) use self::options::parse;
pub(super) use self::rows::rows;
use super::database::{DatabaseError, Session};
use crate::s3::{Store, parse_uri};

/// Most bytes of all objects of one statement: they are held in memory.
const BYTES_MAX: usize = 512 * 1024 * 1024;

/// What a `COPY` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CopyPlan {
    /// The table as written, its quotes taken off.
    pub table: Vec<String>,
    /// The columns that are named; none means all.
    pub columns: Vec<String>,
    /// The prefix, object or manifest.
    pub from: String,
    pub is_manifest: bool,
    pub format: Format,
    /// Texts that are too long are cut instead of refused.
    pub truncates: bool,
    /// How times are written.
    pub times: Times,
}

/// How objects are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Format {
    /// Keys are names of columns, whatever their case or exactly.
    Json {
        ignores_case: bool,
    },
    /// A file with a path for each column.
    JsonPaths(String),
    Csv {
        skip: usize,
        delimiter: u8,
    },
    /// Columns go by their order.
    Parquet,
}

/// How times are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Times {
    /// As ISO 8601 and the like.
    Text,
    EpochSeconds,
    EpochMilliseconds,
}

/// A column of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub name: String,
    /// As `format_type` writes it.
    pub kind: String,
    /// Most bytes, of texts.
    pub bytes: Option<usize>,
}

/// Runs it; how many rows came in.
pub(super) async fn copy(session: &mut Session, s3: &Store, plan: &CopyPlan) -> Result<i64, DatabaseError> {
    let failed = |message: String| DatabaseError {
        code: Some("XX000".to_owned()),
        message: format!("ERROR: {message}"),
    };
    let columns = session.targets(&plan.table, &plan.columns).await?;
    let paths = match &plan.format {
        Format::JsonPaths(uri) => {
            let text = object(s3, uri).map_err(&failed)?;
            Some(paths::read(&text, columns.len()).map_err(|error| failed(format!("{uri}: {error}")))?)
        }
        _ => None,
    };
    let name = plan.table.join(".");
    let mut count = 0;
    let mut bytes = 0;
    for uri in objects(s3, plan).map_err(&failed)? {
        let content = object(s3, &uri).map_err(&failed)?;
        bytes += content.len();
        if bytes > BYTES_MAX {
            return Err(failed(format!("the sandbox copies at most {BYTES_MAX} bytes in one statement")));
        }
        let load_failed = |detail: String| match plan.format {
            // Files in columns are scanned by another part of Redshift, which writes no `stl_load_errors`.
            Format::Parquet => failed(format!("Spectrum Scan Error\n  Detail: {detail}")),
            _ => failed(format!(
                "Load into table '{name}' failed.  Check 'stl_load_errors' system table for details.\n  Detail: {uri}, {detail}"
            )),
        };
        let read = match plan.format {
            Format::Parquet => columnar::rows(content, &uri, &columns),
            _ => rows(&content, plan, &columns, paths.as_deref()),
        };
        let read = read.map_err(&load_failed)?;
        let done = session.copy_in(&plan.table, &columns, &read).await;
        count += done.map_err(|error| match error.code {
            Some(_) => load_failed(error.message.trim_start_matches("ERROR: ").to_owned()),
            None => error,
        })?;
    }
    Ok(i64::try_from(count).unwrap_or(i64::MAX))
}

fn object(s3: &Store, uri: &str) -> Result<Vec<u8>, String> {
    let (bucket, key) = parse_uri(uri).ok_or_else(|| format!("{uri} is not an s3:// URI"))?;
    s3.read(bucket, key).map_err(|error| format!("S3ServiceException: {uri}: {error}"))
}

/// The objects that a statement means, in their order.
fn objects(s3: &Store, plan: &CopyPlan) -> Result<Vec<String>, String> {
    if plan.is_manifest {
        return manifest(s3, &plan.from, plan.format == Format::Parquet);
    }
    let (bucket, prefix) =
        parse_uri(&plan.from).ok_or_else(|| format!("{} is not an s3:// URI", plan.from))?;
    let found =
        s3.list(bucket, prefix).map_err(|error| format!("S3ServiceException: {}: {error}", plan.from))?;
    let is_hidden = |key: &str| {
        let name = key.rsplit('/').next().unwrap_or(key);
        name.is_empty() || name.starts_with(['.', '_']) || name.ends_with('~')
    };
    let mut uris: Vec<String> = found
        .iter()
        .filter(|object| object.key == prefix || !is_hidden(&object.key))
        .map(|object| format!("s3://{bucket}/{}", object.key))
        .collect();
    uris.sort();
    if uris.is_empty() {
        return Err(format!("The specified S3 prefix '{prefix}' does not exist"));
    }
    Ok(uris)
}

/// The objects that a manifest names. Of columnar files it has to say the sizes.
fn manifest(s3: &Store, uri: &str, with_sizes: bool) -> Result<Vec<String>, String> {
    let wrong = |text: &str| format!("the manifest {uri} {text}");
    let content: Value =
        serde_json::from_slice(&object(s3, uri)?).map_err(|error| wrong(&format!("is no JSON: {error}")))?;
    let entries = content["entries"].as_array().ok_or_else(|| wrong("has no `entries`"))?;
    let mut uris = Vec::with_capacity(entries.len());
    for entry in entries {
        let url = entry["url"].as_str().ok_or_else(|| wrong("has an entry without `url`"))?;
        let (bucket, key) =
            parse_uri(url).ok_or_else(|| wrong(&format!("names {url}, which is not an s3:// URI")))?;
        let size = entry["meta"]["content_length"].as_u64();
        if with_sizes && size.is_none() {
            return Err(wrong(&format!(
                "names {url} without meta.content_length, which PARQUET based COPY needs"
            )));
        }
        match s3.read(bucket, key) {
            Ok(content) if with_sizes && size != u64::try_from(content.len()).ok() => {
                let (said, found) = (size.unwrap_or_default(), content.len());
                return Err(wrong(&format!("says that {url} has {said} bytes, and it has {found}")));
            }
            Ok(_) => uris.push(url.to_owned()),
            Err(_) if entry["mandatory"].as_bool() != Some(true) => {}
            Err(error) => return Err(wrong(&format!("names {url}: {error}"))),
        }
    }
    Ok(uris)
}
