//! Records that do not fit: kept aside with their place and the reason, or the end of everything.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use serde_json::json;

use super::{Rejected, TransformError};

/// How much of a record's text stands in a message.
const EXAMPLE_CHARS: usize = 200;
/// How much of a record's text is kept.
const TEXT_BYTES_MAX: usize = 64 * 1024;

/// A record that does not fit.
pub(super) struct Misfit<'a> {
    pub(super) input: &'a str,
    pub(super) file: &'a str,
    /// From 1 on; 0 where the whole file is meant.
    pub(super) record: u64,
    pub(super) reason: &'a str,
    pub(super) text: &'a [u8],
}

/// Where they are kept.
#[derive(Debug)]
pub(super) struct Aside {
    path: PathBuf,
    allowed: bool,
    writer: Option<BufWriter<File>>,
    count: u64,
    /// The first by file and record, whoever came first: with its place.
    first: Option<(String, u64, String)>,
}

impl Aside {
    /// A file that is made with the first record.
    pub(super) fn new(path: PathBuf, allowed: bool) -> Self {
        Self { path, allowed, writer: None, count: 0, first: None }
    }

    /// Keeps a record, or refuses it.
    pub(super) fn take(&mut self, misfit: &Misfit<'_>) -> Result<(), TransformError> {
        let text = String::from_utf8_lossy(&misfit.text[..misfit.text.len().min(TEXT_BYTES_MAX)]);
        if !self.allowed {
            return Err(TransformError::Record(example(misfit, &text)));
        }
        let is_first = self
            .first
            .as_ref()
            .is_none_or(|(file, record, _)| (misfit.file, misfit.record) < (file.as_str(), *record));
        if is_first {
            self.first = Some((misfit.file.to_owned(), misfit.record, example(misfit, &text)));
        }
        self.count += 1;
        let writer = if let Some(writer) = &mut self.writer {
            writer
        } else {
            let file = File::create(&self.path).map_err(TransformError::internal)?;
            self.writer.insert(BufWriter::new(file))
        };
        let line = json!({
            "input": misfit.input,
            "file": misfit.file,
            "record": misfit.record,
            "reason": misfit.reason,
            "text": text,
        });
        writeln!(writer, "{line}").map_err(TransformError::internal)
    }
}

/// A record for a message.
fn example(misfit: &Misfit<'_>, text: &str) -> String {
    let shown: String = text.trim().chars().take(EXAMPLE_CHARS).collect();
    let more = if shown.len() < text.trim().len() { "…" } else { "" };
    let place = match misfit.record {
        0 => misfit.file.to_owned(),
        record => format!("{}: record {record}", misfit.file),
    };
    let shown = if shown.is_empty() { shown } else { format!(": {shown}{more}") };
    format!("{place}: {}{shown}", misfit.reason)
}

/// What was kept, if anything was.
pub(super) fn finish(aside: &Mutex<Aside>) -> Result<Option<Rejected>, TransformError> {
    let mut aside = aside.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(mut writer) = aside.writer.take() else { return Ok(None) };
    writer.flush().map_err(TransformError::internal)?;
    Ok(Some(Rejected {
        path: aside.path.clone(),
        count: aside.count,
        example: aside.first.take().map(|(_, _, example)| example).unwrap_or_default(),
    }))
}
