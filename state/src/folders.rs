//! Folders of pipelines: how their names are written, and what lies in them. Rights and connections are given by
//! folder; the store's function `lies_in` says the same as [`contains`].

use serde_json::Value;

/// Of a connection: the folders whose pipelines may use it.
pub const FOLDERS: &str = "folders";
/// The longest name, as the store keeps it.
const NAME_MAX: usize = 512;

/// A word that is no folder.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no folder of pipelines; write it as below the pipelines folder, such as finance or finance/daily"
)]
pub struct NoFolder(String);

/// A name as it is kept: a slash at its end is nothing. `""` is the pipelines folder itself, and nothing else is.
pub fn parse(text: &str) -> Result<String, NoFolder> {
    if text.is_empty() {
        return Ok(String::new());
    }
    let name = text.strip_suffix('/').unwrap_or(text);
    let plain = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('\\');
    let fits = name.len() <= NAME_MAX && !name.contains(char::is_control) && name.split('/').all(plain);
    if fits { Ok(name.to_owned()) } else { Err(NoFolder(text.chars().take(100).collect())) }
}

/// Whether a folder is another one or lies in it.
pub fn contains(outer: &str, inner: &str) -> bool {
    let rest = inner.strip_prefix(outer);
    outer.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The folders that a connection is for, if it is not for all, where a pipeline of this folder may not use it.
pub fn closed_to<'a>(connection: &'a Value, folder: &str) -> Option<Vec<&'a str>> {
    let folders: Vec<&str> = connection.get(FOLDERS)?.as_array()?.iter().filter_map(Value::as_str).collect();
    (!folders.iter().any(|of| contains(of, folder))).then_some(folders)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn folders_are_written_in_one_way() {
        assert_eq!(parse(""), Ok(String::new()));
        assert_eq!(parse("finance/daily/"), Ok("finance/daily".to_owned()));
        for wrong in ["/", "/finance", "a//b", "..", "a/../b", "./a", "a\\b", "a\nb", &"a".repeat(600)] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn connections_are_for_everybody_or_for_folders() {
        let some = json!({ "sandbox": true, "folders": ["finance/eu", "sales"] });
        assert_eq!(closed_to(&some, "finance/eu/daily"), None);
        assert_eq!(closed_to(&some, "finance"), Some(vec!["finance/eu", "sales"]));
        assert_eq!(closed_to(&some, ""), Some(vec!["finance/eu", "sales"]));
        assert_eq!(closed_to(&json!({ "sandbox": true }), ""), None);
        // Nobody can mean that, and nobody gets in by it.
        assert_eq!(closed_to(&json!({ "folders": [7] }), "finance"), Some(vec![]));
    }

    #[test]
    fn a_folder_holds_itself_and_what_lies_in_it() {
        for (outer, inner) in [("", ""), ("", "a/b"), ("a", "a"), ("a", "a/b"), ("a/b", "a/b/c")] {
            assert!(contains(outer, inner), "{inner} in {outer}");
        }
        for (outer, inner) in [("a", ""), ("a", "ab"), ("a/b", "a"), ("b", "a/b")] {
            assert!(!contains(outer, inner), "{inner} in {outer}");
        }
    }
}
