//! Definition files that a client sent.
//!
//! They are read from memory: nothing of them ever lies on this machine's disk, so that a path leads
//! nowhere else and nothing is left to be removed. The loader finds in them what it would find in a folder.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::{Path, PathBuf},
};

use unicode_normalization::UnicodeNormalization as _;

use super::{
    load::{FILES_MAX, FOLDER_DEPTH_MAX, is_pipeline_file},
    reader::shorten,
    tree::FILE_BYTES_MAX,
};

/// The most files of one deployment: as many pipelines as a project may have, with a query each.
pub const SENT_FILES_MAX: usize = 2 * FILES_MAX;
/// The longest path, in bytes; systems take longer ones, people write none.
const PATH_BYTES_MAX: usize = 512;
/// How deep a file may lie: a pipeline four folders deep, with as many folders of its own twice over.
const PATH_PARTS_MAX: usize = 12;

/// Why files are not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SentError {
    /// More than [`SENT_FILES_MAX`].
    #[error("there are {0} files; a deployment has at most {SENT_FILES_MAX}")]
    TooMany(usize),
    /// A path that could lead elsewhere.
    #[error("the file `{0}` {1}; a path is relative to the pipelines folder, such as daily/pipeline.yaml")]
    Path(String, &'static str),
    /// More than is read of any file.
    #[error("the file `{0}` has {1} bytes; at most {FILE_BYTES_MAX} are read of one")]
    TooLarge(String, usize),
    /// Elsewhere they would be one file.
    #[error(
        "the files `{0}` and `{1}` differ only in how their names are written; name one of them otherwise"
    )]
    Alike(String, String),
    /// A file cannot have files in it.
    #[error("`{0}` is a file, and `{1}` would lie in it; name one of them otherwise")]
    Inside(String, String),
}

/// Files of a pipelines folder, in memory.
#[derive(Clone, Debug, Default)]
pub struct SentFiles {
    /// The folder that they count as lying in; it need not exist.
    folder: PathBuf,
    /// Texts by whole path.
    files: BTreeMap<PathBuf, String>,
}

impl SentFiles {
    /// Takes files by their paths relative to `folder`, if every path is plain.
    pub fn below(folder: &Path, sent: BTreeMap<String, String>) -> Result<Self, SentError> {
        if sent.len() > SENT_FILES_MAX {
            return Err(SentError::TooMany(sent.len()));
        }
        let mut names: HashMap<String, &str> = HashMap::new();
        for (path, text) in &sent {
            if let Some(wrong) = objection(path) {
                return Err(SentError::Path(shown(path), wrong));
            }
            if text.len() > FILE_BYTES_MAX {
                return Err(SentError::TooLarge(path.clone(), text.len()));
            }
            // On some systems these are one file; which of them was meant, nobody could tell.
            if let Some(other) = names.insert(plain(path), path) {
                return Err(SentError::Alike(other.to_owned(), path.clone()));
            }
        }
        for path in sent.keys() {
            let mut above = path.as_str();
            while let Some((parent, _)) = above.rsplit_once('/') {
                if let Some(file) = names.get(&plain(parent)) {
                    return Err(SentError::Inside((*file).to_owned(), path.clone()));
                }
                above = parent;
            }
        }
        drop(names);
        let files = sent.into_iter().map(|(path, text)| (folder.join(path), text)).collect();
        Ok(Self { folder: folder.to_owned(), files })
    }

    /// Whether no pipeline is among them.
    pub fn has_no_pipeline(&self) -> bool {
        !self.files.keys().any(|file| self.is_pipeline(file))
    }

    /// The pipeline files, in the order in which a folder's are read.
    pub(super) fn find(&self) -> io::Result<Vec<PathBuf>> {
        let found: Vec<PathBuf> = self.files.keys().filter(|file| self.is_pipeline(file)).cloned().collect();
        if found.len() > FILES_MAX {
            return Err(io::Error::other(format!("there are more than {FILES_MAX} pipeline files")));
        }
        Ok(found)
    }

    fn is_pipeline(&self, file: &Path) -> bool {
        let folders = file.strip_prefix(&self.folder).ok().and_then(Path::parent);
        let mut folders = folders.into_iter().flat_map(Path::iter);
        let open = folders.clone().all(|name| !name.to_string_lossy().starts_with('.'));
        open && folders.by_ref().count() <= FOLDER_DEPTH_MAX && file.file_name().is_some_and(is_pipeline_file)
    }

    /// The text of a file.
    pub(super) fn text(&self, file: &Path) -> Option<&str> {
        self.files.get(file).map(String::as_str)
    }

    /// Whether any file lies in this folder.
    pub(super) fn is_folder(&self, path: &Path) -> bool {
        self.inside(path).next().is_some()
    }

    /// The files in a folder, at any depth, relative to it.
    pub(super) fn inside<'a>(&'a self, folder: &'a Path) -> impl Iterator<Item = &'a Path> {
        // Whatever begins with the folder's own parts follows it without a gap.
        let from = self.files.range(folder.to_owned()..).map(|(path, _)| path);
        from.take_while(move |path| path.starts_with(folder))
            .filter_map(move |path| path.strip_prefix(folder).ok())
            .filter(|path| !path.as_os_str().is_empty())
    }
}

/// What is wrong with a path, if anything is.
fn objection(path: &str) -> Option<&'static str> {
    let parts = || path.split('/');
    if path.is_empty() {
        Some("has no name")
    } else if path.len() > PATH_BYTES_MAX {
        Some("has too long a path")
    } else if path.contains(char::is_control) {
        Some("has a control character in its path")
    } else if path.contains('\\') {
        Some("has a backslash in its path")
    } else if path.starts_with('/') {
        Some("has an absolute path")
    } else if parts().any(|part| part == "..") {
        Some("leads out of its folder")
    } else if parts().any(|part| part.is_empty() || part == ".") {
        Some("has an empty part in its path")
    } else if parts().count() > PATH_PARTS_MAX {
        Some("lies in too many folders")
    } else {
        None
    }
}

/// A path as a system would see it that knows neither case nor ways to write an accent.
fn plain(path: &str) -> String {
    path.nfkc().flat_map(char::to_lowercase).nfkc().collect()
}

/// A path for a message: no control character reaches a terminal.
fn shown(path: &str) -> String {
    shorten(&path.escape_debug().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn below(paths: &[&str]) -> Result<SentFiles, SentError> {
        let files = paths.iter().map(|path| ((*path).to_owned(), format!("text of {path}")));
        SentFiles::below(Path::new("/project/pipelines"), files.collect())
    }

    #[test]
    fn no_path_leads_elsewhere() {
        for wrong in [
            "",
            "/etc/passwd",
            "../trunkline.yaml",
            "daily/../../pipeline.yaml",
            "daily/..",
            "daily//pipeline.yaml",
            "daily/",
            "./pipeline.yaml",
            "daily\\pipeline.yaml",
            "daily/a\0b.sql",
            "daily/a\nb.sql",
            &"d/".repeat(20),
            &"x".repeat(600),
        ] {
            let refused = below(&[wrong]).unwrap_err();
            assert!(matches!(refused, SentError::Path(..)), "{wrong:?}: {refused}");
            assert!(!refused.to_string().contains(char::is_control), "{refused}");
        }
        for good in ["pipeline.yaml", "daily/pipeline.yaml", "a/b/c/d/sql/ä b.sql", "..a/b..sql", "…/x"] {
            assert!(below(&[good]).is_ok(), "{good}");
        }
    }

    #[test]
    fn two_files_never_share_a_place() {
        let alike = |one, other| matches!(below(&[one, other]), Err(SentError::Alike(..)));
        assert!(alike("daily/A.sql", "daily/a.sql"));
        assert!(alike("daily/\u{e4}.sql", "daily/a\u{308}.sql"));
        assert!(alike("STRASSE/x", "stra\u{17f}se/x"));
        assert!(below(&["daily/a.sql", "daily/b.sql"]).is_ok());
        assert!(matches!(below(&["daily", "Daily/pipeline.yaml"]), Err(SentError::Inside(..))));
    }

    #[test]
    fn sizes_and_numbers_have_limits() {
        let large = BTreeMap::from([("daily/a.sql".to_owned(), "x".repeat(FILE_BYTES_MAX + 1))]);
        assert!(matches!(SentFiles::below(Path::new("p"), large), Err(SentError::TooLarge(..))));
        let many = (0..=SENT_FILES_MAX).map(|number| (format!("{number}.sql"), String::new())).collect();
        assert!(matches!(SentFiles::below(Path::new("p"), many), Err(SentError::TooMany(_))));
    }

    #[test]
    fn what_a_folder_s_reader_finds_is_found() {
        let root = tempfile::tempdir().unwrap();
        let paths = [
            "pipeline.yaml",
            "daily/pipeline.yaml",
            "daily/aws.yaml",
            "daily-2/pipeline.yml",
            "a/b/c/d/pipeline.yaml",
            "a/b/c/d/e/pipeline.yaml",
            ".hidden/pipeline.yaml",
        ];
        for path in paths {
            let file = root.path().join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, "x").unwrap();
        }
        let files = paths.iter().map(|path| ((*path).to_owned(), "x".to_owned())).collect();
        let sent = SentFiles::below(root.path(), files).unwrap();
        assert_eq!(sent.find().unwrap(), super::super::load::find_files(root.path()).unwrap());
        let daily = root.path().join("daily");
        let inside: Vec<_> = sent.inside(&daily).collect();
        assert_eq!(inside, [Path::new("aws.yaml"), Path::new("pipeline.yaml")]);
        assert!(sent.is_folder(&root.path().join("a/b")) && !sent.is_folder(&root.path().join("dail")));
    }
}
