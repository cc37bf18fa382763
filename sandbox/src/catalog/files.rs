//! Where the records of the catalog lie on disk.
//!
//! `<root>/glue/catalog/<database>/database.json`, and beside it `<table>.table.json` and
//! `<table>.partitions.json`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::SandboxError;

/// The endings of the two files of a table.
pub(super) const TABLE_ENDING: &str = ".table.json";
pub(super) const PARTITIONS_ENDING: &str = ".partitions.json";
/// The file of a database.
pub(super) const DATABASE_FILE: &str = "database.json";

/// A file name for any catalog name: everything but ASCII letters, digits, `_` and `-` is written as `%XX`.
pub(crate) fn file_name(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-' {
            text.push(char::from(byte));
        } else {
            text.push('%');
            text.push_str(&hex::encode_upper([byte]));
        }
    }
    text
}

/// The entries of a folder, none if it does not exist.
pub(crate) fn entries(folder: &Path) -> Result<Vec<PathBuf>, SandboxError> {
    let fail = |error| SandboxError::files("list", folder, error);
    let reader = match fs::read_dir(folder) {
        Ok(reader) => reader,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(fail(error)),
    };
    let mut found = Vec::new();
    for entry in reader {
        found.push(entry.map_err(fail)?.path());
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::file_name;

    #[test]
    fn names_stay_inside_their_folder() {
        assert_eq!(file_name("cdrs_1"), "cdrs_1");
        assert_eq!(file_name("../a b"), "%2E%2E%2Fa%20b");
    }
}
