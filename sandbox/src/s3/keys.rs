//! Keys to file names and back.
//!
//! Nearly every key is its own path. The exceptions are escaped with `%`, which itself becomes `%25`:
//! empty segments (`%`), the names `.` and `..`, NUL bytes, and segments that no file system takes, which are
//! cut into several folders (each but the last ending in `%~`). An object whose key is also a "folder" of other
//! keys (`a` beside `a/b`) lies beside that folder as `a%object`. So no key can leave its bucket's folder, and
//! no two keys share a file.

use std::path::{Path, PathBuf};

/// File name endings that mark an object lying beside a folder of the same name.
pub(super) const BESIDE_FOLDER: &str = "%object";

/// Ending of a folder that holds the rest of an over-long segment.
const CONTINUED: &str = "%~";

/// The longest piece of a file name. File systems take 255 bytes; some room is left for our endings.
const NAME_MAX: usize = 200;

/// The longest key that S3 takes, in bytes.
pub(super) const KEY_MAX: usize = 1024;

/// What a folder entry stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// A whole segment of a key.
    Whole(String),
    /// The beginning of a segment that goes on in the entries of this folder.
    Continued(String),
}

/// The path of a key below its bucket's folder, as if no folder of the same name existed.
pub(super) fn relative_path(key: &str) -> PathBuf {
    let mut path = PathBuf::new();
    for segment in key.split('/') {
        let mut escaped = escape(segment);
        while escaped.len() > NAME_MAX {
            let rest = escaped.split_off(cut(&escaped));
            escaped.push_str(CONTINUED);
            path.push(&escaped);
            escaped = rest;
        }
        path.push(&escaped);
    }
    path
}

/// The path of the same object when a folder has its name.
pub(super) fn beside_folder(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(BESIDE_FOLDER);
    path.with_file_name(name)
}

/// Reads a folder entry's name; `None` for names that no key has (which are therefore not objects).
pub(super) fn piece(name: &str, is_folder: bool) -> Option<Piece> {
    if is_folder {
        if let Some(start) = name.strip_suffix(CONTINUED) {
            return unescape(start).map(Piece::Continued);
        }
        return unescape(name).map(Piece::Whole);
    }
    unescape(name.strip_suffix(BESIDE_FOLDER).unwrap_or(name)).map(Piece::Whole)
}

fn escape(segment: &str) -> String {
    match segment {
        "" => "%".to_owned(),
        "." => "%2E".to_owned(),
        ".." => "%2E%2E".to_owned(),
        _ => segment.replace('%', "%25").replace('\0', "%00"),
    }
}

fn unescape(name: &str) -> Option<String> {
    if name == "%" {
        return Some(String::new());
    }
    let mut segment = String::with_capacity(name.len());
    let mut rest = name;
    while let Some((before, after)) = rest.split_once('%') {
        segment.push_str(before);
        segment.push(match after.get(..2)? {
            "25" => '%',
            "2E" => '.',
            "00" => '\0',
            _ => return None,
        });
        rest = after.get(2..)?;
    }
    segment.push_str(rest);
    Some(segment)
}

/// Where to cut an over-long name: at most `NAME_MAX` bytes in, inside neither a character nor an escape.
fn cut(escaped: &str) -> usize {
    let mut at = NAME_MAX;
    while !escaped.is_char_boundary(at) {
        at -= 1;
    }
    match escaped[..at].rfind('%') {
        Some(escape) if at - escape < 3 => escape,
        _ => at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn back(key: &str) -> String {
        let path = relative_path(key);
        let names: Vec<String> = path.iter().map(|name| name.to_str().unwrap().to_owned()).collect();
        let mut key = String::new();
        for (index, name) in names.iter().enumerate() {
            let is_folder = index + 1 < names.len();
            match piece(name, is_folder).unwrap() {
                Piece::Whole(segment) => {
                    key.push_str(&segment);
                    if is_folder {
                        key.push('/');
                    }
                }
                Piece::Continued(start) => key.push_str(&start),
            }
        }
        key
    }

    #[test]
    fn ordinary_keys_are_their_own_paths() {
        for key in ["a", "year=2026/month=11/x.parquet", "a b+c/ü.json", "14.22.31.000_0f3c"] {
            assert_eq!(relative_path(key), Path::new(key));
        }
    }

    #[test]
    fn every_key_comes_back() {
        let long = format!("{}%{}", "é".repeat(99), "x".repeat(450));
        for key in [
            "",
            "/",
            "a/",
            "a//b",
            "..",
            "../../etc/passwd",
            "./a",
            "100%",
            "%2E",
            "a%object",
            "%",
            "x\0y",
            &long,
        ] {
            assert_eq!(back(key), key);
        }
    }

    #[test]
    fn no_key_leaves_its_folder() {
        for key in ["..", "../x", "a/../../x", "/etc/passwd", "./.."] {
            let path = relative_path(key);
            let ordinary = path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
            assert!(ordinary, "{key} became {}", path.display());
        }
    }

    #[test]
    fn names_fit_the_file_system() {
        let path = relative_path(&"漢".repeat(341));
        assert!(path.iter().all(|name| name.len() <= 255), "{}", path.display());
    }

    #[test]
    fn foreign_names_are_not_keys() {
        assert_eq!(piece("half%", false), None);
        assert_eq!(piece("odd%zz", false), None);
    }
}
