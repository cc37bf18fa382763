//! What is sent to a server that is to deploy it: pipeline files, and the files that their settings name.
//! Nothing else of a folder leaves this machine.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{
    diagnostic::Diagnostics,
    files::{self, FileError},
    load::{parse_text, read_bounded, read_tree, shown},
    template::is_template,
    tree::{self, FILE_BYTES_MAX, Kind, Node},
};

/// Files to be sent.
#[derive(Debug, Default)]
pub struct Gathered {
    /// Texts by their path below the pipelines folder.
    pub files: BTreeMap<String, String>,
    /// The folders of pipelines.
    pub folders: Vec<PathBuf>,
    /// Files that a setting names and that are not sent, and why.
    pub left_out: Vec<String>,
}

/// Reads pipeline files below `folder` and what they name. What cannot be sent as it is goes to `out`, in
/// the loader's words; every other mistake is left to the server.
pub fn gather(pipelines: &[PathBuf], folder: &Path, root: &Path, out: &mut Diagnostics) -> Gathered {
    let mut gathered = Gathered::default();
    for file in pipelines {
        let text = match read_bounded(file) {
            Ok(bytes) if bytes.len() > FILE_BYTES_MAX => {
                parse_text(&shown(file, root), file, &bytes, out);
                continue;
            }
            Ok(bytes) => match String::from_utf8(bytes) {
                Ok(text) => text,
                Err(error) => {
                    parse_text(&shown(file, root), file, error.as_bytes(), out);
                    continue;
                }
            },
            Err(_) => {
                // The loader says what is in the way.
                read_tree(file, root, out);
                continue;
            }
        };
        let home = file.parent().unwrap_or(folder);
        let mut named = Vec::new();
        if let Some(root) = tree::parse(text.as_bytes()).root {
            references(&root, &mut named);
        }
        gathered.put(file, folder, text);
        gathered.folders.push(home.to_owned());
        for name in named {
            gathered.add(&name, home, folder, root);
        }
    }
    gathered
}

impl Gathered {
    fn put(&mut self, file: &Path, folder: &Path, text: String) {
        self.files.insert(sent_as(file, folder), text);
    }

    fn add(&mut self, name: &str, home: &Path, folder: &Path, root: &Path) {
        match files::read(home, None, name) {
            Ok((path, text)) => self.put(&path, folder, text),
            // The server suggests what has nearly this name: for that it needs names, and gets no texts.
            Err(FileError::Missing(_)) => {
                let hidden = |near: &str| near.split('/').any(|part| part.starts_with('.'));
                for near in files::neighbours(home, None, name).iter().filter(|near| !hidden(near)) {
                    self.files.entry(sent_as(&home.join(near), folder)).or_default();
                }
            }
            // Refused by its name alone, here and there.
            Err(FileError::Outside(_)) => {}
            Err(error) => self.left_out.push(format!("{}: {error}", shown(home, root))),
        }
    }
}

/// The path of a file below the pipelines folder, as it is sent.
fn sent_as(file: &Path, folder: &Path) -> String {
    let parts = file.strip_prefix(folder).unwrap_or(file).iter().map(|part| part.to_string_lossy());
    parts.collect::<Vec<_>>().join("/")
}

/// Every text that could name a file; which of them do, the settings of the task's type decide.
fn references(node: &Node, found: &mut Vec<String>) {
    match &node.kind {
        Kind::Scalar(scalar) => {
            let name = files::reference(&scalar.text).filter(|name| !is_template(name));
            found.extend(name.map(ToOwned::to_owned));
        }
        Kind::Sequence(items) => items.iter().for_each(|item| references(item, found)),
        Kind::Mapping(mapping) => mapping.entries.iter().for_each(|entry| references(&entry.value, found)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::load::find_files;

    fn gathered(files: &[(&str, &[u8])]) -> (Gathered, Diagnostics, tempfile::TempDir) {
        let root = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            let path = root.path().join("pipelines").join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        let folder = root.path().join("pipelines");
        let mut out = Diagnostics::default();
        let found = gather(&find_files(&folder).unwrap(), &folder, root.path(), &mut out);
        (found, out, root)
    }

    const NAMES: &[u8] =
        b"name: a\ntasks:\n  x: { type: t, sql: 'file:sql/x.sql', list: ['file:./y.sql'] }\n";

    #[test]
    fn only_what_a_pipeline_names_is_sent() {
        let (found, out, _root) = gathered(&[
            ("a/pipeline.yaml", NAMES),
            ("a/sql/x.sql", b"select 1"),
            ("a/y.sql", b"select 2"),
            ("a/sql/other.sql", b"select 3"),
            ("a/aws.yaml", b"Resources: {}"),
            ("secret.txt", b"x"),
        ]);
        let names: Vec<_> = found.files.keys().map(String::as_str).collect();
        assert_eq!(names, ["a/pipeline.yaml", "a/sql/x.sql", "a/y.sql"]);
        assert_eq!((out.render(false).as_str(), found.left_out.len(), found.folders.len()), ("", 0, 1));
    }

    #[test]
    fn where_a_file_is_missing_the_names_of_others_are_sent_for_a_suggestion() {
        let (found, ..) = gathered(&[
            ("a/pipeline.yaml", NAMES),
            ("a/y.sql", b"select 2"),
            ("a/sql/xx.sql", b"a secret"),
            ("a/sql/.x.sql", b"a secret"),
            ("a/sql/x.csv", b"1"),
        ]);
        let texts: Vec<_> = found.files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        assert_eq!(texts[1..], [("a/sql/xx.sql", ""), ("a/y.sql", "select 2")]);
    }

    #[test]
    fn what_cannot_be_sent_is_said() {
        let (found, out, _root) = gathered(&[("a/pipeline.yaml", NAMES), ("a/y.sql", b"\xff")]);
        assert_eq!(found.left_out, ["pipelines/a: `./y.sql` is not UTF-8 text"]);
        assert!(!out.has_errors());
        let (_, out, _root) = gathered(&[("a/pipeline.yaml", b"name: \xff\n")]);
        assert!(out.render(false).contains("the file is not UTF-8 text"), "{}", out.render(false));
    }
}
