//! `file:sql/report.sql`: texts that live beside the pipeline file.
//!
//! Only files inside the pipeline's own folder are read, never through a link: a definition
//! that somebody else wrote must not publish the reader's files. Files that a client sent are
//! read from what was sent, by the same rules.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

use super::sent::SentFiles;

/// How a setting names a file.
pub(crate) const PREFIX: &str = "file:";
/// The largest file; Athena takes no longer query.
pub(crate) const REFERENCED_BYTES_MAX: u64 = 256 * 1024;

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    /// The path leaves the folder, or is absolute.
    #[error("`{0}` is not inside the pipeline's folder")]
    Outside(String),
    /// Nothing there.
    #[error("there is no file `{0}` in the pipeline's folder")]
    Missing(String),
    /// A link on the way.
    #[error("`{0}` is reached through a link")]
    Link(String),
    /// A folder, a socket…
    #[error("`{0}` is not a file")]
    Kind(String),
    /// Larger than [`REFERENCED_BYTES_MAX`].
    #[error("`{0}` is larger than {REFERENCED_BYTES_MAX} bytes")]
    TooLarge(String),
    /// Bytes that are no text.
    #[error("`{0}` is not UTF-8 text")]
    Text(String),
    /// The system refused.
    #[error("`{0}` cannot be read: {1}")]
    Read(String, io::Error),
}

/// The path that a setting names, if it names one. `file://` is a URL, not ours.
pub(super) fn reference(text: &str) -> Option<&str> {
    text.strip_prefix(PREFIX).filter(|path| !path.starts_with("//")).map(str::trim)
}

/// Reads the file `name` below `folder`, of this disk or of what was sent.
pub(super) fn read(
    folder: &Path,
    sent: Option<&SentFiles>,
    name: &str,
) -> Result<(PathBuf, String), FileError> {
    let relative = Path::new(name);
    let plain = relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if name.is_empty() || !plain {
        return Err(FileError::Outside(name.to_owned()));
    }
    match sent {
        Some(sent) => read_sent(sent, folder, name),
        None => read_disk(folder, name),
    }
}

fn read_sent(sent: &SentFiles, folder: &Path, name: &str) -> Result<(PathBuf, String), FileError> {
    let path = below(folder, name);
    match sent.text(&path) {
        Some(text) if text.len() as u64 > REFERENCED_BYTES_MAX => Err(FileError::TooLarge(name.to_owned())),
        Some(text) => Ok((path, text.to_owned())),
        None if sent.is_folder(&path) => Err(FileError::Kind(name.to_owned())),
        None => Err(FileError::Missing(name.to_owned())),
    }
}

/// The path of a file in its folder, without the dots that change nothing.
fn below(folder: &Path, name: &str) -> PathBuf {
    let parts = Path::new(name).components().filter(|part| matches!(part, Component::Normal(_)));
    folder.join(parts.collect::<PathBuf>())
}

fn read_disk(folder: &Path, name: &str) -> Result<(PathBuf, String), FileError> {
    let relative = Path::new(name);
    let mut path = folder.to_owned();
    let mut kind = None;
    for part in relative.components().filter(|part| matches!(part, Component::Normal(_))) {
        path.push(part);
        let found = fs::symlink_metadata(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => FileError::Missing(name.to_owned()),
            _ => FileError::Read(name.to_owned(), error),
        })?;
        if found.file_type().is_symlink() {
            return Err(FileError::Link(name.to_owned()));
        }
        kind = Some(found);
    }
    match kind {
        Some(found) if found.is_file() && found.len() > REFERENCED_BYTES_MAX => {
            Err(FileError::TooLarge(name.to_owned()))
        }
        Some(found) if found.is_file() => {
            let bytes = fs::read(&path).map_err(|error| FileError::Read(name.to_owned(), error))?;
            let text = String::from_utf8(bytes).map_err(|_| FileError::Text(name.to_owned()))?;
            Ok((path, text))
        }
        _ => Err(FileError::Kind(name.to_owned())),
    }
}

/// Files below `folder` that end like `name`, for a suggestion; at most a few hundred are seen.
pub(super) fn neighbours(folder: &Path, sent: Option<&SentFiles>, name: &str) -> Vec<String> {
    const SEEN_MAX: usize = 500;
    let extension = Path::new(name).extension().map(ToOwned::to_owned);
    if let Some(sent) = sent {
        let alike =
            sent.inside(folder).take(SEEN_MAX).filter(|path| path.extension() == extension.as_deref());
        let mut found: Vec<String> = alike.map(|path| path.to_string_lossy().into_owned()).collect();
        found.sort();
        return found;
    }
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    let mut seen = 0;
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).into_iter().flatten().flatten() {
            seen += 1;
            if seen > SEEN_MAX {
                return found;
            }
            let path = entry.path();
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_folder {
                folders.push(path);
            } else if path.extension().map(ToOwned::to_owned) == extension {
                let relative = path.strip_prefix(folder).unwrap_or(&path);
                found.push(relative.to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_files_inside_the_folder_are_read() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("pipeline");
        fs::create_dir_all(folder.join("sql")).unwrap();
        fs::write(folder.join("sql/a.sql"), "select 1").unwrap();
        fs::write(root.path().join("secret"), "x").unwrap();
        std::os::unix::fs::symlink(root.path().join("secret"), folder.join("link.sql")).unwrap();
        std::os::unix::fs::symlink(root.path(), folder.join("up")).unwrap();
        assert_eq!(read(&folder, None, "sql/a.sql").unwrap().1, "select 1");
        assert!(matches!(read(&folder, None, "../secret"), Err(FileError::Outside(_))));
        assert!(matches!(read(&folder, None, "/etc/passwd"), Err(FileError::Outside(_))));
        assert!(matches!(read(&folder, None, "link.sql"), Err(FileError::Link(_))));
        assert!(matches!(read(&folder, None, "up/secret"), Err(FileError::Link(_))));
        assert!(matches!(read(&folder, None, "sql"), Err(FileError::Kind(_))));
        assert!(matches!(read(&folder, None, "sql/b.sql"), Err(FileError::Missing(_))));
        assert_eq!(neighbours(&folder, None, "b.sql"), ["link.sql", "sql/a.sql"]);
    }
}
